//! What can go wrong while text is read from an image.

use std::{path::PathBuf, time::Duration};

/// Failure of a text reader. The first five variants are faults of the installation (they repeat
/// on every call); the others belong to one call.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OcrError {
    /// A model file, a dictionary or a program is not where the configuration says.
    #[error("{what} not found at {}: run `maestro models pull`, or correct the path", path.display())]
    Missing {
        /// What was looked for, e.g. "text detection model".
        what: &'static str,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A model file exists but cannot be understood.
    #[error("cannot load the model {}: {reason}", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// The runtime's own words.
        reason: String,
    },
    /// The dictionary does not fit the classes that the recognition model puts out.
    #[error("the dictionary has {characters} characters, the model expects {expected}")]
    Dictionary {
        /// Characters in the dictionary, without blank and space.
        characters: usize,
        /// Characters that the model's last layer has room for.
        expected: usize,
    },
    /// A setting is out of its range.
    #[error("invalid setting {field}: {reason}")]
    Setting {
        /// Name of the configuration field.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The external program cannot be started.
    #[error("cannot run {program}: {reason}")]
    Program {
        /// The program as configured.
        program: String,
        /// The operating system's reason.
        reason: String,
    },
    /// The network failed on this input.
    #[error("inference failed: {0}")]
    Inference(String),
    /// The image has no pixels, or more than the reader takes.
    #[error("image of {width} × {height} pixels cannot be read: {reason}")]
    Image {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// Which limit it breaks.
        reason: &'static str,
    },
    /// The external program did not finish in time and was killed.
    #[error("no result after {0:?}")]
    Timeout(Duration),
    /// The external program ended with an error.
    #[error("{program} failed ({status}): {message}")]
    Failed {
        /// The program as configured.
        program: String,
        /// Its exit status.
        status: String,
        /// The end of what it wrote to its standard error.
        message: String,
    },
    /// The external program's output breaks its format or its size limit.
    #[error("unusable output: {0}")]
    Output(String),
}
