use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use super::{
    checkpoint::Checkpoint,
    config::TrainingConfig,
    environment::Environment,
    learner::Learner,
    metrics::{IterationMetrics, ValidationMetrics},
    replay::PreparedWorld,
    validation::validate,
};
use crate::{
    error::PolicyError,
    runtime::Runtime,
    scorer::{Scorer, ScorerConfig},
};

/// File of a run's folder with one [`IterationMetrics`] a line.
pub const METRICS_FILE: &str = "metrics.jsonl";
const CHECKPOINT: &str = "checkpoint";

/// What a run learns from and by.
pub struct Run<'a> {
    /// Its settings.
    pub config: &'a TrainingConfig,
    /// Shape of the network and where it starts.
    pub scorer: &'a ScorerConfig,
    /// Tasks that are not learned from. With them the policy that does best on them is kept, else
    /// the last one.
    pub held_out: &'a [PreparedWorld],
    /// Where metrics and checkpoints are written. A run that finds a checkpoint goes on from it.
    pub folder: &'a Path,
    /// Device and embedder.
    pub runtime: &'a Runtime,
}

/// What a run gives.
pub struct Trained {
    /// The network that was kept.
    pub scorer: Scorer,
    /// The iteration that it is of.
    pub iteration: u64,
    /// What it did on the tasks that were held out.
    pub validation: Option<ValidationMetrics>,
}

impl Run<'_> {
    /// Trains to the end, or until `progress`, which is told of every iteration, says false.
    ///
    /// # Errors
    /// [`PolicyError`]; the last checkpoint stays.
    pub fn train(
        &self,
        environment: &mut dyn Environment,
        mut progress: impl FnMut(&IterationMetrics) -> bool,
    ) -> Result<Trained, PolicyError> {
        self.config.validate()?;
        let device = &self.runtime.device;
        let place = self.folder.join(CHECKPOINT);
        fs::create_dir_all(self.folder).map_err(|error| self.refuse(&error))?;
        let found = Checkpoint::read(&place, &self.config.learner, self.scorer, device)?;
        let mut learner = match found {
            Some(learner) => learner,
            None => {
                let untrained = self.scorer.init(device);
                Learner::new(self.config.learner, &untrained, device)?
            }
        };
        let mut metrics = Metrics::open(&self.folder.join(METRICS_FILE), learner.version())
            .map_err(|error| self.refuse(&error))?;
        let mut best = self.best_so_far(&learner)?;
        while !learner.is_done() {
            let mut line = learner.iterate(environment)?;
            let is_due = |every: u64| every > 0 && learner.version().is_multiple_of(every);
            let last = learner.is_done();
            if !self.held_out.is_empty() && (last || is_due(self.config.validate_every)) {
                let trained = self.validated(&learner)?;
                line.validation = trained.validation;
                if trained.reward() > best.reward() {
                    self.keep(&trained)?;
                    best = trained;
                }
            }
            metrics.write(&line).map_err(|error| self.refuse(&error))?;
            if last || is_due(self.config.checkpoint_every) {
                Checkpoint::write(&place, &learner, self.scorer)?;
            }
            if !progress(&line) {
                Checkpoint::write(&place, &learner, self.scorer)?;
                break;
            }
        }
        if self.held_out.is_empty() {
            best = self.validated(&learner)?;
        }
        Ok(best)
    }

    fn validated(&self, learner: &Learner) -> Result<Trained, PolicyError> {
        let scorer = learner.acting().scorer;
        let validation = if self.held_out.is_empty() {
            None
        } else {
            let scenario = &self.config.scenario;
            Some(validate(&scorer, self.held_out, scenario, self.runtime)?)
        };
        Ok(Trained {
            scorer,
            iteration: learner.version(),
            validation,
        })
    }

    /// The best policy of a run that goes on, or the one that it starts from.
    fn best_so_far(&self, learner: &Learner) -> Result<Trained, PolicyError> {
        let kept = self.folder.join(BEST);
        if learner.version() == 0 || !kept.exists() {
            return self.validated(learner);
        }
        let bytes = fs::read(&kept).map_err(|error| self.refuse(&error))?;
        let scorer = crate::artefact::read_weights(self.scorer, &bytes, self.runtime)?;
        let state = fs::read(self.folder.join(BEST_STATE)).map_err(|error| self.refuse(&error))?;
        let (iteration, validation) =
            serde_json::from_slice(&state).map_err(|error| self.refuse(&error))?;
        Ok(Trained {
            scorer,
            iteration,
            validation,
        })
    }

    fn keep(&self, trained: &Trained) -> Result<(), PolicyError> {
        let weights = crate::artefact::weights(&trained.scorer)?;
        let state = serde_json::to_vec(&(trained.iteration, trained.validation))
            .map_err(|error| self.refuse(&error))?;
        // A run that is killed between the two finds the new weights under the old state, goes on
        // from a checkpoint before them, and keeps them once more.
        replace(&self.folder.join(BEST), &weights).map_err(|error| self.refuse(&error))?;
        replace(&self.folder.join(BEST_STATE), &state).map_err(|error| self.refuse(&error))
    }

    fn refuse(&self, error: &dyn std::fmt::Display) -> PolicyError {
        PolicyError::Folder {
            folder: self.folder.to_owned(),
            reason: error.to_string(),
        }
    }
}

const BEST: &str = "best.safetensors";
const BEST_STATE: &str = "best.json";

/// Puts a file in the place of another, whole or not at all.
fn replace(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let fresh = path.with_extension("new");
    fs::write(&fresh, content)?;
    fs::rename(fresh, path)
}

impl Trained {
    fn reward(&self) -> f64 {
        self.validation.map_or(f64::NEG_INFINITY, |v| v.reward)
    }
}

/// The metrics file, without the lines after the checkpoint that a run goes on from.
struct Metrics(fs::File);

impl Metrics {
    fn open(path: &PathBuf, version: u64) -> std::io::Result<Self> {
        let before = fs::read_to_string(path).unwrap_or_default();
        let kept = before.lines().filter(|line| {
            serde_json::from_str::<IterationMetrics>(line)
                .is_ok_and(|metrics| metrics.iteration <= version)
        });
        let kept: String = kept.flat_map(|line| [line, "\n"]).collect();
        fs::write(path, kept)?;
        Ok(Self(fs::OpenOptions::new().append(true).open(path)?))
    }

    fn write(&mut self, line: &IterationMetrics) -> std::io::Result<()> {
        serde_json::to_writer(&mut self.0, line)?;
        self.0.write_all(b"\n")
    }
}
