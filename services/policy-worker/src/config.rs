//! Settings of the policy worker.

use std::{path::PathBuf, sync::Arc, time::Duration};

use maestro_models::{DeviceSetting, SentenceEncoder, StaticTable, TextEmbedder};
use maestro_policy::{ScorerConfig, ServingConfig};
use maestro_rpc::ServeConfig;
use serde::{Deserialize, Serialize};

use crate::error::WorkerError;

/// What embeds questions and descriptions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum EncoderSetting {
    /// The token table that comes with the program: microseconds a text.
    #[default]
    Static,
    /// A sentence encoder in a folder with `config.json`, `tokenizer.json` and
    /// `model.safetensors`: milliseconds a text.
    Minilm(PathBuf),
}

impl EncoderSetting {
    /// Loads it. Takes up to seconds: call it off the runtime's threads.
    ///
    /// # Errors
    /// A missing or damaged file, or a device that this build does not have.
    pub fn load(&self, device: DeviceSetting) -> Result<Arc<dyn TextEmbedder>, WorkerError> {
        Ok(match self {
            Self::Static => Arc::new(StaticTable::bundled()?),
            Self::Minilm(folder) => Arc::new(SentenceEncoder::load(folder, &device.open()?)?),
        })
    }
}

/// How requests are put together for one forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchingConfig {
    /// Most decisions of one pass.
    pub max_batch: usize,
    /// How long the first request waits for others, in microseconds; 0 takes what is there.
    pub max_wait_us: u64,
    /// Most requests that wait. A further one is refused with `RESOURCE_EXHAUSTED`.
    pub queue: usize,
}

impl Default for BatchingConfig {
    fn default() -> Self {
        Self {
            max_batch: 32,
            max_wait_us: 0,
            queue: 1024,
        }
    }
}

impl BatchingConfig {
    /// How long the first request waits for others.
    pub fn max_wait(&self) -> Duration {
        Duration::from_micros(self.max_wait_us)
    }
}

/// The policy of a slot that the registry gives none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Builtin {
    /// The trained one that comes with the program; the untrained one with an encoder that it was
    /// not trained for.
    #[default]
    Shipped,
    /// The untrained one: similarity of descriptions and confidence of answers decide.
    Untrained,
}

/// The policy before any training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UntrainedConfig {
    /// Confidence from which an answer is taken, 0 to 1.
    pub accept_confidence: f32,
    /// Logits for one unit of similarity.
    pub similarity_scale: f32,
}

impl Default for UntrainedConfig {
    fn default() -> Self {
        let ScorerConfig {
            accept_confidence,
            similarity_scale,
            ..
        } = ScorerConfig::new(1);
        Self {
            accept_confidence,
            similarity_scale,
        }
    }
}

impl UntrainedConfig {
    /// The network for text vectors of length `dim`.
    pub fn scorer(&self, dim: usize) -> ScorerConfig {
        ScorerConfig {
            accept_confidence: self.accept_confidence,
            similarity_scale: self.similarity_scale,
            ..ScorerConfig::new(dim)
        }
    }
}

/// What a worker serves with, whichever way it got its registry and its blobs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How the server listens.
    pub serve: ServeConfig,
    /// Where inference runs: `cpu`, `vulkan[:N]`, `cuda[:N]`, `rocm[:N]`.
    pub device: String,
    /// What embeds texts.
    pub encoder: EncoderSetting,
    /// How requests are batched.
    pub batching: BatchingConfig,
    /// How the distribution is used.
    pub sampling: ServingConfig,
    /// The policy of slots that have none.
    pub builtin: Builtin,
    /// The untrained policy.
    pub untrained: UntrainedConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            serve: ServeConfig::default(),
            device: DeviceSetting::default().to_string(),
            encoder: EncoderSetting::default(),
            batching: BatchingConfig::default(),
            sampling: ServingConfig::default(),
            builtin: Builtin::default(),
            untrained: UntrainedConfig::default(),
        }
    }
}

impl Config {
    /// The device setting, parsed.
    ///
    /// # Errors
    /// [`WorkerError::Model`] for one that names no device.
    pub fn device(&self) -> Result<DeviceSetting, WorkerError> {
        Ok(self.device.parse()?)
    }

    /// Checks what no type rules out.
    ///
    /// # Errors
    /// The setting and its rule.
    pub fn validate(&self) -> Result<(), WorkerError> {
        self.device()?;
        let counts = [
            ("batching.max_batch", self.batching.max_batch, 4096),
            ("batching.queue", self.batching.queue, 1 << 20),
        ];
        for (setting, value, most) in counts {
            if !(1..=most).contains(&value) {
                let reason = format!("is {value}; must be 1 to {most}");
                return Err(WorkerError::Setting { setting, reason });
            }
        }
        if self.batching.max_wait_us > 100_000 {
            return Err(WorkerError::Setting {
                setting: "batching.max_wait_us",
                reason: format!("is {}; must be at most 100000", self.batching.max_wait_us),
            });
        }
        self.sampling.validate()?;
        self.untrained.scorer(1).validate()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Result<Config, String> {
        let config: Config = serde_saphyr::from_str(yaml).map_err(|error| error.to_string())?;
        config.validate().map_err(|error| error.to_string())?;
        Ok(config)
    }

    #[test]
    fn settings_are_read() {
        let config = read(
            "{device: 'vulkan:1', encoder: {minilm: models/minilm}, batching: {max_wait_us: 200}}",
        )
        .unwrap();
        assert_eq!(config.device().unwrap(), DeviceSetting::Vulkan(Some(1)));
        assert_eq!(config.batching.max_wait(), Duration::from_micros(200));
        assert_eq!(
            config.encoder,
            EncoderSetting::Minilm("models/minilm".into())
        );
        assert_eq!(read("{encoder: static}").unwrap(), Config::default());
    }

    #[test]
    fn bad_settings_are_named() {
        let error = |yaml: &str| read(yaml).unwrap_err();
        assert!(error("{batchin: {}}").contains("batchin"));
        assert!(error("{batching: {max_batch: 0}}").contains("max_batch"));
        assert!(error("{batching: {max_wait_us: 1000000}}").contains("max_wait_us"));
        assert!(error("{device: gpu}").contains("gpu"));
        assert!(error("{sampling: {temperature: 0}}").contains("temperature"));
        assert!(error("{sampling: {explore: {share: 2}}}").contains("explore.share"));
        assert!(error("{sampling: {explore: {temperature: 0}}}").contains("explore.temperature"));
        assert!(error("{untrained: {accept_confidence: 1.5}}").contains("accept_confidence"));
    }
}
