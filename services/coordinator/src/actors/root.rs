use std::sync::Arc;

use async_trait::async_trait;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::{
    effects::World,
    live::Live,
    registry_watcher::RegistryWatcher,
    scheduler::{Scheduler, SchedulerMessage},
};

/// The supervisor: starts the other actors and starts them anew when they fail.
pub(crate) struct Root {
    pub(crate) world: Arc<World>,
    pub(crate) live: Arc<Live>,
    pub(crate) cleanup: TaskTracker,
    /// The scheduler of the moment, for whoever submits.
    pub(crate) scheduler: watch::Sender<Option<ActorRef<SchedulerMessage>>>,
}

/// The children of the moment.
pub(crate) struct Children {
    watcher: ractor::ActorCell,
    scheduler: ractor::ActorCell,
}

#[async_trait]
impl Actor for Root {
    type Msg = ();
    type State = Children;
    type Arguments = ();

    async fn pre_start(
        &self,
        myself: ActorRef<()>,
        (): (),
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(Children {
            watcher: self.start_watcher(&myself).await?,
            scheduler: self.start_scheduler(&myself).await?,
        })
    }

    async fn handle(
        &self,
        _: ActorRef<()>,
        (): (),
        _: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<()>,
        event: SupervisionEvent,
        children: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let cell = match event {
            SupervisionEvent::ActorTerminated(cell, ..) => cell,
            SupervisionEvent::ActorFailed(cell, error) => {
                tracing::error!(%error, "an actor failed and is started anew");
                cell
            }
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {
                return Ok(());
            }
        };
        if cell.get_id() == children.watcher.get_id() {
            children.watcher = self.start_watcher(&myself).await?;
        } else if cell.get_id() == children.scheduler.get_id() {
            self.scheduler.send_replace(None);
            children.scheduler = self.start_scheduler(&myself).await?;
        }
        Ok(())
    }
}

impl Root {
    async fn start_watcher(
        &self,
        myself: &ActorRef<()>,
    ) -> Result<ractor::ActorCell, ActorProcessingErr> {
        let snapshots = self.world.snapshots.clone();
        let (actor, _task) =
            Actor::spawn_linked(None, RegistryWatcher, snapshots, myself.get_cell()).await?;
        Ok(actor.get_cell())
    }

    async fn start_scheduler(
        &self,
        myself: &ActorRef<()>,
    ) -> Result<ractor::ActorCell, ActorProcessingErr> {
        let scheduler = Scheduler {
            world: Arc::clone(&self.world),
            live: Arc::clone(&self.live),
            cleanup: self.cleanup.clone(),
        };
        let (actor, _task) = Actor::spawn_linked(None, scheduler, (), myself.get_cell()).await?;
        let cell = actor.get_cell();
        self.scheduler.send_replace(Some(actor));
        Ok(cell)
    }
}
