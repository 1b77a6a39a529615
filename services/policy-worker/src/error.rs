use std::io;

use maestro_models::ModelError;
use maestro_policy::PolicyError;
use maestro_rpc::RpcError;

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
    /// The encoder or the device cannot be used.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The policy cannot be built.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The server cannot serve.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// The inference thread cannot be started.
    #[error("the inference thread could not be started: {0}")]
    Thread(io::Error),
    /// Building the worker was cut off.
    #[error("the worker was stopped while it started")]
    Stopped,
}
