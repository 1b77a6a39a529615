use std::{fs, io, path::Path};

use burn::{module::Module, tensor::Device};
use serde::{Deserialize, Serialize};

use super::{
    config::LearnerConfig,
    learner::{Learner, optimiser},
};
use crate::{
    error::PolicyError,
    scorer::{Scorer, ScorerConfig},
};

const SCORER: &str = "scorer.bpk";
const OPTIMISER: &str = "optimiser.bpk";
const STATE: &str = "state.json";

/// From what a training run goes on: network, optimiser and place in the data. Random numbers need
/// no state of their own: they are drawn by seed and place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// Shape of the network.
    pub scorer: ScorerConfig,
    /// Settings of the updates.
    pub learner: LearnerConfig,
    /// Updates made.
    pub version: u64,
    /// Tasks taken.
    pub position: u64,
}

impl Checkpoint {
    /// Writes a learner's state into a folder, all of it or nothing: into a new folder beside it
    /// that then takes its place.
    ///
    /// # Errors
    /// [`PolicyError::Folder`].
    pub fn write(
        folder: &Path,
        learner: &Learner,
        scorer: &ScorerConfig,
    ) -> Result<(), PolicyError> {
        let failed = |error: io::Error| refuse(folder, &error);
        let fresh = folder.with_extension("new");
        let old = folder.with_extension("old");
        remove(&fresh).map_err(failed)?;
        fs::create_dir_all(&fresh).map_err(failed)?;
        let saved = learner.scorer.valid().save_file(fresh.join(SCORER));
        saved.map_err(|error| refuse(folder, &error))?;
        let saved = learner.optimiser.save(fresh.join(OPTIMISER));
        saved.map_err(|error| refuse(folder, &error))?;
        let state = Self {
            scorer: scorer.clone(),
            learner: learner.config,
            version: learner.version,
            position: learner.position,
        };
        let json = serde_json::to_vec_pretty(&state).map_err(|error| refuse(folder, &error))?;
        fs::write(fresh.join(STATE), json).map_err(failed)?;
        remove(&old).map_err(failed)?;
        if folder.exists() {
            fs::rename(folder, &old).map_err(failed)?;
        }
        fs::rename(&fresh, folder).map_err(failed)?;
        remove(&old).map_err(failed)
    }

    /// Reads a learner's state. `None` where the folder holds none. A writer that was killed
    /// between its two renames has left the state beside the folder.
    ///
    /// # Errors
    /// [`PolicyError::Folder`] where it cannot be read or is of other settings.
    pub fn read(
        folder: &Path,
        config: &LearnerConfig,
        scorer: &ScorerConfig,
        device: &Device,
    ) -> Result<Option<Learner>, PolicyError> {
        let old = folder.with_extension("old");
        let folder = if folder.join(STATE).exists() || !old.join(STATE).exists() {
            folder
        } else {
            &old
        };
        let json = match fs::read(folder.join(STATE)) {
            Ok(json) => json,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(refuse(folder, &error)),
        };
        let state: Self = serde_json::from_slice(&json).map_err(|error| refuse(folder, &error))?;
        if state.learner != *config || state.scorer != *scorer {
            return Err(refuse(folder, &"it is of a run with other settings"));
        }
        let network: Scorer = scorer
            .init(device)
            .try_load_file(folder.join(SCORER))
            .map_err(|error| refuse(folder, &error))?;
        let mut learner = Learner::new(*config, &network, device)?;
        learner.optimiser = optimiser(config)
            .load(folder.join(OPTIMISER))
            .map_err(|error| refuse(folder, &error))?;
        learner.version = state.version;
        learner.position = state.position;
        Ok(Some(learner))
    }
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn refuse(folder: &Path, error: &dyn std::fmt::Display) -> PolicyError {
    PolicyError::Folder {
        folder: folder.to_owned(),
        reason: error.to_string(),
    }
}
