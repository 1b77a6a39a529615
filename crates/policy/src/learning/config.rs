use maestro_core::task::{DEFAULT_STEPS, MAX_STEPS};
use serde::{Deserialize, Serialize};

use super::{
    advantage::Advantage, objective::ObjectiveConfig, rewording::RewordingConfig,
    scenario::ScenarioConfig,
};
use crate::{error::PolicyError, scorer::ScorerConfig};

/// How a policy is updated.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LearnerConfig {
    /// Decides all that is random.
    pub seed: u64,
    /// Updates of the acting policy.
    pub iterations: u64,
    /// Groups of an iteration.
    pub groups: usize,
    /// Episodes of a group.
    pub group_size: usize,
    /// Passes over the episodes of an iteration.
    pub epochs: usize,
    /// Groups of one step of the optimiser.
    pub minibatch: usize,
    /// How the episodes of a group are compared.
    pub advantage: Advantage,
    /// Whether groups that say nothing are replaced by others, up to three times as many as are
    /// wanted (DAPO's dynamic sampling).
    pub dynamic_sampling: bool,
    /// Updates by which an episode's policy may be older than the trained one; older episodes are
    /// left out.
    pub max_staleness: u64,
    /// The objective.
    pub objective: ObjectiveConfig,
    /// Step size of AdamW, falling to a tenth along a cosine.
    pub learning_rate: f64,
    /// Decoupled weight decay of AdamW.
    pub weight_decay: f64,
    /// Largest norm of all gradients together.
    pub max_gradient_norm: f64,
}

impl Default for LearnerConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            iterations: 300,
            groups: 64,
            group_size: 8,
            epochs: 2,
            minibatch: 32,
            advantage: Advantage::default(),
            dynamic_sampling: true,
            max_staleness: 4,
            objective: ObjectiveConfig::default(),
            learning_rate: 2e-3,
            weight_decay: 1e-2,
            max_gradient_norm: 1.0,
        }
    }
}

impl LearnerConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// [`PolicyError::Config`] naming the setting.
    pub fn validate(&self) -> Result<(), PolicyError> {
        let counts = [
            ("groups", self.groups, 1, 1 << 16),
            ("group_size", self.group_size, 2, 1024),
            ("epochs", self.epochs, 1, 64),
            ("minibatch", self.minibatch, 1, 1 << 16),
        ];
        for (field, value, least, most) in counts {
            if !(least..=most).contains(&value) {
                let reason = format!("is {value}; must be {least} to {most}");
                return Err(PolicyError::Config { field, reason });
            }
        }
        let numbers = [
            ("learning_rate", self.learning_rate, 1.0),
            ("weight_decay", self.weight_decay, 1.0),
            ("max_gradient_norm", self.max_gradient_norm, 1e6),
        ];
        for (field, value, most) in numbers {
            if !(0.0..=most).contains(&value) {
                let reason = format!("is {value}; must be 0 to {most}");
                return Err(PolicyError::Config { field, reason });
            }
        }
        self.objective.validate()
    }

    /// Step size of an iteration: a cosine from the whole to a tenth (Loshchilov and Hutter, arXiv
    /// 1608.03983, equation 5).
    pub fn learning_rate_at(&self, iteration: u64) -> f64 {
        let progress = iteration as f64 / self.iterations.max(1) as f64;
        let fall = 0.5 * (1.0 + (std::f64::consts::PI * progress.min(1.0)).cos());
        self.learning_rate * (0.1 + 0.9 * fall)
    }
}

/// Shape of the network, and where it starts: see [`ScorerConfig`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScorerShape {
    /// Rank of each bilinear form.
    pub rank: usize,
    /// Bilinear forms beside the dot product.
    pub forms: usize,
    /// Width of the perceptron.
    pub hidden: usize,
    /// Confidence from which the untrained policy takes an answer.
    pub accept_confidence: f32,
    /// Logits of the untrained policy for one unit of similarity.
    pub similarity_scale: f32,
    /// Size of the forms at the start.
    pub form_scale: f32,
}

impl Default for ScorerShape {
    fn default() -> Self {
        let scorer = ScorerConfig::new(1);
        Self {
            rank: scorer.rank,
            forms: scorer.forms,
            hidden: scorer.hidden,
            accept_confidence: scorer.accept_confidence,
            similarity_scale: scorer.similarity_scale,
            form_scale: scorer.form_scale,
        }
    }
}

impl ScorerShape {
    /// The network for text vectors of length `dim`.
    pub fn config(&self, dim: usize, seed: u64) -> ScorerConfig {
        ScorerConfig {
            dim,
            rank: self.rank,
            forms: self.forms,
            hidden: self.hidden,
            accept_confidence: self.accept_confidence,
            similarity_scale: self.similarity_scale,
            form_scale: self.form_scale,
            seed,
        }
    }
}

/// Everything that decides a training run but its data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainingConfig {
    /// The network.
    pub scorer: ScorerShape,
    /// The updates.
    pub learner: LearnerConfig,
    /// What varies from group to group.
    pub scenario: ScenarioConfig,
    /// How texts are varied.
    pub rewording: RewordingConfig,
    /// Most decisions of an episode.
    pub max_steps: u32,
    /// Every how many iterations the policy is validated; 0 is never.
    pub validate_every: u64,
    /// Every how many iterations a checkpoint is written; 0 is at the end only.
    pub checkpoint_every: u64,
}

impl Default for TrainingConfig {
    fn default() -> Self {
        Self {
            scorer: ScorerShape::default(),
            learner: LearnerConfig::default(),
            scenario: ScenarioConfig::default(),
            rewording: RewordingConfig::default(),
            max_steps: DEFAULT_STEPS,
            validate_every: 10,
            checkpoint_every: 50,
        }
    }
}

impl TrainingConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// [`PolicyError::Config`] naming the setting.
    pub fn validate(&self) -> Result<(), PolicyError> {
        if !(2..=MAX_STEPS).contains(&self.max_steps) {
            return Err(PolicyError::Config {
                field: "max_steps",
                reason: format!("is {}; must be 2 to {MAX_STEPS}", self.max_steps),
            });
        }
        self.scorer.config(1, 0).validate()?;
        self.learner.validate()?;
        self.scenario.validate()?;
        self.rewording.validate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_size_falls_to_a_tenth() {
        let config = LearnerConfig {
            iterations: 100,
            learning_rate: 1.0,
            ..LearnerConfig::default()
        };
        assert!((config.learning_rate_at(0) - 1.0).abs() < 1e-12);
        assert!((config.learning_rate_at(50) - 0.55).abs() < 1e-12);
        assert!((config.learning_rate_at(100) - 0.1).abs() < 1e-12);
        assert!((config.learning_rate_at(1000) - 0.1).abs() < 1e-12);
    }

    #[test]
    fn bad_settings_are_named() {
        let bad = |change: fn(&mut LearnerConfig)| {
            let mut config = LearnerConfig::default();
            change(&mut config);
            config.validate().unwrap_err().to_string()
        };
        assert!(bad(|c| c.group_size = 1).contains("group_size"));
        assert!(bad(|c| c.learning_rate = f64::NAN).contains("learning_rate"));
        assert!(bad(|c| c.objective.clip_low = 2.0).contains("clip_low"));
        assert!(TrainingConfig::default().validate().is_ok());
    }
}
