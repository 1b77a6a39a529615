use maestro_models::ModelError;

/// What can go wrong when a policy is made, loaded or run. That no action can be chosen is no
/// error but a [`maestro_core::episode::Failure`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A text cannot be embedded, or the device cannot be used.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A setting cannot be used.
    #[error("policy setting {field} {reason}")]
    Config {
        /// The setting.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A manifest is not one of a policy that this crate can run.
    #[error("bad policy manifest: {0}")]
    Manifest(String),
    /// Weights do not fit the network that the manifest describes.
    #[error("bad policy weights: {0}")]
    Weights(String),
    /// The network failed.
    #[error("policy computation failed: {0}")]
    Execution(String),
    /// A policy's folder or a checkpoint cannot be written or read.
    #[error("{}: {reason}", folder.display())]
    Folder {
        /// Where it is.
        folder: std::path::PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A trace cannot be read.
    #[error("bad trace: {0}")]
    Trace(&'static str),
}
