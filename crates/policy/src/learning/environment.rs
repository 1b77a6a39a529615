use burn::tensor::Tensor;

use crate::{error::PolicyError, features::Features, replay::EpisodeResult, scorer::Scorer};

/// The policy that acts in an environment.
#[derive(Clone, Debug)]
pub struct Acting {
    /// Its network, without autodiff.
    pub scorer: Scorer,
    /// How many times it was updated. Says how stale an episode is.
    pub version: u64,
}

/// A group to be run: `n` sampled episodes of one task that differ in nothing but the samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupRequest {
    /// The task, from 0.
    pub task: usize,
    /// Decides all that is random about the group.
    pub seed: u64,
}

/// A decision that was taken in one of a group's states.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decided {
    /// Place of the state in [`Group::states`].
    pub state: usize,
    /// Place of the action among the state's rows.
    pub action: usize,
    /// Natural logarithm of the probability with which it was really taken.
    pub log_prob: f64,
}

/// One episode.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollout {
    /// Its decisions, in order.
    pub decisions: Vec<Decided>,
    /// How it ended.
    pub result: EpisodeResult,
    /// What it was worth: outcome and format ([`maestro_core::reward::Reward::total`]).
    pub reward: f64,
    /// [`Acting::version`] of the policy that took the decisions.
    pub version: u64,
}

/// Episodes of one task. States that several of them passed stand here once.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// The task, from 0.
    pub task: usize,
    /// States in which a decision was taken.
    pub states: Vec<Features>,
    /// The episodes.
    pub episodes: Vec<Rollout>,
}

/// What an environment gives.
#[derive(Clone, Debug)]
pub struct Rollouts {
    /// Vectors of the descriptions that the states refer to `[entries, dim]`, without autodiff. A
    /// later table of an environment begins with the rows of the earlier ones.
    pub entries: Tensor<2>,
    /// The groups, in the order they were asked for. A live environment may leave some out.
    pub groups: Vec<Group>,
}

/// Where episodes come from.
pub trait Environment {
    /// Number of tasks.
    fn tasks(&self) -> usize;

    /// Runs groups of `size` episodes under a policy.
    ///
    /// # Errors
    /// [`PolicyError`] where nothing could be run at all.
    fn roll_out(
        &mut self,
        acting: &Acting,
        requests: &[GroupRequest],
        size: usize,
    ) -> Result<Rollouts, PolicyError>;
}
