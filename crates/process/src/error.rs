use std::{io, path::PathBuf};

use maestro_registry::RegistryError;
use maestro_rpc::RpcError;
use maestro_store::StoreError;
use maestro_telemetry::TelemetryError;

/// Why a process cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// The file of settings cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    ReadConfig {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file of settings is not what it should be.
    #[error("{}: {message}", path.display())]
    ParseConfig {
        /// The file.
        path: PathBuf,
        /// What is wrong and where.
        message: String,
    },
    /// A setting breaks a rule.
    #[error("setting {setting} {reason}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// The rule.
        reason: String,
    },
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The blob store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Listening, connecting, signals.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// Logs and metrics.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The asynchronous runtime cannot be started.
    #[error("runtime: {0}")]
    Runtime(io::Error),
    /// The service itself.
    #[error(transparent)]
    Service(Box<dyn std::error::Error + Send + Sync>),
}

impl ProcessError {
    /// Wraps an error of the service.
    pub fn service(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Service(Box::new(error))
    }
}
