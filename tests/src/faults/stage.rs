//! A site with all of Maestro on it, a model, and the threads of its clients.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use maestro_core::ports::{PutMode, Registry};
use maestro_registry::{EtcdConfig, EtcdRegistry};
use tokio::{runtime::Runtime, task::JoinHandle};

use super::{
    clients::Coordinators,
    etcd,
    network::CLIENTS,
    plan::{Component, Plan},
    site::{Disks, Site},
    tasks::{self, EXPERTS, SKILLS},
};
use crate::{
    openai::ChatServer,
    process::{SandboxError, io_error},
};

/// Until everything serves.
const START_LIMIT: Duration = Duration::from_secs(90);
/// Between two looks at something that is waited for.
pub(super) const BEAT: Duration = Duration::from_millis(100);

/// A site, and a runtime whose threads are among its clients.
pub(super) struct Stage {
    pub(super) site: Site,
    pub(super) runtime: Runtime,
}

impl Stage {
    /// Makes both. Nothing runs yet.
    ///
    /// # Errors
    /// What could not be made: root is needed.
    pub(super) fn new(plan: &Plan, disks: Disks) -> Result<Self, SandboxError> {
        let site = Site::new(plan, disks)?;
        let door = site.network.door()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            // A thread that stays outside connects to nothing of the run, which then fails.
            .on_thread_start(move || drop(door.enter()))
            .build()
            .map_err(io_error("a runtime"))?;
        Ok(Self { site, runtime })
    }

    /// Waits for a task while looking after the processes.
    ///
    /// # Errors
    /// [`SandboxError::Timeout`] after `limit`.
    pub(super) fn wait<T>(
        &mut self,
        what: &str,
        task: JoinHandle<T>,
        limit: Duration,
    ) -> Result<T, SandboxError> {
        let until = Instant::now() + limit;
        while !task.is_finished() {
            if Instant::now() > until {
                return Err(SandboxError::Timeout(what.to_owned()));
            }
            self.site.attend()?;
            std::thread::sleep(BEAT);
        }
        let finished = self.runtime.block_on(task);
        finished.map_err(|error| SandboxError::Timeout(format!("{what}: {error}")))
    }

    /// Starts etcd, the model and Maestro, and waits until every pair can be chosen. The model takes
    /// between the two numbers of milliseconds for an answer.
    ///
    /// # Errors
    /// What did not start in time.
    pub(super) fn start(&mut self, answer_ms: (u64, u64)) -> Result<ChatServer, SandboxError> {
        for component in Component::those(Component::is_etcd) {
            self.site.start(component)?;
        }
        let until = Instant::now() + START_LIMIT;
        while !etcd::serves(&self.site.network) {
            if Instant::now() > until {
                return Err(SandboxError::Timeout("three members of etcd".to_owned()));
            }
        }
        for component in Component::those(|one| !one.is_etcd()) {
            self.site.start(component)?;
        }
        let address = SocketAddr::from((CLIENTS, 8000));
        let serving = self
            .runtime
            .spawn(ChatServer::listening(address, tasks::answer));
        let model = self.wait("the model", serving, START_LIMIT)??;
        let (shortest, longest) = answer_ms;
        model.set_delay(Duration::from_millis(shortest));
        model.set_spread(Duration::from_millis(longest - shortest));
        let ready = self.runtime.spawn(ready(model.base_url()));
        self.wait("every pair and every coordinator", ready, START_LIMIT)??;
        Ok(model)
    }

    /// The coordinators, as clients reach them.
    ///
    /// # Errors
    /// An address that is none.
    pub(super) fn coordinators(&self) -> Result<Coordinators, SandboxError> {
        let _inside = self.runtime.enter();
        Coordinators::new().map_err(|error| SandboxError::Timeout(error.to_string()))
    }
}

/// Adds the experts, and waits until all of it can be chosen and every coordinator answers.
async fn ready(model: String) -> Result<(), SandboxError> {
    let registry = loop {
        match EtcdRegistry::connect(EtcdConfig::new(etcd::endpoints())).await {
            Ok(registry) => break registry,
            Err(_) => tokio::time::sleep(BEAT).await,
        }
    };
    for name in EXPERTS {
        let expert = tasks::expert(name, &model)?;
        registry.put_expert(&expert, PutMode::Replace).await?;
    }
    let workers = Component::those(Component::is_expert).len();
    let mut snapshots = registry.snapshots();
    let complete = snapshots.wait_for(|snapshot: &Arc<_>| {
        let skills = &snapshot.catalogue.skills;
        SKILLS
            .iter()
            .all(|skill| skills.keys().any(|name| name.as_str() == *skill))
            && EXPERTS.iter().all(|expert| {
                let instances = &snapshot.instances;
                instances
                    .iter()
                    .any(|(name, list)| name.as_str() == *expert && list.len() == workers)
            })
    });
    complete
        .await
        .map_err(|_| SandboxError::Timeout("a complete registry".to_owned()))?;
    let coordinators =
        Coordinators::new().map_err(|error| SandboxError::Timeout(error.to_string()))?;
    while coordinators.running().await.is_err() {
        tokio::time::sleep(BEAT).await;
    }
    Ok(())
}
