//! Image operations: cut out, erase a colour, enlarge. Boxes are clamped, sizes are limited.

use std::io::Cursor;

use bytes::Bytes;
use image::{DynamicImage, ImageFormat, ImageReader, Limits, imageops::FilterType};
use maestro_core::episode::{Failure, FailureKind};
use maestro_skills::CropUnit;

use super::erase::{Colour, erased};

/// Longest side of an image that is read.
const MAX_INPUT_SIDE: u32 = 16_384;
/// Most memory that decoding may take.
const MAX_DECODE_BYTES: u64 = 256 << 20;
/// Longest side of an image that is made.
const MAX_OUTPUT_SIDE: u32 = 4096;

/// Bounds beyond this count as this, in pixels.
const FAR: f64 = 1e9;

/// A part of an image in whole pixels. It lies within the image and is not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PixelBox {
    pub(crate) left: u32,
    pub(crate) top: u32,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

/// What is cut out, as a skill's step states it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CropBox {
    /// Left, top, right, bottom.
    pub(crate) bounds: [f64; 4],
    pub(crate) unit: CropUnit,
    /// Added on every side, as a share of the part's width and height.
    pub(crate) margin: f32,
}

/// The pixels of an image of `width` × `height` (at least 1 × 1) that a crop takes. Swapped
/// corners are put right; what lies outside is cut off; at least one pixel is left. `None` where a
/// bound is no number.
pub(crate) fn clamp(crop: &CropBox, width: u32, height: u32) -> Option<PixelBox> {
    if crop.bounds.iter().any(|bound| !bound.is_finite()) || !crop.margin.is_finite() {
        return None;
    }
    let (width, height) = (width.max(1), height.max(1));
    let scale = match crop.unit {
        CropUnit::Pixels => (1.0, 1.0),
        CropUnit::Fractions => (f64::from(width), f64::from(height)),
    };
    let [left, top, right, bottom] = crop.bounds;
    let margin = f64::from(crop.margin.clamp(0.0, 10.0));
    let (left, width) = side(left * scale.0, right * scale.0, margin, width);
    let (top, height) = side(top * scale.1, bottom * scale.1, margin, height);
    Some(PixelBox {
        left,
        top,
        width,
        height,
    })
}

/// Start and length within 0..`size` of the side from `a` to `b`.
fn side(a: f64, b: f64, margin: f64, size: u32) -> (u32, u32) {
    // Far outside is as good as further outside, and sums stay finite.
    let (a, b) = (a.clamp(-FAR, FAR), b.clamp(-FAR, FAR));
    let (low, high) = if a <= b { (a, b) } else { (b, a) };
    let margin = (high - low) * margin;
    let last = f64::from(size);
    let start = (low - margin).floor().clamp(0.0, last - 1.0);
    let end = (high + margin).ceil().clamp(start + 1.0, last);
    // Both are whole and lie within 0..=size, which is a u32.
    (start as u32, (end - start) as u32)
}

/// Cuts `crop` out of an encoded image, paints over the colours `erase` and scales the rest by
/// `zoom`, keeping the longest side within limits. Returns a PNG and its size. Takes a while: call it off the async threads.
pub(crate) fn cut(
    content: &[u8],
    crop: Option<&CropBox>,
    erase: &[Colour],
    zoom: f32,
) -> Result<(Bytes, PixelBox, [u32; 2]), Failure> {
    let failed =
        |reason: String| Failure::new(FailureKind::SkillFailed, format!("image: {reason}"));
    let image = decode(content).map_err(|error| failed(error.to_string()))?;
    let whole = PixelBox {
        left: 0,
        top: 0,
        width: image.width(),
        height: image.height(),
    };
    let part = match crop {
        Some(crop) => clamp(crop, image.width(), image.height())
            .ok_or_else(|| failed("a bound of the crop is no number".to_owned()))?,
        None => whole,
    };
    let cut = if part == whole {
        image
    } else {
        image.crop_imm(part.left, part.top, part.width, part.height)
    };
    let cut = if erase.is_empty() {
        cut
    } else {
        DynamicImage::ImageRgb8(erased(cut.into_rgb8(), erase))
    };
    let [width, height] = scaled(cut.width(), cut.height(), zoom);
    let cut = if [width, height] == [cut.width(), cut.height()] {
        cut
    } else {
        cut.resize_exact(width, height, FilterType::CatmullRom)
    };
    let mut png = Cursor::new(Vec::new());
    cut.write_to(&mut png, ImageFormat::Png)
        .map_err(|error| failed(error.to_string()))?;
    Ok((png.into_inner().into(), part, [width, height]))
}

fn decode(content: &[u8]) -> image::ImageResult<DynamicImage> {
    let mut reader = ImageReader::new(Cursor::new(content)).with_guessed_format()?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_INPUT_SIDE);
    limits.max_image_height = Some(MAX_INPUT_SIDE);
    limits.max_alloc = Some(MAX_DECODE_BYTES);
    reader.limits(limits);
    reader.decode()
}

/// Width and height after a zoom; the longest side stays within [`MAX_OUTPUT_SIDE`].
fn scaled(width: u32, height: u32, zoom: f32) -> [u32; 2] {
    let longest = f64::from(width.max(height).max(1));
    let factor = f64::from(zoom).min(f64::from(MAX_OUTPUT_SIDE) / longest);
    [width, height]
        .map(|side| ((f64::from(side) * factor).round() as u32).clamp(1, MAX_OUTPUT_SIDE))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn crop(bounds: [f64; 4], unit: CropUnit, margin: f32) -> CropBox {
        CropBox {
            bounds,
            unit,
            margin,
        }
    }

    #[test]
    fn crops_are_rounded_outwards_and_clamped() {
        let taken = |c: CropBox| clamp(&c, 100, 50).map(|b| (b.left, b.top, b.width, b.height));
        assert_eq!(
            taken(crop([10.5, 10.0, 20.2, 20.0], CropUnit::Pixels, 0.0)),
            Some((10, 10, 11, 10))
        );
        assert_eq!(
            taken(crop([0.5, 0.5, 1.0, 1.0], CropUnit::Fractions, 0.0)),
            Some((50, 25, 50, 25))
        );
        assert_eq!(
            taken(crop([20.0, 20.0, 10.0, 10.0], CropUnit::Pixels, 0.5)),
            Some((5, 5, 20, 20))
        );
        assert_eq!(
            taken(crop([500.0, 500.0, 600.0, 600.0], CropUnit::Pixels, 0.0)),
            Some((99, 49, 1, 1))
        );
        let (least, most) = (f64::MIN, f64::MAX);
        let whole = crop([least, least, most, most], CropUnit::Fractions, 10.0);
        assert_eq!(taken(whole), Some((0, 0, 100, 50)));
        assert_eq!(
            taken(crop([f64::NAN, 0.0, 1.0, 1.0], CropUnit::Pixels, 0.0)),
            None
        );
    }

    #[test]
    fn a_cut_is_a_png_of_the_part() {
        let mut source = image::RgbImage::new(40, 20);
        source.put_pixel(30, 10, image::Rgb([9, 8, 7]));
        let mut png = Cursor::new(Vec::new());
        source.write_to(&mut png, ImageFormat::Png).unwrap();
        let part = crop([30.0, 10.0, 32.0, 12.0], CropUnit::Pixels, 0.0);
        let (content, _, size) = cut(png.get_ref(), Some(&part), &[], 1.0).unwrap();
        let made = image::load_from_memory(&content).unwrap().to_rgb8();
        assert_eq!((size, made.get_pixel(0, 0).0), ([2, 2], [9, 8, 7]));
        let (_, _, zoomed) = cut(png.get_ref(), Some(&part), &[], 4.0).unwrap();
        assert_eq!(zoomed, [8, 8]);
        assert!(cut(b"no image", None, &[], 1.0).is_err());
    }

    proptest! {
        #[test]
        fn a_crop_never_leaves_the_image(
            bounds in prop::array::uniform4(prop_oneof![-1e7..1e7f64, any::<f64>(), -1.5..1.5f64]),
            fractions in any::<bool>(), margin in prop_oneof![0.0f32..10.0, any::<f32>()],
            width in 1u32..20_000, height in 1u32..20_000,
        ) {
            let unit = if fractions { CropUnit::Fractions } else { CropUnit::Pixels };
            let finite = bounds.iter().all(|b| b.is_finite()) && margin.is_finite();
            match clamp(&crop(bounds, unit, margin), width, height) {
                Some(part) => {
                    prop_assert!(part.width >= 1 && part.height >= 1);
                    prop_assert!(part.left + part.width <= width);
                    prop_assert!(part.top + part.height <= height);
                }
                None => prop_assert!(!finite),
            }
        }

        #[test]
        fn a_zoom_stays_within_limits(w in 1u32..20_000, h in 1u32..20_000, zoom in 0.001f32..16.0) {
            let [width, height] = scaled(w, h, zoom);
            prop_assert!((1..=MAX_OUTPUT_SIDE).contains(&width));
            prop_assert!((1..=MAX_OUTPUT_SIDE).contains(&height));
        }
    }
}
