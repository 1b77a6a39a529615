//! The processes of a run, each in its namespace, and how faults are done to them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::{
    etcd,
    network::{Network, done},
    plan::{Component, Disk, Fault, Plan},
    settings::{self, Kept},
};
use crate::process::{Process, SandboxError, io_error};

/// Of every run's folder; the process id follows.
const FOLDER: &str = "maestro-faults-";
/// Size of the disk of a member of etcd, which preallocates two segments of 64 MB.
const ETCD_DISK: &str = "size=192m";
const BLOB_DISK: &str = "size=32m";
/// Before a process that ended by itself is started again.
const RESTART_AFTER: Duration = Duration::from_millis(700);
/// What keeps the clock of a process off, under /usr/lib and the machine's folder.
const CLOCK: &str = "faketime/libfaketimeMT.so.1";

/// What etcd and the blobs are kept on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disks {
    /// Small disks in memory, which a fault can fill.
    Small,
    /// The machine's, with what syncing costs there.
    Machine,
}

/// The processes of one run. Dropping it ends them and removes what they ran in.
pub(super) struct Site {
    processes: BTreeMap<Component, Process>,
    /// Since when a process that ended by itself is gone.
    ended: BTreeMap<Component, Instant>,
    /// Killed by a fault that has not ended.
    down: BTreeSet<Component>,
    /// The member of etcd that led and was killed.
    led: Option<Component>,
    starts: BTreeMap<Component, u32>,
    plan: Plan,
    /// Processes that ended by themselves: which start of which component.
    pub(super) ended_alone: Vec<String>,
    pub(super) network: Network,
    mounts: Mounts,
    folder: TempDir,
}

/// Small disks. Dropping them unmounts them.
struct Mounts(Vec<PathBuf>);

impl Mounts {
    fn add(&mut self, path: PathBuf, size: &str) -> Result<(), SandboxError> {
        fs::create_dir_all(&path).map_err(io_error(path.display().to_string()))?;
        done(
            "mount",
            &[
                "-t",
                "tmpfs",
                "-o",
                size,
                "tmpfs",
                &path.display().to_string(),
            ],
        )?;
        self.0.push(path);
        Ok(())
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        for path in &self.0 {
            // What stays mounted is unmounted by the next run.
            let _unmounted = done("umount", &["--lazy", &path.display().to_string()]);
        }
    }
}

impl Site {
    /// Makes namespaces and disks. Nothing runs yet.
    ///
    /// # Errors
    /// What could not be made: root is needed.
    pub(super) fn new(plan: &Plan, disks: Disks) -> Result<Self, SandboxError> {
        // Processes that were left behind keep their disks busy, so they go first.
        let network = Network::new()?;
        sweep();
        let folder = tempfile::Builder::new()
            .prefix(&format!("{FOLDER}{}-", std::process::id()))
            .tempdir()
            .map_err(io_error("a folder"))?;
        let mut mounts = Mounts(Vec::new());
        if disks == Disks::Small {
            for member in Component::those(Component::is_etcd) {
                mounts.add(folder.path().join(member.to_string()), ETCD_DISK)?;
            }
            mounts.add(folder.path().join(settings::BLOBS), BLOB_DISK)?;
        }
        Ok(Self {
            processes: BTreeMap::new(),
            ended: BTreeMap::new(),
            down: BTreeSet::new(),
            led: None,
            starts: BTreeMap::new(),
            plan: plan.clone(),
            ended_alone: Vec::new(),
            network,
            mounts,
            folder,
        })
    }

    /// Starts a process and does not wait for it to serve.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub(super) fn start(&mut self, component: Component) -> Result<(), SandboxError> {
        let number = self.starts.entry(component).or_default();
        *number += 1;
        let name = format!("{component}.{number}");
        let Kept { program, arguments } = settings::command(component, self.folder.path())?;
        let mut command = self.network.inside(Some(component), &program);
        command
            .args(arguments)
            .env("HOSTNAME", component.to_string());
        if self.plan.sets_clock_of(component) {
            let file = self.clock(component);
            if !file.exists() {
                set_clock(&file, 0)?;
            }
            command
                .env("LD_PRELOAD", clock_library()?)
                .env("FAKETIME_TIMESTAMP_FILE", file)
                .env("FAKETIME_CACHE_DURATION", "1")
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
                .env("NO_FAKE_STAT", "1");
        }
        let process = Process::spawn(&name, command, self.folder.path())?;
        self.ended.remove(&component);
        self.processes.insert(component, process);
        Ok(())
    }

    /// Starts again what ended by itself, as a cluster's node would.
    ///
    /// # Errors
    /// Where a process cannot be started.
    pub(super) fn attend(&mut self) -> Result<(), SandboxError> {
        let mut again = Vec::new();
        for (component, process) in &mut self.processes {
            if self.down.contains(component) || !process.has_ended()? {
                continue;
            }
            let since = *self.ended.entry(*component).or_insert_with(|| {
                let number = self.starts.get(component).copied().unwrap_or_default();
                self.ended_alone.push(format!("{component}.{number}"));
                Instant::now()
            });
            if since.elapsed() > RESTART_AFTER {
                again.push(*component);
            }
        }
        again
            .into_iter()
            .try_for_each(|component| self.start(component))
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// Where it does not run.
    pub(super) fn kill(&mut self, component: Component) -> Result<(), SandboxError> {
        self.down.insert(component);
        let process = self.processes.get_mut(&component);
        process.map_or(Ok(()), Process::kill)
    }

    /// Whether a process has ended.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn has_ended(&mut self, component: Component) -> Result<bool, SandboxError> {
        let process = self.processes.get_mut(&component);
        process.map_or(Ok(true), Process::has_ended)
    }

    /// The id of a process that was started.
    pub(super) fn process_id(&self, component: Component) -> Option<u32> {
        self.processes.get(&component).map(Process::id)
    }

    fn signal(&self, component: Component, signal: Signal) -> Result<(), SandboxError> {
        let process = self.processes.get(&component);
        process.map_or(Ok(()), |process| process.signal(signal))
    }

    fn revive(&mut self, component: Component) -> Result<(), SandboxError> {
        if !self.down.remove(&component) {
            return Ok(());
        }
        if let Some(process) = self.processes.get_mut(&component)
            && !process.has_ended()?
        {
            process.kill()?;
        }
        self.start(component)
    }

    /// Begins a fault.
    ///
    /// # Errors
    /// Where it cannot be done now; then it has not begun.
    pub(super) fn begin(&mut self, fault: Fault) -> Result<(), SandboxError> {
        match fault {
            Fault::Killed(victim) => self.kill(victim),
            Fault::Restarted(victim) => {
                self.signal(victim, Signal::SIGTERM)?;
                self.down.insert(victim);
                Ok(())
            }
            Fault::Paused(victim) => self.signal(victim, Signal::SIGSTOP),
            Fault::LinkDown(victim) => self.network.set_link(victim, false),
            Fault::OneWay(victim, way) => self.network.drop_packets(victim, Some(way), 100),
            Fault::Lossy(victim, percent) => self.network.drop_packets(victim, None, percent),
            Fault::Slow(victim, kbit) => self.network.set_rate(victim, Some(kbit)),
            Fault::DiskFull(disk) => fill(&self.ballast(disk)),
            Fault::ClockOff(victim, seconds) => set_clock(&self.clock(victim), seconds),
            Fault::LeaderKilled => {
                let (leader, _) = etcd::leader(&self.network)?;
                self.kill(leader)?;
                self.led = Some(leader);
                Ok(())
            }
            Fault::LeaderMoved => etcd::move_leader(&self.network),
        }
    }

    /// Ends a fault that has begun.
    ///
    /// # Errors
    /// Where that cannot be done: the run is of no use then.
    pub(super) fn end(&mut self, fault: Fault) -> Result<(), SandboxError> {
        match fault {
            Fault::Killed(victim) | Fault::Restarted(victim) => self.revive(victim),
            Fault::Paused(victim) => self.signal(victim, Signal::SIGCONT),
            Fault::LinkDown(victim) => self.network.set_link(victim, true),
            Fault::OneWay(victim, _) | Fault::Lossy(victim, _) => self.network.let_pass(victim),
            Fault::Slow(victim, _) => self.network.set_rate(victim, None),
            Fault::DiskFull(disk) => {
                let path = self.ballast(disk);
                fs::remove_file(&path).map_err(io_error(path.display().to_string()))
            }
            Fault::ClockOff(victim, _) => set_clock(&self.clock(victim), 0),
            Fault::LeaderKilled => {
                let led = self.led.take();
                led.map_or(Ok(()), |leader| self.revive(leader))
            }
            // A second change; where there is no leader now, one is being chosen anyway.
            Fault::LeaderMoved => {
                let _moved = etcd::move_leader(&self.network);
                Ok(())
            }
        }
    }

    /// Processes that said that they panicked, and their words.
    pub(super) fn panics(&self) -> Vec<(String, String)> {
        let entries = fs::read_dir(self.folder.path())
            .into_iter()
            .flatten()
            .flatten();
        let logs = entries
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"));
        logs.filter_map(|path| {
            let text = String::from_utf8_lossy(&fs::read(&path).ok()?).into_owned();
            let line = text.lines().find(|line| line.contains("panicked at"))?;
            let name = path.file_stem()?.to_string_lossy().into_owned();
            Some((name, line.to_owned()))
        })
        .collect()
    }

    /// Keeps the logs for whoever looks into what went wrong, and says where.
    pub(super) fn keep_logs(mut self) -> PathBuf {
        self.processes.clear();
        self.folder.disable_cleanup(true);
        self.folder.path().to_owned()
    }

    fn ballast(&self, disk: Disk) -> PathBuf {
        let folder = match disk {
            Disk::Etcd(number) => Component::Etcd(number).to_string(),
            Disk::Blobs => settings::BLOBS.to_owned(),
        };
        self.folder.path().join(folder).join("ballast")
    }

    fn clock(&self, component: Component) -> PathBuf {
        self.folder.path().join(format!("{component}.clock"))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // Stopped ones do not end before they are killed; disks are busy until then.
        self.processes.clear();
        sweep_clocks();
        self.mounts
            .0
            .drain(..)
            .for_each(|path| drop(Mounts(vec![path])));
    }
}

/// Writes until nothing fits any more.
fn fill(path: &Path) -> Result<(), SandboxError> {
    let failed = || io_error(path.display().to_string());
    let mut file = fs::File::create(path).map_err(failed())?;
    for size in [1 << 20, 1 << 12, 1] {
        let block = vec![0; size];
        loop {
            match file.write(&block) {
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(nix::libc::ENOSPC) => break,
                Err(error) => return Err(failed()(error)),
            }
        }
    }
    Ok(())
}

/// Where Debian has put libfaketime for this machine.
fn clock_library() -> Result<PathBuf, SandboxError> {
    let folders = fs::read_dir("/usr/lib").map_err(io_error("/usr/lib"))?;
    let mut paths = folders.flatten().map(|folder| folder.path().join(CLOCK));
    paths
        .find(|path| path.exists())
        .ok_or_else(|| SandboxError::Command {
            command: "libfaketime".to_owned(),
            said: "is not installed; scripts/setup.sh test installs it".to_owned(),
        })
}

/// libfaketime reads the file anew every second.
fn set_clock(path: &Path, seconds: i32) -> Result<(), SandboxError> {
    fs::write(path, format!("{seconds:+}\n")).map_err(io_error(path.display().to_string()))
}

/// Removes what libfaketime leaves behind of processes that were killed.
fn sweep_clocks() {
    for entry in fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let id = ["faketime_shm_", "sem.faketime_sem_"]
            .iter()
            .find_map(|prefix| name.strip_prefix(prefix));
        if id.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
            // Another run may have been quicker.
            let _absent = fs::remove_file(entry.path());
        }
    }
}

/// Unmounts and removes what runs left behind whose process is gone.
fn sweep() {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let disks = mounts.lines().filter(|line| line.starts_with("tmpfs "));
    for path in disks.filter_map(|line| line.split(' ').nth(1)) {
        let Some((_, rest)) = path.split_once(FOLDER) else {
            continue;
        };
        let owner = rest.split('-').next().unwrap_or_default();
        if !Path::new("/proc").join(owner).exists() {
            let _unmounted = done("umount", &["--lazy", path]);
        }
    }
}
