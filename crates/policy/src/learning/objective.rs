use burn::tensor::{Bool, Int, Tensor, activation::log_softmax};
use serde::{Deserialize, Serialize};

use crate::error::PolicyError;

/// Bounds and terms of the objective.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ObjectiveConfig {
    /// How far below 1 the ratio counts.
    pub clip_low: f64,
    /// How far above 1 the ratio counts. Larger than `clip_low`, so that rare actions can grow
    /// ("clip-higher", DAPO, arXiv 2503.14476, section 3.1).
    pub clip_high: f64,
    /// Largest importance weight of a decision that an older policy took (truncated importance
    /// sampling; Ionides 2008, and IMPALA's ρ̄, arXiv 1802.01561).
    pub truncation: f64,
    /// Mean entropy in nats below which the policy is pushed back up.
    pub entropy_floor: f64,
    /// How hard.
    pub entropy_weight: f64,
}

impl Default for ObjectiveConfig {
    fn default() -> Self {
        Self {
            clip_low: 0.2,
            clip_high: 0.28,
            truncation: 2.0,
            entropy_floor: 0.1,
            entropy_weight: 0.05,
        }
    }
}

impl ObjectiveConfig {
    pub(super) fn validate(&self) -> Result<(), PolicyError> {
        let checks = [
            ("clip_low", self.clip_low, 0.0, 1.0),
            ("clip_high", self.clip_high, 0.0, 10.0),
            ("truncation", self.truncation, 1.0, 1e3),
            ("entropy_floor", self.entropy_floor, 0.0, 10.0),
            ("entropy_weight", self.entropy_weight, 0.0, 10.0),
        ];
        for (field, value, low, high) in checks {
            if !(low..=high).contains(&value) {
                let reason = format!("is {value}; must be {low} to {high}");
                return Err(PolicyError::Config { field, reason });
            }
        }
        Ok(())
    }
}

/// Decisions, as the objective needs them.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Logits of the trained policy `[states, actions]`, very low where there is no action.
    pub logits: Tensor<2>,
    /// True where there is an action `[states, actions]`.
    pub present: Tensor<2, Bool>,
    /// `state · actions + action` of each decision `[decisions]`.
    pub taken: Tensor<1, Int>,
    /// Advantage of each decision's episode `[decisions]`.
    pub advantages: Tensor<1>,
    /// Log-probability under the policy before this update, the one that ratios are of
    /// `[decisions]`.
    pub old: Tensor<1>,
    /// Log-probability with which it was really taken `[decisions]`.
    pub behaviour: Tensor<1>,
    /// Number of episodes.
    pub episodes: usize,
}

/// What [`objective`] computes; all `[1]`.
#[derive(Clone, Debug)]
pub struct Objective {
    /// What is minimised.
    pub loss: Tensor<1>,
    /// Mean entropy of the states' distributions, in nats.
    pub entropy: Tensor<1>,
    /// Share of decisions whose ratio was beyond a bound that counts.
    pub clipped: Tensor<1>,
    /// Mean of `old − new`, an estimate of the divergence from the policy before the update.
    pub divergence: Tensor<1>,
}

/// The loss to minimise.
///
/// For decision `t` of episode `i` with ratio `ρ = π(a|s) / π_old(a|s)` and advantage `A_i`,
///
/// ```text
/// L = − 1/N Σ_i Σ_t w_t · min(ρ·A_i, clip(ρ, 1 − ε_low, 1 + ε_high)·A_i)  +  λ·max(0, H₀ − H)
/// ```
///
/// the clipped surrogate of PPO (arXiv 1707.06347, equation 7), summed over an episode's decisions
/// and divided by the number of episodes only: dividing by an episode's length would favour short
/// right and long wrong ones (Dr. GRPO, arXiv 2503.20783). `w_t = min(π_old / π_behaviour, C)`
/// corrects for decisions of an older policy and is constant under the gradient. The last term
/// holds the mean entropy `H` above the floor `H₀`.
pub fn objective(parts: &Parts, config: &ObjectiveConfig) -> Objective {
    let [states, actions] = parts.logits.dims();
    let log_probs = log_softmax(parts.logits.clone(), 1);
    let taken = log_probs
        .clone()
        .reshape([states * actions])
        .select(0, parts.taken.clone());
    let moved = taken - parts.old.clone();
    let ratio = moved.clone().exp();
    let bounded = ratio
        .clone()
        .clamp(1.0 - config.clip_low, 1.0 + config.clip_high);
    let free = ratio * parts.advantages.clone();
    let held = bounded * parts.advantages.clone();
    let surrogate = free.clone().min_pair(held.clone());
    let weight = (parts.old.clone() - parts.behaviour.clone())
        .exp()
        .clamp_max(config.truncation);
    let episodes = parts.episodes.max(1) as f64;
    let gain = (surrogate * weight).sum().div_scalar(episodes);

    let terms =
        (log_probs.clone().exp() * log_probs).mask_fill(parts.present.clone().bool_not(), 0.0);
    let entropy = terms.sum().div_scalar(states.max(1) as f64).neg();
    let missing = entropy
        .clone()
        .neg()
        .add_scalar(config.entropy_floor)
        .clamp_min(0.0);
    let loss = gain.neg() + missing.mul_scalar(config.entropy_weight);
    Objective {
        loss,
        entropy: entropy.detach(),
        clipped: held.lower(free).float().mean().detach(),
        divergence: moved.neg().mean().detach(),
    }
}

#[cfg(test)]
#[path = "objective_tests.rs"]
mod tests;
