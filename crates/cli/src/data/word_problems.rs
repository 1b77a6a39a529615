//! Arithmetic word problems, after SVAMP (Patel et al. 2021, arXiv 2103.07191).

use std::path::Path;

use maestro_core::{
    answer::AnswerKind,
    recording::{KnownTask, RecordedTask, Recording, TASKS_FILE},
};
use serde::Deserialize;

use super::{exactly, lines::read_lines};
use crate::error::CliError;

#[derive(Deserialize)]
struct Line {
    id: String,
    split: String,
    prompt: String,
    answer: String,
    #[serde(default)]
    group: Option<String>,
}

pub(super) fn read(folder: &Path) -> Result<Recording, CliError> {
    let tasks = read_lines(&folder.join(TASKS_FILE), |line: Line| {
        Ok(RecordedTask {
            task: KnownTask {
                id: line.id,
                split: line.split,
                domain: "word-problems".to_owned(),
                group: line.group,
                question: line.prompt,
                images: Vec::new(),
                answer_kind: AnswerKind::Number,
                reference: Some(exactly(&line.answer)?),
            },
            calls: Vec::new(),
        })
    })?;
    Ok(Recording {
        tasks,
        ..Recording::default()
    })
}
