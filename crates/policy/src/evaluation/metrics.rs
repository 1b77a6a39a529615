//! Figures over all tasks.

use std::collections::BTreeSet;

use maestro_core::reward::{Reward, RewardWeights};
use serde::Serialize;

use super::{
    bootstrap::quantile,
    frontier::Point,
    matrix::{Matrix, MatrixTask, Outcome, RIGHT},
};

/// An expert is rare if it is the sole right one on more than none but fewer than this share of the
/// tasks.
pub const RARE_SHARE: f64 = 0.05;

/// What a router is worth, over all tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Metrics {
    /// Mean score, 0 to 1.
    pub accuracy: f64,
    /// Mean cost of a task, in US dollars.
    pub cost_usd: f64,
    /// Mean time of a task, in seconds.
    pub latency_s: f64,
    /// Median time of a task, in seconds.
    pub latency_p50_s: f64,
    /// 99th percentile of the time of a task, in seconds.
    pub latency_p99_s: f64,
    /// Mean number of calls.
    pub calls: f64,
    /// Share of tasks that got an answer.
    pub answered: f64,
    /// Mean reward of the outcome, without its format.
    pub reward: f64,
    /// How much the score of the best single call of each task is above the router's, mean.
    pub regret: f64,
    /// The same for rewards.
    pub reward_regret: f64,
    /// See [`RareExperts`]; `None` where there are none.
    pub rare_recall: Option<f64>,
}

impl Metrics {
    /// Measures a router's outcomes, one a task of the matrix.
    pub fn of(
        matrix: &Matrix,
        outcomes: &[Outcome],
        weights: &RewardWeights,
        rare: &RareExperts,
    ) -> Self {
        let count = outcomes.len().max(1) as f64;
        let mean =
            |value: &dyn Fn(&Outcome) -> f64| outcomes.iter().map(value).sum::<f64>() / count;
        let mut latencies: Vec<f64> = outcomes.iter().map(|o| o.latency.as_secs_f64()).collect();
        latencies.sort_by(f64::total_cmp);
        let reward = mean(&|outcome| reward(outcome, weights));
        let tasks = || matrix.tasks.iter();
        let best: f64 = tasks().map(MatrixTask::best_score).sum::<f64>() / count;
        let best_reward: f64 = tasks().map(|t| best_reward(t, weights)).sum::<f64>() / count;
        let accuracy = mean(&|outcome| outcome.score);
        Self {
            accuracy,
            cost_usd: mean(&|outcome| outcome.cost.as_usd()),
            latency_s: mean(&|outcome| outcome.latency.as_secs_f64()),
            latency_p50_s: quantile(&latencies, 0.5),
            latency_p99_s: quantile(&latencies, 0.99),
            calls: mean(&|outcome| outcome.calls.len() as f64),
            answered: mean(&|outcome| f64::from(u8::from(outcome.answered_by.is_some()))),
            reward,
            regret: best - accuracy,
            reward_regret: best_reward - reward,
            rare_recall: rare.recall(matrix, outcomes),
        }
    }

    /// Where it stands in the cost-quality plane.
    pub fn point(&self) -> Point {
        Point {
            cost: self.cost_usd,
            quality: self.accuracy,
        }
    }
}

/// The reward of an outcome whose format is right.
pub fn reward(outcome: &Outcome, weights: &RewardWeights) -> f64 {
    Reward::new(outcome.score, true, outcome.cost, outcome.latency, weights).outcome
}

/// The best reward that a single call of a task earns.
fn best_reward(task: &MatrixTask, weights: &RewardWeights) -> f64 {
    let rewards = task
        .suitable()
        .map(|(_, cell)| Reward::new(cell.score, true, cell.cost, cell.latency, weights).outcome);
    rewards.fold(0.0, f64::max)
}

/// The part of the way from the best single pair to the oracle that a router goes: 0 is the pair,
/// 1 the oracle; `None` where the two are the same.
pub fn gap_closed(accuracy: f64, best_single: f64, oracle: f64) -> Option<f64> {
    let gap = oracle - best_single;
    (gap > 1e-12).then(|| (accuracy - best_single) / gap)
}

/// Experts that are seldom needed, but then alone. After the recall of LLMRouterBench (arXiv
/// 2601.07206), which asks whether a router finds the model on tasks that few can do: a task
/// counts if exactly one expert is right on it (by any of its pairs, from a score of [`RIGHT`]
/// on), and that expert is rare by [`RARE_SHARE`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RareExperts {
    /// By task that counts: its place.
    tasks: Vec<usize>,
    /// Their number.
    experts: usize,
}

impl RareExperts {
    /// Finds them.
    pub fn of(matrix: &Matrix) -> Self {
        let sole: Vec<Option<&str>> = matrix.tasks.iter().map(|t| sole_right(matrix, t)).collect();
        let named: BTreeSet<&str> = sole.iter().copied().flatten().collect();
        let most = RARE_SHARE * matrix.tasks.len() as f64;
        let count = |expert: &str| sole.iter().filter(|own| **own == Some(expert)).count();
        let rare: BTreeSet<&str> = named
            .into_iter()
            .filter(|expert| (count(expert) as f64) < most)
            .collect();
        let is_counted = |own: &Option<&str>| own.is_some_and(|expert| rare.contains(expert));
        let places = sole.iter().enumerate();
        Self {
            tasks: places
                .filter_map(|(place, own)| is_counted(own).then_some(place))
                .collect(),
            experts: rare.len(),
        }
    }

    /// Number of tasks that count.
    pub fn tasks(&self) -> usize {
        self.tasks.len()
    }

    /// Number of experts that are rare.
    pub fn experts(&self) -> usize {
        self.experts
    }

    /// Share of these tasks on which a router's answer is right; no other expert's can be.
    fn recall(&self, matrix: &Matrix, outcomes: &[Outcome]) -> Option<f64> {
        let right = |place: &&usize| {
            let outcome = outcomes.get(**place);
            outcome.is_some_and(|outcome| outcome.score >= RIGHT)
        };
        (!self.tasks.is_empty() && matrix.tasks.len() == outcomes.len())
            .then(|| self.tasks.iter().filter(right).count() as f64 / self.tasks.len() as f64)
    }
}

/// The only expert that is right on a task.
fn sole_right<'m>(matrix: &'m Matrix, task: &MatrixTask) -> Option<&'m str> {
    let right = task.suitable().filter(|(_, cell)| cell.score >= RIGHT);
    let experts: BTreeSet<&str> = right
        .filter_map(|(pair, _)| Some(matrix.pairs.get(pair)?.expert.as_str()))
        .collect();
    let mut experts = experts.into_iter();
    experts.next().filter(|_| experts.next().is_none())
}
