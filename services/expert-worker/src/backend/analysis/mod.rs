//! Classical image analysis of diagrams: exact answers from pixels, without a model.
//!
//! Every analysis starts from `Ink` (what differs from the background), fits geometry to it with
//! sub-pixel precision, and says how far the fit explains the picture. Nothing here knows of
//! questions: the caller decides which analysis to run, if need be with the help of [`classify`].

mod bounds;
mod circle;
mod classify;
#[cfg(test)]
mod drawing_tests;
mod geometry;
mod grid;
mod highlight;
mod ink;
#[cfg(test)]
mod lettering;
mod palette;
mod polygon;
mod polyline;
mod routes;
#[cfg(test)]
mod scenes;
mod squares;
mod strokes;
#[cfg(test)]
mod synthetic;
#[cfg(test)]
mod tests;

use image::{DynamicImage, Rgb, RgbImage};

pub use self::bounds::Bounds;
pub use self::circle::{circle_contact, count_circles};
pub use self::classify::{DiagramKind, classify};
pub use self::grid::{Cells, grid_size};
pub use self::highlight::{Highlight, highlighted_character};
pub use self::polygon::{count_pentagons, count_polygons};
pub use self::polyline::line_intersections;
pub use self::routes::{Route, RouteMap, route_map};
pub use self::squares::nested_squares;

/// What an analysis found.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding<T> {
    /// The answer.
    pub value: T,
    /// How far to trust it, 0 to 1: low when the fitted geometry leaves ink unexplained or when
    /// the answer hangs on a fraction of a pixel.
    pub confidence: f32,
    /// What it rests on, in a few words for a reader; positions are pixels of the given picture.
    pub evidence: String,
}

/// How two circles meet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Contact {
    /// Do they share at least a point.
    pub touching: bool,
    /// Do they share an area.
    pub overlapping: bool,
    /// Distance between the circles in pixels; negative where they overlap.
    pub gap: f32,
}

/// Why a picture could not be analysed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnalysisError {
    /// The picture has too few pixels to measure anything.
    #[error("the image of {width}x{height} pixels is too small to analyse")]
    TooSmall {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// The picture is of one colour.
    #[error("the image holds nothing but background")]
    Blank,
    /// The structure that the analysis looks for is not there.
    #[error("found no such structure in the image: {0}")]
    NotFound(&'static str),
}

/// A colour as it is written in style sheets.
pub fn hex([r, g, b]: [u8; 3]) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// The picture as it looks on white paper: transparency is blended, as a viewer shows it.
pub fn flatten(image: &DynamicImage) -> RgbImage {
    if !image.color().has_alpha() {
        return image.to_rgb8();
    }
    let image = image.to_rgba8();
    RgbImage::from_fn(image.width(), image.height(), |x, y| {
        let [r, g, b, a] = image.get_pixel(x, y).0;
        let blend = |c: u8| {
            let sum = u16::from(c) * u16::from(a) + 255 * (255 - u16::from(a));
            ((sum + 127) / 255) as u8
        };
        Rgb([blend(r), blend(g), blend(b)])
    })
}
