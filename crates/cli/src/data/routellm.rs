//! RouteLLM (Ong et al. 2024, arXiv 2406.18665): questions of MMLU and GSM8K, with the outcomes
//! of a weak and a strong model.

use std::{collections::BTreeMap, path::Path};

use maestro_core::{
    CoreError,
    answer::AnswerKind,
    recording::{KnownTask, RecordedTask, Recording},
    registry::{Catalogue, Descriptor},
};
use serde::Deserialize;

use super::{
    exactly,
    hosted::{self, Hosted},
    lines::read_gzipped_lines,
};
use crate::error::CliError;

/// The only file, and what tells the format apart.
pub(super) const FILE: &str = "tasks.jsonl.gz";
/// Tokens of a reply that names a letter.
const LETTER_TOKENS: u64 = 5;
/// Tokens of a worked solution whose text was not kept.
const SOLUTION_TOKENS: u64 = 200;

/// The models, with list prices of the time of the recording (the source states none).
const MODELS: [Hosted<'static>; 2] = [
    Hosted {
        name: "mixtral-8x7b",
        description: "Open language model of Mistral, of December 2023: a mixture of eight small \
            experts, fast and cheap, good at everyday questions, weaker at hard ones.",
        sees: false,
        usd_per_mtok: [0.6, 0.6],
    },
    Hosted {
        name: "gpt-4-1106",
        description: "Large language model of OpenAI, of November 2023. Knows much, reasons over \
            several steps and follows intricate instructions; costly.",
        sees: false,
        usd_per_mtok: [10.0, 30.0],
    },
];

#[derive(Deserialize)]
struct Line {
    id: String,
    split: String,
    benchmark: String,
    domain: String,
    /// With the options in it, where there are some.
    query: String,
    answer: Option<String>,
    outcomes: BTreeMap<String, bool>,
    /// Full replies, where they were kept.
    #[serde(default)]
    responses: BTreeMap<String, String>,
}

pub(super) fn read(folder: &Path) -> Result<Recording, CliError> {
    let models: Vec<Descriptor> = MODELS
        .iter()
        .map(Hosted::descriptor)
        .collect::<Result<_, CoreError>>()?;
    let tasks = read_gzipped_lines(&folder.join(FILE), |line: Line| {
        let is_worked = line.benchmark == "gsm8k";
        let answer_kind = if is_worked {
            AnswerKind::Number
        } else {
            options(&line.query)
        };
        let mut calls = Vec::with_capacity(models.len());
        for model in &models {
            let name = model.name.as_str();
            let Some(right) = line.outcomes.get(name) else {
                continue;
            };
            let written = line.responses.get(name).map(|reply| hosted::tokens(reply));
            let assumed = if is_worked {
                SOLUTION_TOKENS
            } else {
                LETTER_TOKENS
            };
            let read = hosted::tokens(&line.query);
            let cost = hosted::cost(model, read, written.unwrap_or(assumed));
            calls.push(hosted::graded(name, f64::from(u8::from(*right)), cost)?);
        }
        let reference = line.answer.filter(|_| is_worked);
        Ok(RecordedTask {
            task: KnownTask {
                id: line.id,
                split: line.split,
                domain: line.domain,
                group: None,
                question: line.query,
                images: Vec::new(),
                answer_kind,
                reference: reference.and_then(|answer| exactly(&answer).ok()),
            },
            calls,
        })
    })?;
    let skill = hosted::skill()?;
    let experts = models.into_iter().map(|model| (model.name.clone(), model));
    Ok(Recording {
        catalogue: Catalogue {
            experts: experts.collect(),
            skills: [(skill.name.clone(), skill)].into(),
        },
        tasks,
    })
}

/// A choice among the options that stand in the question on lines of their own (`A. …`); a short
/// text where none do.
fn options(query: &str) -> AnswerKind {
    let mut options = Vec::new();
    let mut letters = 'A'..='Z';
    let mut next = letters.next();
    for line in query.lines() {
        let text = next.and_then(|letter| line.strip_prefix(letter)?.strip_prefix(". "));
        if let Some(text) = text.filter(|text| !text.trim().is_empty()) {
            options.push(text.trim().to_owned());
            next = letters.next();
        }
    }
    if options.len() < 2 {
        return AnswerKind::ShortText;
    }
    AnswerKind::Choice { options }
}
