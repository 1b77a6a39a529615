//! Checks steps that make images, and references to images.

use std::{collections::BTreeSet, ops::RangeInclusive};

use super::Checker;
use crate::{
    error::SkillError,
    format::{CropFile, DrawFile, ImageFile, TileFile},
    step::{Crop, Draw, ImageRef, ImageSelection, ImageStep, Tile},
};

const MAX_ZOOM: f32 = 16.0;
const TILE_SIDES: RangeInclusive<u32> = 64..=4096;
const MAX_TILE_OVERLAP: f32 = 0.5;
/// More images than that no call takes.
pub(crate) const MAX_TILES: u32 = 16;

impl Checker<'_> {
    pub(super) fn image(
        &self,
        raw: &ImageFile,
        needs: &mut BTreeSet<String>,
    ) -> Result<ImageStep, SkillError> {
        if !(raw.zoom > 0.0 && raw.zoom <= MAX_ZOOM) {
            let reason = format!("must be more than 0 and at most {MAX_ZOOM}");
            return Err(self.place.at("image.zoom").invalid(reason));
        }
        self.one_image("image.of", &raw.of, needs)?;
        let crop = match &raw.crop {
            Some(CropFile {
                bounds,
                unit,
                margin,
            }) => {
                if !(0.0..=10.0).contains(margin) {
                    return Err(self
                        .place
                        .at("image.crop.margin")
                        .invalid("must be 0 to 10"));
                }
                let bounds = self.template("image.crop.bounds", bounds, needs)?;
                Some(Crop {
                    bounds,
                    unit: *unit,
                    margin: *margin,
                })
            }
            None => None,
        };
        let erase = match &raw.erase {
            Some(colour) => Some(self.template("image.erase", colour, needs)?),
            None => None,
        };
        Ok(ImageStep {
            of: raw.of.clone(),
            crop,
            erase,
            zoom: raw.zoom,
            draw: match &raw.draw {
                Some(DrawFile {
                    boxes,
                    unit,
                    numbered,
                }) => Some(Draw {
                    boxes: self.template("image.draw.boxes", boxes, needs)?,
                    unit: *unit,
                    numbered: *numbered,
                }),
                None => None,
            },
        })
    }

    pub(super) fn tile(
        &self,
        raw: &TileFile,
        needs: &mut BTreeSet<String>,
    ) -> Result<Tile, SkillError> {
        self.one_image("tile.of", &raw.of, needs)?;
        let refuse = |field: &str, reason: String| Err(self.place.at(field).invalid(reason));
        if !TILE_SIDES.contains(&raw.size) {
            let (least, most) = (TILE_SIDES.start(), TILE_SIDES.end());
            return refuse("tile.size", format!("must be {least} to {most}"));
        }
        if !(0.0..=MAX_TILE_OVERLAP).contains(&raw.overlap) {
            return refuse("tile.overlap", format!("must be 0 to {MAX_TILE_OVERLAP}"));
        }
        if !(1..=MAX_TILES).contains(&raw.most) {
            return refuse("tile.most", format!("must be 1 to {MAX_TILES}"));
        }
        Ok(Tile {
            of: raw.of.clone(),
            size: raw.size,
            overlap: raw.overlap,
            most: raw.most,
        })
    }

    /// An image to work on: one of the task, or the only one that a step makes.
    fn one_image(
        &self,
        field: &str,
        image: &ImageRef,
        needs: &mut BTreeSet<String>,
    ) -> Result<(), SkillError> {
        let ImageRef::Step(name) = image else {
            return Ok(());
        };
        let place = self.place.at(field);
        self.need_step(&place, name, needs)?;
        match self.scope.images(name) {
            1 => Ok(()),
            0 => Err(place.invalid(format!("the step {name:?} makes no image"))),
            _ => Err(place.invalid(format!("the step {name:?} makes several images"))),
        }
    }

    pub(super) fn images(
        &self,
        field: &str,
        images: &ImageSelection,
        needs: &mut BTreeSet<String>,
    ) -> Result<ImageSelection, SkillError> {
        let place = self.place.at(field);
        for name in images.steps() {
            self.need_step(&place, name, needs)?;
            if self.scope.images(name) == 0 {
                return Err(place.invalid(format!("the step {name:?} makes no image")));
            }
        }
        Ok(images.clone())
    }
}
