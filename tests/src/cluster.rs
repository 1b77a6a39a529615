use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use maestro_core::{
    Digest,
    ports::{PutMode, Registry},
    registry::{Descriptor, Snapshot},
};
use maestro_registry::{EtcdConfig, EtcdRegistry};
use tempfile::TempDir;
use url::Url;

use crate::process::{Process, SandboxError, binary, io_error};

/// How long the sandbox waits for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// Maestro as separate processes on loopback with a real etcd.
pub struct Cluster {
    /// The registry, seen from the test.
    pub registry: EtcdRegistry,
    /// The coordinator.
    pub coordinator: Process,
    /// The policy worker.
    pub policy: Process,
    /// The skill runner.
    pub skills: Process,
    endpoint: Url,
    /// etcd.
    pub etcd: Process,
    etcd_url: String,
    settings: String,
    coordinators: Coordinators,
    workers: Programs,
    folder: TempDir,
}

/// What coordinators are started with besides.
#[derive(Clone, Debug, Default)]
struct Coordinators {
    /// Settings of their service.
    service: String,
    environment: Vec<(&'static str, String)>,
}

/// Where the programs of workers come from.
#[derive(Clone, Debug)]
enum Programs {
    /// This build.
    Own,
    /// A folder with those of another.
    Other(PathBuf),
}

impl Programs {
    fn path(&self, program: &str) -> Result<PathBuf, SandboxError> {
        match self {
            Self::Own => binary(program),
            Self::Other(folder) => Ok(folder.join(program)),
        }
    }
}

pub(crate) fn free_port() -> Result<u16, SandboxError> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(io_error("a free port"))?;
    listener
        .local_addr()
        .map(|address| address.port())
        .map_err(io_error("a free port"))
}

/// An etcd of one member on free ports, its data in `folder/etcd`, and where clients reach it.
///
/// # Errors
/// Where it cannot be started.
pub fn start_etcd(folder: &Path) -> Result<(Process, String), SandboxError> {
    start_etcd_with(folder, "http", &[])
}

/// The same, with clients that speak `scheme` and further arguments.
///
/// # Errors
/// Where it cannot be started.
pub fn start_etcd_with(
    folder: &Path,
    scheme: &str,
    arguments: &[&str],
) -> Result<(Process, String), SandboxError> {
    let client = format!("{scheme}://127.0.0.1:{}", free_port()?);
    let peer = format!("http://127.0.0.1:{}", free_port()?);
    let mut command = Command::new("etcd");
    command.arg("--data-dir").arg(folder.join("etcd"));
    command.args([
        "--listen-client-urls",
        &client,
        "--advertise-client-urls",
        &client,
    ]);
    command.args([
        "--listen-peer-urls",
        &peer,
        "--initial-advertise-peer-urls",
        &peer,
    ]);
    command.args(["--initial-cluster", &format!("default={peer}")]);
    command.args(arguments);
    Ok((Process::spawn("etcd", command, folder)?, client))
}

impl Cluster {
    /// Starts etcd, a coordinator, a policy worker and a skill runner; no expert yet. The
    /// runner registers the library's skills.
    ///
    /// # Errors
    /// What did not start, with its log.
    pub async fn start() -> Result<Self, SandboxError> {
        Self::start_with("").await
    }

    /// The same, with further settings (YAML) for every process.
    ///
    /// # Errors
    /// What did not start, with its log.
    pub async fn start_with(settings: &str) -> Result<Self, SandboxError> {
        Self::start_from(settings, Coordinators::default(), Programs::Own).await
    }

    /// The same, with further settings of the coordinators' service (YAML lines, two spaces before
    /// each) and their environment.
    ///
    /// # Errors
    /// What did not start, with its log.
    pub async fn start_serving(
        service: &str,
        environment: &[(&'static str, String)],
    ) -> Result<Self, SandboxError> {
        let coordinators = Coordinators {
            service: service.to_owned(),
            environment: environment.to_vec(),
        };
        Self::start_from("", coordinators, Programs::Own).await
    }

    /// The same with the workers of the release before this one, which `scripts/previous.sh`
    /// builds into the folder that `MAESTRO_PREVIOUS` names.
    ///
    /// # Errors
    /// What did not start, with its log, or that the variable is not set.
    pub async fn start_with_previous_workers() -> Result<Self, SandboxError> {
        let Some(folder) = std::env::var_os("MAESTRO_PREVIOUS") else {
            return Err(SandboxError::Setting("MAESTRO_PREVIOUS"));
        };
        Self::start_from("", Coordinators::default(), Programs::Other(folder.into())).await
    }

    async fn start_from(
        settings: &str,
        coordinators: Coordinators,
        workers: Programs,
    ) -> Result<Self, SandboxError> {
        let folder = tempfile::tempdir().map_err(io_error("a folder"))?;
        let (etcd, etcd_url) = start_etcd(folder.path())?;
        let registry = connect(&etcd_url).await?;
        let coordinator_address = format!("127.0.0.1:{}", free_port()?);
        let worker = format!(
            "{settings}etcd: {{endpoints: ['{etcd_url}']}}\n\
             blobs: {{remote: {{endpoints: ['http://{coordinator_address}']}}}}\n"
        );
        let policy = serve(&workers, "maestro-policy-worker", &worker, folder.path())?;
        let skills = serve(&workers, "maestro-skill-runner", &worker, folder.path())?;
        let coordinator = CoordinatorFile {
            settings,
            coordinators: &coordinators,
            etcd: &etcd_url,
            policy: &policy,
            skills: &skills,
        };
        let coordinator = coordinator.serve(
            "maestro-coordinator",
            &coordinator_address,
            "",
            "",
            folder.path(),
        )?;
        let endpoint = coordinator
            .address
            .clone()
            .ok_or_else(|| SandboxError::Timeout("the coordinator's address".to_owned()))?;
        Ok(Self {
            registry,
            coordinator,
            endpoint,
            policy,
            skills,
            etcd,
            etcd_url,
            settings: settings.to_owned(),
            coordinators,
            workers,
            folder,
        })
    }

    /// Where the coordinator serves.
    pub fn endpoint(&self) -> Url {
        self.endpoint.clone()
    }

    /// Starts another coordinator beside the first, with further settings of its server (YAML between
    /// braces, such as `drain_grace_ms: 2000`).
    ///
    /// # Errors
    /// Its log, where it does not serve.
    pub fn another_coordinator(&self, name: &str, server: &str) -> Result<Process, SandboxError> {
        self.another_coordinator_with(name, server, "")
    }

    /// The same, with further settings of its service too (YAML lines, two spaces before each).
    ///
    /// # Errors
    /// Its log, where it does not serve.
    pub fn another_coordinator_with(
        &self,
        name: &str,
        server: &str,
        service: &str,
    ) -> Result<Process, SandboxError> {
        let file = CoordinatorFile {
            settings: &self.settings,
            coordinators: &self.coordinators,
            etcd: &self.etcd_url,
            policy: &self.policy,
            skills: &self.skills,
        };
        let address = format!("127.0.0.1:{}", free_port()?);
        file.serve(name, &address, server, service, self.folder.path())
    }

    /// Starts an expert worker that adopts descriptors of the `openai` kind.
    ///
    /// # Errors
    /// Its log, where it does not serve.
    pub fn adopting_worker(&self, name: &str) -> Result<Process, SandboxError> {
        let config = format!(
            "{}etcd: {{endpoints: ['{}']}}\nblobs: {{remote: {{endpoints: ['{}']}}}}\n\
             service: {{adopt: [openai]}}\n",
            self.settings,
            self.etcd_url,
            self.endpoint()
        );
        let program = self.workers.path("maestro-expert-worker")?;
        serve_as(name, &program, &config, self.folder.path())
    }

    /// Writes a descriptor into the registry.
    ///
    /// # Errors
    /// The registry's.
    pub async fn add_expert(&self, descriptor: &Descriptor) -> Result<(), SandboxError> {
        self.registry
            .put_expert(descriptor, PutMode::Create)
            .await?;
        Ok(())
    }

    /// Waits until the registry looks as wanted.
    ///
    /// # Errors
    /// [`SandboxError::Timeout`] after a minute.
    pub async fn until(
        &self,
        what: &str,
        wanted: impl FnMut(&Arc<Snapshot>) -> bool,
    ) -> Result<(), SandboxError> {
        let mut snapshots = self.registry.snapshots();
        let found = tokio::time::timeout(PATIENCE, snapshots.wait_for(wanted)).await;
        match found {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(SandboxError::Timeout(what.to_owned())),
        }
    }

    /// Where clients reach etcd.
    pub fn etcd_url(&self) -> &str {
        &self.etcd_url
    }

    /// The digest of a skill that the registry shows.
    pub fn registry_skill(&self, name: &str) -> Option<Digest> {
        let snapshot = self.registry.snapshots().borrow().clone();
        Some(snapshot.catalogue.skills.get(name)?.bundle)
    }

    /// How many instances serve an expert.
    pub fn instances(&self, expert: &str) -> usize {
        let snapshots = self.registry.snapshots();
        let snapshot = snapshots.borrow();
        snapshot.instances.get(expert).map_or(0, Vec::len)
    }

    /// The end of each process's log.
    pub fn logs(&self) -> String {
        format!(
            "coordinator:\n{}\npolicy worker:\n{}\nskill runner:\n{}",
            self.coordinator.log(),
            self.policy.log(),
            self.skills.log()
        )
    }
}

/// What stands in a coordinator's file of settings.
struct CoordinatorFile<'a> {
    settings: &'a str,
    coordinators: &'a Coordinators,
    etcd: &'a str,
    policy: &'a Process,
    skills: &'a Process,
}

impl CoordinatorFile<'_> {
    fn serve(
        &self,
        name: &str,
        listen: &str,
        server: &str,
        service: &str,
        folder: &Path,
    ) -> Result<Process, SandboxError> {
        let address = |process: &Process| {
            let address = process.address.clone().map(String::from);
            address.unwrap_or_default()
        };
        let (settings, etcd) = (self.settings, self.etcd);
        let Coordinators {
            service: common,
            environment,
        } = self.coordinators;
        // Coordinators share the blobs, as they would in a bucket.
        let blobs = folder.join("blobs");
        let config = format!(
            "{settings}etcd: {{endpoints: ['{etcd}']}}\n\
             blobs: {{store: {{url: 'file://{}'}}}}\nservice:\n  \
             serve: {{listen: '{listen}', {server}}}\n  \
             policy_workers: ['{}']\n  skill_runners: ['{}']\n{common}{service}",
            blobs.display(),
            address(self.policy),
            address(self.skills),
        );
        let program = binary("maestro-coordinator")?;
        serve_in(name, &program, &config, folder, environment)
    }
}

/// `maestro up` on a free port.
///
/// # Errors
/// Its log, where it does not serve.
pub fn local_up(folder: &Path) -> Result<Process, SandboxError> {
    let mut command = Command::new(binary("maestro")?);
    command
        .args(["up", "--addr", "127.0.0.1:0"])
        .stderr(Stdio::null());
    Process::serve("maestro-up", command, folder)
}

/// The registry in an etcd that may still be starting.
///
/// # Errors
/// Why it could not be reached within a minute.
pub async fn connect(etcd: &str) -> Result<EtcdRegistry, SandboxError> {
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        match EtcdRegistry::connect(EtcdConfig::new([etcd])).await {
            Ok(registry) => return Ok(registry),
            Err(error) if tokio::time::Instant::now() > until => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

fn serve(
    programs: &Programs,
    program: &str,
    config: &str,
    folder: &Path,
) -> Result<Process, SandboxError> {
    serve_as(program, &programs.path(program)?, config, folder)
}

fn serve_as(
    name: &str,
    program: &Path,
    config: &str,
    folder: &Path,
) -> Result<Process, SandboxError> {
    serve_in(name, program, config, folder, &[])
}

fn serve_in(
    name: &str,
    program: &Path,
    config: &str,
    folder: &Path,
    environment: &[(&str, String)],
) -> Result<Process, SandboxError> {
    let path = folder.join(format!("{name}.yaml"));
    let metrics = format!("127.0.0.1:{}", free_port()?);
    let config = format!("metrics: '{metrics}'\nlog: {{filter: 'info,maestro=debug'}}\n{config}");
    fs::write(&path, config).map_err(io_error(path.display().to_string()))?;
    let mut command = Command::new(program);
    command.arg("--config").arg(path);
    command.envs(environment.iter().cloned());
    let mut process = Process::serve(name, command, folder)?;
    process.metrics = format!("http://{metrics}/metrics").parse().ok();
    Ok(process)
}
