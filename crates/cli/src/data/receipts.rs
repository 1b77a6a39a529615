//! Questions about scanned receipts, after SROIE (Huang et al. 2019, arXiv 2103.10213).

use std::path::Path;

use maestro_core::{
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

/// Tells the format apart. Holds the annotated text, which no expert may see: it is never read.
pub(super) const RECEIPTS_FILE: &str = "receipts.jsonl";

#[derive(Deserialize)]
struct Line {
    id: String,
    split: String,
    prompt: String,
    image: String,
    field: String,
    answer: String,
}

pub(super) fn read(folder: &Path, images: &mut Images<'_>) -> Result<Recording, CliError> {
    let tasks = read_lines(&folder.join(TASKS_FILE), |line: Line| {
        let (answer_kind, reference) = match line.field.as_str() {
            // A sum of money is right or wrong to the cent.
            "total" => (AnswerKind::Number, exactly(&line.answer)?),
            // Printed dates are read day first, as they are in answers.
            "date" => {
                let reference = Reference::new(&AnswerKind::Date, &line.answer, &[])?;
                (AnswerKind::Date, reference)
            }
            _ => {
                let reference = Reference::new(&AnswerKind::ShortText, &line.answer, &[])?;
                (AnswerKind::ShortText, reference)
            }
        };
        // The questions about one receipt stay together.
        let group = line.image.clone();
        Ok(RecordedTask {
            task: KnownTask {
                images: images.of_task(&line.id, &[line.image])?,
                id: line.id,
                split: line.split,
                domain: format!("receipt-{}", line.field),
                group: Some(group),
                question: line.prompt,
                answer_kind,
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
