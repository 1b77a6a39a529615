//! Counting questions about photographs, after the annotations of COCO (Lin et al. 2014, arXiv
//! 1405.0312).

use std::path::Path;

use maestro_core::{
    answer::AnswerKind,
    grading::Reference,
    recording::{KnownTask, RecordedTask, Recording, TASKS_FILE},
};
use serde::Deserialize;

use super::lines::{Images, read_lines};
use crate::error::CliError;

/// Tells the format apart: sizes and licences of the photographs.
pub(super) const IMAGES_FILE: &str = "images.jsonl";

#[derive(Deserialize)]
struct Line {
    id: String,
    split: String,
    prompt: String,
    image: String,
    answer: String,
}

pub(super) fn read(folder: &Path, images: &mut Images<'_>) -> Result<Recording, CliError> {
    let tasks = read_lines(&folder.join(TASKS_FILE), |line: Line| {
        let reference = Reference::new(&AnswerKind::Integer, &line.answer, &[])?;
        // Questions about one photograph are not independent.
        let group = line.image.clone();
        Ok(RecordedTask {
            task: KnownTask {
                images: images.of_task(&line.id, &[line.image])?,
                id: line.id,
                split: line.split,
                domain: "counting".to_owned(),
                group: Some(group),
                question: line.prompt,
                answer_kind: AnswerKind::Integer,
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
