//! What the launcher does between its start and its becoming the interpreter.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use rustix::{
    process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit},
    thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs},
};
use serde::{Deserialize, Serialize};

use super::{Layer, Limits, files, filter, interpreter::Runtime};

/// The command, first argument of the launcher.
pub(crate) const COMMAND: &str = "sandbox";

/// How a process confines itself: the launcher's second argument, as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Confinement {
    /// The only folder that it writes to; also its working directory.
    pub(crate) scratch: PathBuf,
    /// The program, in the scratch folder.
    pub(crate) script: PathBuf,
    /// Where it says why it was not set up. Outside the scratch folder and closed when the
    /// interpreter begins, so that no program can say it.
    pub(crate) report: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) runtime: Runtime,
    pub(crate) limits: Limits,
    pub(crate) layers: Vec<Layer>,
}

/// Becomes a confined interpreter where the command line says so, and then returns only if that
/// failed. A program that serves a runner calls this first, while it has a single thread.
pub fn enter(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.into_iter().skip(1);
    if arguments.next()? != COMMAND {
        return None;
    }
    let confinement = arguments
        .next()
        .and_then(|json| serde_json::from_str::<Confinement>(json.to_str()?).ok());
    if let Some(confinement) = confinement
        && let Ok(mut report) = File::create(&confinement.report)
    {
        let reason = confine_and_exec(&confinement);
        // Whether it arrives or not, the exit status says that nothing ran.
        let _unheard = report.write_all(reason.as_bytes());
    }
    Some(ExitCode::FAILURE)
}

/// Returns why it did not work.
fn confine_and_exec(confinement: &Confinement) -> String {
    if let Err(reason) = confine(confinement) {
        return reason;
    }
    let error = Command::new(&confinement.runtime.executable)
        .args(["-I", "-S", "-B"])
        .arg(&confinement.script)
        .args(&confinement.arguments)
        .env_clear()
        .exec();
    format!("{}: {error}", confinement.runtime.executable.display())
}

fn confine(confinement: &Confinement) -> Result<(), String> {
    let failed = |what: &'static str| move |error: rustix::io::Errno| format!("{what}: {error}");
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(failed("death signal"))?;
    fs::metadata(&confinement.script).map_err(|error| format!("script: {error}"))?;
    close_fds::set_fds_cloexec(3, &[]);
    limit(&confinement.limits).map_err(failed("limits"))?;
    set_no_new_privs(true).map_err(failed("no_new_privs"))?;
    let filters = filter::filters(std::process::id()).map_err(|error| error.to_string())?;
    if confinement.layers.contains(&Layer::Landlock) {
        files::restrict(confinement).map_err(|error| format!("landlock: {error}"))?;
    }
    // With no_new_privs even root does not get them back by executing something.
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, none).map_err(failed("capabilities"))?;
    if confinement.layers.contains(&Layer::Seccomp) {
        for filter in &filters {
            seccompiler::apply_filter(filter).map_err(|error| format!("seccomp: {error}"))?;
        }
    }
    Ok(())
}

fn limit(limits: &Limits) -> rustix::io::Result<()> {
    let set = |resource, soft: u64, hard: u64| {
        let limit = Rlimit {
            current: Some(soft),
            maximum: Some(hard),
        };
        setrlimit(resource, limit)
    };
    // A second more than the first signal, which a program can ignore.
    set(Resource::Cpu, limits.cpu_seconds, limits.cpu_seconds + 1)?;
    set(Resource::As, limits.memory_bytes, limits.memory_bytes)?;
    set(Resource::Data, limits.memory_bytes, limits.memory_bytes)?;
    set(Resource::Fsize, limits.file_bytes, limits.file_bytes)?;
    set(Resource::Nofile, limits.open_files, limits.open_files)?;
    set(Resource::Core, 0, 0)?;
    set(Resource::Memlock, 0, 0)?;
    set(Resource::Msgqueue, 0, 0)
}

/// Whether the kernel has seccomp: its state is part of every process's status then.
pub(crate) fn has_seccomp(status: &Path) -> bool {
    fs::read_to_string(status)
        .is_ok_and(|status| status.lines().any(|line| line.starts_with("Seccomp:")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_command_lines_are_left_alone() {
        let line = |words: &[&str]| enter(words.iter().map(OsString::from)).is_none();
        assert!(line(&[]) && line(&["runner"]) && line(&["runner", "health"]));
        assert!(!line(&["runner", "sandbox"]) && !line(&["runner", "sandbox", "{}"]));
    }
}
