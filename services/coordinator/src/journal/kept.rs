//! Finished episodes of the journal in memory on their way to the store of trajectories.

use std::{slice::from_ref, sync::Arc, time::Duration};

use maestro_core::{
    Timestamp,
    episode::EpisodeRecord,
    ids::EpisodeId,
    ports::{Batching, Trajectories},
};
use maestro_telemetry::{Counter, Label};
use tokio::{sync::mpsc, time};
use tokio_util::task::AbortOnDropHandle;

/// Finished episodes that wait for the store at most. When it is full, further ones are not written,
/// and counted: an ephemeral episode waits for nothing.
const QUEUE: usize = 4096;
/// Before a writing that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How often the store is tidied.
const TIDY: Duration = Duration::from_secs(5 * 60);

/// How finished episodes are kept.
pub(crate) struct Keeper {
    pub(crate) trajectories: Arc<dyn Trajectories>,
    pub(crate) batching: Batching,
    /// Whether nobody else tidies the store.
    pub(crate) is_tidying: bool,
}

/// Takes finished episodes for the store.
#[derive(Clone)]
pub(crate) struct Kept {
    queue: mpsc::WeakSender<EpisodeRecord>,
}

/// The task that writes. Dropping it ends it where it stands.
pub(crate) struct Keeping {
    queue: mpsc::Sender<EpisodeRecord>,
    writing: AbortOnDropHandle<()>,
    _tidying: Option<AbortOnDropHandle<()>>,
}

impl Keeping {
    /// Writes what waits, for at most `limit`. Nothing is taken after it.
    pub(crate) async fn finish(self, limit: Duration) {
        // The only one that keeps the queue open.
        drop(self.queue);
        if time::timeout(limit, self.writing).await.is_err() {
            tracing::warn!("some ephemeral episodes did not reach the store of trajectories");
        }
    }
}

impl Kept {
    /// Hands a finished episode to the store, as it stands now.
    pub(super) fn keep(&self, record: EpisodeRecord) {
        let id = record.spec.id.clone();
        let queue = self.queue.upgrade();
        if queue.is_none_or(|queue| queue.try_send(record).is_err()) {
            dropped(&id);
        }
    }
}

impl Keeper {
    /// Begins to take episodes and to write them.
    pub(crate) fn start(self) -> (Kept, Keeping) {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let store = Arc::clone(&self.trajectories);
        let tidying = self.is_tidying.then(|| tidy(Arc::clone(&store)));
        let keeping = Keeping {
            writing: AbortOnDropHandle::new(tokio::spawn(write(store, self.batching, waiting))),
            _tidying: tidying.map(|tidying| AbortOnDropHandle::new(tokio::spawn(tidying))),
            queue,
        };
        let kept = Kept {
            queue: keeping.queue.downgrade(),
        };
        (kept, keeping)
    }
}

fn dropped(id: &EpisodeId) {
    Counter::TrajectoryFailures.increment(&[Label::Reason("dropped")]);
    tracing::warn!(episode = %id, "an ephemeral episode does not reach the store of trajectories");
}

/// Writes what comes, in batches, until nothing comes any more.
async fn write(
    store: Arc<dyn Trajectories>,
    batching: Batching,
    mut waiting: mpsc::Receiver<EpisodeRecord>,
) {
    while let Some(first) = waiting.recv().await {
        let until = time::Instant::now() + batching.max_wait();
        let mut records = vec![first];
        while records.len() < batching.max_rows {
            match time::timeout_at(until, waiting.recv()).await {
                Ok(Some(record)) => records.push(record),
                Ok(None) | Err(_) => break,
            }
        }
        put(&*store, &records).await;
    }
}

/// Writes until it is written, or the store refuses it for good.
async fn put(store: &dyn Trajectories, records: &[EpisodeRecord]) {
    loop {
        match store.put(records).await {
            Ok(()) => {
                Counter::TrajectoriesStored.add(records.len() as u64, &[]);
                return;
            }
            Err(error) if error.is_transient() => {
                // While it waits the queue may fill up.
                Counter::TrajectoryFailures.increment(&[Label::Reason("not_moved")]);
                tracing::warn!(%error, "ephemeral episodes wait for the store of trajectories");
                time::sleep(RETRY).await;
            }
            // One that it cannot take must not keep the others.
            Err(_) => {
                for record in records {
                    match store.put(from_ref(record)).await {
                        Ok(()) => Counter::TrajectoriesStored.increment(&[]),
                        Err(error) => {
                            tracing::error!(%error, "the store of trajectories refuses an episode");
                            dropped(&record.spec.id);
                        }
                    }
                }
                return;
            }
        }
    }
}

async fn tidy(store: Arc<dyn Trajectories>) {
    let mut ticks = time::interval(TIDY);
    ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = store.tidy(Timestamp::now()).await {
            Counter::TrajectoryFailures.increment(&[Label::Reason("not_tidied")]);
            tracing::warn!(%error, "the store of trajectories is tidied later");
        }
    }
}

#[cfg(test)]
#[path = "kept_tests.rs"]
mod tests;
