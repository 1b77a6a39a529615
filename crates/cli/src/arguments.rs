mod learning;
mod policy;

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use url::Url;

pub(crate) use learning::{Encoder, Eval, Record, Train};
pub(crate) use policy::{Compare, Policy};

/// Where `maestro up` serves where nothing else is said.
pub(crate) const DEFAULT_ADDRESS: &str = "127.0.0.1:7070";

/// Answers multimodal questions by orchestrating frozen experts.
#[derive(Debug, Parser)]
#[command(name = "maestro", version, propagate_version = true)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything in one process on this machine until it is stopped.
    Up(Up),
    /// Ask a question and show every step until the answer.
    Run(Run),
    /// Ask a question and print the episode's id at once.
    Submit(Submit),
    /// Print an episode.
    Get(Episode),
    /// Show an episode's steps from its beginning until its end.
    Watch(Episode),
    /// Stop an episode.
    Cancel(Cancel),
    /// List episodes, newest first.
    List(List),
    /// Say how good an episode's answer was.
    Report(Report),
    /// Ask every pair that suits a task, for all tasks of a folder, and write down what came of it.
    Record(Record),
    /// The experts of the registry.
    #[command(subcommand)]
    Experts(Experts),
    /// The skills of the registry.
    #[command(subcommand)]
    Skills(Skills),
    /// The policies of the store and the slots that they serve in.
    #[command(subcommand)]
    Policy(Policy),
    /// The frozen models that the local experts run on.
    #[command(subcommand)]
    Models(Models),
    /// Train a policy by reinforcement learning.
    Train(Train),
    /// Measure policies on recorded calls, beside routers that everybody knows.
    Eval(Eval),
    /// Have a process finish its work, hand over what it cannot finish, and end.
    Drain(Drain),
    /// Measurements.
    #[command(subcommand)]
    Bench(Bench),
    /// Print the completions of a shell.
    Completions {
        /// Which shell.
        shell: Shell,
    },
}

/// Where Maestro is.
#[derive(Clone, Debug, Args)]
pub struct Endpoint {
    /// A coordinator.
    #[arg(long, env = "MAESTRO_ENDPOINT", default_value = concat!("http://", "127.0.0.1:7070"))]
    pub endpoint: Url,
}

/// Settings of a local installation.
#[derive(Clone, Debug, Args)]
pub struct Installation {
    /// Folder of the models that `maestro models pull` fetched.
    #[arg(long, env = "MAESTRO_MODELS")]
    pub models: Option<PathBuf>,
    /// Folder for images and policies; without it they are kept in memory.
    #[arg(long)]
    pub data: Option<PathBuf>,
}

/// `maestro up`.
#[derive(Debug, Args)]
pub struct Up {
    /// Where to serve; port 0 takes a free one.
    #[arg(long, default_value = DEFAULT_ADDRESS)]
    pub addr: SocketAddr,
    /// Where to serve /metrics.
    #[arg(long)]
    pub metrics: Option<SocketAddr>,
    /// Which events are logged to standard error: `info`, `info,maestro_rpc=debug`, …
    #[arg(long, env = "MAESTRO_LOG", default_value = "warn")]
    pub log: String,
    #[command(flatten)]
    pub installation: Installation,
}

/// `maestro drain`.
#[derive(Debug, Args)]
pub struct Drain {
    /// Where the process serves: a coordinator, a worker or a skill runner.
    pub endpoint: Url,
    /// How long running work may take, in seconds. Default: the process's own grace period.
    #[arg(long, value_name = "SECONDS")]
    pub grace: Option<f64>,
}

/// Kinds of answers on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Whatever the expert says.
    FreeText,
    /// A whole number.
    Integer,
    /// A decimal number.
    Number,
    /// Yes or no.
    YesNo,
    /// One of the options given with --option.
    Choice,
    /// A name, word or phrase.
    ShortText,
    /// A calendar date.
    Date,
    /// Several short texts.
    Set,
    /// A mathematical expression.
    Expression,
    /// Program source.
    Program,
}

/// A question and what may be spent on it.
#[derive(Debug, Args)]
pub struct Task {
    /// The question.
    pub question: String,
    /// An image file; may be given several times.
    #[arg(long = "image", value_name = "FILE")]
    pub images: Vec<PathBuf>,
    /// The kind of answer.
    #[arg(long, value_enum, default_value = "free-text")]
    pub kind: Kind,
    /// An option of a choice; give each one, in order.
    #[arg(long = "option", value_name = "TEXT")]
    pub options: Vec<String>,
    /// Most decisions, the answer included.
    #[arg(long, allow_negative_numbers = true)]
    pub max_steps: Option<i64>,
    /// How long it may take, in seconds.
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<f64>,
    /// Most money, in US dollars.
    #[arg(long, value_name = "USD", allow_negative_numbers = true)]
    pub max_cost: Option<f64>,
    /// Use only this pair, EXPERT@SKILL; may be given several times.
    #[arg(long, value_name = "EXPERT@SKILL")]
    pub pin: Vec<String>,
    /// Use only pairs like this, EXPERT@SKILL with `*` for any; may be given several times.
    #[arg(long, value_name = "PATTERN")]
    pub allow: Vec<String>,
    /// Never use pairs like this; may be given several times.
    #[arg(long, value_name = "PATTERN")]
    pub deny: Vec<String>,
    /// Sample the decisions instead of taking the most probable ones.
    #[arg(long)]
    pub sampled: bool,
    /// Seed of sampled decisions.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Key that makes the submission idempotent.
    #[arg(long, default_value = "")]
    pub request_id: String,
}

/// `maestro run`.
#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    pub task: Task,
    /// A coordinator; without it everything runs in this process.
    #[arg(long, env = "MAESTRO_ENDPOINT")]
    pub endpoint: Option<Url>,
    /// Print one JSON object to standard output, and the steps to standard error.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub installation: Installation,
}

/// `maestro submit`.
#[derive(Debug, Args)]
pub struct Submit {
    #[command(flatten)]
    pub task: Task,
    #[command(flatten)]
    pub endpoint: Endpoint,
}

/// Commands on one episode.
#[derive(Debug, Args)]
pub struct Episode {
    /// The episode.
    pub id: String,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub endpoint: Endpoint,
}

/// `maestro cancel`.
#[derive(Debug, Args)]
pub struct Cancel {
    /// The episode.
    pub id: String,
    /// Why.
    #[arg(long, default_value = "")]
    pub reason: String,
    #[command(flatten)]
    pub endpoint: Endpoint,
}

/// `maestro list`.
#[derive(Debug, Args)]
pub struct List {
    /// Most episodes to list.
    #[arg(long, default_value_t = 20)]
    pub limit: usize,
    /// Print one JSON object a line.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub endpoint: Endpoint,
}

/// `maestro report`.
#[derive(Debug, Args)]
pub struct Report {
    /// The episode.
    pub id: String,
    /// 0 (wrong) to 1 (right).
    #[arg(long)]
    pub score: f32,
    /// Where the score comes from.
    #[arg(long, default_value = "user")]
    pub source: String,
    #[command(flatten)]
    pub endpoint: Endpoint,
}

/// `maestro experts`.
#[derive(Debug, Subcommand)]
pub enum Experts {
    /// List the experts and their instances.
    List(EndpointOnly),
    /// Register the descriptor in a YAML file.
    Add {
        /// The file.
        file: PathBuf,
        /// Replace an expert of the same name.
        #[arg(long)]
        replace: bool,
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// Unregister an expert.
    Remove {
        /// Its name.
        name: String,
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// Print an expert's descriptor and instances.
    Describe {
        /// Its name.
        name: String,
        #[command(flatten)]
        endpoint: Endpoint,
    },
}

/// Commands that need nothing but where Maestro is.
#[derive(Debug, Args)]
pub struct EndpointOnly {
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub endpoint: Endpoint,
}

/// `maestro skills`.
#[derive(Debug, Subcommand)]
pub enum Skills {
    /// List the skills.
    List(EndpointOnly),
    /// Register the skill in a folder.
    Add {
        /// The folder.
        folder: PathBuf,
        /// Replace a skill of the same name.
        #[arg(long)]
        replace: bool,
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// Unregister a skill.
    Remove {
        /// Its name.
        name: String,
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// Check the skill in a folder and explain every finding.
    Lint {
        /// The folder.
        folder: PathBuf,
    },
    /// Print the JSON schema of a file of skills, for editors.
    Schema {
        /// Which file.
        file: SkillFile,
    },
}

/// A file of a skill that has a schema.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum SkillFile {
    /// `skill.yaml`.
    Skill,
    /// `solvers/NAME.yaml`.
    Solver,
}

/// `maestro models`.
#[derive(Debug, Subcommand)]
pub enum Models {
    /// Fetch models, each pinned by its SHA-256. What is there already is not fetched again.
    Pull {
        /// Which ones; all if none is named.
        names: Vec<String>,
        /// Where to; default `~/.cache/maestro/models`.
        #[arg(long, env = "MAESTRO_MODELS")]
        models: Option<PathBuf>,
    },
    /// List the models and whether they are there.
    List {
        /// Where to look.
        #[arg(long, env = "MAESTRO_MODELS")]
        models: Option<PathBuf>,
    },
}

/// `maestro bench`.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// What Maestro itself adds to a step: separate processes over loopback, an expert that
    /// answers at once, every question distinct. Needs etcd.
    Overhead(Overhead),
    /// What journalling adds to a step, and what it leaves of the throughput: ephemeral and durable
    /// episodes in turn, on one and on three members of etcd.
    Journal(Journal),
    /// What is left of the throughput when more episodes are offered than can be answered.
    Overload(Overload),
    /// The expert of `overhead`, in a process of its own.
    #[command(hide = true)]
    InstantExpert {
        /// Members of the etcd cluster.
        #[arg(long, value_delimiter = ',')]
        etcd: Vec<String>,
    },
}

/// `maestro bench journal`.
#[derive(Debug, Args)]
pub struct Journal {
    /// Episodes a second to offer while a step's time is measured (open loop).
    #[arg(long, default_value_t = 100)]
    pub rate: u32,
    /// Episodes at once while the throughput is measured (closed loop).
    #[arg(long, default_value_t = 128)]
    pub at_once: u32,
    /// How long each measurement takes, in seconds.
    #[arg(long, default_value_t = 10)]
    pub seconds: u32,
    /// How often each is made, in turn; the median counts.
    #[arg(long, default_value_t = 3)]
    pub rounds: u32,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `maestro bench overload`.
#[derive(Debug, Args)]
pub struct Overload {
    /// How long each load lasts, in seconds.
    #[arg(long, default_value_t = 15)]
    pub seconds: u32,
    /// Ask for durable episodes, which are journalled in etcd.
    #[arg(long)]
    pub durable: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `maestro bench overhead`.
#[derive(Debug, Args)]
pub struct Overhead {
    /// Episodes a second to offer (open loop).
    #[arg(long, default_value_t = 500)]
    pub rate: u32,
    /// How long to offer them, in seconds.
    #[arg(long, default_value_t = 20)]
    pub seconds: u32,
    /// How long to warm up first, in seconds.
    #[arg(long, default_value_t = 5)]
    pub warm_up: u32,
    /// Ask for durable episodes, which are journalled in etcd.
    #[arg(long)]
    pub durable: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}
