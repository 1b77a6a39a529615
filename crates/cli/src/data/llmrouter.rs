//! LLMRouter (ulab-uiuc/LLMRouter): questions of public benchmarks, with the scores of seven
//! language models. Neither replies nor token counts were kept.

use std::{collections::BTreeMap, path::Path};

use maestro_core::{
    CoreError,
    answer::AnswerKind,
    grading::Reference,
    recording::{KnownTask, RecordedTask, Recording, TASKS_FILE},
    registry::{Catalogue, Descriptor},
};
use serde::Deserialize;

use super::{
    exactly,
    hosted::{self, Hosted},
    lines::read_lines,
};
use crate::error::CliError;

/// Tells the format apart: descriptions and prices of the models.
pub(super) const MODELS_FILE: &str = "models.json";

#[derive(Deserialize)]
struct Model {
    description: String,
    price_in_usd_per_mtok: f64,
    price_out_usd_per_mtok: f64,
}

#[derive(Deserialize)]
struct Line {
    id: String,
    split: String,
    task_name: String,
    query: String,
    /// Label and text of each option.
    choices: Option<Vec<(String, String)>>,
    answer: String,
    /// The result of a worked solution.
    #[serde(default)]
    final_answer: Option<String>,
    metric: String,
    outcomes: BTreeMap<String, Score>,
}

#[derive(Deserialize)]
struct Score {
    score: f64,
}

/// What a question asks for, and what a reply to it costs.
struct Asked {
    kind: AnswerKind,
    reference: Option<Reference>,
    /// Estimated length of a reply.
    reply_tokens: u64,
}

impl Asked {
    /// By the metric that the source scores a question with.
    fn of(line: &Line) -> Self {
        if let Some(choices) = &line.choices {
            return Self::choice(line, choices);
        }
        let result = line.final_answer.as_deref();
        match line.metric.as_str() {
            "GSM8K" => Self {
                kind: AnswerKind::Number,
                reference: result.and_then(|result| exactly(result).ok()),
                reply_tokens: 200,
            },
            "MATH" => Self {
                reference: result
                    .and_then(|result| Reference::new(&AnswerKind::Expression, result, &[]).ok()),
                kind: AnswerKind::Expression,
                reply_tokens: 300,
            },
            // Right by what it does; the source's tests are not run here.
            "code_eval" => Self {
                kind: AnswerKind::Program,
                reference: None,
                reply_tokens: 200,
            },
            "f1_score" => Self {
                reference: Reference::new(&AnswerKind::ShortText, &line.answer, &[]).ok(),
                kind: AnswerKind::ShortText,
                reply_tokens: 20,
            },
            // A sentence out of given words.
            _ => Self {
                kind: AnswerKind::FreeText,
                reference: None,
                reply_tokens: 60,
            },
        }
    }

    fn choice(line: &Line, choices: &[(String, String)]) -> Self {
        let options: Vec<String> = choices.iter().map(|(_, text)| text.clone()).collect();
        let index = choices.iter().position(|(label, _)| *label == line.answer);
        let reference = index.map(|index| Reference::Choice {
            options: options.clone(),
            index,
        });
        Self {
            kind: AnswerKind::Choice { options },
            // Some questions offer the same option twice.
            reference: reference.filter(|reference| reference.validate().is_ok()),
            reply_tokens: 10,
        }
    }
}

/// An estimate of the tokens of a prompt.
fn prompt_tokens(line: &Line) -> u64 {
    let choices = line.choices.iter().flatten();
    let choices: u64 = choices.map(|(_, text)| hosted::tokens(text) + 2).sum();
    hosted::tokens(&line.query) + choices
}

pub(super) fn read(folder: &Path) -> Result<Recording, CliError> {
    let models = models(&folder.join(MODELS_FILE))?;
    let tasks = read_lines(&folder.join(TASKS_FILE), |line: Line| {
        let asked = Asked::of(&line);
        let read = prompt_tokens(&line);
        let mut calls = Vec::with_capacity(line.outcomes.len());
        for (name, outcome) in &line.outcomes {
            let model = models.get(name).ok_or_else(|| {
                CoreError::invalid("outcomes", format!("{name:?} is not in {MODELS_FILE}"))
            })?;
            let cost = hosted::cost(model, read, asked.reply_tokens);
            calls.push(hosted::graded(name, outcome.score, cost)?);
        }
        Ok(RecordedTask {
            task: KnownTask {
                id: line.id,
                split: line.split,
                domain: line.task_name,
                group: None,
                question: line.query,
                images: Vec::new(),
                answer_kind: asked.kind,
                reference: asked.reference,
            },
            calls,
        })
    })?;
    let skill = hosted::skill()?;
    let experts = models
        .into_values()
        .map(|model| (model.name.clone(), model));
    Ok(Recording {
        catalogue: Catalogue {
            experts: experts.collect(),
            skills: [(skill.name.clone(), skill)].into(),
        },
        tasks,
    })
}

fn models(path: &Path) -> Result<BTreeMap<String, Descriptor>, CliError> {
    let text = std::fs::read_to_string(path).map_err(CliError::file(path))?;
    let wrong = |reason: String| CliError::Content {
        path: path.to_owned(),
        reason,
    };
    let models: BTreeMap<String, Model> =
        serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    models
        .into_iter()
        .map(|(name, model)| {
            let hosted = Hosted {
                name: &name,
                description: &model.description,
                sees: false,
                // The fields count where the description names another price.
                usd_per_mtok: [model.price_in_usd_per_mtok, model.price_out_usd_per_mtok],
            };
            let descriptor = hosted.descriptor();
            let descriptor = descriptor.map_err(|error| wrong(format!("{name}: {error}")))?;
            Ok((name, descriptor))
        })
        .collect()
}
