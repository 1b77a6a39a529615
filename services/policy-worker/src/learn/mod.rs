//! Learning from episodes of the cluster itself.
//!
//! [`LiveEnvironment`] is the environment that a [`maestro_policy::learning::Learner`] acts in:
//! each iteration's policy is pushed and made active in a slot of its own, episodes of known tasks
//! run through `EpisodeService` under it, and their records become the groups that the learner
//! updates from. The answers are graded here; the outcome is reported back, so that it stands in
//! the trajectory too.

mod command;
mod environment;
mod lesson;
mod remote;

pub use self::command::{Learn, LearnError, learn};
pub use self::environment::{LiveConfig, LiveEnvironment, LiveError};
