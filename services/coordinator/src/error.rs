//! The crate's error.

use maestro_core::CoreError;
use maestro_registry::RegistryError;
use maestro_rpc::RpcError;
use maestro_store::StoreError;
use maestro_telemetry::TelemetryError;

/// Why a coordinator cannot start or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CoordinatorError {
    /// The configuration cannot be read.
    #[error("configuration {path}: {reason}")]
    Config {
        /// The file.
        path: String,
        /// What is wrong with it, with its line.
        reason: String,
    },
    /// The actor system refused.
    #[error("actor {name}: {reason}")]
    Actor {
        /// Which actor.
        name: &'static str,
        /// Why.
        reason: String,
    },
    /// A rule of the domain.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// Listening, connecting.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The blob store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Logs and metrics.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
}
