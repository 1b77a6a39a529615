//! The crate's error.

use maestro_core::CoreError;
use maestro_rpc::RpcError;

use crate::backend::BackendKind;

/// Why an expert worker cannot start, or an expert cannot be brought into service.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExpertWorkerError {
    /// A file of descriptors cannot be read.
    #[error("{path}: {reason}")]
    Catalogue {
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
}

impl ExpertWorkerError {
    pub(crate) fn backend(kind: BackendKind, reason: impl Into<String>) -> Self {
        Self::Backend {
            kind,
            reason: reason.into(),
        }
    }
}
