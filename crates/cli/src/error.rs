use std::path::PathBuf;

use maestro_core::CoreError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CliError {
    /// A file cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file says something that it must not.
    #[error("{path}: {reason}", path = path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its line where known.
        reason: String,
    },
    /// An argument breaks a rule.
    #[error("{argument}: {reason}")]
    Argument {
        /// The argument.
        argument: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Maestro answered with an error.
    #[error("{0}")]
    Remote(#[from] CoreError),
    /// The connection or the server failed.
    #[error("{0}")]
    Rpc(#[from] maestro_rpc::RpcError),
    /// A part of the local installation did not start.
    #[error("{part}: {reason}")]
    Start {
        /// Which part.
        part: &'static str,
        /// Why.
        reason: String,
    },
    /// A model could not be pulled.
    #[error("model {model}: {reason}")]
    Model {
        /// The model.
        model: String,
        /// Why.
        reason: String,
    },
    /// A policy could not be trained, read or run.
    #[error(transparent)]
    Policy(#[from] maestro_policy::PolicyError),
    /// The report could not be made.
    #[error("report: {0}")]
    Report(String),
    /// The measurement could not be made.
    #[error("benchmark: {0}")]
    Bench(String),
    /// Policies cannot be compared.
    #[error("compare: {0}")]
    Compare(String),
    /// The findings of a check, already printed.
    #[error("{0} error(s) found")]
    Findings(usize),
    /// The result cannot be written as JSON.
    #[error("output: {0}")]
    Json(#[from] serde_json::Error),
}

impl CliError {
    /// A file error.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }

    /// A start error from any displayable reason.
    pub(crate) fn start(part: &'static str) -> impl FnOnce(String) -> Self {
        move |reason| Self::Start { part, reason }
    }
}

impl From<tonic::Status> for CliError {
    fn from(status: tonic::Status) -> Self {
        Self::Remote(maestro_rpc::from_status(&status))
    }
}
