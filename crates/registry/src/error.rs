//! The crate's error.

use std::{io, path::PathBuf, time::Duration};

use maestro_core::CoreError;

/// What can go wrong between the port and etcd.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// A setting cannot be used.
    #[error("registry setting {field} {reason}")]
    Config {
        /// The setting.
        field: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A certificate or key cannot be read.
    #[error("registry setting tls: cannot read {}: {source}", file.display())]
    ReadTls {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// etcd cannot be reached, or failed.
    #[error("{operation} failed: {reason}")]
    Unavailable {
        /// What was tried.
        operation: &'static str,
        /// Why it failed.
        reason: String,
    },
    /// etcd did not answer in time.
    #[error("{operation} took longer than {after:?}")]
    Timeout {
        /// What was tried.
        operation: &'static str,
        /// The limit.
        after: Duration,
    },
    /// etcd refused this client: wrong user, missing permission, or a request it does not know.
    #[error("etcd refused {operation}: {reason}")]
    Refused {
        /// What was tried.
        operation: &'static str,
        /// Why it was refused.
        reason: String,
    },
    /// etcd has reached its quota and takes nothing more.
    #[error("etcd has no space left")]
    NoSpace,
    /// The lease of this process has ended.
    #[error("the lease has ended")]
    LeaseGone,
    /// What was to be watched is compacted: the registry has to be listed again.
    #[error("the watch fell behind the compaction at revision {0}")]
    Compacted(i64),
    /// A thread could not be started.
    #[error("the registry's thread could not be started: {0}")]
    Thread(#[from] io::Error),
}

impl From<RegistryError> for CoreError {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Config { field, reason } => Self::invalid(field, reason),
            RegistryError::Refused { .. } | RegistryError::ReadTls { .. } => {
                Self::FailedPrecondition(error.to_string())
            }
            RegistryError::Thread(_) => Self::Internal(error.to_string()),
            RegistryError::Unavailable { .. }
            | RegistryError::NoSpace
            | RegistryError::Timeout { .. }
            | RegistryError::LeaseGone
            | RegistryError::Compacted(_) => Self::Unavailable {
                what: "etcd",
                reason: error.to_string(),
            },
        }
    }
}

// Codes of gRPC. `etcd-client` shows tonic's statuses, which this crate needs for nothing else.
const INVALID_ARGUMENT: i32 = 3;
const NOT_FOUND: i32 = 5;
const PERMISSION_DENIED: i32 = 7;
const RESOURCE_EXHAUSTED: i32 = 8;
const UNIMPLEMENTED: i32 = 12;
const UNAUTHENTICATED: i32 = 16;

impl RegistryError {
    /// Sorts an error of the client into what can be done about it.
    pub(crate) fn from_etcd(operation: &'static str, error: &etcd_client::Error) -> Self {
        let reason = error.to_string();
        let code = match error {
            etcd_client::Error::GRpcStatus(status) => i32::from(status.code()),
            etcd_client::Error::LeaseKeepAliveError(text) if text.contains("not found") => {
                return Self::LeaseGone;
            }
            etcd_client::Error::InvalidArgs(_) | etcd_client::Error::InvalidUri(_) => {
                INVALID_ARGUMENT
            }
            _ => return Self::Unavailable { operation, reason },
        };
        match code {
            RESOURCE_EXHAUSTED if reason.contains("space exceeded") => Self::NoSpace,
            NOT_FOUND if reason.contains("lease not found") => Self::LeaseGone,
            INVALID_ARGUMENT | PERMISSION_DENIED | UNIMPLEMENTED | UNAUTHENTICATED => {
                Self::Refused { operation, reason }
            }
            _ => Self::Unavailable { operation, reason },
        }
    }
}
