use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use url::Url;

/// How long a process may take until it serves.
const READY_TIMEOUT: Duration = Duration::from_secs(120);

/// Why the sandbox cannot do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// A file or a process.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// An environment variable that the test needs.
    #[error("{0} is not set; `make test` sets it")]
    Setting(&'static str),
    /// A process ended or said nothing in time. Its last lines follow.
    #[error("{name} never served:\n{log}")]
    NotReady {
        /// Which process.
        name: String,
        /// The end of its log.
        log: String,
    },
    /// Something did not happen in time.
    #[error("waited in vain for {0}")]
    Timeout(String),
    /// Maestro answered with an error.
    #[error(transparent)]
    Core(#[from] maestro_core::CoreError),
    /// The registry.
    #[error(transparent)]
    Registry(#[from] maestro_registry::RegistryError),
    /// A connection.
    #[error(transparent)]
    Rpc(#[from] maestro_rpc::RpcError),
}

pub(crate) fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> SandboxError {
    let what = what.into();
    move |source| SandboxError::Io { what, source }
}

/// A program of the workspace. Tests lie in `target/PROFILE/deps`, programs one folder up.
///
/// # Errors
/// Where the test's own path is unknown.
pub fn binary(name: &str) -> Result<PathBuf, SandboxError> {
    let test = std::env::current_exe().map_err(io_error("this test's path"))?;
    let folder = test.parent().and_then(Path::parent).map(Path::to_path_buf);
    Ok(folder.unwrap_or_default().join(name))
}

/// A process of the sandbox. Dropping it kills it.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    /// Where it serves, if it said so.
    pub address: Option<Url>,
    /// Where it serves `/metrics`, if it was told to.
    pub metrics: Option<Url>,
}

impl Process {
    /// Starts a process; its standard error goes to a file in `folder`.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn spawn(name: &str, mut command: Command, folder: &Path) -> Result<Self, SandboxError> {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log).map_err(io_error(log.display().to_string()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file)
            .spawn()
            .map_err(io_error(format!("starting {name}")))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
            address: None,
            metrics: None,
        })
    }

    /// Starts a process and waits for its line `ready ADDRESS`.
    ///
    /// # Errors
    /// [`SandboxError::NotReady`] with the end of its log.
    pub fn serve(name: &str, command: Command, folder: &Path) -> Result<Self, SandboxError> {
        let mut process = Self::spawn(name, command, folder)?;
        let output = process.child.stdout.take();
        let (sender, lines) = mpsc::channel();
        // Ends with the process, whose output it reads to the end.
        std::thread::spawn(move || {
            let Some(output) = output else { return };
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let until = Instant::now() + READY_TIMEOUT;
        while process.address.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            match lines.recv_timeout(left) {
                Ok(line) => {
                    process.address = line
                        .strip_prefix("ready ")
                        .and_then(|address| address.parse().ok());
                }
                Err(_) => {
                    return Err(SandboxError::NotReady {
                        name: name.into(),
                        log: process.log(),
                    });
                }
            }
        }
        Ok(process)
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Its whole log.
    pub fn full_log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// Where the process is gone.
    pub fn signal(&self, signal: Signal) -> Result<(), SandboxError> {
        let pid = i32::try_from(self.child.id()).unwrap_or(i32::MAX);
        kill(Pid::from_raw(pid), signal)
            .map_err(|errno| io_error(format!("{signal} to {}", self.name))(errno.into()))
    }

    /// Sends SIGTERM and waits for the end; returns whether it ended well.
    ///
    /// # Errors
    /// [`SandboxError::Timeout`] where it goes on for `limit`.
    pub fn terminate(&mut self, limit: Duration) -> Result<bool, SandboxError> {
        self.signal(Signal::SIGTERM)?;
        self.ended(limit)
    }

    /// Waits for the end; returns whether it ended well.
    ///
    /// # Errors
    /// [`SandboxError::Timeout`] where it goes on for `limit`.
    pub fn ended(&mut self, limit: Duration) -> Result<bool, SandboxError> {
        let until = Instant::now() + limit;
        while Instant::now() < until {
            let ended = self.child.try_wait().map_err(io_error(self.name.clone()))?;
            if let Some(status) = ended {
                return Ok(status.success());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(SandboxError::Timeout(format!("the end of {}", self.name)))
    }

    /// SIGKILL, and waits for the end.
    ///
    /// # Errors
    /// Where the process is gone already.
    pub fn kill(&mut self) -> Result<(), SandboxError> {
        self.child
            .kill()
            .map_err(io_error(format!("killing {}", self.name)))?;
        self.child
            .wait()
            .map(drop)
            .map_err(io_error(format!("waiting for {}", self.name)))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; either way nothing is left behind.
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}
