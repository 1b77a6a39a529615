use std::io::Cursor;

use image::{ImageFormat, ImageReader};
use serde::{Deserialize, Serialize};

/// Which images are taken. Only headers are read here; whoever decodes one later does so under
/// the same limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImageLimits {
    /// Largest file in bytes.
    pub max_bytes: usize,
    /// Most pixels.
    pub max_pixels: u64,
    /// Longest side in pixels.
    pub max_side: u32,
    /// Most pixels for each byte of the file. A photograph has a few, a flat drawing some
    /// hundreds; a file made to blow up has thousands. Applies above 4 million
    /// pixels.
    pub max_pixels_per_byte: u64,
}

/// Images up to this many pixels are harmless however well they are compressed.
pub(crate) const SMALL_PIXELS: u64 = 4_000_000;

impl Default for ImageLimits {
    fn default() -> Self {
        Self {
            max_bytes: 32 * 1024 * 1024,
            max_pixels: 50_000_000,
            max_side: 16_384,
            max_pixels_per_byte: 1_000,
        }
    }
}

/// What an image's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// Media type.
    pub media_type: &'static str,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// Reads an image's header and holds it against the limits.
///
/// # Errors
/// What is wrong and which limit was met, for the client to read.
pub fn inspect(content: &[u8], limits: &ImageLimits) -> Result<Inspected, String> {
    if content.is_empty() {
        return Err("is empty (0 bytes)".to_owned());
    }
    if content.len() > limits.max_bytes {
        return Err(format!(
            "has {} bytes; at most {}",
            content.len(),
            limits.max_bytes
        ));
    }
    let format = image::guess_format(content).ok();
    let media_type = format
        .and_then(media_type)
        .ok_or("is of an unknown type; PNG, JPEG, WebP, GIF and BMP are taken")?;
    let mut reader = ImageReader::new(Cursor::new(content));
    if let Some(format) = format {
        reader.set_format(format);
    }
    let (width, height) = reader
        .into_dimensions()
        .map_err(|error| format!("cannot be read as {media_type}: {error}"))?;
    if width == 0 || height == 0 {
        return Err(format!("is {width} x {height} pixels"));
    }
    if width > limits.max_side || height > limits.max_side {
        return Err(format!(
            "is {width} x {height} pixels; at most {} a side",
            limits.max_side
        ));
    }
    let pixels = u64::from(width) * u64::from(height);
    if pixels > limits.max_pixels {
        return Err(format!(
            "has {pixels} pixels; at most {}",
            limits.max_pixels
        ));
    }
    let allowed = limits
        .max_pixels_per_byte
        .saturating_mul(content.len() as u64);
    if pixels > SMALL_PIXELS && pixels > allowed {
        return Err(format!(
            "unpacks {} bytes into {pixels} pixels; at most {} pixels for each byte",
            content.len(),
            limits.max_pixels_per_byte
        ));
    }
    Ok(Inspected {
        media_type,
        width,
        height,
    })
}

fn media_type(format: ImageFormat) -> Option<&'static str> {
    match format {
        ImageFormat::Png
        | ImageFormat::Jpeg
        | ImageFormat::WebP
        | ImageFormat::Gif
        | ImageFormat::Bmp => Some(format.to_mime_type()),
        _ => None,
    }
}
