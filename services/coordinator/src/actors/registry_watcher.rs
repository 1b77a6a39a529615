use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use maestro_core::registry::Snapshot;
use maestro_telemetry::Gauge;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// How often the size of the action set is looked at while the registry does not change.
const IDLE_TICK: Duration = Duration::from_secs(10);

/// Follows the registry's snapshots and says in metrics what they hold.
pub(crate) struct RegistryWatcher;

/// A new snapshot, or the same one after a while.
pub(crate) struct SnapshotSeen(Arc<Snapshot>);

#[async_trait]
impl Actor for RegistryWatcher {
    type Msg = SnapshotSeen;
    type State = AbortOnDropHandle<()>;
    type Arguments = watch::Receiver<Arc<Snapshot>>;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        mut snapshots: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                let snapshot = Arc::clone(&snapshots.borrow_and_update());
                if myself.send_message(SnapshotSeen(snapshot)).is_err() {
                    return;
                }
                // A change or a tick: either way the next look.
                if let Ok(Err(_closed)) = tokio::time::timeout(IDLE_TICK, snapshots.changed()).await
                {
                    return;
                }
            }
        })))
    }

    async fn handle(
        &self,
        _: ActorRef<Self::Msg>,
        SnapshotSeen(snapshot): Self::Msg,
        _: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let pairs = snapshot.action_set().len();
        Gauge::ActionSetPairs.set(pairs as f64, &[]);
        Gauge::RegistryRevision.set(snapshot.revision as f64, &[]);
        tracing::debug!(revision = snapshot.revision, pairs, "registry snapshot");
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Self::Msg>,
        _: SupervisionEvent,
        _: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        // It has no children.
        Ok(())
    }
}
