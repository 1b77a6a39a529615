//! Data sets: tasks with known answers, and what pools are on record to have made of them.
//!
//! A folder is read as it is, whichever of the known formats it has; `docs/data.md` describes
//! them. Everything here is synchronous: a set is read once, before the work on it begins.

mod blindtest;
mod counting;
mod hosted;
mod lines;
mod llmrouter;
mod paraphrases;
mod receipts;
mod recording;
mod routellm;
mod tasks;
mod word_problems;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
};

use maestro_core::{
    CoreError, Digest,
    grading::{Reference, Tolerance},
    recording::{CATALOGUE_FILE, RecordedTask, Recording, TASKS_FILE},
};

use self::lines::Images;
pub(crate) use self::paraphrases::paraphrases;
use crate::error::CliError;

/// Tasks of a folder.
#[derive(Debug, Default)]
pub(crate) struct DataSet {
    /// The tasks, with the outcomes that are on record. The catalogue is empty, and no task has a
    /// call, where none are.
    pub(crate) recording: Recording,
    /// Image files of each task, by its id and in its order. Recordings come without.
    pub(crate) images: HashMap<String, Vec<PathBuf>>,
}

/// A layout of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Recording,
    Tasks,
    BlindTest,
    LlmRouter,
    RouteLlm,
    Receipts,
    Counting,
    WordProblems,
}

impl Format {
    /// Recognises a folder by the files that are in it, and by the keys of its first task where
    /// they leave it open.
    fn of(folder: &Path) -> Result<Self, CliError> {
        let has = |name: &str| folder.join(name).is_file();
        if has(routellm::FILE) {
            return Ok(Self::RouteLlm);
        }
        if !has(TASKS_FILE) {
            return Err(CliError::Content {
                path: folder.to_owned(),
                reason: format!("is no data set: there is no {TASKS_FILE}"),
            });
        }
        let by_file = [
            (CATALOGUE_FILE, Self::Recording),
            (llmrouter::MODELS_FILE, Self::LlmRouter),
            (receipts::RECEIPTS_FILE, Self::Receipts),
            (counting::IMAGES_FILE, Self::Counting),
        ];
        if let Some((_, format)) = by_file.into_iter().find(|(name, _)| has(name)) {
            return Ok(format);
        }
        let keys = lines::first_keys(&folder.join(TASKS_FILE))?;
        Ok(if keys.contains("subtask") {
            Self::BlindTest
        } else if keys.contains("equation") {
            Self::WordProblems
        } else {
            Self::Tasks
        })
    }
}

impl DataSet {
    /// Reads a folder of any known format.
    ///
    /// # Errors
    /// [`CliError::File`] and [`CliError::Content`] name the file, and the line that is wrong.
    pub(crate) fn read(folder: &Path) -> Result<Self, CliError> {
        let mut images = Images::of(folder);
        let recording = match Format::of(folder)? {
            Format::Recording => recording::read(folder)?,
            Format::Tasks => tasks::read(folder, &mut images)?,
            Format::BlindTest => blindtest::read(folder, &mut images)?,
            Format::LlmRouter => llmrouter::read(folder)?,
            Format::RouteLlm => routellm::read(folder)?,
            Format::Receipts => receipts::read(folder, &mut images)?,
            Format::Counting => counting::read(folder, &mut images)?,
            Format::WordProblems => word_problems::read(folder)?,
        };
        let mut ids = BTreeSet::new();
        if let Some(twice) = recording.tasks.iter().find(|t| !ids.insert(&t.task.id)) {
            return Err(CliError::Content {
                path: folder.to_owned(),
                reason: format!("task {:?} is in it twice", twice.task.id),
            });
        }
        Ok(Self {
            recording,
            images: images.into_files(),
        })
    }

    /// Keeps the tasks of these splits; all if none is named.
    pub(crate) fn keep_splits(&mut self, splits: &[String]) {
        if !splits.is_empty() {
            let tasks = &mut self.recording.tasks;
            tasks.retain(|task| splits.contains(&task.task.split));
        }
    }

    /// Keeps at most `most` tasks of each domain. Which ones depends on the seed and on their ids
    /// only, so that a set that grows keeps most of its choice; their order stays.
    pub(crate) fn limit_per_domain(&mut self, most: usize, seed: u64) {
        let mut by_domain: BTreeMap<&str, Vec<(Digest, usize)>> = BTreeMap::new();
        for (place, RecordedTask { task, .. }) in self.recording.tasks.iter().enumerate() {
            let lot = Digest::of(format!("{seed}/{}", task.id).as_bytes());
            let drawn = by_domain.entry(&task.domain).or_default();
            drawn.push((lot, place));
        }
        let mut kept = BTreeSet::new();
        for mut drawn in by_domain.into_values() {
            drawn.sort_unstable();
            kept.extend(drawn.into_iter().take(most).map(|(_, place)| place));
        }
        let mut place = 0..;
        let is_kept = |_: &RecordedTask| place.next().is_some_and(|place| kept.contains(&place));
        self.recording.tasks.retain(is_kept);
    }
}

/// The reference of a number that must be met exactly, however it is written: a sum of money, the
/// result of a calculation.
fn exactly(number: &str) -> Result<Reference, CoreError> {
    let reference = Reference::Number {
        value: number.trim().to_owned(),
        tolerance: Tolerance::Exact,
    };
    reference.validate()?;
    Ok(reference)
}

#[cfg(test)]
mod tests;
