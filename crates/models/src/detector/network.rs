//! The YOLO v3 family in burn.

use burn::module::Module;
use burn::nn::PaddingConfig2d;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::MaxPool2dConfig;
use burn::tensor::activation::leaky_relu;
use burn::tensor::module::interpolate;
use burn::tensor::ops::{InterpolateMode, InterpolateOptions};
use burn::tensor::{Device, Tensor};

use super::config::{DarknetConfig, Layer};

/// Slope of the leaky rectifier below zero.
const SLOPE: f64 = 0.1;

impl DarknetConfig {
    /// The network with random weights.
    #[must_use]
    pub fn init(&self, device: &Device) -> Darknet {
        let convolutions = self
            .convolutions()
            .map(|c| {
                let padding = c.padding;
                Conv2dConfig::new([c.inputs, c.filters], [c.size; 2])
                    .with_stride([c.stride; 2])
                    .with_padding(PaddingConfig2d::Explicit(
                        padding, padding, padding, padding,
                    ))
                    .init(device)
            })
            .collect();
        Darknet {
            convolutions,
            config: self.clone(),
        }
    }
}

/// A network of the YOLO v3 family. Batch normalisation is folded into the convolutions.
#[derive(Module, Debug)]
pub struct Darknet {
    pub(super) convolutions: Vec<Conv2d>,
    #[module(skip)]
    pub(super) config: DarknetConfig,
}

impl Darknet {
    /// What each head reads, in order: `[batch, anchors × (5 + classes), height, width]`, as the
    /// network gives it, before any sigmoid.
    ///
    /// `images` are red, green and blue from 0 to 1, `[batch, channels, height, width]` in the
    /// size of the network's input.
    #[must_use]
    pub fn forward(&self, images: Tensor<4>) -> Vec<Tensor<4>> {
        let mut heads = Vec::new();
        let mut results: Vec<Tensor<4>> = Vec::with_capacity(self.config.layers.len());
        let mut convolutions = self.convolutions.iter();
        let mut last = images;
        for layer in &self.config.layers {
            last = match layer {
                Layer::Convolution(spec) => {
                    let result = match convolutions.next() {
                        Some(convolution) => convolution.forward(last),
                        // `init` makes one for each.
                        None => last,
                    };
                    if spec.leaky {
                        leaky_relu(result, SLOPE)
                    } else {
                        result
                    }
                }
                Layer::MaxPool { size, stride } => max_pool(last, *size, *stride),
                Layer::Upsample { factor } => {
                    let options = InterpolateOptions::new(InterpolateMode::Nearest)
                        .with_scale_factor([*factor as f32; 2]);
                    interpolate(last, options)
                }
                Layer::Route(layers) => {
                    let parts = layers.iter().map(|&layer| results[layer].clone()).collect();
                    Tensor::cat(parts, 1)
                }
                Layer::Head(_) => {
                    heads.push(last.clone());
                    last
                }
            };
            results.push(last.clone());
        }
        heads
    }
}

/// Darknet's pooling: `size - 1` columns and rows of nothing are added, first half of them
/// (rounded down) before and the rest behind, so that a window of 2 with step 1 keeps the size.
fn max_pool(images: Tensor<4>, size: usize, stride: usize) -> Tensor<4> {
    let before = (size - 1) / 2;
    let behind = size - 1 - before;
    MaxPool2dConfig::new([size; 2])
        .with_strides([stride; 2])
        .with_padding(PaddingConfig2d::Explicit(before, before, behind, behind))
        .init()
        .forward(images)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pooling_looks_right_and_down() {
        let image = Tensor::<4>::from_data(
            [[[[1.0, 5.0, -2.0], [0.0, 3.0, -4.0], [-7.0, -8.0, -9.0]]]],
            &Device::flex(),
        );
        let pooled = max_pool(image.clone(), 2, 1);
        let values: Vec<f32> = pooled.into_data().try_to_vec().unwrap();
        assert_eq!(values, [5.0, 5.0, -2.0, 3.0, 3.0, -4.0, -7.0, -8.0, -9.0]);
        assert_eq!(max_pool(image, 2, 2).dims(), [1, 1, 2, 2]);
    }
}
