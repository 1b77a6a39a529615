//! The coordinator process.

use std::{net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use maestro_coordinator::{Coordinator, CoordinatorConfig, MemoryJournal, Ports, start};
use maestro_core::ports::{Blobs, SharedJournal, Trajectories};
use maestro_process::{ProcessError, Program, Resources};
use maestro_registry::Moving;
use maestro_rpc::{DrainReport, ServeConfig};
use maestro_store::{ObjectPolicies, ObjectTrajectories};

struct Process(Coordinator);

impl Program for Process {
    const NAME: &'static str = "maestro-coordinator";
    const ABOUT: &'static str =
        "Takes tasks, runs their episodes, keeps the registry's front door.";
    type Config = CoordinatorConfig;

    fn serve(config: &mut CoordinatorConfig) -> &mut ServeConfig {
        &mut config.serve
    }

    fn validate(config: &CoordinatorConfig) -> Result<(), ProcessError> {
        config.validate().map_err(ProcessError::service)
    }

    async fn start(config: CoordinatorConfig, resources: Resources) -> Result<Self, ProcessError> {
        let store = resources.store()?;
        let blobs: Arc<dyn Blobs> = Arc::new(store.clone());
        let trajectories = ObjectTrajectories::open(&config.trajectories);
        let trajectories = trajectories
            .map_err(ProcessError::service)?
            .map(|store| Arc::new(store) as Arc<dyn Trajectories>);
        let durable: Option<Arc<dyn SharedJournal>> = if config.journal.enabled {
            let moving = trajectories.clone().map(|trajectories| Moving {
                trajectories,
                batching: config.trajectories.batching,
            });
            let journal = resources.journal(&config.journal, &blobs, moving);
            Some(Arc::new(journal.await?))
        } else {
            None
        };
        let ports = Ports {
            registry: resources.registry(),
            policies: Arc::new(ObjectPolicies::new(store)),
            blobs,
            journal: Arc::new(MemoryJournal::new(config.episodes.max_finished)),
            durable,
            trajectories,
        };
        let running = start(config, ports).await;
        running.map(Self).map_err(ProcessError::service)
    }

    fn address(&self) -> SocketAddr {
        self.0.address()
    }

    async fn wait(&mut self) -> Result<(), ProcessError> {
        self.0.wait().await.map_err(ProcessError::service)
    }

    async fn drain(self, grace: Duration) -> DrainReport {
        self.0.drain(grace).await
    }
}

fn main() -> ExitCode {
    maestro_process::main::<Process>()
}
