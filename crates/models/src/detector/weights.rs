//! Darknet's `.weights` files: a header, then the numbers of each convolution in the order of the
//! `.cfg`, little-endian.

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};

use super::config::Convolution;
use super::network::Darknet;
use crate::ModelError;

/// Added to the standard deviation in batch normalisation.
const EPSILON: f32 = 1e-6;

/// Loads the weights into the network, batch normalisation folded into the convolutions.
///
/// # Errors
/// [`ModelError::Weights`] unless the file holds exactly the numbers that the network needs, all
/// of them finite.
pub(super) fn load(network: &mut Darknet, bytes: &[u8], device: &Device) -> Result<(), ModelError> {
    let mut numbers = Numbers::after_header(bytes)?;
    let specs: Vec<Convolution> = network.config.convolutions().copied().collect();
    for (convolution, spec) in network.convolutions.iter_mut().zip(specs) {
        let (bias, weight) = read(&mut numbers, &spec)?;
        let shape = [spec.filters, spec.inputs, spec.size, spec.size];
        let bias = TensorData::new(bias, [spec.filters]);
        convolution.bias = Some(Param::from_tensor(Tensor::from_data(bias, device)));
        let weight = TensorData::new(weight, shape);
        convolution.weight = Param::from_tensor(Tensor::from_data(weight, device));
    }
    match numbers.rest() {
        0 => Ok(()),
        rest => Err(ModelError::weights(&format!("{rest} bytes are left over"))),
    }
}

/// Bias and weight of one convolution, `[filters, inputs, size, size]`.
fn read(numbers: &mut Numbers<'_>, spec: &Convolution) -> Result<(Vec<f32>, Vec<f32>), ModelError> {
    let count = spec.filters * spec.inputs * spec.size * spec.size;
    let mut bias = numbers.take(spec.filters)?;
    if !spec.normalised {
        return Ok((bias, numbers.take(count)?));
    }
    let scales = numbers.take(spec.filters)?;
    let means = numbers.take(spec.filters)?;
    let variances = numbers.take(spec.filters)?;
    let mut weight = numbers.take(count)?;
    let kernels = weight.chunks_exact_mut(count / spec.filters);
    let moments = scales.iter().zip(&means).zip(&variances);
    for ((kernel, bias), ((scale, mean), variance)) in kernels.zip(&mut bias).zip(moments) {
        let factor = scale / (variance.max(0.0).sqrt() + EPSILON);
        *bias -= mean * factor;
        kernel.iter_mut().for_each(|weight| *weight *= factor);
    }
    Ok((bias, weight))
}

/// The numbers that have not been read.
struct Numbers<'a>(&'a [u8]);

impl<'a> Numbers<'a> {
    /// The header is the format's version in three numbers of four bytes, and how many images the
    /// network has seen: in eight bytes from version 0.2 on, in four before.
    fn after_header(bytes: &'a [u8]) -> Result<Self, ModelError> {
        let short = || ModelError::weights("the header is cut off");
        let (major, rest) = bytes.split_first_chunk::<4>().ok_or_else(short)?;
        let (minor, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        let (major, minor) = (u32::from_le_bytes(*major), u32::from_le_bytes(*minor));
        if major > 9 || minor > 999 {
            let reason = format!("version {major}.{minor} is none of Darknet's");
            return Err(ModelError::weights(&reason));
        }
        let seen = if major * 10 + minor >= 2 { 8 } else { 4 };
        let rest = rest.get(4 + seen..).ok_or_else(short)?;
        Ok(Self(rest))
    }

    fn take(&mut self, count: usize) -> Result<Vec<f32>, ModelError> {
        let (taken, rest) = self
            .0
            .split_at_checked(count.saturating_mul(4))
            .ok_or_else(|| ModelError::weights("the file is too short for the network"))?;
        self.0 = rest;
        let numbers: Vec<f32> = taken
            .as_chunks::<4>()
            .0
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect();
        if numbers.iter().any(|number| !number.is_finite()) {
            return Err(ModelError::weights("a weight is not finite"));
        }
        Ok(numbers)
    }

    fn rest(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(version: [u32; 2], seen: usize, numbers: &[f32]) -> Vec<u8> {
        let mut bytes: Vec<u8> = [version[0], version[1], 0]
            .iter()
            .flat_map(|n| n.to_le_bytes())
            .collect();
        bytes.extend(vec![0; seen]);
        bytes.extend(numbers.iter().flat_map(|n| n.to_le_bytes()));
        bytes
    }

    fn spec(normalised: bool) -> Convolution {
        Convolution {
            inputs: 1,
            filters: 2,
            size: 1,
            stride: 1,
            padding: 0,
            normalised,
            leaky: false,
        }
    }

    #[test]
    fn normalisation_is_folded_in() {
        let bytes = file(
            [0, 2],
            8,
            &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 4.0, 16.0, 8.0, 8.0],
        );
        let mut numbers = Numbers::after_header(&bytes).unwrap();
        let (bias, weight) = read(&mut numbers, &spec(true)).unwrap();
        // (8 x - 5) / 2 × 3 + 1 and (8 x - 6) / 4 × 4 + 2
        for (found, expected) in bias.iter().chain(&weight).zip([-6.5, -4.0, 12.0, 8.0]) {
            assert!((found - expected).abs() < 1e-4, "{found} {expected}");
        }
        assert_eq!(numbers.rest(), 0);
    }

    #[test]
    fn old_files_count_images_in_four_bytes() {
        let bytes = file([0, 1], 4, &[1.0, 2.0, 3.0, 4.0]);
        let mut numbers = Numbers::after_header(&bytes).unwrap();
        let read = read(&mut numbers, &spec(false)).unwrap();
        assert_eq!(read, (vec![1.0, 2.0], vec![3.0, 4.0]));
    }

    #[test]
    fn files_that_do_not_fit_are_refused() {
        let mut short = Numbers(&[0; 12]);
        assert!(read(&mut short, &spec(false)).is_err());
        assert!(Numbers::after_header(&[0; 15]).is_err());
        assert!(Numbers::after_header(b"PK\x03\x04 a zip file, not weights").is_err());
        let broken = file([0, 2], 8, &[f32::NAN; 4]);
        let mut broken = Numbers::after_header(&broken).unwrap();
        assert!(read(&mut broken, &spec(false)).is_err());
    }
}
