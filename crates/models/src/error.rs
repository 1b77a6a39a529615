//! The crate's one error type.

use std::path::{Path, PathBuf};

/// What can go wrong when a model is loaded or run.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A model file cannot be read.
    #[error("cannot read model file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A checkpoint's `config.json` is malformed or describes a network that is not supported.
    #[error("bad model configuration: {reason}")]
    Config {
        /// What is wrong with it.
        reason: String,
    },
    /// Weights do not fit the network: missing, left over, of another shape, or unreadable.
    #[error("bad model weights: {reason}")]
    Weights {
        /// What is wrong with them.
        reason: String,
    },
    /// A tokenizer cannot be built, or refuses a text.
    #[error("tokenizer: {reason}")]
    Tokenizer {
        /// What it says.
        reason: String,
    },
    /// A static token table's file is malformed.
    #[error("bad static table: {reason}")]
    Table {
        /// What is wrong with it.
        reason: String,
    },
    /// The `device` setting names no device.
    #[error("unknown device `{setting}` (expected cpu, vulkan[:N], cuda[:N] or rocm[:N])")]
    UnknownDevice {
        /// The setting as given.
        setting: String,
    },
    /// The device exists, but this binary was built without it.
    #[error("device `{device}` needs a build with the cargo feature `{feature}`")]
    DeviceNotBuilt {
        /// The setting as given.
        device: String,
        /// The cargo feature that brings it.
        feature: &'static str,
    },
    /// The binary could use the device, but this machine has none.
    #[error(
        "device `{device}` is not here: Vulkan lists {found} adapters (is the driver installed, \
         and in a container the GPU passed in?)"
    )]
    DeviceMissing {
        /// The setting as given.
        device: String,
        /// How many adapters there are of any kind.
        found: usize,
    },
    /// The device failed while computing.
    #[error("computation failed: {reason}")]
    Execution {
        /// What the backend says.
        reason: String,
    },
}

impl ModelError {
    pub(crate) fn config(reason: &(impl ToString + ?Sized)) -> Self {
        Self::Config {
            reason: reason.to_string(),
        }
    }

    pub(crate) fn weights(reason: &(impl ToString + ?Sized)) -> Self {
        Self::Weights {
            reason: reason.to_string(),
        }
    }

    pub(crate) fn tokenizer(reason: &(impl ToString + ?Sized)) -> Self {
        Self::Tokenizer {
            reason: reason.to_string(),
        }
    }

    pub(crate) fn table(reason: &(impl ToString + ?Sized)) -> Self {
        Self::Table {
            reason: reason.to_string(),
        }
    }
}

/// Reads a whole file; the error names it.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, ModelError> {
    std::fs::read(path).map_err(|source| ModelError::Read {
        path: path.to_owned(),
        source,
    })
}
