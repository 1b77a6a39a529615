//! Settings: a YAML file, then environment variables and flags on top of it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::Parser;
use maestro_registry::EtcdConfig;
use maestro_rpc::{BlobClientConfig, PoolConfig, RouterConfig, ServeConfig};
use maestro_telemetry::TracingConfig;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::{error::RunnerError, runner::RunnerConfig};

/// What a process serves with, whichever way it got its registry and its blobs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How the server listens.
    pub serve: ServeConfig,
    /// How experts are called.
    pub router: RouterConfig,
    /// Connections to them.
    pub pool: PoolConfig,
    /// Limits of the runs.
    pub runner: RunnerConfig,
}

impl Config {
    /// Checks what no type rules out.
    ///
    /// # Errors
    /// [`RunnerError::Setting`] naming the setting.
    pub fn validate(&self) -> Result<(), RunnerError> {
        let positive = [
            (
                "runner.max_concurrent_runs",
                u64::from(self.runner.max_concurrent_runs),
            ),
            ("runner.max_cached_skills", self.runner.max_cached_skills),
        ];
        for (setting, value) in positive {
            if value == 0 {
                return Err(RunnerError::Setting {
                    setting,
                    reason: "must be at least 1",
                });
            }
        }
        Ok(())
    }
}

/// Where blobs are fetched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BlobsConfig {
    /// Servers of `maestro.v1.BlobService`, at least one.
    pub endpoints: Vec<Url>,
    /// How they are called.
    pub client: BlobClientConfig,
}

/// Settings of the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// Runs skills on behalf of coordinators.
#[derive(Clone, Debug, Default, Parser)]
#[command(name = "maestro-skill-runner", version)]
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
}

impl Arguments {
    /// Reads the file, if one is named, and puts the flags on top.
    ///
    /// # Errors
    /// A file that cannot be read, an unknown key, or a setting that breaks a rule.
    pub fn load(self) -> Result<ProcessConfig, RunnerError> {
        let mut config = match &self.config {
            Some(path) => read(path)?,
            None => ProcessConfig::default(),
        };
        if let Some(listen) = self.listen {
            config.service.serve.listen = listen;
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
        if config.blobs.endpoints.is_empty() {
            let reason = "must name at least one server of blobs (--blobs)";
            return Err(RunnerError::Setting {
                setting: "blobs.endpoints",
                reason,
            });
        }
        Ok(config)
    }
}

fn read(path: &Path) -> Result<ProcessConfig, RunnerError> {
    let text = std::fs::read_to_string(path).map_err(|source| RunnerError::ReadConfig {
        path: path.to_owned(),
        source,
    })?;
    serde_saphyr::from_str(&text).map_err(|error| RunnerError::ParseConfig {
        path: path.to_owned(),
        message: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(yaml: &str, flags: &[&str]) -> Result<ProcessConfig, RunnerError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), yaml).unwrap();
        let path = file.path().to_str().unwrap();
        let arguments = ["maestro-skill-runner", "--config", path];
        Arguments::try_parse_from(arguments.iter().chain(flags))
            .unwrap()
            .load()
    }

    #[test]
    fn flags_stand_above_the_file() {
        let yaml =
            "service: {runner: {max_concurrent_runs: 7}}\netcd: {endpoints: ['http://a:1']}\n";
        let flags = ["--etcd", "http://b:1,http://c:1", "--blobs", "http://d:2"];
        let config = load(yaml, &flags).unwrap();
        assert_eq!(config.service.runner.max_concurrent_runs, 7);
        assert_eq!(config.etcd.endpoints, ["http://b:1", "http://c:1"]);
        assert_eq!(config.blobs.endpoints.len(), 1);
    }

    #[test]
    fn bad_settings_are_named() {
        let blobs = ["--blobs", "http://d:2"];
        let error = |yaml, flags: &[&str]| load(yaml, flags).unwrap_err().to_string();
        assert!(error("service: {runer: {}}\n", &blobs).contains("runer"));
        assert!(
            error("service: {runner: {max_concurrent_runs: 0}}\n", &blobs)
                .contains("max_concurrent_runs")
        );
        assert!(error("{}\n", &[]).contains("blobs.endpoints"));
    }
}
