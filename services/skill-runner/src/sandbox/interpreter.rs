//! Finds the interpreter and the files that it needs.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::SandboxError;

const USUAL: &str = "/usr/bin/python3";
const PROBE_TIMEOUT: Duration = Duration::from_secs(20);
/// Says what the interpreter has opened by the time it runs, and where its modules are. Its dynamic
/// loader and libraries are those that are mapped.
const PROBE: &str = r#"
import json, os, sys
with open("/proc/self/maps") as maps:
    mapped = {line.split(None, 5)[5].strip() for line in maps if len(line.split(None, 5)) == 6}
mapped = sorted(path for path in mapped if path.startswith("/"))
own = os.path.realpath(sys.executable)
objects = [path for path in mapped if ".so" in os.path.basename(path) and path != own]
loaders = [path for path in objects if os.path.basename(path).startswith("ld")]
folders = {os.path.realpath(os.path.dirname(path)) for path in objects}
folders |= {os.path.realpath(path) for path in sys.path if os.path.isdir(path)}
zips = [path for path in sys.path if os.path.isfile(path)]
print(json.dumps({"executable": own, "programs": [own] + loaders,
    "folders": sorted(folders), "files": ["/etc/ld.so.cache"] + zips}))
"#;

/// An interpreter and its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Runtime {
    /// What is executed, no link.
    pub(crate) executable: PathBuf,
    /// What the kernel executes: the interpreter and its dynamic loader.
    pub(crate) programs: Vec<PathBuf>,
    /// Folders that are read: modules and libraries.
    pub(crate) folders: Vec<PathBuf>,
    /// Single files that are read.
    pub(crate) files: Vec<PathBuf>,
}

impl Runtime {
    /// Asks the interpreter, which is trusted and not confined yet.
    ///
    /// # Errors
    /// [`SandboxError::Interpreter`] where there is none or it does not answer.
    pub(crate) async fn discover(configured: Option<&Path>) -> Result<Self, SandboxError> {
        let path = configured.map_or_else(find, Path::to_owned);
        let wrong = |reason: String| SandboxError::Interpreter {
            path: path.clone(),
            reason,
        };
        let asked = tokio::process::Command::new(&path)
            .args(["-I", "-S", "-B", "-c", PROBE])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let answer = tokio::time::timeout(PROBE_TIMEOUT, asked)
            .await
            .map_err(|_| wrong("does not answer".to_owned()))?
            .map_err(|error| wrong(error.to_string()))?;
        if !answer.status.success() {
            let said = String::from_utf8_lossy(&answer.stderr);
            return Err(wrong(said.trim().to_owned()));
        }
        serde_json::from_slice(&answer.stdout).map_err(|error| wrong(error.to_string()))
    }
}

/// The usual place, else the first on `PATH`.
fn find() -> PathBuf {
    let usual = PathBuf::from(USUAL);
    if usual.is_file() {
        return usual;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join("python3"))
        .find(|candidate| candidate.is_file())
        .unwrap_or(usual)
}
