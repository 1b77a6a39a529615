//! Image operations: draw boxes, cut out, erase a colour, enlarge, cover with tiles. Boxes are
//! clamped, and sizes are limited before memory is taken.

use std::io::Cursor;

use bytes::Bytes;
use image::{DynamicImage, ImageFormat, ImageReader, Limits, imageops::FilterType};
use maestro_core::episode::{Failure, FailureKind};
use maestro_skills::{CropUnit, Tile};

use super::{
    draw,
    erase::{Colour, erased},
};

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

/// What is made of an image, in this order.
#[derive(Clone, Debug)]
pub(crate) struct Changes {
    /// Boxes that are drawn on it.
    pub(crate) draw: Vec<CropBox>,
    /// Whether the boxes bear numbers.
    pub(crate) numbered: bool,
    /// What is cut out.
    pub(crate) crop: Option<CropBox>,
    /// Colours that are painted over.
    pub(crate) erase: Vec<Colour>,
    /// How much the rest is enlarged; its longest side stays within limits.
    pub(crate) zoom: f32,
}

/// An image that was made.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) png: Bytes,
    /// The part of the image before that it shows.
    pub(crate) part: PixelBox,
    /// Its width and height.
    pub(crate) size: [u32; 2],
}

fn failed(reason: impl std::fmt::Display) -> Failure {
    Failure::new(FailureKind::SkillFailed, format!("image: {reason}"))
}

/// Changes an encoded image. Takes a while: call it off the async threads.
pub(crate) fn change(content: &[u8], changes: &Changes) -> Result<Made, Failure> {
    let mut image = decode(content).map_err(failed)?;
    let inside = |crop: &CropBox| {
        clamp(crop, image.width(), image.height())
            .ok_or_else(|| failed("a bound of a box is no number"))
    };
    let drawn: Vec<PixelBox> = changes.draw.iter().map(inside).collect::<Result<_, _>>()?;
    let part = match &changes.crop {
        Some(crop) => inside(crop)?,
        None => whole(&image),
    };
    if !drawn.is_empty() {
        let mut canvas = image.into_rgb8();
        draw::boxes(&mut canvas, &drawn, changes.numbered);
        image = DynamicImage::ImageRgb8(canvas);
    }
    let cut = if part == whole(&image) {
        image
    } else {
        image.crop_imm(part.left, part.top, part.width, part.height)
    };
    let cut = if changes.erase.is_empty() {
        cut
    } else {
        DynamicImage::ImageRgb8(erased(cut.into_rgb8(), &changes.erase))
    };
    shown(cut, part, changes.zoom)
}

/// Covers an encoded image with tiles, row by row. Takes a while: call it off the async threads.
pub(crate) fn tile(content: &[u8], spec: &Tile) -> Result<Vec<Made>, Failure> {
    let image = decode(content).map_err(failed)?;
    let [width, height] = [image.width(), image.height()];
    let parts = tiles(width, height, spec).into_iter();
    let cut = |part: &PixelBox| image.crop_imm(part.left, part.top, part.width, part.height);
    parts.map(|part| shown(cut(&part), part, 1.0)).collect()
}

/// The tiles of an image of `width` × `height` pixels, row by row: at most `spec.most` squares (cut
/// off at the image's own size) that cover it and lie evenly.
pub(crate) fn tiles(width: u32, height: u32, spec: &Tile) -> Vec<PixelBox> {
    let overlap = f64::from(spec.overlap.clamp(0.0, 0.9));
    let mut side = spec.size.max(1);
    let (columns, rows) = loop {
        let (columns, rows) = (count(width, side, overlap), count(height, side, overlap));
        if columns.saturating_mul(rows) <= spec.most.max(1) {
            break (columns, rows);
        }
        side += side / 16 + 1;
    };
    let (wide, high) = (side.min(width), side.min(height));
    let at = |index: u32, count: u32, room: u32| match count {
        0 | 1 => 0,
        _ => (u64::from(room) * u64::from(index) / u64::from(count - 1)) as u32,
    };
    let places = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
    places
        .map(|(row, column)| PixelBox {
            left: at(column, columns, width - wide),
            top: at(row, rows, height - high),
            width: wide,
            height: high,
        })
        .collect()
}

/// How many tiles cover a length.
fn count(length: u32, side: u32, overlap: f64) -> u32 {
    if length <= side {
        return 1;
    }
    let step = (f64::from(side) * (1.0 - overlap)).floor().max(1.0);
    // At least 1, and a float that is too large becomes the largest number.
    (f64::from(length - side) / step).ceil() as u32 + 1
}

fn whole(image: &DynamicImage) -> PixelBox {
    PixelBox {
        left: 0,
        top: 0,
        width: image.width(),
        height: image.height(),
    }
}

/// Scales an image and makes a PNG of it.
fn shown(image: DynamicImage, part: PixelBox, zoom: f32) -> Result<Made, Failure> {
    let [width, height] = scaled(image.width(), image.height(), zoom);
    let image = if [width, height] == [image.width(), image.height()] {
        image
    } else {
        image.resize_exact(width, height, FilterType::CatmullRom)
    };
    let mut png = Cursor::new(Vec::new());
    image.write_to(&mut png, ImageFormat::Png).map_err(failed)?;
    Ok(Made {
        png: png.into_inner().into(),
        part,
        size: [width, height],
    })
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
#[path = "images_tests.rs"]
mod tests;
