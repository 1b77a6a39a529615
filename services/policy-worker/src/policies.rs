//! Which policy serves in which slot.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use maestro_core::{
    CoreError, Digest,
    ports::Blobs,
    registry::{PolicySlot, Snapshot},
};
use maestro_policy::{PolicyError, Runtime, ScorerPolicy, parse_manifest};
use tokio::{sync::watch, task, time};

/// The slot of requests that name none.
pub const DEFAULT_SLOT: &str = "default";
/// Longest time to fetch one blob.
const FETCH: Duration = Duration::from_secs(60);
/// When a policy that could not be loaded is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Why a policy could not be loaded.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error(transparent)]
    Blob(#[from] CoreError),
    #[error("a blob took longer than {FETCH:?}")]
    Timeout,
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error("loading was cut off")]
    CutOff,
}

/// The loaded policies.
pub(crate) struct Policies {
    builtin: Arc<ScorerPolicy>,
    slots: ArcSwap<BTreeMap<String, Arc<ScorerPolicy>>>,
    failures: AtomicU64,
}

impl Policies {
    /// Only the policy that needs no loading.
    pub(crate) fn new(builtin: ScorerPolicy) -> Self {
        Self {
            builtin: Arc::new(builtin),
            slots: ArcSwap::default(),
            failures: AtomicU64::new(0),
        }
    }

    /// The policy of a slot: its active one, or the built-in one where there is none.
    pub(crate) fn of(&self, slot: &str) -> Arc<ScorerPolicy> {
        let slot = if slot.is_empty() { DEFAULT_SLOT } else { slot };
        let loaded = self.slots.load().get(slot).cloned();
        loaded.unwrap_or_else(|| Arc::clone(&self.builtin))
    }

    /// Versions by slot.
    pub(crate) fn versions(&self) -> BTreeMap<String, String> {
        let version = |(slot, policy): (&String, &Arc<ScorerPolicy>)| {
            (slot.clone(), policy.version().to_string())
        };
        self.slots.load().iter().map(version).collect()
    }

    /// Failed attempts to load a policy.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    fn loaded(&self, version: &Digest) -> Option<Arc<ScorerPolicy>> {
        let slots = self.slots.load();
        std::iter::once(&self.builtin)
            .chain(slots.values())
            .find(|policy| policy.version() == version)
            .cloned()
    }
}

/// Loads what the registry names, in the background.
pub(crate) struct Loader {
    pub(crate) policies: Arc<Policies>,
    pub(crate) blobs: Arc<dyn Blobs>,
    pub(crate) runtime: Runtime,
}

impl Loader {
    /// Follows until the registry is gone.
    pub(crate) async fn run(self, mut snapshots: watch::Receiver<Arc<Snapshot>>) {
        loop {
            let wanted = snapshots.borrow_and_update().policies.clone();
            let complete = self.update(&wanted).await;
            let changed = snapshots.wait_for(|snapshot| snapshot.policies != wanted);
            let gone = if complete {
                changed.await.is_err()
            } else {
                matches!(time::timeout(RETRY, changed).await, Ok(Err(_)))
            };
            if gone {
                return;
            }
        }
    }

    /// Loads each slot's active policy and swaps them in together; false if one could not be
    /// loaded, whose slot keeps what it has.
    pub(crate) async fn update(&self, wanted: &BTreeMap<String, PolicySlot>) -> bool {
        let mut slots = BTreeMap::new();
        let mut complete = true;
        for (name, slot) in wanted {
            match self.policy(&slot.active).await {
                Ok(policy) => {
                    slots.insert(name.clone(), policy);
                }
                Err(error) => {
                    complete = false;
                    let failures = self.policies.failures.fetch_add(1, Ordering::Relaxed) + 1;
                    let kept = self.policies.of(name);
                    tracing::error!(
                        slot = name, policy = %slot.active, kept = %kept.version(), failures, %error,
                        "the slot's policy cannot be loaded"
                    );
                    if let Some(kept) = self.policies.slots.load().get(name) {
                        slots.insert(name.clone(), Arc::clone(kept));
                    }
                }
            }
        }
        for (name, policy) in &slots {
            if self.policies.of(name).version() != policy.version() {
                tracing::info!(slot = name, policy = %policy.version(), "the policy is active");
            }
        }
        self.policies.slots.store(Arc::new(slots));
        complete
    }

    async fn policy(&self, version: &Digest) -> Result<Arc<ScorerPolicy>, LoadError> {
        if let Some(loaded) = self.policies.loaded(version) {
            return Ok(loaded);
        }
        let manifest = self.fetch(version).await?;
        let weights = parse_manifest(&manifest)?.weights;
        let weights = self.fetch(&weights).await?;
        let runtime = self.runtime.clone();
        let load = task::spawn_blocking(move || ScorerPolicy::load(&manifest, &weights, runtime));
        Ok(Arc::new(load.await.map_err(|_| LoadError::CutOff)??))
    }

    async fn fetch(&self, digest: &Digest) -> Result<Vec<u8>, LoadError> {
        let content = time::timeout(FETCH, self.blobs.get(digest)).await;
        Ok(content.map_err(|_| LoadError::Timeout)??.into())
    }
}
