//! The crate's error.

use std::path::PathBuf;

/// Why the service cannot start or serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunnerError {
    /// The configuration's file cannot be read.
    #[error("cannot read {path}: {source}")]
    ReadConfig {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The configuration is not well-formed or has a key that does not exist.
    #[error("{path}: {message}")]
    ParseConfig {
        /// The file.
        path: PathBuf,
        /// Where and why.
        message: String,
    },
    /// A setting cannot be used.
    #[error("{setting} {reason}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// The rule.
        reason: &'static str,
    },
    /// A skill of the library does not parse.
    #[error(transparent)]
    Skill(#[from] maestro_skills::SkillError),
    /// The registry cannot be reached.
    #[error(transparent)]
    Registry(#[from] maestro_registry::RegistryError),
    /// The server or a client of it.
    #[error(transparent)]
    Rpc(#[from] maestro_rpc::RpcError),
    /// Logs or metrics.
    #[error(transparent)]
    Telemetry(#[from] maestro_telemetry::TelemetryError),
}
