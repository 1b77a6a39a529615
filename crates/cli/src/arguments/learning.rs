//! From tasks to policies: recording, training, evaluation.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use url::Url;

use super::Endpoint;

/// `maestro record`.
#[derive(Debug, Args)]
pub struct Record {
    /// Folder of tasks with known answers, of any format that Maestro reads (docs/data.md).
    pub tasks: PathBuf,
    /// Folder of the recording. One that was begun with the same pool is gone on with.
    #[arg(long, value_name = "FOLDER")]
    pub out: PathBuf,
    /// Only tasks of this split; may be given several times.
    #[arg(long = "split", value_name = "SPLIT")]
    pub splits: Vec<String>,
    /// At most this many tasks of each domain, drawn by the seed.
    #[arg(long, value_name = "TASKS")]
    pub limit: Option<usize>,
    /// Seed of the draw.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Ask only pairs like this, EXPERT@SKILL with `*` for any; may be given several times.
    #[arg(long, value_name = "PATTERN")]
    pub allow: Vec<String>,
    /// Never ask pairs like this; may be given several times.
    #[arg(long, value_name = "PATTERN")]
    pub deny: Vec<String>,
    /// Tasks recorded at once. Latencies are recorded as they are, so ask no more of the machine
    /// than it will have to do when it serves.
    #[arg(long, default_value = "1")]
    pub parallel: std::num::NonZeroUsize,
    #[command(flatten)]
    pub endpoint: Endpoint,
}

/// What turns texts into vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Encoder {
    /// The table that comes with the program: microseconds a text.
    #[default]
    Static,
    /// The sentence encoder among the models: milliseconds a text.
    Minilm,
}

/// `maestro train`.
#[derive(Debug, Args)]
pub struct Train {
    /// Folders of recorded calls, as `maestro record` writes them, or of data sets that are known.
    #[arg(required = true)]
    pub data: Vec<PathBuf>,
    /// Where the policy, its metrics and its checkpoint are written. A run that was stopped goes
    /// on from there.
    #[arg(long, value_name = "FOLDER")]
    pub out: PathBuf,
    /// Settings, YAML.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Ask the tasks of the Maestro at this coordinator instead of replaying what is recorded.
    #[arg(long, value_name = "URL")]
    pub live: Option<Url>,
    /// Slot in which the policy acts while it learns live.
    #[arg(long, default_value = "learning")]
    pub slot: String,
    /// Episodes at the same time when it learns live.
    #[arg(long, default_value_t = 16)]
    pub concurrency: usize,
    /// Splits to learn from.
    #[arg(long, value_delimiter = ',', default_value = "train")]
    pub split: Vec<String>,
    /// Share of the groups of tasks that are held out: the policy that does best on them is kept.
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    pub held_out: f64,
    /// Overrides the seed of the settings.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Overrides the iterations of the settings.
    #[arg(long)]
    pub iterations: Option<u64>,
    /// Threads that replay; as many as there are cores if not given.
    #[arg(long)]
    pub threads: Option<usize>,
    /// Other words for descriptions: JSON Lines of `digest` and `paraphrases`, of which the last
    /// is kept for evaluations.
    #[arg(long, value_name = "FILE")]
    pub paraphrases: Option<PathBuf>,
    /// Leave an expert out.
    #[arg(long, value_name = "NAME")]
    pub without_expert: Vec<String>,
    /// Leave a skill out.
    #[arg(long, value_name = "NAME")]
    pub without_skill: Vec<String>,
    /// Leave the tasks of a domain out.
    #[arg(long, value_name = "NAME")]
    pub without_domain: Vec<String>,
    /// What turns texts into vectors.
    #[arg(long, value_enum, default_value = "static")]
    pub encoder: Encoder,
    /// Folder of the models that `maestro models pull` fetched.
    #[arg(long, env = "MAESTRO_MODELS")]
    pub models: Option<PathBuf>,
    /// Print one JSON object an iteration instead of the live view.
    #[arg(long)]
    pub json: bool,
}

/// `maestro eval`.
#[derive(Debug, Args)]
pub struct Eval {
    /// Folders of recorded calls, as `maestro record` writes them, or of data sets that are known.
    #[arg(required = true)]
    pub data: Vec<PathBuf>,
    /// A policy: a folder that `maestro train` wrote, `builtin` or `untrained`. May be given several
    /// times; folders are taken for seeds of one training, and their mean and deviation are printed
    /// too.
    #[arg(long, value_name = "FOLDER|builtin|untrained")]
    pub policy: Vec<String>,
    /// Splits to measure on, pooled.
    #[arg(long, value_delimiter = ',', default_value = "val,test")]
    pub split: Vec<String>,
    /// Splits that the baselines which learn may learn from.
    #[arg(long, value_delimiter = ',', default_value = "train")]
    pub train_split: Vec<String>,
    /// Recorded calls of further entries, added to the measured tasks only: no baseline learns
    /// from them. May be given several times.
    #[arg(long, value_name = "FOLDER")]
    pub add: Vec<PathBuf>,
    /// Measure on the tasks of these domains only.
    #[arg(long, value_name = "NAME")]
    pub domain: Vec<String>,
    /// Leave an expert out, for policies and baselines alike.
    #[arg(long, value_name = "NAME")]
    pub without_expert: Vec<String>,
    /// Leave a skill out, for policies and baselines alike.
    #[arg(long, value_name = "NAME")]
    pub without_skill: Vec<String>,
    /// Other words for descriptions, as for `maestro train`: the last of each, which training
    /// does not see, replaces the original.
    #[arg(long, value_name = "FILE")]
    pub paraphrases: Option<PathBuf>,
    /// Give every expert and every skill a name that says nothing.
    #[arg(long)]
    pub rename: bool,
    /// Seeds of the baselines that have one.
    #[arg(long, default_value_t = 3)]
    pub seeds: u64,
    /// Most decisions of a policy, the answer included.
    #[arg(long, default_value_t = maestro_core::task::DEFAULT_STEPS)]
    pub max_steps: u32,
    /// One call a task, whose answer is final: the same as `--max-steps 2`.
    #[arg(long, conflicts_with = "max_steps")]
    pub one_call: bool,
    /// How much the user cares for `accuracy`, `cost` and `latency`, as in `cost=0.5,latency=0.2`;
    /// accuracy weighs 1 where it is not named.
    #[arg(long, value_name = "NAME=WEIGHT,…")]
    pub weights: Option<String>,
    /// What turns texts into vectors; that of the first policy if not given.
    #[arg(long, value_enum)]
    pub encoder: Option<Encoder>,
    /// Folder of the models that `maestro models pull` fetched.
    #[arg(long, env = "MAESTRO_MODELS")]
    pub models: Option<PathBuf>,
    /// Leave the baselines out that take a training of their own.
    #[arg(long)]
    pub quick: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Write a report with plots.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}
