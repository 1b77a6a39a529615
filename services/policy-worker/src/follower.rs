//! The registry as decisions see it, made ready off the hot path.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use maestro_core::{Timestamp, registry::Snapshot, task::Pair};
use maestro_policy::{EmbeddingCache, PolicyError, Prepared, Runtime};
use maestro_telemetry::{Gauge, Histogram};
use tokio::{sync::watch, task, time};

use crate::{catalogues::Catalogues, error::WorkerError};

/// When a snapshot that could not be made ready is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What decisions are made on now.
pub(crate) struct View {
    current: ArcSwap<Prepared>,
    revision: watch::Sender<u64>,
}

impl View {
    fn new(prepared: Prepared) -> Self {
        let revision = prepared.snapshot().revision;
        Self {
            current: ArcSwap::from_pointee(prepared),
            revision: watch::Sender::new(revision),
        }
    }

    /// The latest snapshot that is ready.
    pub(crate) fn current(&self) -> Arc<Prepared> {
        self.current.load_full()
    }

    fn publish(&self, prepared: Prepared) {
        let revision = prepared.snapshot().revision;
        self.current.store(Arc::new(prepared));
        self.revision.send_replace(revision);
    }

    /// Waits until a snapshot of at least `revision` is ready; false if it is not after `limit`.
    pub(crate) async fn reaches(&self, revision: u64, limit: Duration) -> bool {
        if *self.revision.borrow() >= revision {
            return true;
        }
        let mut revisions = self.revision.subscribe();
        let arrived = revisions.wait_for(|current| *current >= revision);
        matches!(time::timeout(limit, arrived).await, Ok(Ok(_)))
    }
}

/// Follows the registry: embeds what is new on a blocking thread, then swaps the [`View`].
pub(crate) struct Follower {
    runtime: Runtime,
    cache: Arc<Mutex<EmbeddingCache>>,
    view: Arc<View>,
    catalogues: Catalogues,
}

impl Follower {
    /// Makes the first snapshot ready.
    pub(crate) async fn start(
        runtime: Runtime,
        snapshot: Arc<Snapshot>,
        catalogues: Catalogues,
    ) -> Result<Self, WorkerError> {
        let cache = Arc::new(Mutex::new(EmbeddingCache::new(Arc::clone(
            runtime.embedder(),
        ))));
        catalogues.keep(&snapshot.catalogue);
        let prepared = prepare(&runtime, &cache, snapshot).await?;
        report(&prepared, &cache);
        Ok(Self {
            runtime,
            cache,
            view: Arc::new(View::new(prepared)),
            catalogues,
        })
    }

    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view)
    }

    /// Follows until the registry is gone.
    pub(crate) async fn run(self, mut snapshots: watch::Receiver<Arc<Snapshot>>) {
        let mut behind = false;
        loop {
            let changed = snapshots.changed();
            let changed = if behind {
                // Without a change the same snapshot is tried again.
                time::timeout(RETRY, changed).await.unwrap_or(Ok(()))
            } else {
                changed.await
            };
            if changed.is_err() {
                return;
            }
            let snapshot = Arc::clone(&snapshots.borrow_and_update());
            match self.advance(snapshot).await {
                Ok(()) => behind = false,
                Err(error) => {
                    tracing::error!(%error, "a registry snapshot cannot be made ready");
                    behind = true;
                }
            }
        }
    }

    async fn advance(&self, snapshot: Arc<Snapshot>) -> Result<(), WorkerError> {
        let before = self.view.current();
        let prepared = match before.renew(&snapshot) {
            Some(prepared) => prepared,
            None => prepare(&self.runtime, &self.cache, Arc::clone(&snapshot)).await?,
        };
        if before.snapshot().digest != snapshot.digest {
            self.catalogues.keep(&snapshot.catalogue);
        }
        self.view.publish(prepared);
        let now = Timestamp::now();
        for completed in newly_completed(before.snapshot(), &snapshot) {
            let time = now.duration_since(completed);
            // Clocks of two machines differ; a time before the write counts as none.
            let time = if time.is_negative() {
                Duration::ZERO
            } else {
                time.unsigned_abs()
            };
            Histogram::RegistryPropagation.record_duration(time, &[]);
        }
        report(&self.view.current(), &self.cache);
        Ok(())
    }
}

fn report(prepared: &Prepared, cache: &Mutex<EmbeddingCache>) {
    let snapshot = prepared.snapshot();
    let held = cache.lock().unwrap_or_else(PoisonError::into_inner).len();
    Gauge::RegistryRevision.set(snapshot.revision as f64, &[]);
    Gauge::ActionSetPairs.set(snapshot.action_set().len() as f64, &[]);
    Gauge::PolicyEmbeddings.set(held as f64, &[]);
}

async fn prepare(
    runtime: &Runtime,
    cache: &Arc<Mutex<EmbeddingCache>>,
    snapshot: Arc<Snapshot>,
) -> Result<Prepared, WorkerError> {
    let (runtime, cache) = (runtime.clone(), Arc::clone(cache));
    let work = task::spawn_blocking(move || -> Result<Prepared, PolicyError> {
        let mut cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
        let embeddings = cache.embed(&snapshot.catalogue)?;
        Ok(runtime.prepare(snapshot, embeddings))
    });
    Ok(work.await.map_err(|_| WorkerError::Stopped)??)
}

/// When each pair was completed that is in the action set of `new` but not of `old`. A pair whose
/// own entries were complete before is left out: what it lacked was a helper.
fn newly_completed(old: &Snapshot, new: &Snapshot) -> Vec<Timestamp> {
    let before: HashSet<Pair> = old.action_set().iter().map(|c| c.pair()).collect();
    new.action_set()
        .iter()
        .map(|candidate| candidate.pair())
        .filter(|pair| !before.contains(pair))
        .filter_map(|pair| {
            let completed = new.completed_at(&pair)?;
            (old.completed_at(&pair) != Some(completed)).then_some(completed)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use maestro_core::{
        Digest, InstanceId,
        registry::{CallBounds, Descriptor, ImageNeed, Instance, Limits, Modality, SkillHeader},
    };

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn with_expert(mut snapshot: Snapshot, name: &str, capability: &str, time: i64) -> Snapshot {
        let descriptor = Descriptor {
            name: name.parse().unwrap(),
            description: "d".into(),
            capabilities: [capability.parse().unwrap()].into(),
            modalities: [Modality::Text].into(),
            price: None,
            limits: Limits::default(),
            typical_latency_ms: None,
            backend: None,
        };
        let name = descriptor.name.clone();
        Arc::make_mut(&mut snapshot.catalogue)
            .experts
            .insert(name.clone(), descriptor);
        snapshot.experts_written.insert(name.clone(), at(time));
        let instance = Instance {
            expert: name.clone(),
            id: InstanceId::generate(),
            endpoint: "http://127.0.0.1:1".parse().unwrap(),
            capacity: 1,
            written_at: at(time + 1),
        };
        snapshot.instances.insert(name, vec![instance]);
        snapshot
    }

    fn with_skill(mut snapshot: Snapshot, helpers: &[&str]) -> Snapshot {
        let header = SkillHeader {
            hedge: false,
            name: "s".parse().unwrap(),
            description: "d".into(),
            bundle: Digest::of(&[]),
            requires: ["chat".parse().unwrap()].into(),
            helpers: helpers.iter().map(|h| h.parse().unwrap()).collect(),
            optional_helpers: [].into(),
            images: ImageNeed::Optional,
            expert_reads_images: false,
            answer_kinds: BTreeSet::new(),
            direct: false,
            bounds: CallBounds::default(),
            solvers: vec![],
        };
        let name = header.name.clone();
        Arc::make_mut(&mut snapshot.catalogue)
            .skills
            .insert(name.clone(), header);
        snapshot.skills_written.insert(name, at(1));
        snapshot
    }

    #[test]
    fn a_completed_pair_counts_once_from_its_last_write() {
        let before = with_skill(Snapshot::default(), &[]);
        let after = with_expert(before.clone(), "e", "chat", 10);
        assert_eq!(newly_completed(&before, &after), [at(11)]);
        let more = with_expert(after.clone(), "reader", "ocr", 20);
        assert!(newly_completed(&after, &more).is_empty());
        assert!(newly_completed(&more, &before).is_empty());
    }

    #[test]
    fn a_pair_that_only_lacked_a_helper_does_not_count() {
        let before = with_expert(with_skill(Snapshot::default(), &["ocr"]), "e", "chat", 10);
        assert!(before.action_set().is_empty());
        let after = with_expert(before.clone(), "reader", "ocr", 20);
        assert_eq!(after.action_set().len(), 1);
        assert!(newly_completed(&before, &after).is_empty());
    }
}
