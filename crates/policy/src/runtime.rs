//! What all policies of a process share.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use maestro_core::registry::Snapshot;
use maestro_models::{DeviceSetting, TextEmbedder};
use serde::{Deserialize, Serialize};

use crate::{embeddings::Embeddings, error::PolicyError, prepared::Prepared};

/// How a policy serves. Not part of its version.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServingConfig {
    /// Divides the logits before the softmax: below 1 sharpens, above 1 flattens.
    pub temperature: f32,
    /// Decisions that are sampled although the most probable action was asked for.
    pub explore: ExploreConfig,
}

/// Exploration of greedy decisions. Other policies can be judged from episodes only where the one
/// that served sometimes did something else ([`maestro_core::off_policy`]).
///
/// With probability `share` a decision is a sample, else the most probable action: an ε-greedy
/// policy whose ε part is a softmax. Every decision is drawn on its own rather than whole episodes,
/// so that the probability of what was done is that of this mixture at each step, and an episode
/// with one unusual decision goes on as usual.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExploreConfig {
    /// Share of the greedy decisions that are sampled, 0 to 1.
    pub share: f64,
    /// Divides the logits of these samples: a trained policy is often so sure that a sample at 1
    /// is hardly ever anything else.
    pub temperature: f32,
}

impl Default for ExploreConfig {
    fn default() -> Self {
        Self {
            share: 0.0,
            temperature: 1.0,
        }
    }
}

impl Default for ServingConfig {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            explore: ExploreConfig::default(),
        }
    }
}

impl ServingConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// [`PolicyError::Config`] naming the setting.
    pub fn validate(&self) -> Result<(), PolicyError> {
        let temperatures = [
            ("temperature", self.temperature),
            ("explore.temperature", self.explore.temperature),
        ];
        for (field, temperature) in temperatures {
            if !(temperature.is_finite() && temperature > 0.0) {
                let reason = format!("is {temperature}; must be finite and more than 0");
                return Err(PolicyError::Config { field, reason });
            }
        }
        if !(0.0..=1.0).contains(&self.explore.share) {
            return Err(PolicyError::Config {
                field: "explore.share",
                reason: format!("is {}; must be 0 to 1", self.explore.share),
            });
        }
        Ok(())
    }
}

/// The device and the embedder that all policies of a process share.
#[derive(Clone)]
pub struct Runtime {
    pub(crate) device: Device,
    device_name: String,
    pub(crate) embedder: Arc<dyn TextEmbedder>,
    pub(crate) serving: ServingConfig,
}

impl Runtime {
    /// Opens the device.
    ///
    /// # Errors
    /// [`PolicyError::Model`] where this build does not have it, [`PolicyError::Config`].
    pub fn open(
        device: DeviceSetting,
        embedder: Arc<dyn TextEmbedder>,
        serving: ServingConfig,
    ) -> Result<Self, PolicyError> {
        serving.validate()?;
        Ok(Self {
            device: device.open()?,
            device_name: device.to_string(),
            embedder,
            serving,
        })
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The device as configured.
    pub fn device_name(&self) -> &str {
        &self.device_name
    }

    /// What embeds questions and descriptions.
    pub fn embedder(&self) -> &Arc<dyn TextEmbedder> {
        &self.embedder
    }

    /// Vectors, one after the other, as a matrix on the device.
    pub fn table(&self, vectors: Vec<f32>) -> Tensor<2> {
        let dim = self.embedder.dim().max(1);
        let rows = vectors.len() / dim;
        Tensor::from_data(TensorData::new(vectors, [rows, dim]), &self.device)
    }

    /// Makes a snapshot ready for decisions.
    pub fn prepare(&self, snapshot: Arc<Snapshot>, embeddings: Embeddings) -> Prepared {
        Prepared::new(snapshot, embeddings, &self.device)
    }
}
