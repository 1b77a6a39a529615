//! Tasks of this project: known answers, and nothing on record yet.

use std::path::Path;

use maestro_core::{
    CoreError,
    answer::AnswerKind,
    grading::Reference,
    recording::{KnownTask, RecordedTask, Recording, TASKS_FILE},
};
use serde::Deserialize;

use super::{
    exactly,
    lines::{Images, read_lines},
};
use crate::error::CliError;

/// A task as its line says it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: String,
    split: String,
    domain: String,
    #[serde(default)]
    group: Option<String>,
    question: String,
    /// Files, relative to the folder.
    #[serde(default)]
    images: Vec<String>,
    answer_kind: AnswerKind,
    /// What answers are measured against, in full.
    #[serde(default)]
    reference: Option<Reference>,
    /// Or the right answer as text, of which a reference is made.
    #[serde(default)]
    truth: Option<String>,
    /// Further right answers.
    #[serde(default)]
    aliases: Vec<String>,
}

pub(super) fn read(folder: &Path, images: &mut Images<'_>) -> Result<Recording, CliError> {
    let tasks = read_lines(&folder.join(TASKS_FILE), |line: Line| {
        let reference = match (line.reference, line.truth) {
            (Some(_), Some(_)) => {
                return Err(CoreError::invalid("truth", "is beside a reference").into());
            }
            (None, None) => {
                return Err(CoreError::invalid("reference", "is missing, and the truth").into());
            }
            (Some(reference), None) => {
                reference.validate()?;
                reference
            }
            // A tolerance would have to be said: by a reference in full.
            (None, Some(truth)) if line.answer_kind == AnswerKind::Number => exactly(&truth)?,
            (None, Some(truth)) => Reference::new(&line.answer_kind, &truth, &line.aliases)?,
        };
        Ok(RecordedTask {
            task: KnownTask {
                images: images.of_task(&line.id, &line.images)?,
                id: line.id,
                split: line.split,
                domain: line.domain,
                group: line.group,
                question: line.question,
                answer_kind: line.answer_kind,
                reference: Some(reference),
            },
            calls: Vec::new(),
        })
    })?;
    Ok(Recording {
        tasks,
        ..Recording::default()
    })
}
