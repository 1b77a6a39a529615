//! Depthwise convolution, row by row.
//!
//! Both networks spend much of their work in convolutions where each channel has a kernel of its
//! own. The runtime computes these one output at a time; here a row of outputs is one loop over
//! adjacent values, which the compiler turns into vector instructions.

use tract_onnx::tract_core::{
    internal::*,
    ops::cnn::{Conv, KernelFormat},
    ops::nn::DataFormat,
};

/// Replaces the depthwise convolutions of a model that this module can compute.
pub(super) fn replace(model: &mut TypedModel) -> TractResult<()> {
    for id in 0..model.nodes().len() {
        let Some(op) = Depthwise::of(model, id)? else {
            continue;
        };
        let node = model.node(id);
        TypedModelPatch::replace_single_op(model, node, &node.inputs, op)?.apply(model)?;
    }
    Ok(())
}

/// One convolution: pairs are of height and width.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Depthwise {
    input: [usize; 2],
    kernel: [usize; 2],
    strides: [usize; 2],
    /// Rows and columns of zeros before the input.
    before: [usize; 2],
    output: [usize; 2],
}

impl Depthwise {
    /// The node's convolution, if it is depthwise on one image with plain settings.
    fn of(model: &TypedModel, id: usize) -> TractResult<Option<Self>> {
        let node = model.node(id);
        let Some(conv) = node.op_as::<Conv>() else {
            return Ok(None);
        };
        let pool = &conv.pool_spec;
        let channels = pool.input_channels;
        let plain = conv.group == channels
            && pool.output_channels == channels
            && conv.q_params.is_none()
            && conv.kernel_fmt == KernelFormat::OIHW
            && matches!(pool.data_format, DataFormat::NCHW | DataFormat::CHW)
            && pool.dilations().iter().all(|&dilation| dilation == 1);
        let image = model.outlet_fact(node.inputs[0])?;
        let bias = model.outlet_fact(node.inputs[2])?.shape.volume();
        let biased = bias == 1.to_dim() || bias == channels.to_dim();
        if !plain || !biased || image.datum_type != f32::datum_type() {
            return Ok(None);
        }
        let (Some(&[ref outer @ .., height, width]), &[kernel_height, kernel_width]) =
            (image.shape.as_concrete(), &pool.kernel_shape[..])
        else {
            return Ok(None);
        };
        if outer.iter().product::<usize>() != channels {
            return Ok(None);
        }
        let padding = pool.computed_padding(&[height, width]);
        let strides = pool.strides();
        Ok(Some(Self {
            input: [height, width],
            kernel: [kernel_height, kernel_width],
            strides: [strides[0], strides[1]],
            before: [padding[0].pad_before, padding[1].pad_before],
            output: [padding[0].convoluted, padding[1].convoluted],
        }))
    }

    /// The output's dimensions for an input's: the last two differ.
    fn output_shape<D: Clone + From<usize>>(&self, input: &[D]) -> TVec<D> {
        let outer = input.len().saturating_sub(2);
        input[..outer]
            .iter()
            .cloned()
            .chain(self.output.map(D::from))
            .collect()
    }

    /// Adds the products of one channel's plane and its kernel to its output.
    fn convolve(&self, plane: &[f32], kernel: &[f32], output: &mut [f32]) {
        let [height, width] = self.input;
        for (y, row) in output.chunks_exact_mut(self.output[1]).enumerate() {
            for (ky, weights) in kernel.chunks_exact(self.kernel[1]).enumerate() {
                let Some(source) = (y * self.strides[0] + ky).checked_sub(self.before[0]) else {
                    continue;
                };
                if source < height {
                    self.add_row(&plane[source * width..][..width], weights, row);
                }
            }
        }
    }

    /// Adds the products of one row of input and one of the kernel to one of output.
    fn add_row(&self, input: &[f32], weights: &[f32], output: &mut [f32]) {
        let (stride, before) = (self.strides[1], self.before[1]);
        for (kx, &weight) in weights.iter().enumerate() {
            // Outputs from here on do not reach into the padding on the left.
            let first = before.saturating_sub(kx).div_ceil(stride);
            let (Some(output), Some(input)) = (
                output.get_mut(first..),
                input.get(first * stride + kx - before..),
            ) else {
                continue;
            };
            if stride == 1 {
                for (sum, value) in output.iter_mut().zip(input) {
                    *sum += weight * value;
                }
            } else {
                for (sum, value) in output.iter_mut().zip(input.iter().step_by(stride)) {
                    *sum += weight * value;
                }
            }
        }
    }
}

impl Op for Depthwise {
    fn name(&self) -> Cow<'_, str> {
        "DepthwiseRows".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Depthwise {
    fn is_stateless(&self) -> bool {
        true
    }

    fn eval(&self, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (image, kernel, bias) = args_3!(inputs);
        let mut output = Tensor::zero::<f32>(&self.output_shape(image.shape()))?;
        let planes = image
            .as_slice::<f32>()?
            .chunks_exact(self.input.iter().product());
        let kernels = kernel
            .as_slice::<f32>()?
            .chunks_exact(self.kernel.iter().product());
        let outputs = output
            .as_slice_mut::<f32>()?
            .chunks_exact_mut(self.output.iter().product());
        // One bias for each channel, or one for all.
        let biases = bias.as_slice::<f32>()?.iter().cycle();
        for (((plane, kernel), &bias), output) in planes.zip(kernels).zip(biases).zip(outputs) {
            output.fill(bias);
            self.convolve(plane, kernel, output);
        }
        Ok(tvec!(output.into_tvalue()))
    }
}

impl TypedOp for Depthwise {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let [image, ..] = inputs else {
            bail!("a convolution has an input")
        };
        Ok(tvec!(
            image.datum_type.fact(self.output_shape(image.shape.dims()))
        ))
    }

    as_op!();
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, output by output.
    fn direct(op: &Depthwise, plane: &[f32], kernel: &[f32]) -> Vec<f32> {
        let [height, width] = op.input;
        let mut output = Vec::new();
        for y in 0..op.output[0] {
            for x in 0..op.output[1] {
                let mut sum = 0.0;
                for ky in 0..op.kernel[0] {
                    for kx in 0..op.kernel[1] {
                        let iy = (y * op.strides[0] + ky).wrapping_sub(op.before[0]);
                        let ix = (x * op.strides[1] + kx).wrapping_sub(op.before[1]);
                        if iy < height && ix < width {
                            sum += plane[iy * width + ix] * kernel[ky * op.kernel[1] + kx];
                        }
                    }
                }
                output.push(sum);
            }
        }
        output
    }

    proptest! {
        #[test]
        fn rows_equal_the_definition(
            input in prop::array::uniform2(1usize..12),
            kernel in prop::array::uniform2(1usize..6),
            strides in prop::array::uniform2(1usize..4),
            before in prop::array::uniform2(0usize..3),
            after in prop::array::uniform2(0usize..3),
            values in prop::collection::vec(-8i8..8, 12 * 12 + 25),
        ) {
            let padded = [0, 1].map(|side| input[side] + before[side] + after[side]);
            prop_assume!(padded[0] >= kernel[0] && padded[1] >= kernel[1]);
            let output = [0, 1].map(|side| (padded[side] - kernel[side]) / strides[side] + 1);
            let op = Depthwise { input, kernel, strides, before, output };
            let values: Vec<f32> = values.into_iter().map(f32::from).collect();
            let plane = &values[..input[0] * input[1]];
            let weights = &values[12 * 12..][..kernel[0] * kernel[1]];
            let mut found = vec![0.0; output[0] * output[1]];
            op.convolve(plane, weights, &mut found);
            prop_assert_eq!(found, direct(&op, plane, weights));
        }
    }
}
