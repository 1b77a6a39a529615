//! Settings of the coordinator.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Parser;
use maestro_registry::EtcdConfig;
use maestro_rpc::{BlobLimits, ClientConfig, PoolConfig, RouterConfig, ServeConfig};
use maestro_store::StoreConfig;
use maestro_telemetry::TracingConfig;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::{admission::ImageLimits, error::CoordinatorError};

/// Settings of a coordinator process. Unknown keys are refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessConfig {
    /// The service.
    pub service: CoordinatorConfig,
    /// The registry.
    pub etcd: EtcdConfig,
    /// The blob store.
    pub store: StoreConfig,
    /// Where `/metrics` is served; absent: nowhere.
    #[serde(default)]
    pub metrics: Option<SocketAddr>,
    /// The log.
    #[serde(default)]
    pub log: TracingConfig,
}

/// Takes tasks, runs their episodes, keeps the registry's front door.
#[derive(Clone, Debug, Parser)]
#[command(name = "maestro-coordinator", version)]
pub struct Arguments {
    /// Settings in YAML.
    #[arg(long, env = "MAESTRO_CONFIG")]
    pub config: PathBuf,
    /// Address to listen on, instead of the file's.
    #[arg(long, env = "MAESTRO_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// Address of /metrics, instead of the file's.
    #[arg(long, env = "MAESTRO_METRICS")]
    pub metrics: Option<SocketAddr>,
}

impl Arguments {
    /// Reads the file and puts the flags on top.
    ///
    /// # Errors
    /// [`CoordinatorError::Config`] with what is wrong and where.
    pub fn load(self) -> Result<ProcessConfig, CoordinatorError> {
        let mut config = read(&self.config)?;
        if let Some(listen) = self.listen {
            config.service.serve.listen = listen;
        }
        config.metrics = self.metrics.or(config.metrics);
        Ok(config)
    }
}

fn read(path: &Path) -> Result<ProcessConfig, CoordinatorError> {
    let error = |reason: String| CoordinatorError::Config {
        path: path.display().to_string(),
        reason,
    };
    let text = std::fs::read_to_string(path).map_err(|e| error(e.to_string()))?;
    serde_saphyr::from_str(&text).map_err(|e| error(e.to_string()))
}

/// Settings of the coordinator, wherever it runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoordinatorConfig {
    /// Where and how it serves.
    #[serde(default)]
    pub serve: ServeConfig,
    /// Policy workers, at least one.
    pub policy_workers: Vec<Url>,
    /// Skill runners, at least one.
    pub skill_runners: Vec<Url>,
    /// How policy workers are called.
    #[serde(default)]
    pub policy_client: ClientConfig,
    /// How skill runners are called.
    #[serde(default)]
    pub skill_client: ClientConfig,
    /// How experts are called under direct skills.
    #[serde(default)]
    pub experts: RouterConfig,
    /// Connections to experts.
    #[serde(default)]
    pub expert_connections: PoolConfig,
    /// Episodes at once and how they are kept.
    #[serde(default)]
    pub episodes: EpisodeConfig,
    /// Images that clients may send.
    #[serde(default)]
    pub images: ImageLimits,
    /// Uploads that clients may make.
    #[serde(default)]
    pub blobs: BlobLimits,
}

impl CoordinatorConfig {
    /// The default settings with these workers.
    pub fn new(policy_workers: Vec<Url>, skill_runners: Vec<Url>) -> Self {
        Self {
            serve: ServeConfig::default(),
            policy_workers,
            skill_runners,
            policy_client: ClientConfig::default(),
            skill_client: ClientConfig::default(),
            experts: RouterConfig::default(),
            expert_connections: PoolConfig::default(),
            episodes: EpisodeConfig::default(),
            images: ImageLimits::default(),
            blobs: BlobLimits::default(),
        }
    }
}

/// Bounds on episodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EpisodeConfig {
    /// Most episodes at once. A further one is refused with RESOURCE_EXHAUSTED.
    pub max_running: usize,
    /// When a refused client may try again, in milliseconds.
    pub retry_after_ms: u64,
    /// Most finished episodes kept for `GetEpisode`; the oldest goes first.
    pub max_finished: usize,
    /// Longest time of one decision, in milliseconds.
    pub decide_timeout_ms: u64,
    /// How long to wait for the registry to catch up with a decision that names a newer revision,
    /// in milliseconds.
    pub catch_up_ms: u64,
}

impl Default for EpisodeConfig {
    fn default() -> Self {
        Self {
            max_running: 1024,
            retry_after_ms: 250,
            max_finished: 10_000,
            decide_timeout_ms: 10_000,
            catch_up_ms: 1_000,
        }
    }
}

impl EpisodeConfig {
    /// Longest time of one decision.
    pub fn decide_timeout(&self) -> Duration {
        Duration::from_millis(self.decide_timeout_ms)
    }

    /// How long to wait for the registry to catch up.
    pub fn catch_up(&self) -> Duration {
        Duration::from_millis(self.catch_up_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(yaml: &str, flags: &[&str]) -> Result<ProcessConfig, CoordinatorError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), yaml).unwrap();
        let path = file.path().to_str().unwrap();
        let start = ["maestro-coordinator", "--config", path];
        Arguments::try_parse_from(start.iter().chain(flags))
            .unwrap()
            .load()
    }

    const GOOD: &str = "etcd: {endpoints: ['http://a:1']}\nstore: {url: 'memory:///'}\n\
        service:\n  policy_workers: ['http://p:1']\n  skill_runners: ['http://s:1']\n";

    #[test]
    fn flags_stand_above_the_file() {
        let config = load(
            GOOD,
            &["--listen", "127.0.0.1:9", "--metrics", "127.0.0.1:8"],
        )
        .unwrap();
        assert_eq!(config.service.serve.listen.port(), 9);
        assert_eq!(config.metrics.map(|address| address.port()), Some(8));
    }

    #[test]
    fn unknown_keys_and_malformed_files_are_refused() {
        let unknown = load(&GOOD.replace("skill_runners", "skill_runner"), &[]).unwrap_err();
        assert!(unknown.to_string().contains("skill_runner"), "{unknown}");
        let malformed = load("service: [", &[]).unwrap_err();
        assert!(
            malformed.to_string().contains("configuration"),
            "{malformed}"
        );
    }
}
