//! Settings: a YAML file, then environment variables and flags on top of it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::Parser;
use maestro_models::{DeviceSetting, SentenceEncoder, StaticTable, TextEmbedder};
use maestro_policy::{ScorerConfig, ServingConfig};
use maestro_registry::EtcdConfig;
use maestro_rpc::{BlobClientConfig, ServeConfig};
use maestro_store::StoreConfig;
use maestro_telemetry::TracingConfig;
use serde::{Deserialize, Serialize};
use url::Url;

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

/// Where policies are fetched: from the servers of blobs, or straight from the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BlobsConfig {
    /// Servers of `maestro.v1.BlobService`.
    pub endpoints: Vec<Url>,
    /// How they are called.
    pub client: BlobClientConfig,
    /// The store, instead of servers.
    pub store: Option<StoreConfig>,
}

/// Settings of the process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProcessConfig {
    /// The service.
    pub service: Config,
    /// The registry.
    pub etcd: EtcdConfig,
    /// The blob store.
    pub blobs: BlobsConfig,
    /// Where `/metrics` is served; absent: nowhere.
    pub metrics: Option<SocketAddr>,
    /// The log.
    pub log: TracingConfig,
}

impl Default for ProcessConfig {
    fn default() -> Self {
        Self {
            service: Config::default(),
            etcd: EtcdConfig::new(["http://127.0.0.1:2379"]),
            blobs: BlobsConfig::default(),
            metrics: None,
            log: TracingConfig::default(),
        }
    }
}

/// Decides the next action of episodes on behalf of coordinators.
#[derive(Clone, Debug, Default, Parser)]
#[command(name = "maestro-policy-worker", version)]
pub struct Arguments {
    /// Settings in YAML.
    #[arg(long, env = "MAESTRO_CONFIG")]
    pub config: Option<PathBuf>,
    /// Address to listen on.
    #[arg(long, env = "MAESTRO_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// Address of /metrics.
    #[arg(long, env = "MAESTRO_METRICS")]
    pub metrics: Option<SocketAddr>,
    /// Members of the etcd cluster, separated by commas.
    #[arg(long, env = "MAESTRO_ETCD", value_delimiter = ',')]
    pub etcd: Vec<String>,
    /// Coordinators that serve blobs, separated by commas.
    #[arg(long, env = "MAESTRO_BLOBS", value_delimiter = ',')]
    pub blobs: Vec<Url>,
    /// Where inference runs: cpu, vulkan, cuda or rocm, with `:N` for a further device.
    #[arg(long, env = "MAESTRO_DEVICE")]
    pub device: Option<String>,
}

impl Arguments {
    /// Reads the file, if one is named, and puts the flags on top.
    ///
    /// # Errors
    /// A file that cannot be read, an unknown key, or a setting that breaks a rule.
    pub fn load(self) -> Result<ProcessConfig, WorkerError> {
        let mut config = match &self.config {
            Some(path) => read(path)?,
            None => ProcessConfig::default(),
        };
        if let Some(listen) = self.listen {
            config.service.serve.listen = listen;
        }
        if let Some(device) = self.device {
            config.service.device = device;
        }
        if self.metrics.is_some() {
            config.metrics = self.metrics;
        }
        if !self.etcd.is_empty() {
            config.etcd.endpoints = self.etcd;
        }
        if !self.blobs.is_empty() {
            config.blobs.endpoints = self.blobs;
        }
        config.service.validate()?;
        config.etcd.validate()?;
        if config.blobs.endpoints.is_empty() == config.blobs.store.is_none() {
            return Err(WorkerError::Setting {
                setting: "blobs",
                reason: "must name either servers of blobs (--blobs) or a store".into(),
            });
        }
        Ok(config)
    }
}

fn read(path: &Path) -> Result<ProcessConfig, WorkerError> {
    let text = std::fs::read_to_string(path).map_err(|source| WorkerError::ReadConfig {
        path: path.to_owned(),
        source,
    })?;
    serde_saphyr::from_str(&text).map_err(|error| WorkerError::ParseConfig {
        path: path.to_owned(),
        message: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(yaml: &str, flags: &[&str]) -> Result<ProcessConfig, WorkerError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), yaml).unwrap();
        let path = file.path().to_str().unwrap();
        let arguments = ["maestro-policy-worker", "--config", path];
        Arguments::try_parse_from(arguments.iter().chain(flags))
            .unwrap()
            .load()
    }

    #[test]
    fn flags_stand_above_the_file() {
        let yaml = "service: {device: 'vulkan:1', encoder: {minilm: models/minilm}, \
                    batching: {max_wait_us: 200}}\nblobs: {store: {url: 'memory://'}}\n";
        let config = load(yaml, &["--device", "cpu", "--etcd", "http://b:1"]).unwrap();
        assert_eq!(config.service.device().unwrap(), DeviceSetting::Cpu);
        assert_eq!(
            config.service.batching.max_wait(),
            Duration::from_micros(200)
        );
        assert_eq!(
            config.service.encoder,
            EncoderSetting::Minilm("models/minilm".into())
        );
        assert_eq!(config.etcd.endpoints, ["http://b:1"]);
        let yaml = "service: {encoder: static}\n";
        let config = load(yaml, &["--blobs", "http://c:1"]).unwrap();
        assert_eq!(config.service, Config::default());
    }

    #[test]
    fn bad_settings_are_named() {
        let error = |yaml: &str| {
            load(yaml, &["--blobs", "http://c:1"])
                .unwrap_err()
                .to_string()
        };
        assert!(error("service: {batchin: {}}\n").contains("batchin"));
        assert!(error("service: {batching: {max_batch: 0}}\n").contains("max_batch"));
        assert!(error("service: {batching: {max_wait_us: 1000000}}\n").contains("max_wait_us"));
        assert!(error("service: {device: gpu}\n").contains("gpu"));
        assert!(error("service: {sampling: {temperature: 0}}\n").contains("temperature"));
        assert!(
            error("service: {untrained: {accept_confidence: 1.5}}\n").contains("accept_confidence")
        );
        let both = error("blobs: {store: {url: 'memory://'}}\n");
        assert!(both.contains("either"), "{both}");
        assert!(load("{}\n", &[]).unwrap_err().to_string().contains("blobs"));
    }
}
