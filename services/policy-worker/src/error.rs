use std::{io, path::PathBuf};

use maestro_models::ModelError;
use maestro_policy::PolicyError;
use maestro_registry::RegistryError;
use maestro_rpc::RpcError;
use maestro_store::StoreError;
use maestro_telemetry::TelemetryError;

/// Why the worker cannot start or go on. What befalls a single decision is a
/// [`maestro_core::episode::Failure`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// A setting breaks a rule.
    #[error("setting {setting} {reason}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// The rule.
        reason: String,
    },
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
    /// The encoder or the device cannot be used.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The policy cannot be built.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The registry cannot be used.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The blob store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The server cannot serve.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// Metrics or logs cannot be set up.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The inference thread cannot be started.
    #[error("the inference thread could not be started: {0}")]
    Thread(io::Error),
    /// Building the worker was cut off.
    #[error("the worker was stopped while it started")]
    Stopped,
}
