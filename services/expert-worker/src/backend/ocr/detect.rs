//! Where the text is: the detection network and the geometry around it.

use std::path::Path;

use image::{
    RgbImage,
    imageops::{self, FilterType},
};

use super::{
    OcrError,
    crop::{CHANNELS, fill_planes},
    geometry::Quad,
    plan::ShapedModel,
    regions::{ProbabilityMap, text_boxes},
};

/// Sides of the network's input are multiples of this: images of similar shape share a plan. The
/// network itself needs multiples of 32.
const SIDE_STEP: u32 = 64;
/// Images whose shorter side is below this are enlarged: the smallest text that the detector finds
/// is about 8 pixels high.
const SMALL_IMAGE: u32 = 320;
/// Ratios of width to height planned for ahead: receipts, A4 and 4:3 pages of either orientation,
/// square pictures.
const COMMON_SHAPES: [(u32, u32); 5] = [(1, 2), (5, 7), (3, 4), (1, 1), (4, 3)];
/// Plans kept. Each holds the packed weights, about 10 MB.
const PLANS: u64 = 12;

/// Finds lines of text.
pub(super) struct Detector {
    model: ShapedModel,
    side: u32,
}

impl Detector {
    /// Loads the network; images are scaled so that their longer side is at most `side`.
    pub(super) fn load(path: &Path, side: u32) -> Result<Self, OcrError> {
        let model = ShapedModel::load("text detection model", path, PLANS)?;
        Ok(Self { model, side })
    }

    /// Plans for the shapes of common pages and photographs.
    pub(super) fn prepare(&self) -> Result<(), OcrError> {
        for (width, height) in COMMON_SHAPES {
            let Fit { padded, .. } = Fit::of(width * self.side, height * self.side, self.side);
            self.model
                .prepare([1, CHANNELS, padded.1 as usize, padded.0 as usize])?;
        }
        Ok(())
    }

    /// Boxes around lines of text in pixels of `image`, in no particular order.
    pub(super) fn detect(&self, image: &RgbImage) -> Result<Vec<Quad>, OcrError> {
        let (width, height) = image.dimensions();
        let fit = Fit::of(width, height, self.side);
        let (stride, rows) = (fit.padded.0 as usize, fit.padded.1 as usize);
        let mut planes = vec![0.0; CHANNELS * stride * rows];
        if fit.content == image.dimensions() {
            fill_planes(image, stride, rows, &mut planes);
        } else {
            let (w, h) = fit.content;
            fill_planes(
                &imageops::resize(image, w, h, FilterType::Triangle),
                stride,
                rows,
                &mut planes,
            );
        }
        let output = self.model.run([1, CHANNELS, rows, stride], &planes)?;
        let values = output.values()?;
        let map = ProbabilityMap::new(
            values,
            stride,
            fit.content.0 as usize,
            fit.content.1 as usize,
        )
        .ok_or_else(|| OcrError::Inference(format!("{} probabilities", values.len())))?;
        Ok(text_boxes(&map)
            .iter()
            .map(|found| {
                found
                    .corners()
                    .map(|point| fit.restore(point, image.dimensions()))
            })
            .collect())
    }
}

/// How an image is laid into the network's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fit {
    /// Width and height of the scaled image.
    content: (u32, u32),
    /// Width and height of the input; the image is at its top left.
    padded: (u32, u32),
}

impl Fit {
    fn of(width: u32, height: u32, side: u32) -> Self {
        let (long, short) = (width.max(height).max(1), width.min(height).max(1));
        let largest = f64::from(side) / f64::from(long);
        let wanted = (f64::from(SMALL_IMAGE) / f64::from(short)).max(1.0);
        let scale = wanted.min(largest);
        let scaled = |length: u32| ((f64::from(length) * scale).round() as u32).clamp(1, side);
        let content = (scaled(width), scaled(height));
        let padded = |length: u32| length.next_multiple_of(SIDE_STEP);
        Self {
            content,
            padded: (padded(content.0), padded(content.1)),
        }
    }

    /// From the map's pixels to the image's, inside the image.
    fn restore(&self, [x, y]: [f32; 2], (width, height): (u32, u32)) -> [f32; 2] {
        let (width, height) = (width as f32, height as f32);
        [
            (x * width / self.content.0 as f32).clamp(0.0, width),
            (y * height / self.content.1 as f32).clamp(0.0, height),
        ]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn large_images_shrink_small_ones_grow_others_stay() {
        let fit = |w, h| Fit::of(w, h, 960);
        assert_eq!(
            fit(800, 1600),
            Fit {
                content: (480, 960),
                padded: (512, 960)
            }
        );
        assert_eq!(
            fit(640, 480),
            Fit {
                content: (640, 480),
                padded: (640, 512)
            }
        );
        assert_eq!(
            fit(160, 80),
            Fit {
                content: (640, 320),
                padded: (640, 320)
            }
        );
        assert_eq!(
            fit(600, 40),
            Fit {
                content: (960, 64),
                padded: (960, 64)
            }
        );
    }

    proptest! {
        #[test]
        fn every_size_fits_and_its_corners_come_back(
            width in 1u32..20_000, height in 1u32..20_000, side in 128u32..2048,
        ) {
            let fit = Fit::of(width, height, side);
            let (w, h) = fit.content;
            prop_assert!(w >= 1 && h >= 1 && w.max(h) <= side);
            prop_assert!(fit.padded.0 >= w && fit.padded.1 >= h);
            prop_assert_eq!((fit.padded.0 % SIDE_STEP, fit.padded.1 % SIDE_STEP), (0, 0));
            let corner = fit.restore([w as f32, h as f32], (width, height));
            prop_assert!((corner[0] - width as f32).abs() < 0.1);
            prop_assert!((corner[1] - height as f32).abs() < 0.1);
        }
    }
}
