//! What all policies of a process share.

use std::sync::Arc;

use burn::tensor::Device;
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
}

impl Default for ServingConfig {
    fn default() -> Self {
        Self { temperature: 1.0 }
    }
}

impl ServingConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// [`PolicyError::Config`] naming the setting.
    pub fn validate(&self) -> Result<(), PolicyError> {
        if self.temperature.is_finite() && self.temperature > 0.0 {
            return Ok(());
        }
        Err(PolicyError::Config {
            field: "temperature",
            reason: format!("is {}; must be finite and more than 0", self.temperature),
        })
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

    /// The device as configured.
    pub fn device_name(&self) -> &str {
        &self.device_name
    }

    /// What embeds questions and descriptions.
    pub fn embedder(&self) -> &Arc<dyn TextEmbedder> {
        &self.embedder
    }

    /// Makes a snapshot ready for decisions.
    pub fn prepare(&self, snapshot: Arc<Snapshot>, embeddings: Embeddings) -> Prepared {
        Prepared::new(snapshot, embeddings, &self.device)
    }
}
