//! An image fitted into a network's input: scaled with its proportions, centred, on grey.

use image::{
    RgbImage,
    imageops::{self, FilterType},
};

use super::boxes::Bounds;

/// What stands beside the image.
const GREY: f32 = 0.5;

/// Where an image stands in a network's input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Letterbox {
    /// Width and height of the image.
    source: [u32; 2],
    /// Width and height of the input.
    target: [u32; 2],
    /// Width and height of the image in the input.
    fitted: [u32; 2],
    /// Its left and top edge there.
    offset: [u32; 2],
}

impl Letterbox {
    /// Fits an image of `source` into an input of `target`, both width and height of at least 1.
    #[must_use]
    pub fn fit(source: [u32; 2], target: [u32; 2]) -> Self {
        let scale = f64::min(
            f64::from(target[0]) / f64::from(source[0].max(1)),
            f64::from(target[1]) / f64::from(source[1].max(1)),
        );
        let fitted = [0, 1].map(|axis| {
            let length = (f64::from(source[axis]) * scale).round() as u32;
            length.clamp(1, target[axis].max(1))
        });
        let offset = [0, 1].map(|axis| (target[axis].max(1) - fitted[axis]) / 2);
        Self {
            source,
            target,
            fitted,
            offset,
        }
    }

    /// The input: red, green and blue from 0 to 1, `[3, height, width]`.
    #[must_use]
    pub fn input(&self, image: &RgbImage) -> Vec<f32> {
        let [width, height] = self.target.map(|length| length as usize);
        let [left, top] = self.offset.map(|length| length as usize);
        let mut input = vec![GREY; 3 * width * height];
        let scaled;
        let fitted = if [image.width(), image.height()] == self.fitted {
            image
        } else {
            let [width, height] = self.fitted;
            scaled = imageops::resize(image, width, height, FilterType::Triangle);
            &scaled
        };
        for (x, y, pixel) in fitted.enumerate_pixels() {
            let place = (top + y as usize) * width + left + x as usize;
            for (channel, value) in pixel.0.into_iter().enumerate() {
                input[channel * width * height + place] = f32::from(value) / 255.0;
            }
        }
        input
    }

    /// A box of the input as it stands in the image, cut at the image's edges.
    #[must_use]
    pub fn to_source(&self, bounds: &Bounds) -> Bounds {
        let back = |axis: usize, value: f32| {
            let scale = self.source[axis] as f32 / self.fitted[axis] as f32;
            ((value - self.offset[axis] as f32) * scale).clamp(0.0, self.source[axis] as f32)
        };
        Bounds {
            left: back(0, bounds.left),
            top: back(1, bounds.top),
            right: back(0, bounds.right),
            bottom: back(1, bounds.bottom),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_wide_image_gets_bars_above_and_below() {
        let letterbox = Letterbox::fit([200, 100], [50, 50]);
        assert_eq!((letterbox.fitted, letterbox.offset), ([50, 25], [0, 12]));
        let white = RgbImage::from_pixel(200, 100, image::Rgb([255; 3]));
        let input = letterbox.input(&white);
        assert_eq!(input.len(), 3 * 50 * 50);
        assert!((input[11 * 50] - GREY).abs() < 1e-6);
        assert!((input[12 * 50] - 1.0).abs() < 1e-6);
        let whole = Bounds {
            left: 0.0,
            top: 12.0,
            right: 50.0,
            bottom: 37.0,
        };
        let back = letterbox.to_source(&whole);
        assert_eq!(
            [back.left, back.top, back.right, back.bottom],
            [0.0, 0.0, 200.0, 100.0]
        );
    }

    proptest! {
        #[test]
        fn a_box_in_the_input_comes_back_inside_the_image(
            width in 1_u32..3000, height in 1_u32..3000,
            left in -50.0_f32..500.0, top in -50.0_f32..500.0, size in 0.0_f32..400.0,
        ) {
            let letterbox = Letterbox::fit([width, height], [416, 416]);
            prop_assert!(letterbox.fitted.iter().zip(letterbox.offset).all(|(l, o)| l + o <= 416));
            let bounds = Bounds { left, top, right: left + size, bottom: top + size };
            let back = letterbox.to_source(&bounds);
            prop_assert!(0.0 <= back.left && back.left <= back.right && back.right <= width as f32);
            prop_assert!(0.0 <= back.top && back.top <= back.bottom && back.bottom <= height as f32);
        }
    }
}
