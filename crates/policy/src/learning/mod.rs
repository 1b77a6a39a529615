//! Outcome-based reinforcement learning of a scorer.
//!
//! ```text
//! Environment ──► groups of episodes ──► advantages ──► clipped objective ──► AdamW
//!  replay | live    same task, same      within each      PPO (2017) with
//!                   pool, n samples      group: GRPO      DAPO's bounds
//! ```
//!
//! Only the outcome of an episode is scored. A [`Environment`] gives episodes of the acting policy
//! with the state of every decision; the [`Learner`] does not know whether they were replayed from
//! a recording or ran through a cluster.

mod advantage;
mod batch;
mod checkpoint;
mod config;
mod environment;
mod learner;
mod metrics;
mod objective;
mod replay;
mod rewording;
mod run;
mod scenario;
mod validation;

pub use advantage::{Advantage, advantages};
pub use checkpoint::Checkpoint;
pub use config::{LearnerConfig, ScorerShape, TrainingConfig};
pub use environment::{Acting, Decided, Environment, Group, GroupRequest, Rollout, Rollouts};
pub use learner::Learner;
pub use metrics::{IterationMetrics, ValidationMetrics};
pub use objective::{ObjectiveConfig, Parts, objective};
pub use replay::{PreparedWorld, ReplayEnvironment};
pub use rewording::{Rewording, RewordingConfig};
pub use run::{METRICS_FILE, Run, Trained};
pub use scenario::ScenarioConfig;
pub(crate) use validation::run_greedily_watched;
pub use validation::{run_greedily, validate};
