//! Runs programs that nobody vouches for.
//!
//! A run is a process of its own: the launcher (this very executable) starts with the hidden
//! command `sandbox`, confines itself for good and becomes the interpreter. Layers, outermost first:
//!
//! 1. resource limits: processor, address space, file size, open files, no core;
//! 2. Landlock: its scratch folder to write, the interpreter's files to read, nothing else;
//! 3. no capabilities and no way to gain any;
//! 4. seccomp: a list of system calls. No socket, no second process, no signal to others;
//! 5. the parent: time and output are cut, the process group is killed, the folder removed.
//!
//! None of it needs a privilege, a namespace or a cgroup. `docs/sandbox.md` says what each stops.

mod child;
mod config;
mod error;
mod files;
mod filter;
mod interpreter;
mod process;

use std::{
    collections::BTreeSet,
    path::Path,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use maestro_telemetry::{Gauge, Histogram, Label};
use tokio::sync::{Semaphore, oneshot};

use self::{child::Confinement, interpreter::Runtime};
pub use self::{
    child::enter,
    config::{Layer, Limits, SandboxConfig},
    error::SandboxError,
};

/// Permits of programs.
const PROGRAMS: Label<'static> = Label::Resource("sandbox_programs");

/// A program and what it is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// Its text, in Python.
    pub source: String,
    /// What it reads.
    pub stdin: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Longest time of it, where that is less than the sandbox's own limit.
    pub timeout: Option<Duration>,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself.
    Code(i32),
    /// By a signal that it or the kernel sent.
    Signal(i32),
    /// Its time was up: the clock's or the processor's.
    TimedOut,
    /// It wrote more than is kept.
    TooMuchOutput,
}

impl Exit {
    /// Its name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Code(0) => "ok",
            Self::Code(_) => "error",
            Self::Signal(_) => "signal",
            Self::TimedOut => "timeout",
            Self::TooMuchOutput => "output",
        }
    }
}

/// What a program did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    /// How it ended.
    pub exit: Exit,
    /// What it wrote, up to the limit; bytes that are no UTF-8 are replaced.
    pub stdout: String,
    /// Likewise.
    pub stderr: String,
    /// Whether either is cut.
    pub truncated: bool,
    /// Time from its start to its end.
    pub wall: Duration,
}

/// Runs programs, a bounded number at once.
#[derive(Clone, Debug)]
pub struct Sandbox {
    config: Arc<SandboxConfig>,
    runtime: Arc<Runtime>,
    layers: Vec<Layer>,
    permits: Arc<Semaphore>,
}

/// The layers that this kernel has.
pub fn layers() -> BTreeSet<Layer> {
    let has = |layer: &Layer| match layer {
        Layer::Landlock => files::available(),
        Layer::Seccomp => child::has_seccomp(Path::new("/proc/self/status")),
    };
    Layer::ALL.into_iter().filter(has).collect()
}

/// Whether this kernel has every layer.
pub fn complete() -> bool {
    layers().len() == Layer::ALL.len()
}

impl Sandbox {
    /// Looks at the kernel and asks the interpreter where its files are.
    ///
    /// # Errors
    /// [`SandboxError::MissingLayer`] or [`SandboxError::Interpreter`].
    pub async fn open(config: SandboxConfig) -> Result<Self, SandboxError> {
        let layers = check_layers(&config, &layers())?;
        let runtime = Runtime::discover(config.interpreter.as_deref()).await?;
        let most = u32::try_from(config.max_concurrent).unwrap_or(u32::MAX);
        Gauge::PermitsLimit.set(f64::from(most), &[PROGRAMS]);
        Ok(Self {
            runtime: Arc::new(runtime),
            layers,
            permits: Arc::new(Semaphore::new(config.max_concurrent)),
            config: Arc::new(config),
        })
    }

    /// Runs a program. Dropping the future kills it; process and folder are gone soon after.
    ///
    /// # Errors
    /// [`SandboxError::Full`], or why it could not be begun. A program that fails is a value.
    pub async fn run(&self, program: Program) -> Result<Execution, SandboxError> {
        let full = |_| SandboxError::Full(self.config.max_concurrent);
        let permit = Arc::clone(&self.permits)
            .try_acquire_owned()
            .map_err(full)?;
        // A task of its own, so that the cleaning up is not dropped half done with the caller.
        let (cancel, cancelled) = oneshot::channel();
        let sandbox = self.clone();
        let work = tokio::spawn(async move {
            let _permit = permit;
            let _counted = Gauge::PermitsInUse.hold(&[PROGRAMS]);
            let began = Instant::now();
            let result = sandbox.execute(program, cancelled).await;
            let outcome = result.as_ref().map_or("failed", |done| done.exit.name());
            Histogram::SandboxRunDuration
                .record_duration(began.elapsed(), &[Label::Outcome(outcome)]);
            result
        });
        let result = work.await;
        drop(cancel);
        result.map_err(|error| SandboxError::Setup(error.to_string()))?
    }

    async fn execute(
        &self,
        program: Program,
        cancelled: oneshot::Receiver<()>,
    ) -> Result<Execution, SandboxError> {
        let mut folder = tempfile::Builder::new();
        folder.prefix("maestro-sandbox-");
        let folder = match &self.config.scratch {
            Some(parent) => folder.tempdir_in(parent),
            None => folder.tempdir(),
        }
        .map_err(SandboxError::io("scratch folder"))?;
        let scratch = folder.path().join("work");
        let script = scratch.join("main.py");
        let report = folder.path().join("report");
        std::fs::create_dir(&scratch).map_err(SandboxError::io("scratch folder"))?;
        std::fs::write(&script, &program.source).map_err(SandboxError::io("program"))?;
        let limits = self.config.limits;
        let confinement = Confinement {
            scratch: scratch.clone(),
            script,
            report: report.clone(),
            arguments: program.arguments,
            runtime: Runtime::clone(&self.runtime),
            limits,
            layers: self.layers.clone(),
        };
        let json = serde_json::to_string(&confinement)
            .map_err(|error| SandboxError::Setup(error.to_string()))?;
        let mut command = tokio::process::Command::new(&self.config.launcher);
        command
            .args([child::COMMAND, &json])
            .env_clear()
            .current_dir(&scratch)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let child = command.spawn().map_err(SandboxError::io("launcher"))?;
        let most = Duration::from_millis(limits.wall_ms);
        let timeout = program.timeout.map_or(most, |wanted| wanted.min(most));
        let result = process::supervise(child, program.stdin, limits, timeout, cancelled).await;
        let reason = std::fs::read_to_string(&report)
            .map_err(|_| SandboxError::Setup("the launcher is no such program".to_owned()))?;
        folder.close().map_err(SandboxError::io("scratch folder"))?;
        if !reason.is_empty() {
            return Err(SandboxError::Setup(reason));
        }
        result
    }
}

/// The layers that are used; also shows them as metrics.
fn check_layers(
    config: &SandboxConfig,
    there: &BTreeSet<Layer>,
) -> Result<Vec<Layer>, SandboxError> {
    for layer in Layer::ALL {
        let enabled = f64::from(u8::from(there.contains(&layer)));
        Gauge::SandboxLayer.set(enabled, &[Label::Layer(layer.name())]);
        if there.contains(&layer) {
            continue;
        }
        if !config.allow_missing_layers.contains(&layer) {
            return Err(SandboxError::MissingLayer(layer));
        }
        tracing::warn!(layer = layer.name(), "the sandbox goes without a layer");
    }
    Ok(there.iter().copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_layer_is_refused_unless_allowed() {
        let mut config = SandboxConfig::default();
        let seccomp = BTreeSet::from([Layer::Seccomp]);
        assert!(matches!(
            check_layers(&config, &seccomp),
            Err(SandboxError::MissingLayer(Layer::Landlock))
        ));
        config.allow_missing_layers = vec![Layer::Landlock];
        assert_eq!(check_layers(&config, &seccomp).unwrap(), [Layer::Seccomp]);
        assert!(check_layers(&config, &BTreeSet::new()).is_err());
    }
}
