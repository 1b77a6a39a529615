use std::{
    fs::{self, File},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    cluster::free_port,
    process::{SandboxError, io_error},
};

/// How long the receiver may take to start.
const START: Duration = Duration::from_secs(20);

/// A span that the receiver has printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReceivedSpan {
    /// Its trace.
    pub trace: String,
    /// Its own id.
    pub id: String,
    /// The id of the span that it is a part of; empty for none.
    pub parent: String,
    /// What it stands for.
    pub name: String,
}

/// A real receiver of OTLP/gRPC (rotel) that prints what it gets. Dropping it ends it.
pub struct TraceReceiver {
    /// Where it listens.
    pub endpoint: String,
    output: PathBuf,
    child: Child,
}

impl TraceReceiver {
    /// Starts one; its program comes with the Python package `rotel` of the interpreter that
    /// `MAESTRO_PYTHON` names.
    ///
    /// # Errors
    /// Where it is not installed or does not listen.
    pub fn start(folder: &Path) -> Result<Self, SandboxError> {
        let python = std::env::var("MAESTRO_PYTHON").unwrap_or_else(|_| "python3".into());
        let find =
            "import os, rotel; print(os.path.join(os.path.dirname(rotel.__file__), 'rotel-agent'))";
        let found = Command::new(python)
            .args(["-c", find])
            .output()
            .map_err(io_error("finding rotel"))?;
        let program = String::from_utf8_lossy(&found.stdout).trim().to_owned();
        let (grpc, http) = (free_port()?, free_port()?);
        let output = folder.join("traces.log");
        let file = File::create(&output).map_err(io_error("the receiver's output"))?;
        let child = Command::new(&program)
            .args(["start", "--exporter", "blackhole"])
            .args(["--debug-log", "traces", "--debug-log-verbosity", "detailed"])
            .args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{grpc}")])
            .args(["--otlp-http-endpoint", &format!("127.0.0.1:{http}")])
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stderr(
                file.try_clone()
                    .map_err(io_error("the receiver's output"))?,
            )
            .stdout(file)
            .spawn()
            .map_err(io_error(format!("starting the receiver {program:?}")))?;
        let receiver = Self {
            endpoint: format!("http://127.0.0.1:{grpc}"),
            output,
            child,
        };
        let until = Instant::now() + START;
        while TcpStream::connect(("127.0.0.1", grpc)).is_err() {
            if Instant::now() > until {
                return Err(SandboxError::Timeout("the receiver of traces".to_owned()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(receiver)
    }

    /// All that it printed.
    pub fn output(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// The spans that it has got so far.
    pub fn spans(&self) -> Vec<ReceivedSpan> {
        let mut spans: Vec<ReceivedSpan> = Vec::new();
        let output = self.output();
        for line in output.lines() {
            let Some((key, value)) = line.split_once(':') else {
                continue;
            };
            let value = value.trim().to_owned();
            match (key.trim().to_lowercase().as_str(), spans.last_mut()) {
                ("trace id", _) => spans.push(ReceivedSpan {
                    trace: value,
                    ..ReceivedSpan::default()
                }),
                ("parent id", Some(span)) => span.parent = value,
                ("id" | "span id", Some(span)) => span.id = value,
                ("name", Some(span)) if span.name.is_empty() => span.name = value,
                _ => {}
            }
        }
        spans
    }
}

impl Drop for TraceReceiver {
    fn drop(&mut self) {
        // It may have ended already; either way nothing is left behind.
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}
