//! Steps that make images, as they are written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{ImageSchema, one};
use crate::step::{CropUnit, ImageRef};

/// Makes an image out of another.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImageFile {
    /// The image it starts from.
    #[schemars(with = "ImageSchema")]
    pub(crate) of: ImageRef,
    /// What is cut out.
    pub(crate) crop: Option<CropFile>,
    /// Colours as `#rrggbb`, separated by spaces, that are painted over with what surrounds them:
    /// a template.
    pub(crate) erase: Option<String>,
    /// How much the result is enlarged (or reduced).
    #[serde(default = "one")]
    pub(crate) zoom: f32,
    /// Boxes that are drawn on the image it starts from.
    pub(crate) draw: Option<DrawFile>,
}

/// A part of an image.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CropFile {
    /// Left, top, right, bottom: a template.
    pub(crate) bounds: String,
    /// What the bounds count in.
    #[serde(default)]
    pub(crate) unit: CropUnit,
    /// Added on every side, as a share of the part's width and height.
    #[serde(default)]
    pub(crate) margin: f32,
}

/// Boxes that are drawn on an image.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DrawFile {
    /// A list of boxes, each four numbers or anything with `bounds`: a template.
    pub(crate) boxes: String,
    /// What the boxes count in.
    #[serde(default)]
    pub(crate) unit: CropUnit,
    /// Whether each box bears its number, from 1.
    #[serde(default)]
    pub(crate) numbered: bool,
}

/// Covers an image with overlapping square tiles.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TileFile {
    /// The image.
    #[schemars(with = "ImageSchema")]
    pub(crate) of: ImageRef,
    /// Least side of a tile in pixels; it grows where there would be too many.
    #[serde(default = "tile_size")]
    pub(crate) size: u32,
    /// How much neighbours overlap, as a share of the side.
    #[serde(default = "tile_overlap")]
    pub(crate) overlap: f32,
    /// Most tiles.
    #[serde(default = "most_tiles")]
    pub(crate) most: u32,
}

fn tile_size() -> u32 {
    672
}

fn tile_overlap() -> f32 {
    0.15
}

fn most_tiles() -> u32 {
    9
}
