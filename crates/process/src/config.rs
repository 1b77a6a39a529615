//! Settings: a YAML file, then environment variables and flags on top of it.

use std::{
    env,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use clap::{Parser, Subcommand};
use maestro_registry::{Credentials, EtcdConfig};
use maestro_rpc::BlobClientConfig;
use maestro_store::StoreConfig;
use maestro_telemetry::{OtlpConfig, TracingConfig};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use url::Url;

use crate::{Program, error::ProcessError};

/// Where blobs are: behind servers of them, or in a store that this process opens itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum BlobSource {
    /// Servers of `maestro.v1.BlobService`, such as the coordinators.
    Remote {
        /// At least one.
        endpoints: Vec<Url>,
        /// How they are called.
        #[serde(default)]
        client: BlobClientConfig,
    },
    /// The store itself.
    Store(StoreConfig),
}

/// Settings of a process around those of its service.
#[derive(Clone, Debug, PartialEq)]
pub struct Config<S> {
    /// The service's own.
    pub service: S,
    /// The registry.
    pub etcd: EtcdConfig,
    /// The blobs.
    pub blobs: BlobSource,
    /// Where `/metrics` is served; absent: nowhere.
    pub metrics: Option<SocketAddr>,
    /// The log.
    pub log: TracingConfig,
    /// Where spans are sent; absent: nowhere.
    pub otlp: Option<OtlpConfig>,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default, bound = "S: DeserializeOwned + Default")]
struct File<S> {
    service: S,
    etcd: EtcdConfig,
    blobs: Option<BlobSource>,
    metrics: Option<SocketAddr>,
    log: TracingConfig,
    otlp: Option<OtlpConfig>,
}

impl<S: Default> Default for File<S> {
    fn default() -> Self {
        Self {
            service: S::default(),
            etcd: EtcdConfig::new(["http://127.0.0.1:2379"]),
            blobs: None,
            metrics: None,
            log: TracingConfig::default(),
            otlp: None,
        }
    }
}

/// Flags of every service process.
#[derive(Clone, Debug, Default, Parser)]
#[command(version)]
pub struct Arguments {
    /// Settings in YAML.
    #[arg(long, env = "MAESTRO_CONFIG", global = true)]
    pub config: Option<PathBuf>,
    /// Address to listen on.
    #[arg(long, env = "MAESTRO_LISTEN", global = true)]
    pub listen: Option<SocketAddr>,
    /// Where others reach it, where that is not the address it listens on.
    #[arg(long, env = "MAESTRO_ADVERTISE")]
    pub advertise: Option<Url>,
    /// Address of /metrics.
    #[arg(long, env = "MAESTRO_METRICS")]
    pub metrics: Option<SocketAddr>,
    /// Members of the etcd cluster, separated by commas.
    #[arg(long, env = "MAESTRO_ETCD", value_delimiter = ',')]
    pub etcd: Vec<String>,
    /// User of etcd, whose password is in MAESTRO_ETCD_PASSWORD.
    #[arg(long, env = "MAESTRO_ETCD_USER")]
    pub etcd_user: Option<String>,
    /// Servers of blobs, separated by commas.
    #[arg(long, env = "MAESTRO_BLOBS", value_delimiter = ',')]
    pub blobs: Vec<Url>,
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What a service's executable does beside serving.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Ask the process that listens on the configured address whether it serves (exit status 0).
    Health {
        /// Longest wait, in milliseconds.
        #[arg(long, default_value_t = 1000)]
        timeout_ms: u64,
        /// Ask the server at this URL instead.
        #[arg(long)]
        target: Option<Url>,
    },
    /// Wait and do nothing, as a hook before a container is stopped does.
    Pause {
        /// How long, in milliseconds.
        #[arg(long)]
        ms: u64,
    },
}

impl Arguments {
    /// Reads the file, if one is named, and puts the flags on top.
    ///
    /// # Errors
    /// A file that cannot be read, an unknown key, or a setting that breaks a rule.
    pub fn load<P: Program>(self) -> Result<(Option<Command>, Config<P::Config>), ProcessError> {
        // Not a flag: every process of a host can read those of the others.
        self.load_with::<P>(env::var("MAESTRO_ETCD_PASSWORD").ok())
    }

    fn load_with<P: Program>(
        self,
        etcd_password: Option<String>,
    ) -> Result<(Option<Command>, Config<P::Config>), ProcessError> {
        let mut file: File<P::Config> = match &self.config {
            Some(path) => read(path)?,
            None => File::default(),
        };
        if let Some(listen) = self.listen {
            P::serve(&mut file.service).listen = listen;
        }
        if let Some(url) = self.advertise {
            P::advertise(&mut file.service, url)?;
        }
        if !self.etcd.is_empty() {
            file.etcd.endpoints = self.etcd;
        }
        if let Some(name) = self.etcd_user {
            let password = etcd_password.ok_or_else(|| ProcessError::Setting {
                setting: "etcd-user",
                reason: "needs its password in MAESTRO_ETCD_PASSWORD".to_owned(),
            })?;
            file.etcd.user = Some(Credentials { name, password });
        }
        if !self.blobs.is_empty() {
            file.blobs = Some(BlobSource::Remote {
                endpoints: self.blobs,
                client: BlobClientConfig::default(),
            });
        }
        let blobs = match file.blobs {
            Some(BlobSource::Remote { endpoints, .. }) if endpoints.is_empty() => {
                return Err(ProcessError::Setting {
                    setting: "blobs.remote.endpoints",
                    reason: "must name at least one server of blobs".to_owned(),
                });
            }
            Some(blobs) => blobs,
            // Probes know where the service listens and need no more.
            None if self.command.is_some() => BlobSource::Remote {
                endpoints: Vec::new(),
                client: BlobClientConfig::default(),
            },
            None => {
                return Err(ProcessError::Setting {
                    setting: "blobs",
                    reason: "must name a store, or servers of blobs (--blobs)".to_owned(),
                });
            }
        };
        if self.command.is_none() {
            P::validate(&file.service)?;
            file.etcd.validate()?;
        }
        let config = Config {
            service: file.service,
            etcd: file.etcd,
            blobs,
            metrics: self.metrics.or(file.metrics),
            log: file.log,
            otlp: file.otlp,
        };
        Ok((self.command, config))
    }
}

fn read<S: DeserializeOwned + Default>(path: &Path) -> Result<File<S>, ProcessError> {
    let text = std::fs::read_to_string(path).map_err(|source| ProcessError::ReadConfig {
        path: path.to_owned(),
        source,
    })?;
    serde_saphyr::from_str(&text).map_err(|error| ProcessError::ParseConfig {
        path: path.to_owned(),
        message: error.to_string(),
    })
}

/// The address under which a listener is reached from its own host.
pub(crate) fn reachable(listen: SocketAddr) -> String {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, listen.port()))
}

#[cfg(test)]
mod tests;
