//! What a policy would be worth, from episodes that another one decided. Pure arithmetic.
//!
//! An episode was logged under a **behaviour** policy, and every step says with what probability
//! its action was taken. For a **target** policy each action has another probability; their ratio,
//! multiplied over the steps, is the episode's **weight** `w`. With rewards `R` (which come at the
//! end) over `n` episodes:
//!
//! - importance sampling: `1/n Σ w R`. Without bias, and rarely precise;
//! - self-normalised importance sampling (SNIPS; Swaminathan and Joachims, "The Self-Normalized
//!   Estimator for Counterfactual Learning", NIPS 2015): `Σ w R / Σ w`. Its bias goes with `1/n`,
//!   and it stays between the smallest and the largest reward;
//! - doubly robust (Dudík, Langford and Li, "Doubly Robust Policy Evaluation and Learning", ICML
//!   2011; for several steps Jiang and Li, "Doubly Robust Off-policy Value Evaluation for
//!   Reinforcement Learning", ICML 2016, equation 10): a model of the reward, corrected by the
//!   weighted errors that it makes. Right on average where either the probabilities or the model
//!   are; more precise the better the model is.
//!
//! All of it rests on support: what the behaviour never does says nothing of a target that does it.
//! [`Support`] measures that, and [`Support::doubt`] says when not to believe an estimate.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::error::CoreError;

/// Fewest episodes, as effective sample size, on which a normal interval is to be trusted.
pub const MIN_EFFECTIVE: f64 = 30.0;
/// Largest share of the target's episodes that may contain an action which the behaviour never
/// takes.
pub const MAX_UNSUPPORTED: f64 = 0.05;
/// Two-sided 95 % quantile of the normal distribution.
const Z95: f64 = 1.959_964;
/// Parts into which episodes are split, so that the reward model is asked about none that it was
/// fitted on (cross-fitting; Chernozhukov et al., 2018).
const FOLDS: usize = 5;
/// Episodes that the overall mean counts for in the mean of a cell.
const PRIOR: f64 = 1.0;

/// A decision of a logged episode. `K` names a **cell** of the reward model: actions of one cell
/// are expected to end equally well.
#[derive(Clone, Debug, PartialEq)]
pub struct LoggedStep<K> {
    behaviour: f64,
    target: f64,
    unsupported: f64,
    cell: K,
    options: Vec<(K, f64)>,
}

impl<K> LoggedStep<K> {
    /// A decision whose action, of the cell `cell`, was taken with probability `behaviour` and
    /// would have been with `target`. `unsupported` is the target's probability of the actions that
    /// the behaviour could not have taken; `options` are the cells of all actions with the target's
    /// probabilities.
    ///
    /// # Errors
    /// [`CoreError::Invalid`] for what is no probability, and for a behaviour of 0: what has
    /// happened had a probability.
    pub fn new(
        behaviour: f64,
        target: f64,
        unsupported: f64,
        cell: K,
        options: Vec<(K, f64)>,
    ) -> Result<Self, CoreError> {
        let invalid = |field: &str, value: f64| {
            Err(CoreError::invalid(
                field,
                format!("is {value}; not a probability"),
            ))
        };
        if !(behaviour > 0.0 && behaviour <= 1.0 + 1e-9) {
            return invalid("behaviour", behaviour);
        }
        for (field, value) in [("target", target), ("unsupported", unsupported)] {
            if !(0.0..=1.0 + 1e-6).contains(&value) {
                return invalid(field, value);
            }
        }
        Ok(Self {
            behaviour,
            target,
            unsupported,
            cell,
            options,
        })
    }

    fn ratio(&self) -> f64 {
        self.target / self.behaviour
    }
}

/// A logged episode.
#[derive(Clone, Debug, PartialEq)]
pub struct Trajectory<K> {
    /// Its decisions.
    pub steps: Vec<LoggedStep<K>>,
    /// What it was worth.
    pub reward: f64,
}

impl<K> Trajectory<K> {
    /// Probability of its actions under the target by that under the behaviour.
    pub fn weight(&self) -> f64 {
        self.steps.iter().map(LoggedStep::ratio).product()
    }

    /// Of the target's episodes that go as this one, how many leave the behaviour's support.
    fn unsupported(&self) -> f64 {
        let mut reached = 1.0;
        let mut left = 0.0;
        for step in &self.steps {
            left += reached * step.unsupported;
            reached *= step.ratio();
        }
        left
    }
}

/// An estimated mean with what each episode contributes to its error.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    /// The mean.
    pub value: f64,
    /// Its standard error.
    pub std_error: f64,
    deviations: Vec<f64>,
}

impl Estimate {
    /// An estimate that differs from the mean by the mean of `deviations`. `None` without any.
    fn new(value: f64, deviations: Vec<f64>) -> Option<Self> {
        let std_error = std_error(&deviations)?;
        value.is_finite().then_some(Self {
            value,
            std_error,
            deviations,
        })
    }

    /// The plain mean of independent values. `None` without any.
    pub fn mean(values: &[f64]) -> Option<Self> {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        Self::new(mean, values.iter().map(|value| value - mean).collect())
    }

    /// The 95 % interval of the normal distribution.
    pub fn interval(&self) -> [f64; 2] {
        let half = Z95 * self.std_error;
        [self.value - half, self.value + half]
    }

    /// `self − other`, two estimates from the same episodes in the same order: what both get wrong
    /// cancels. `None` where they have another number of episodes.
    pub fn minus(&self, other: &Self) -> Option<Self> {
        if self.deviations.len() != other.deviations.len() {
            return None;
        }
        let deviations = self
            .deviations
            .iter()
            .zip(&other.deviations)
            .map(|(own, other)| own - other)
            .collect();
        Self::new(self.value - other.value, deviations)
    }
}

/// Standard error of a mean. One value tells nothing of its spread, so that the error of it is
/// infinite.
fn std_error(values: &[f64]) -> Option<f64> {
    let n = values.len() as f64;
    match values.len() {
        0 => None,
        1 => Some(f64::INFINITY),
        _ => {
            let mean = values.iter().sum::<f64>() / n;
            let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
            Some((squares / (n - 1.0) / n).sqrt())
        }
    }
}

/// A weight with the value that it weighs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weighted {
    /// [`Trajectory::weight`].
    pub weight: f64,
    /// A reward, or anything else whose mean under the target is wanted: money, time.
    pub value: f64,
}

impl<K> From<&Trajectory<K>> for Weighted {
    fn from(trajectory: &Trajectory<K>) -> Self {
        Self {
            weight: trajectory.weight(),
            value: trajectory.reward,
        }
    }
}

/// The mean under the target by importance sampling. Since the reward comes at the end, weighing
/// each step's reward by the steps up to it (per-decision importance sampling) is the same.
pub fn importance_sampling(episodes: &[Weighted]) -> Option<Estimate> {
    let products: Vec<f64> = episodes.iter().map(|e| e.weight * e.value).collect();
    Estimate::mean(&products)
}

/// The mean under the target by self-normalised importance sampling. The error is that of the
/// ratio's linearisation (the delta method; Owen, "Monte Carlo theory, methods and examples",
/// section 9.2). `None` where no episode has any weight.
pub fn self_normalised(episodes: &[Weighted]) -> Option<Estimate> {
    let total: f64 = episodes.iter().map(|e| e.weight).sum();
    if total <= 0.0 {
        return None;
    }
    let value = episodes.iter().map(|e| e.weight * e.value).sum::<f64>() / total;
    let mean_weight = total / episodes.len() as f64;
    let deviations = episodes
        .iter()
        .map(|e| e.weight * (e.value - value) / mean_weight)
        .collect();
    Estimate::new(value, deviations)
}

/// The mean under the target by the sequential doubly robust estimator. The model of the reward is
/// the mean of the episodes whose step took an action of the same cell, drawn towards the mean of
/// all, and fitted on other episodes than it is asked about. It stands for what the behaviour makes
/// of the rest of the episode, which is an approximation of what the target would; the correction
/// takes that out on average. Where the behaviour never takes an action the model alone speaks.
pub fn doubly_robust<K: Ord>(trajectories: &[Trajectory<K>]) -> Option<Estimate> {
    let folds = FOLDS.min(trajectories.len());
    let models: Vec<CellMeans<'_, K>> = (0..folds)
        .map(|fold| {
            let others = trajectories.iter().enumerate();
            CellMeans::fit(
                others
                    .filter(|(index, _)| index % folds != fold)
                    .map(|(_, trajectory)| trajectory),
            )
        })
        .collect();
    let values: Vec<f64> = trajectories
        .iter()
        .enumerate()
        .filter_map(|(index, trajectory)| {
            let model = models.get(index % folds)?;
            Some(corrected(trajectory, |cell| model.value(cell)))
        })
        .collect();
    Estimate::mean(&values)
}

/// The doubly robust value of one episode under a model `q` of the reward by cell, from its last
/// step to its first: `v ← V + w (r + v − Q)`, where `w` is the step's ratio, `Q` the model of the
/// action taken and `V` its mean over the target's actions.
fn corrected<K>(trajectory: &Trajectory<K>, q: impl Fn(&K) -> f64) -> f64 {
    // The reward comes with the last step, so it is what follows there.
    trajectory
        .steps
        .iter()
        .rev()
        .fold(trajectory.reward, |rest, step| {
            let state: f64 = step
                .options
                .iter()
                .map(|(cell, probability)| probability * q(cell))
                .sum();
            state + step.ratio() * (rest - q(&step.cell))
        })
}

/// Mean rewards by cell.
struct CellMeans<'a, K> {
    /// Sum of the rewards and their number.
    cells: BTreeMap<&'a K, (f64, f64)>,
    overall: f64,
}

impl<'a, K: Ord> CellMeans<'a, K> {
    fn fit(trajectories: impl Iterator<Item = &'a Trajectory<K>>) -> Self {
        let mut cells: BTreeMap<&K, (f64, f64)> = BTreeMap::new();
        let (mut sum, mut count) = (0.0, 0.0);
        for trajectory in trajectories {
            sum += trajectory.reward;
            count += 1.0;
            for step in &trajectory.steps {
                let cell = cells.entry(&step.cell).or_default();
                cell.0 += trajectory.reward;
                cell.1 += 1.0;
            }
        }
        let overall = if count > 0.0 { sum / count } else { 0.0 };
        Self { cells, overall }
    }

    fn value(&self, cell: &K) -> f64 {
        let (sum, count) = self.cells.get(cell).copied().unwrap_or_default();
        (sum + PRIOR * self.overall) / (count + PRIOR)
    }
}

/// How well logged episodes cover what a target would do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Support {
    /// Logged episodes.
    pub episodes: usize,
    /// Effective sample size, `(Σ w)² / Σ w²` (Kish, 1965): as many episodes of the target's own
    /// would say as much.
    pub effective: f64,
    /// Mean weight; 1 less [`Self::unsupported`] if all is well.
    pub mean_weight: f64,
    /// Standard error of it.
    pub mean_weight_error: f64,
    /// Share of the target's episodes that contain an action which the behaviour never takes there.
    pub unsupported: f64,
}

impl Support {
    /// Measures it.
    pub fn of<K>(trajectories: &[Trajectory<K>]) -> Self {
        let weights: Vec<f64> = trajectories.iter().map(Trajectory::weight).collect();
        let n = weights.len().max(1) as f64;
        let sum: f64 = weights.iter().sum();
        let squares: f64 = weights.iter().map(|weight| weight * weight).sum();
        let left: f64 = trajectories.iter().map(Trajectory::unsupported).sum();
        Self {
            episodes: weights.len(),
            effective: if squares > 0.0 {
                sum * sum / squares
            } else {
                0.0
            },
            mean_weight: sum / n,
            mean_weight_error: std_error(&weights).unwrap_or(f64::INFINITY),
            unsupported: (left / n).clamp(0.0, 1.0),
        }
    }

    /// Why the estimates are not to be believed; `None` if nothing speaks against them.
    pub fn doubt(&self) -> Option<Doubt> {
        if self.unsupported > MAX_UNSUPPORTED {
            return Some(Doubt::Unsupported(self.unsupported));
        }
        if self.effective < MIN_EFFECTIVE {
            return Some(Doubt::Few(self.effective));
        }
        let expected = 1.0 - self.unsupported;
        let off = (self.mean_weight - expected).abs();
        // Beyond chance, and more than rounding.
        (off > 3.0 * self.mean_weight_error + 1e-3).then_some(Doubt::Weights {
            mean: self.mean_weight,
            expected,
        })
    }
}

/// Why estimates are not to be believed.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum Doubt {
    /// The target does what the behaviour never does.
    #[error(
        "not enough support: {:.0} % of its episodes would contain an action that was never tried",
        .0 * 100.0
    )]
    Unsupported(f64),
    /// Too few episodes say anything of the target.
    #[error(
        "not enough support: the episodes are worth {0:.1} of its own, at least {MIN_EFFECTIVE} are needed"
    )]
    Few(f64),
    /// The weights do not add up: the logged probabilities are wrong, or rare actions with large
    /// weights have not come up yet.
    #[error(
        "the weights average {mean:.3} where {expected:.3} is expected: too few rare actions have come up, or the logged probabilities are wrong"
    )]
    Weights {
        /// What they average.
        mean: f64,
        /// What they should.
        expected: f64,
    },
}

#[cfg(test)]
#[path = "off_policy_tests.rs"]
mod tests;
