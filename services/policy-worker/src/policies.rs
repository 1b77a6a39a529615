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

/// The slot that a request means.
pub(crate) fn named(slot: &str) -> &str {
    if slot.is_empty() { DEFAULT_SLOT } else { slot }
}

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

/// The loaded policies of a slot.
#[derive(Clone)]
struct Loaded {
    /// `None` where the registry names one that has never been loaded.
    active: Option<Arc<ScorerPolicy>>,
    shadow: Option<Arc<ScorerPolicy>>,
}

/// The loaded policies.
pub(crate) struct Policies {
    builtin: Arc<ScorerPolicy>,
    slots: ArcSwap<BTreeMap<String, Loaded>>,
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
        let loaded = self.slots.load();
        let active = loaded.get(named(slot)).and_then(|slot| slot.active.clone());
        active.unwrap_or_else(|| Arc::clone(&self.builtin))
    }

    /// The policy that scores along in a slot.
    pub(crate) fn shadow_of(&self, slot: &str) -> Option<Arc<ScorerPolicy>> {
        self.slots.load().get(named(slot))?.shadow.clone()
    }

    /// Versions by `policy.SLOT` and `shadow.SLOT`.
    pub(crate) fn versions(&self) -> BTreeMap<String, String> {
        let slots = self.slots.load();
        let of = |kind: &'static str, select: fn(&Loaded) -> &Option<Arc<ScorerPolicy>>| {
            slots.iter().filter_map(move |(slot, loaded)| {
                let version = select(loaded).as_ref()?.version().to_string();
                Some((format!("{kind}.{slot}"), version))
            })
        };
        of("policy", |loaded| &loaded.active)
            .chain(of("shadow", |loaded| &loaded.shadow))
            .collect()
    }

    /// Failed attempts to load a policy.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    fn loaded(&self, version: &Digest) -> Option<Arc<ScorerPolicy>> {
        let slots = self.slots.load();
        let of_slots = slots
            .values()
            .flat_map(|loaded| loaded.active.iter().chain(&loaded.shadow));
        std::iter::once(&self.builtin)
            .chain(of_slots)
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

    /// Loads each slot's policies and swaps them in together; false if one could not be loaded,
    /// in whose place the slot keeps what it has.
    pub(crate) async fn update(&self, wanted: &BTreeMap<String, PolicySlot>) -> bool {
        let mut slots = BTreeMap::new();
        let mut complete = true;
        for (name, slot) in wanted {
            let before = self.policies.slots.load().get(name).cloned();
            let (active, shadow) = before.map_or((None, None), |b| (b.active, b.shadow));
            let active = self.load(name, "active", &slot.active, active).await;
            complete &= active.is_ok();
            let shadow = match &slot.shadow {
                Some(version) => self.load(name, "shadow", version, shadow).await,
                None => Ok(None),
            };
            complete &= shadow.is_ok();
            let loaded = Loaded {
                active: active.unwrap_or_else(|kept| kept),
                shadow: shadow.unwrap_or_else(|kept| kept),
            };
            slots.insert(name.clone(), loaded);
        }
        self.policies.slots.store(Arc::new(slots));
        complete
    }

    /// The policy of a version, or as the error what is kept in its place.
    async fn load(
        &self,
        slot: &str,
        part: &'static str,
        version: &Digest,
        kept: Option<Arc<ScorerPolicy>>,
    ) -> Result<Option<Arc<ScorerPolicy>>, Option<Arc<ScorerPolicy>>> {
        match self.policy(version).await {
            Ok(policy) => {
                if kept.is_none_or(|kept| kept.version() != version) {
                    tracing::info!(slot, part, policy = %version, "the slot has another policy");
                }
                Ok(Some(policy))
            }
            Err(error) => {
                let failures = self.policies.failures.fetch_add(1, Ordering::Relaxed) + 1;
                let serving = kept.as_ref().map(|kept| kept.version().to_string());
                tracing::error!(
                    slot, part, policy = %version, kept = serving, failures, %error,
                    "the slot's policy cannot be loaded"
                );
                Err(kept)
            }
        }
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
