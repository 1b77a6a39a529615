use serde::{Deserialize, Serialize};

use super::environment::Group;

/// What happened in an iteration: one line of a run's metrics file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IterationMetrics {
    /// Which one, from 1.
    pub iteration: u64,
    /// Tasks taken so far.
    pub tasks: u64,
    /// Episodes of the iteration, those that said nothing included.
    pub episodes: usize,
    /// Mean reward.
    pub reward: f64,
    /// Mean score.
    pub accuracy: f64,
    /// Mean cost, in US dollars.
    pub cost: f64,
    /// Mean time of an episode, in seconds.
    pub latency: f64,
    /// Mean number of calls.
    pub calls: f64,
    /// Share of the groups that said something.
    pub telling: f64,
    /// Episodes left out because their policy was too old.
    pub stale: usize,
    /// Mean entropy of the decisions' distributions, in nats.
    pub entropy: f64,
    /// Share of decisions beyond a bound of the ratio.
    pub clipped: f64,
    /// Estimated divergence from the policy before the update.
    pub divergence: f64,
    /// Norm of the gradients before it was limited, mean over the steps.
    pub gradient_norm: f64,
    /// Step size.
    pub learning_rate: f64,
    /// Episodes a second, updates included.
    pub episodes_per_second: f64,
    /// What the policy did afterwards on tasks that it does not learn from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<ValidationMetrics>,
}

/// What a policy does greedily.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ValidationMetrics {
    /// Tasks.
    pub tasks: usize,
    /// Mean reward under accuracy alone.
    pub reward: f64,
    /// Mean score.
    pub accuracy: f64,
    /// Mean cost, in US dollars.
    pub cost: f64,
    /// Mean time of an episode, in seconds.
    pub latency: f64,
    /// Mean number of calls.
    pub calls: f64,
}

impl IterationMetrics {
    /// Counts the episodes of an iteration's groups.
    pub(super) fn count(&mut self, groups: &[Group]) {
        let episodes = || groups.iter().flat_map(|group| &group.episodes);
        self.episodes = episodes().count();
        let mean = |value: &dyn Fn(&super::environment::Rollout) -> f64| {
            episodes().map(value).sum::<f64>() / (self.episodes.max(1) as f64)
        };
        self.reward = mean(&|e| e.reward);
        self.accuracy = mean(&|e| e.result.score);
        self.cost = mean(&|e| e.result.cost.as_usd());
        self.latency = mean(&|e| e.result.latency.as_secs_f64());
        self.calls = mean(&|e| e.result.calls.len() as f64);
    }
}
