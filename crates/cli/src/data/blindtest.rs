//! BlindTest (Rahmanzadehgervi et al. 2024, arXiv 2407.06581): questions about simple drawings,
//! with the outcomes of four commercial models. Their answers were not recorded, only whether
//! they were right.

use std::{collections::BTreeMap, path::Path};

use maestro_core::{
    answer::AnswerKind,
    grading::Reference,
    recording::{KnownTask, RecordedTask, Recording, TASKS_FILE},
    registry::{Catalogue, Descriptor},
    task::ImageRef,
};
use serde::Deserialize;

use super::{
    hosted::{self, Hosted},
    lines::{Images, read_lines},
};
use crate::error::CliError;

/// Tokens of a reply: a short sentence with the answer in it.
const REPLY_TOKENS: u64 = 50;

/// How a service counts the tokens of an image, as its documentation of 2024 says.
#[derive(Clone, Copy)]
enum ImageTokens {
    /// The image is shrunk to 2048 × 2048, then until its short side has 768 pixels; each tile of
    /// 512 × 512 counts 170, the image 85.
    Tiles,
    /// The same for every image.
    Fixed(u64),
    /// The image is shrunk until its long side has 1568 pixels; 750 pixels count 1.
    Area,
}

impl ImageTokens {
    fn of(self, image: &ImageRef) -> u64 {
        let (width, height) = (f64::from(image.width), f64::from(image.height));
        let (short, long) = (width.min(height), width.max(height));
        match self {
            Self::Tiles => {
                let scale = (2048.0 / long).min(1.0);
                let scale = scale * (768.0 / (short * scale)).min(1.0);
                let tiles = |side: f64| (side * scale / 512.0).ceil() as u64;
                85 + 170 * tiles(width) * tiles(height)
            }
            Self::Fixed(tokens) => tokens,
            Self::Area => {
                let scale = (1568.0 / long).min(1.0);
                (width * scale * height * scale / 750.0).ceil() as u64
            }
        }
    }
}

/// The models, with list prices of the middle of 2024, when they were asked.
const MODELS: [(Hosted<'static>, ImageTokens); 4] = [
    (
        Hosted {
            name: "gpt-4o",
            description: "Large general model of OpenAI, of May 2024. Talks, reasons, writes code, \
                and looks at pictures: describes photographs and reads charts, screenshots and \
                documents.",
            sees: true,
            usd_per_mtok: [5.0, 15.0],
        },
        ImageTokens::Tiles,
    ),
    (
        Hosted {
            name: "gemini-1.5-pro",
            description: "Large general model of Google, of 2024, made for long inputs: whole \
                books, recordings and films. Looks at pictures and finds single details in them.",
            sees: true,
            usd_per_mtok: [3.5, 10.5],
        },
        ImageTokens::Fixed(258),
    ),
    (
        Hosted {
            name: "claude-3-sonnet",
            description: "Middle-sized general model of Anthropic, of March 2024, a balance of \
                speed and ability for routine work. Looks at pictures, documents and charts.",
            sees: true,
            usd_per_mtok: [3.0, 15.0],
        },
        ImageTokens::Area,
    ),
    (
        Hosted {
            name: "claude-3.5-sonnet",
            description: "Strong general model of Anthropic, of June 2024. Reasons well, writes \
                code, and looks at pictures closely: charts, diagrams and text in poor images.",
            sees: true,
            usd_per_mtok: [3.0, 15.0],
        },
        ImageTokens::Area,
    ),
];

#[derive(Deserialize)]
struct Line {
    id: String,
    split: String,
    subtask: String,
    prompt: String,
    image: String,
    answer: String,
    answer_kind: Kind,
    #[serde(default)]
    group: Option<String>,
    outcomes: BTreeMap<String, bool>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Integer,
    YesNo,
    ShortText,
}

impl From<Kind> for AnswerKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Integer => Self::Integer,
            Kind::YesNo => Self::YesNo,
            Kind::ShortText => Self::ShortText,
        }
    }
}

pub(super) fn read(folder: &Path, images: &mut Images<'_>) -> Result<Recording, CliError> {
    let models: Vec<(Descriptor, ImageTokens)> = MODELS
        .iter()
        .map(|(model, image)| Ok((model.descriptor()?, *image)))
        .collect::<Result<_, maestro_core::CoreError>>()?;
    let tasks = read_lines(&folder.join(TASKS_FILE), |line: Line| {
        let answer_kind = line.answer_kind.into();
        let known = images.of_task(&line.id, &[line.image])?;
        let mut calls = Vec::with_capacity(models.len());
        for (model, image_tokens) in &models {
            let Some(right) = line.outcomes.get(model.name.as_str()) else {
                continue;
            };
            let seen: u64 = known.iter().map(|image| image_tokens.of(image)).sum();
            let cost = hosted::cost(model, hosted::tokens(&line.prompt) + seen, REPLY_TOKENS);
            let score = f64::from(u8::from(*right));
            calls.push(hosted::graded(model.name.as_str(), score, cost)?);
        }
        Ok(RecordedTask {
            task: KnownTask {
                id: line.id,
                split: line.split,
                domain: line.subtask,
                group: line.group,
                question: line.prompt,
                images: known,
                reference: Some(Reference::new(&answer_kind, &line.answer, &[])?),
                answer_kind,
            },
            calls,
        })
    })?;
    let skill = hosted::skill()?;
    let experts = models
        .into_iter()
        .map(|(model, _)| (model.name.clone(), model));
    Ok(Recording {
        catalogue: Catalogue {
            experts: experts.collect(),
            skills: [(skill.name.clone(), skill)].into(),
        },
        tasks,
    })
}
