use std::{io, path::PathBuf};

use maestro_core::episode::{Failure, FailureKind};

use super::Layer;

/// Why a program could not be run. What the program itself does wrong is no error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// The kernel lacks a layer that the settings do not let go.
    #[error(
        "the kernel lacks {}, and sandbox.allow_missing_layers does not name it", .0.name()
    )]
    MissingLayer(Layer),
    /// No interpreter, or one that does not say where its files are.
    #[error("interpreter {path}: {reason}", path = .path.display())]
    Interpreter {
        /// Where it was looked for.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// As many programs run as may.
    #[error("{0} programs are under way")]
    Full(usize),
    /// The process could not confine itself, so the program was not begun.
    #[error("the sandbox was not set up: {0}")]
    Setup(String),
    /// A file or process of the sandbox.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

impl SandboxError {
    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}

impl From<SandboxError> for Failure {
    fn from(error: SandboxError) -> Self {
        let kind = match error {
            SandboxError::Full(_) => FailureKind::Overloaded,
            _ => FailureKind::Unavailable,
        };
        Self::new(kind, format!("sandbox: {error}"))
    }
}
