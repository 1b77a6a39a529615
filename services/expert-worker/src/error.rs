//! The crate's error.

use maestro_core::CoreError;
use maestro_registry::RegistryError;
use maestro_rpc::RpcError;
use maestro_store::StoreError;
use maestro_telemetry::TelemetryError;

use crate::backend::BackendKind;

/// Why an expert worker cannot start, or an expert cannot be brought into service.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExpertWorkerError {
    /// The configuration cannot be read.
    #[error("configuration {path}: {reason}")]
    Config {
        /// The file.
        path: String,
        /// What is wrong with it, with its line.
        reason: String,
    },
    /// A setting cannot be used.
    #[error("{field} {reason}")]
    Setting {
        /// The setting.
        field: &'static str,
        /// The rule that it breaks.
        reason: String,
    },
    /// No backend is of this kind.
    #[error("backend.kind {kind:?} is none of {known}")]
    UnknownKind {
        /// The kind as written.
        kind: String,
        /// The kinds that there are.
        known: String,
    },
    /// A backend cannot be built or warmed up.
    #[error("backend {}: {reason}", kind.name())]
    Backend {
        /// Its kind.
        kind: BackendKind,
        /// What is wrong.
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

impl ExpertWorkerError {
    pub(crate) fn backend(kind: BackendKind, reason: impl Into<String>) -> Self {
        Self::Backend {
            kind,
            reason: reason.into(),
        }
    }
}
