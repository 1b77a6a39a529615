//! `maestro-policy-worker learn`: the learner as a process of its own beside a cluster.

use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc};

use clap::Args;
use maestro_core::{
    Digest,
    recording::{KnownTask, TASKS_FILE},
};
use maestro_models::DeviceSetting;
use maestro_policy::{
    Runtime, ServingConfig,
    learning::{Run, TrainingConfig},
    write_folder,
};
use serde::Deserialize;
use url::Url;

use super::{LiveConfig, LiveEnvironment, LiveError};
use crate::{config::EncoderSetting, error::WorkerError};

/// What it learns from and where to.
#[derive(Debug, Args)]
pub struct Learn {
    /// A coordinator.
    #[arg(long, env = "MAESTRO_ENDPOINT")]
    pub endpoint: Url,
    /// Folder with `tasks.jsonl`, as `maestro record` writes it: known tasks whose images the
    /// coordinator's blob store holds.
    #[arg(long, value_name = "FOLDER")]
    pub tasks: PathBuf,
    /// Splits to learn from.
    #[arg(long, value_delimiter = ',', default_value = "train")]
    pub split: Vec<String>,
    /// Where the policy, its metrics and its checkpoint are written. A run that was stopped goes
    /// on from there.
    #[arg(long, value_name = "FOLDER")]
    pub out: PathBuf,
    /// Settings, YAML.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Slot in which the policy acts while it learns.
    #[arg(long, default_value = "learning")]
    pub slot: String,
    /// Episodes at the same time.
    #[arg(long, default_value_t = 16)]
    pub concurrency: usize,
    /// Folder of the sentence encoder; without it the static table embeds texts.
    #[arg(long, value_name = "FOLDER")]
    pub minilm: Option<PathBuf>,
}

/// Why learning ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LearnError {
    /// A file cannot be used.
    #[error("{path}: {reason}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why, with the line where known.
        reason: String,
    },
    /// The environment cannot be used.
    #[error(transparent)]
    Live(#[from] LiveError),
    /// The policy cannot be trained.
    #[error(transparent)]
    Policy(#[from] maestro_policy::PolicyError),
    /// The encoder cannot be loaded.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// It was cut off.
    #[error("learning was cut off")]
    CutOff,
}

/// A line of the tasks' file; what was recorded beside the task is left alone.
#[derive(Deserialize)]
struct Line {
    #[serde(flatten)]
    task: KnownTask,
    #[serde(default, rename = "calls")]
    _calls: serde::de::IgnoredAny,
}

/// Learns to the end and gives the version of the policy.
///
/// # Errors
/// [`LearnError`].
pub async fn learn(arguments: Learn) -> Result<Digest, LearnError> {
    let config = config(&arguments)?;
    let tasks = tasks(&arguments)?;
    let encoder = arguments
        .minilm
        .clone()
        .map_or(EncoderSetting::Static, EncoderSetting::Minilm);
    let embedder = encoder.load(DeviceSetting::Cpu)?;
    let serving = ServingConfig::default();
    let runtime = Runtime::open(DeviceSetting::Cpu, Arc::clone(&embedder), serving)?;
    let scorer = config.scorer.config(embedder.dim(), config.learner.seed);
    let live = LiveConfig {
        slot: arguments.slot.clone(),
        concurrency: arguments.concurrency,
        max_steps: config.max_steps,
        ..LiveConfig::default()
    };
    let count = tasks.len();
    let mut environment = LiveEnvironment::new(
        &arguments.endpoint,
        tasks,
        live,
        config.scenario,
        scorer.clone(),
        runtime.clone(),
    )
    .await?;
    let learned = tokio::task::spawn_blocking(move || {
        let run = Run {
            config: &config,
            scorer: &scorer,
            held_out: &[],
            folder: &arguments.out,
            runtime: &runtime,
        };
        let trained = run.train(&mut environment, |line| {
            tracing::info!(
                iteration = line.iteration,
                episodes = line.episodes,
                reward = line.reward,
                accuracy = line.accuracy,
                calls = line.calls,
                entropy = line.entropy,
                "updated"
            );
            true
        })?;
        let notes = BTreeMap::from([
            ("training".to_owned(), "grpo, live".to_owned()),
            ("tasks".to_owned(), count.to_string()),
            ("seed".to_owned(), config.learner.seed.to_string()),
            ("iteration".to_owned(), trained.iteration.to_string()),
        ]);
        let folder = &arguments.out;
        Ok(write_folder(
            folder,
            &trained.scorer,
            &scorer,
            &runtime,
            notes,
        )?)
    });
    learned.await.map_err(|_| LearnError::CutOff)?
}

fn config(arguments: &Learn) -> Result<TrainingConfig, LearnError> {
    let Some(path) = &arguments.config else {
        return Ok(TrainingConfig::default());
    };
    let refuse = |reason: String| LearnError::File {
        path: path.clone(),
        reason,
    };
    let text = fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
    serde_saphyr::from_str(&text).map_err(|error| refuse(error.to_string()))
}

fn tasks(arguments: &Learn) -> Result<Vec<KnownTask>, LearnError> {
    let path = arguments.tasks.join(TASKS_FILE);
    let refuse = |reason: String| LearnError::File {
        path: path.clone(),
        reason,
    };
    let text = fs::read_to_string(&path).map_err(|error| refuse(error.to_string()))?;
    let mut tasks = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line: Line = serde_json::from_str(line)
            .map_err(|error| refuse(format!("line {}: {error}", index + 1)))?;
        if arguments.split.contains(&line.task.split) {
            tasks.push(line.task);
        }
    }
    Ok(tasks)
}
