//! Recordings of this project: what `maestro record` writes.

use std::path::Path;

use maestro_core::recording::{CATALOGUE_FILE, Recording, TASKS_FILE};

use crate::error::CliError;

pub(super) fn read(folder: &Path) -> Result<Recording, CliError> {
    let (catalogue, tasks) = (folder.join(CATALOGUE_FILE), folder.join(TASKS_FILE));
    let catalogue = std::fs::read(&catalogue).map_err(CliError::file(&catalogue))?;
    let tasks = std::fs::read_to_string(&tasks).map_err(CliError::file(&tasks))?;
    Recording::parse(&catalogue, &tasks).map_err(|error| CliError::Content {
        path: folder.to_owned(),
        reason: error.to_string(),
    })
}
