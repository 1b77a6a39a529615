//! Steps that make images, and the choice of images for calls.

use bytes::Bytes;
use maestro_core::{Digest, episode::Failure, registry::Modality};
use maestro_skills::{CropUnit, ImageRef, ImageSelection, ImageStep, Tile};
use serde_json::{Value as Json, json};

use super::{
    erase,
    images::{self, Changes, CropBox, Made},
    picture::{Origin, Picture},
    reply::{StepOutput, note},
    scope::{Scope, skill_failure},
};

/// Most boxes that are drawn on one image.
const MAX_BOXES: usize = 256;

impl Scope<'_> {
    pub(super) async fn image(&self, spec: &ImageStep) -> Result<StepOutput, Failure> {
        let source = self.source(&spec.of)?;
        let crop = match &spec.crop {
            Some(crop) => Some(CropBox {
                bounds: bounds(&self.value(&crop.bounds)?)?,
                unit: crop.unit,
                margin: crop.margin,
            }),
            None => None,
        };
        let erase = match &spec.erase {
            Some(colours) => erase::colours(&self.render(colours)?)
                .ok_or_else(|| skill_failure("a colour to erase is not of the form #rrggbb"))?,
            None => Vec::new(),
        };
        let (draw, numbered) = match &spec.draw {
            Some(draw) => (boxes(&self.value(&draw.boxes)?, draw.unit)?, draw.numbered),
            None => (Vec::new(), false),
        };
        let changes = Changes {
            draw,
            numbered,
            crop,
            erase,
            zoom: spec.zoom,
        };
        let content = self.content(&source).await?;
        let made = blocking(move || images::change(&content, &changes)).await?;
        let picture = self.keep(&source, &made).await?;
        let mut evidence = note("crop", shown(&made));
        evidence.image = Some(picture.digest);
        Ok(StepOutput {
            value: part_json(&made),
            images: vec![picture],
            evidence: vec![evidence],
        })
    }

    pub(super) async fn tile(&self, spec: &Tile) -> Result<StepOutput, Failure> {
        let source = self.source(&spec.of)?;
        let content = self.content(&source).await?;
        let tile = spec.clone();
        let made = blocking(move || images::tile(&content, &tile)).await?;
        let mut pictures = Vec::with_capacity(made.len());
        for part in &made {
            pictures.push(self.keep(&source, part).await?);
        }
        let tiles: Vec<Json> = made.iter().map(part_json).collect();
        let text = format!(
            "{} tiles: {}",
            made.len(),
            made.first().map(shown).unwrap_or_default()
        );
        Ok(StepOutput {
            value: json!({ "count": tiles.len(), "tiles": tiles }),
            images: pictures,
            evidence: vec![note("tiles", text)],
        })
    }

    fn source(&self, image: &ImageRef) -> Result<Picture, Failure> {
        let pictures = self.picture_ref(image)?;
        let missing = || skill_failure("the image it starts from was not made");
        pictures.first().copied().ok_or_else(missing)
    }

    async fn content(&self, picture: &Picture) -> Result<Bytes, Failure> {
        let content = self.execution.blobs.get(&picture.digest).await;
        content.map_err(|error| skill_failure(format!("image {}: {error}", picture.digest.short())))
    }

    /// Stores an image that was made out of `source`.
    async fn keep(&self, source: &Picture, made: &Made) -> Result<Picture, Failure> {
        let digest = self.execution.blobs.put(made.png.clone()).await;
        let digest = digest.map_err(|error| skill_failure(format!("an image: {error}")))?;
        Ok(Picture {
            digest,
            origin: source.origin.of_part(&made.part, made.size),
        })
    }

    /// Images of a question; where it says `all`, an expert that reads none gets none.
    pub(super) fn chat_images(&self, selection: &ImageSelection) -> Result<Vec<Digest>, Failure> {
        let sees = self
            .execution
            .caller
            .expert()
            .modalities
            .contains(&Modality::Image);
        match selection {
            ImageSelection::All if !sees => Ok(Vec::new()),
            _ => self.digests(selection),
        }
    }

    pub(super) fn digests(&self, selection: &ImageSelection) -> Result<Vec<Digest>, Failure> {
        let pictures = self.pictures(selection)?;
        Ok(pictures.iter().map(|picture| picture.digest).collect())
    }

    pub(super) fn pictures(&self, selection: &ImageSelection) -> Result<Vec<Picture>, Failure> {
        match selection {
            ImageSelection::All => {
                let images = self.execution.run.images.iter();
                Ok(images.map(|image| of_task(image.digest)).collect())
            }
            ImageSelection::These(refs) => {
                let lists: Result<Vec<_>, _> =
                    refs.iter().map(|image| self.picture_ref(image)).collect();
                Ok(lists?.concat())
            }
        }
    }

    /// The image or tiles; none where the step that would make them was skipped.
    fn picture_ref(&self, image: &ImageRef) -> Result<Vec<Picture>, Failure> {
        match image {
            ImageRef::Task(index) => {
                let image = self.execution.run.images.get(*index);
                let missing = || skill_failure(format!("the task has no image {index}"));
                image
                    .map(|image| vec![of_task(image.digest)])
                    .ok_or_else(missing)
            }
            ImageRef::Step(name) => Ok(self.around.made.get(name).cloned().unwrap_or_default()),
        }
    }
}

fn of_task(digest: Digest) -> Picture {
    Picture {
        digest,
        origin: Origin::whole(digest),
    }
}

/// Runs what takes a while off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| skill_failure(error.to_string()))?
}

/// Size, and the part of the image before that it shows.
fn part_json(made: &Made) -> Json {
    let (part, [width, height]) = (&made.part, made.size);
    let (right, bottom) = (part.left + part.width, part.top + part.height);
    json!({ "width": width, "height": height, "bounds": [part.left, part.top, right, bottom] })
}

fn shown(made: &Made) -> String {
    let (part, [width, height]) = (&made.part, made.size);
    format!(
        "{}x{} at {},{}, shown as {width}x{height}",
        part.width, part.height, part.left, part.top
    )
}

/// A list of boxes, or one: four numbers each, or anything with `bounds`.
fn boxes(value: &Json, unit: CropUnit) -> Result<Vec<CropBox>, Failure> {
    let one = |value: &Json| {
        bounds(value.get("bounds").unwrap_or(value)).map(|bounds| CropBox {
            bounds,
            unit,
            margin: 0.0,
        })
    };
    match value {
        Json::Array(items) if items.len() > MAX_BOXES => {
            let message = format!("{} boxes to draw; at most {MAX_BOXES}", items.len());
            Err(skill_failure(message))
        }
        Json::Array(items) if items.iter().any(|item| !item.is_number()) || items.is_empty() => {
            items.iter().map(one).collect()
        }
        Json::Null => Ok(Vec::new()),
        other => Ok(vec![one(other)?]),
    }
}

/// Four numbers, as a list or as text separated by commas.
fn bounds(value: &Json) -> Result<[f64; 4], Failure> {
    let numbers: Option<Vec<f64>> = match value {
        Json::Array(items) => items.iter().map(Json::as_f64).collect(),
        Json::String(text) => text
            .trim_matches(|c: char| c.is_whitespace() || matches!(c, '[' | ']' | '(' | ')'))
            .split(',')
            .map(|part| part.trim().parse().ok())
            .collect(),
        _ => None,
    };
    numbers
        .and_then(|numbers| numbers.try_into().ok())
        .ok_or_else(|| skill_failure("the bounds of a box are not four numbers"))
}
