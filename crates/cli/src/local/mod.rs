//! Everything in one process: the four services on loopback, an in-memory registry, the local
//! experts. The services talk over gRPC here too, so that nothing works on one machine only.

pub(crate) mod models;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use maestro_coordinator::{Coordinator, CoordinatorConfig, MemoryJournal, Ports};
use maestro_core::ports::{Blobs, PutMode, Registry};
use maestro_expert_worker::backend::BackendKind;
use maestro_registry::MemoryRegistry;
use maestro_rpc::ServeConfig;
use maestro_store::{ObjectBlobs, ObjectPolicies, StoreConfig};
use url::Url;

use crate::{arguments::Installation, error::CliError};

/// Kinds of remote models that an installation brings into service by itself.
const ADOPTED: [BackendKind; 2] = [BackendKind::Openai, BackendKind::Replay];
/// How long the parts may take to finish what runs.
const GRACE: Duration = Duration::from_secs(10);
/// How long the local experts may take to load and warm up.
const READY_TIMEOUT: Duration = Duration::from_secs(120);

/// A running installation.
pub(crate) struct Local {
    coordinator: Coordinator,
    policy: maestro_policy_worker::Running,
    skills: maestro_skill_runner::Running,
    experts: maestro_expert_worker::ExpertWorker,
}

/// Starts everything; returns when it serves and its experts are warm.
pub(crate) async fn start(
    address: SocketAddr,
    installation: &Installation,
) -> Result<Local, CliError> {
    let folder = models::folder(installation.models.clone())?;
    let registry = Arc::new(MemoryRegistry::new());
    let store = StoreConfig::new(store_url(installation.data.as_deref())?);
    let store = ObjectBlobs::open(store).map_err(failed("blob store"))?;
    let blobs: Arc<dyn Blobs> = Arc::new(store.clone());
    register_library(&*registry, &*blobs).await?;

    let hosted = maestro_expert_worker::local_experts(&folder).map_err(failed("local experts"))?;
    let names: Vec<_> = hosted
        .iter()
        .map(|expert| expert.descriptor().name.clone())
        .collect();
    let experts = maestro_expert_worker::ExpertWorkerConfig {
        experts: hosted,
        adopt: ADOPTED.into(),
        ..maestro_expert_worker::ExpertWorkerConfig::default()
    };
    let shared = Arc::clone(&registry) as Arc<dyn Registry>;
    let experts = maestro_expert_worker::start(experts, Arc::clone(&shared), Arc::clone(&blobs))
        .await
        .map_err(failed("expert worker"))?;
    let sandboxed = maestro_skill_runner::sandbox::complete();
    if !sandboxed {
        tracing::warn!(
            "this kernel lacks a layer of the sandbox: steps that run code will fail; \
             `maestro-skill-runner` with sandbox.allow_missing_layers goes without"
        );
    }
    let skills = maestro_skill_runner::start(
        maestro_skill_runner::Config {
            // Registered below, before anybody asks.
            library: maestro_skill_runner::LibraryMode::Off,
            // On a machine whose kernel lacks a layer everything else works all the same.
            sandbox: maestro_skill_runner::sandbox::SandboxConfig {
                enabled: sandboxed,
                ..Default::default()
            },
            ..maestro_skill_runner::Config::default()
        },
        Arc::clone(&shared),
        Arc::clone(&blobs),
    )
    .await
    .map_err(failed("skill runner"))?;
    let policy = maestro_policy_worker::start(
        maestro_policy_worker::Config::default(),
        Arc::clone(&shared),
        Arc::clone(&blobs),
    )
    .await
    .map_err(failed("policy worker"))?;
    let config = CoordinatorConfig {
        serve: ServeConfig {
            listen: address,
            ..ServeConfig::default()
        },
        ..CoordinatorConfig::new(
            vec![endpoint(policy.address())?],
            vec![endpoint(skills.address())?],
        )
    };
    let ports = Ports {
        registry: shared,
        policies: Arc::new(ObjectPolicies::new(store)),
        blobs,
        journal: Arc::new(MemoryJournal::new(config.episodes.max_finished)),
        // There is no etcd: durable episodes are kept in memory like all others.
        durable: None,
        trajectories: None,
    };
    let coordinator = maestro_coordinator::start(config, ports)
        .await
        .map_err(failed("coordinator"))?;

    let mut snapshots = registry.snapshots();
    let warm = snapshots.wait_for(|snapshot| names.iter().all(|name| snapshot.serves(name)));
    if tokio::time::timeout(READY_TIMEOUT, warm).await.is_err() {
        eprintln!(
            "maestro: some local experts are not ready after {} s; going on without them",
            READY_TIMEOUT.as_secs()
        );
    }
    Ok(Local {
        coordinator,
        policy,
        skills,
        experts,
    })
}

impl Local {
    /// Where the coordinator serves.
    pub(crate) fn address(&self) -> SocketAddr {
        self.coordinator.address()
    }

    /// Where the coordinator serves, as a URL.
    pub(crate) fn endpoint(&self) -> Result<Url, CliError> {
        endpoint(self.address())
    }

    /// Resolves when the coordinator's server has failed.
    pub(crate) async fn wait(&mut self) -> Result<(), CliError> {
        self.coordinator.wait().await.map_err(failed("coordinator"))
    }

    /// Finishes what runs and ends, from the front door inwards.
    pub(crate) async fn drain(self) {
        self.coordinator.drain(GRACE).await;
        self.policy.drain(GRACE).await;
        self.skills.drain(GRACE).await;
        self.experts.drain(GRACE).await;
    }
}

/// Puts the skills that come with the program into the registry.
async fn register_library(registry: &dyn Registry, blobs: &dyn Blobs) -> Result<(), CliError> {
    let library = maestro_skill_runner::library().map_err(failed("skill library"))?;
    for skill in library {
        blobs.put(skill.bundle().clone()).await?;
        registry
            .put_skill(&skill.header(), PutMode::Replace)
            .await?;
    }
    Ok(())
}

fn store_url(data: Option<&Path>) -> Result<Url, CliError> {
    let Some(folder) = data else {
        return "memory:///"
            .parse()
            .map_err(|error| Start::blob(format!("{error}")));
    };
    std::fs::create_dir_all(folder).map_err(CliError::file(folder))?;
    let folder: PathBuf = folder.canonicalize().map_err(CliError::file(folder))?;
    Url::from_directory_path(&folder)
        .map_err(|()| Start::blob(format!("{} is not an absolute path", folder.display())))
}

struct Start;

impl Start {
    fn blob(reason: String) -> CliError {
        CliError::Start {
            part: "blob store",
            reason,
        }
    }
}

fn endpoint(address: SocketAddr) -> Result<Url, CliError> {
    format!("http://{address}")
        .parse()
        .map_err(|error| CliError::Start {
            part: "coordinator",
            reason: format!("{error}"),
        })
}

fn failed<E: std::fmt::Display>(part: &'static str) -> impl FnOnce(E) -> CliError {
    move |error| CliError::Start {
        part,
        reason: error.to_string(),
    }
}
