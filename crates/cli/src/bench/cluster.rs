use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use maestro_core::ports::{PutMode, Registry};
use maestro_proto::v1::{GetStatusRequest, admin_service_client::AdminServiceClient};
use maestro_registry::{EtcdConfig, EtcdRegistry};
use maestro_rpc::{ChannelPool, PoolConfig};
use url::Url;

use crate::error::CliError;

/// How long a process may take until it says that it serves.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Clock ticks a second in /proc (`getconf CLK_TCK` on every Linux).
const TICKS: f64 = 100.0;

/// Maestro as separate processes on loopback, with etcd and the instant expert.
pub(super) struct Cluster {
    /// The coordinator.
    pub(super) endpoint: Url,
    etcd: Vec<String>,
    processes: Vec<Process>,
    _folder: Folder,
}

struct Process {
    name: &'static str,
    child: Child,
}

/// A folder that goes with the measurement.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("maestro: {} is left behind: {error}", self.0.display());
        }
    }
}

impl Cluster {
    /// Starts all of it, with so many members of etcd.
    pub(super) async fn start(members: usize) -> Result<Self, CliError> {
        let folder = std::env::temp_dir().join(format!("maestro-bench-{}", std::process::id()));
        fs::create_dir_all(&folder).map_err(CliError::file(&folder))?;
        let folder = Folder(folder);
        let mut processes = Vec::new();
        let etcd = start_etcd(&folder.0, members, &mut processes)?;
        register_skill(&etcd).await?;
        let list = etcd.join("', '");
        let binaries = binaries()?;
        // Known before it serves, as workers fetch what they need from it.
        let listen = format!("127.0.0.1:{}", free_port()?);
        let policy = start(
            "maestro-policy-worker",
            &binaries,
            &folder.0,
            &format!(
                "etcd: {{endpoints: ['{list}']}}\nblobs: {{remote: {{endpoints: ['http://{listen}']}}}}\n"
            ),
            &mut processes,
        )?;
        let skills = start(
            "maestro-skill-runner",
            &binaries,
            &folder.0,
            &format!(
                "etcd: {{endpoints: ['{list}']}}\nblobs: {{remote: {{endpoints: ['http://{listen}']}}}}\n\
                 service: {{library: none}}\n"
            ),
            &mut processes,
        )?;
        let coordinator = format!(
            "etcd: {{endpoints: ['{list}']}}\nblobs: {{store: {{url: 'memory:///'}}}}\nservice:\n  \
             serve: {{listen: '{listen}'}}\n  policy_workers: ['{policy}']\n  skill_runners: ['{skills}']\n"
        );
        let endpoint = start(
            "maestro-coordinator",
            &binaries,
            &folder.0,
            &coordinator,
            &mut processes,
        )?;
        let mut expert = Command::new(binaries.join("maestro"));
        expert.args(["bench", "instant-expert", "--etcd", &etcd.join(",")]);
        spawn("instant-expert", expert, &mut processes)?;
        Ok(Self {
            endpoint,
            etcd,
            processes,
            _folder: folder,
        })
    }

    /// Waits until the coordinator can choose the expert.
    pub(super) async fn ready(&self) -> Result<(), CliError> {
        let channel = ChannelPool::new(PoolConfig::default()).channel(&self.endpoint)?;
        let mut admin = AdminServiceClient::new(channel);
        let until = Instant::now() + READY_TIMEOUT;
        loop {
            let status = admin.get_status(GetStatusRequest {}).await?.into_inner();
            if status
                .details
                .get("pairs")
                .is_some_and(|pairs| pairs != "0")
            {
                return Ok(());
            }
            if Instant::now() > until {
                let etcd = self.etcd.join(", ");
                return Err(CliError::Bench(format!(
                    "no pair to choose (registry {etcd})"
                )));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Processor time of all processes of the cluster so far, etcd left out.
    pub(super) fn cpu_seconds(&self) -> Result<f64, CliError> {
        let maestro = self
            .processes
            .iter()
            .filter(|process| process.name != "etcd");
        maestro.map(|process| process_cpu(process.child.id())).sum()
    }

    pub(super) fn stop(&mut self) {
        for process in self.processes.iter_mut().rev() {
            let stopped = process.child.kill().and_then(|()| process.child.wait());
            if let Err(error) = stopped {
                eprintln!("maestro: {} did not stop: {error}", process.name);
            }
        }
        self.processes.clear();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Processor time of a process, from `/proc/PID/stat` (fields 14 and 15).
pub(super) fn process_cpu(pid: u32) -> Result<f64, CliError> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).map_err(CliError::file(&path))?;
    let ticks = stat.rsplit_once(')').and_then(|(_, rest)| {
        let mut fields = rest.split_whitespace().skip(11);
        let user: f64 = fields.next()?.parse().ok()?;
        let system: f64 = fields.next()?.parse().ok()?;
        Some(user + system)
    });
    ticks
        .map(|ticks| ticks / TICKS)
        .ok_or_else(|| CliError::Bench(format!("{path} is odd")))
}

/// The folder of this program, where the services' programs are too.
fn binaries() -> Result<PathBuf, CliError> {
    let path = std::env::current_exe().map_err(CliError::file("this program"))?;
    let folder = path.parent().map(Path::to_path_buf);
    folder.ok_or_else(|| CliError::Bench("this program has no folder".to_owned()))
}

fn free_port() -> Result<u16, CliError> {
    let bound = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    bound
        .map(|address| address.port())
        .map_err(CliError::file("a free port"))
}

/// Starts the members of an etcd cluster; returns where clients reach them.
fn start_etcd(
    folder: &Path,
    members: usize,
    processes: &mut Vec<Process>,
) -> Result<Vec<String>, CliError> {
    let urls = || -> Result<Vec<String>, CliError> {
        let ports = (0..members).map(|_| free_port());
        ports
            .map(|port| port.map(|port| format!("http://127.0.0.1:{port}")))
            .collect()
    };
    let (clients, peers) = (urls()?, urls()?);
    let named = peers.iter().enumerate();
    let named: Vec<String> = named
        .map(|(number, peer)| format!("{number}={peer}"))
        .collect();
    for (number, (client, peer)) in clients.iter().zip(&peers).enumerate() {
        let mut etcd = Command::new("etcd");
        etcd.args(["--name", &number.to_string(), "--data-dir"]);
        etcd.arg(folder.join(format!("etcd-{number}")));
        etcd.args(["--listen-client-urls", client]);
        etcd.args(["--advertise-client-urls", client]);
        etcd.args(["--listen-peer-urls", peer]);
        etcd.args(["--initial-advertise-peer-urls", peer]);
        etcd.args(["--initial-cluster", &named.join(",")]);
        etcd.stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = etcd.spawn().map_err(|error| {
            CliError::Bench(format!("etcd does not start ({error}); install it"))
        })?;
        processes.push(Process {
            name: "etcd",
            child,
        });
    }
    Ok(clients)
}

/// Puts the library's direct skill into the registry, once etcd serves.
async fn register_skill(etcd: &[String]) -> Result<(), CliError> {
    let bench = |error: String| CliError::Bench(error);
    let until = Instant::now() + READY_TIMEOUT;
    let registry = loop {
        match EtcdRegistry::connect(EtcdConfig::new(etcd.to_vec())).await {
            Ok(registry) => break registry,
            Err(error) if Instant::now() > until => return Err(bench(error.to_string())),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    };
    let library = maestro_skill_runner::library().map_err(|e| bench(e.to_string()))?;
    for skill in library
        .iter()
        .map(|skill| skill.header())
        .filter(|header| header.direct)
    {
        registry.put_skill(&skill, PutMode::Replace).await?;
    }
    Ok(())
}

fn start(
    name: &'static str,
    binaries: &Path,
    folder: &Path,
    config: &str,
    processes: &mut Vec<Process>,
) -> Result<Url, CliError> {
    let path = folder.join(format!("{name}.yaml"));
    let mut file = fs::File::create(&path).map_err(CliError::file(&path))?;
    file.write_all(config.as_bytes())
        .map_err(CliError::file(&path))?;
    let mut command = Command::new(binaries.join(name));
    command.arg("--config").arg(path);
    spawn(name, command, processes)
}

/// Starts a process and waits for its line `ready ADDRESS`.
fn spawn(
    name: &'static str,
    mut command: Command,
    processes: &mut Vec<Process>,
) -> Result<Url, CliError> {
    let problem = |reason: String| CliError::Start { part: name, reason };
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| problem(error.to_string()))?;
    let output = child.stdout.take();
    processes.push(Process { name, child });
    let output = output.ok_or_else(|| problem("it has no output".to_owned()))?;
    let (sender, lines) = mpsc::channel();
    // Ends with the process, whose output it reads.
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let until = Instant::now() + READY_TIMEOUT;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let line = lines
            .recv_timeout(left)
            .map_err(|_| problem("it never served".to_owned()))?;
        if let Some(address) = line.strip_prefix("ready ") {
            return address
                .parse()
                .map_err(|error| problem(format!("{address}: {error}")));
        }
    }
}
