//! The crate's error.

use std::time::Duration;

use maestro_core::{CoreError, Digest};

/// What can go wrong between the ports and the object store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A setting cannot be used.
    #[error("store setting {field} {reason}")]
    Config {
        /// The setting.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no blob of this digest.
    #[error("blob {0} not found")]
    NotFound(Digest),
    /// What is stored is not what its name says.
    #[error("blob {digest} is damaged: {reason}")]
    Damaged {
        /// Under which name it is stored.
        digest: Digest,
        /// How it differs.
        reason: String,
    },
    /// The content is larger than allowed.
    #[error("content is larger than {limit} bytes")]
    TooLarge {
        /// Largest content in bytes.
        limit: u64,
    },
    /// The content is not what the client announced.
    #[error("content has the digest {actual}, announced was {announced}")]
    Mismatch {
        /// What the client said.
        announced: Digest,
        /// What the content has.
        actual: Digest,
    },
    /// The object store did not answer in time.
    #[error("{operation} took longer than {after:?}")]
    Timeout {
        /// What was tried.
        operation: &'static str,
        /// The limit.
        after: Duration,
    },
    /// The object store failed.
    #[error("{operation} failed: {source}")]
    Backend {
        /// What was tried.
        operation: &'static str,
        /// Why it failed.
        source: object_store::Error,
    },
    /// A blocking task of this process was cut off, as at shutdown.
    #[error("{0} was cut off")]
    CutOff(&'static str),
    /// A file of episodes cannot be read.
    #[error("the file of episodes {path} is damaged: {reason}")]
    DamagedFile {
        /// Where it stands.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Episodes could not be made into a file.
    #[error("episodes could not be made into a file: {0}")]
    Unwritable(String),
    /// The stream of an upload failed.
    #[error(transparent)]
    Source(CoreError),
}

impl StoreError {
    pub(crate) fn config(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Config {
            field,
            reason: reason.into(),
        }
    }
}

impl From<&StoreError> for CoreError {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::Config { field, reason } => Self::invalid(*field, reason.clone()),
            StoreError::NotFound(digest) => Self::NotFound {
                kind: "blob",
                name: digest.to_string(),
            },
            StoreError::Damaged { .. } | StoreError::DamagedFile { .. } => {
                Self::DataLoss(error.to_string())
            }
            StoreError::Unwritable(_) => Self::Internal(error.to_string()),
            StoreError::TooLarge { limit } => {
                Self::invalid("content", format!("must be at most {limit} bytes"))
            }
            StoreError::Mismatch { .. } => Self::invalid("digest", error.to_string()),
            StoreError::Timeout { .. } | StoreError::Backend { .. } | StoreError::CutOff(_) => {
                Self::Unavailable {
                    what: "blob store",
                    reason: error.to_string(),
                }
            }
            StoreError::Source(source) => source.clone(),
        }
    }
}

impl From<StoreError> for CoreError {
    fn from(error: StoreError) -> Self {
        Self::from(&error)
    }
}
