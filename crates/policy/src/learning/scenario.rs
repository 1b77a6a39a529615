use std::collections::BTreeSet;

use maestro_core::{reward::RewardWeights, task::Weights};
use serde::{Deserialize, Serialize};

use crate::{
    error::PolicyError,
    random::SplitMix,
    replay::{Absent, ReplayTask},
};

/// What varies from group to group, so that a policy learns to read the registry and the user's
/// weights instead of learning one of them by heart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScenarioConfig {
    /// Share of the groups in which entries are missing.
    pub dropout: f64,
    /// Chance of each expert to be missing in such a group.
    pub expert_dropout: f64,
    /// Chance of each skill to be missing in such a group.
    pub skill_dropout: f64,
    /// Share of the groups in which the user weighs cost and latency too.
    pub weighing: f64,
    /// What an answer is worth to everybody, whatever the user's weights.
    pub reward: RewardWeights,
    /// US dollars at which an answer is worth half to a user who weighs cost like accuracy.
    pub cost_unit: f64,
    /// Seconds at which an answer is worth half to a user who weighs latency like accuracy.
    pub latency_unit: f64,
}

impl Default for ScenarioConfig {
    fn default() -> Self {
        Self {
            dropout: 0.5,
            expert_dropout: 0.3,
            skill_dropout: 0.2,
            weighing: 0.3,
            reward: RewardWeights {
                cost: 0.0,
                latency: 0.02,
                format: true,
            },
            cost_unit: 0.001,
            latency_unit: 5.0,
        }
    }
}

impl ScenarioConfig {
    pub(super) fn validate(&self) -> Result<(), PolicyError> {
        let shares = [
            ("dropout", self.dropout),
            ("expert_dropout", self.expert_dropout),
            ("skill_dropout", self.skill_dropout),
            ("weighing", self.weighing),
        ];
        for (field, share) in shares {
            if !(0.0..=1.0).contains(&share) {
                let reason = format!("is {share}; must be 0 to 1");
                return Err(PolicyError::Config { field, reason });
            }
        }
        for (field, unit) in [
            ("cost_unit", self.cost_unit),
            ("latency_unit", self.latency_unit),
        ] {
            if !(unit.is_finite() && unit > 0.0) {
                let reason = format!("is {unit}; must be more than 0");
                return Err(PolicyError::Config { field, reason });
            }
        }
        self.reward.validate().map_err(|error| PolicyError::Config {
            field: "reward",
            reason: error.to_string(),
        })
    }

    /// The reward of a user's weights.
    pub fn reward_of(&self, weights: &Weights) -> RewardWeights {
        let accuracy = f64::from(weights.accuracy).max(1e-3);
        RewardWeights {
            cost: self.reward.cost + f64::from(weights.cost) / accuracy / self.cost_unit,
            latency: self.reward.latency
                + f64::from(weights.latency) / accuracy / self.latency_unit,
            format: self.reward.format,
        }
    }

    /// The user's weights of the group of a seed: see [`GroupRequest`](super::GroupRequest).
    pub fn weights_of(&self, seed: u64) -> Weights {
        self.draw_weights(&mut SplitMix::keyed(&[seed, 0]))
    }

    /// The user's weights of a group: accuracy alone, or with cost and latency up to as much.
    pub(super) fn draw_weights(&self, random: &mut SplitMix) -> Weights {
        if !random.chance(self.weighing) {
            return Weights::default();
        }
        let mut weigh = || {
            if random.chance(0.3) {
                0.0
            } else {
                random.uniform() as f32
            }
        };
        Weights {
            accuracy: 1.0,
            cost: weigh(),
            latency: weigh(),
        }
    }

    /// The entries that a group does without. At least two calls of the task remain where it has
    /// so many: with one there is nothing to choose.
    pub(super) fn draw_absent(&self, task: &ReplayTask, random: &mut SplitMix) -> Absent {
        if !random.chance(self.dropout) {
            return Absent::default();
        }
        let experts: BTreeSet<usize> = task.calls.iter().map(|call| call.expert).collect();
        let skills: BTreeSet<usize> = task.calls.iter().map(|call| call.skill).collect();
        let mut pick = |entries: BTreeSet<usize>, chance: f64| -> Vec<usize> {
            entries
                .into_iter()
                .filter(|_| random.chance(chance))
                .collect()
        };
        let absent = Absent {
            experts: pick(experts, self.expert_dropout),
            skills: pick(skills, self.skill_dropout),
        };
        let left = task
            .calls
            .iter()
            .filter(|call| !absent.covers(call))
            .count();
        if left < task.calls.len().min(2) {
            return Absent::default();
        }
        absent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::{
        Terms, World,
        tests::{answered, recording},
    };

    #[test]
    fn something_to_choose_from_always_remains() {
        let calls = vec![
            answered("fast", "7", 0.4, 300),
            answered("good", "7", 0.9, 3000),
        ];
        let world = World::new(recording(calls), &Terms::default()).unwrap();
        let config = ScenarioConfig {
            dropout: 1.0,
            expert_dropout: 0.9,
            skill_dropout: 0.9,
            ..ScenarioConfig::default()
        };
        let task = &world.tasks()[0];
        for seed in 0..200 {
            let absent = config.draw_absent(task, &mut SplitMix::new(seed));
            let left = task.calls.iter().filter(|call| !absent.covers(call));
            assert!(left.count() >= 2);
        }
    }

    #[test]
    fn equal_weights_halve_the_worth_at_one_unit() {
        let config = ScenarioConfig {
            cost_unit: 0.01,
            reward: RewardWeights::default(),
            ..ScenarioConfig::default()
        };
        let weights = Weights {
            accuracy: 1.0,
            cost: 1.0,
            latency: 0.0,
        };
        let reward = maestro_core::reward::Reward::new(
            1.0,
            true,
            maestro_core::MicroUsd(10_000),
            std::time::Duration::ZERO,
            &config.reward_of(&weights),
        );
        assert!((reward.total() - 0.5).abs() < 1e-9);
    }
}
