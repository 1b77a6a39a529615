//! Settings of the sandbox.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A layer that the kernel must offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// Which files are there at all.
    Landlock,
    /// Which system calls are there at all.
    Seccomp,
}

impl Layer {
    /// Every layer.
    pub const ALL: [Self; 2] = [Self::Landlock, Self::Seccomp];

    /// Its name in settings and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
        }
    }
}

/// What one program may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Processor time, in seconds.
    pub cpu_seconds: u64,
    /// Time from start to end, in milliseconds.
    pub wall_ms: u64,
    /// Address space, in bytes.
    pub memory_bytes: u64,
    /// Longest file that it writes, in bytes.
    pub file_bytes: u64,
    /// Most files open at once.
    pub open_files: u64,
    /// Most bytes kept of each of its two streams of output; one more byte ends it.
    pub output_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cpu_seconds: 10,
            wall_ms: 15_000,
            memory_bytes: 256 << 20,
            file_bytes: 16 << 20,
            open_files: 64,
            output_bytes: 64 << 10,
        }
    }
}

/// How programs are run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SandboxConfig {
    /// Without it, `run` steps fail and nothing is asked of the kernel.
    pub enabled: bool,
    /// Layers that the service starts without where the kernel lacks them.
    pub allow_missing_layers: Vec<Layer>,
    /// The Python interpreter; absent: `/usr/bin/python3`, else the first one on `PATH`.
    pub interpreter: Option<PathBuf>,
    /// The program that confines itself and becomes the interpreter: this one, unless it is
    /// embedded in a program without that command.
    pub launcher: PathBuf,
    /// Where scratch folders are made; absent: the system's folder for temporary files.
    pub scratch: Option<PathBuf>,
    /// Most programs at once; a further one is refused as overloaded.
    pub max_concurrent: usize,
    /// What each may use.
    pub limits: Limits,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            allow_missing_layers: Vec::new(),
            interpreter: None,
            launcher: PathBuf::from("/proc/self/exe"),
            scratch: None,
            max_concurrent: 4,
            limits: Limits::default(),
        }
    }
}
