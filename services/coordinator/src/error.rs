//! The crate's error.

use maestro_core::CoreError;
use maestro_rpc::RpcError;

/// Why a coordinator cannot start or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CoordinatorError {
    /// A setting cannot be used.
    #[error("{setting} {reason}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// The actor system refused.
    #[error("actor {name}: {reason}")]
    Actor {
        /// Which actor.
        name: &'static str,
        /// Why.
        reason: String,
    },
    /// The durable journal.
    #[error(transparent)]
    Journal(#[from] maestro_registry::RegistryError),
    /// The store of trajectories.
    #[error(transparent)]
    Store(#[from] maestro_store::StoreError),
    /// A rule of the domain.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// Listening, connecting.
    #[error(transparent)]
    Rpc(#[from] RpcError),
}
