//! The registry over etcd.
//!
//! ```text
//! caller ──── EtcdRegistry ── compare-and-set transactions ──────────────► etcd
//!                  │ commands
//!                  ▼
//!   thread registry-lease:  one lease, kept alive; registrations put again after a loss
//!   thread registry-watch:  list at one revision, watch from the next; folds snapshots
//! ```
//!
//! The two threads have a runtime and a connection each, so that neither load on the callers'
//! runtime nor the folding of a large registry delays a keep-alive.

pub(crate) mod client;
mod follower;
mod lease;
mod registration;

use std::{sync::Arc, thread};

use async_trait::async_trait;
use etcd_client::{Client, Compare, CompareOp, GetOptions, KvClient, Txn, TxnOp, TxnOpResponse};
use maestro_core::{
    CoreError, ExpertName, SkillName, Timestamp,
    ports::{InstanceSpec, PutMode, Registration, Registry},
    registry::{Descriptor, Entry, PolicySlot, SkillHeader, Snapshot},
};
use tokio::{
    runtime,
    sync::{mpsc, oneshot, watch},
    time,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::{
    client::{call, header_revision},
    follower::Follower,
    lease::LeaseKeeper,
    registration::Command,
};
use crate::{
    backoff,
    codec::Stored,
    config::EtcdConfig,
    decide::{self, Existing, Write},
    error::RegistryError,
    health::RegistryHealth,
    keys::{Key, Keys},
};

/// How often a write is tried again when another writer came in between.
const MAX_ATTEMPTS: u32 = 16;

/// Commands that wait for the lease thread. When it is full, `register` waits.
const QUEUED_COMMANDS: usize = 64;

/// The registry in etcd, as one process sees it. Clones share the connections, the lease and the
/// snapshots; with the last clone (and the last registration) they end, and what was registered
/// goes.
///
/// While etcd cannot be reached the last snapshot stays, writes answer
/// [`CoreError::Unavailable`], and everything is taken up again by itself once it is back. A write
/// that was cut off may have happened; repeating it is safe.
#[derive(Clone)]
pub struct EtcdRegistry {
    inner: Arc<Inner>,
}

struct Inner {
    config: EtcdConfig,
    keys: Keys,
    client: Client,
    commands: mpsc::Sender<Command>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    health: watch::Receiver<RegistryHealth>,
    _following: DropGuard,
}

/// What stands under a key in etcd.
struct Found {
    existing: Existing,
    bytes: Vec<u8>,
    /// Revision of its last change; 0 where there is nothing.
    revision: i64,
}

impl EtcdRegistry {
    /// Connects and loads the registry.
    ///
    /// # Errors
    /// [`RegistryError::Config`] for a setting that cannot be used; any other where etcd cannot be
    /// reached within the connect timeout.
    pub async fn connect(config: EtcdConfig) -> Result<Self, RegistryError> {
        config.validate()?;
        let keys = Keys::new(config.prefix.clone());
        let health = Arc::new(watch::Sender::new(RegistryHealth::new()));
        let client = client::connect(&config).await?;

        let following = CancellationToken::new();
        let follower = Follower::new(
            config.clone(),
            keys.clone(),
            Arc::clone(&health),
            following.clone(),
        );
        let snapshots = follower.snapshots();
        let following = following.drop_guard();
        let (ready, loaded) = oneshot::channel();
        start("registry-watch", move || follower.run(ready))?;
        let limit = config.connect_timeout();
        match time::timeout(limit, loaded).await {
            Ok(Ok(loaded)) => loaded?,
            Ok(Err(_)) => {
                let reason = "its thread has ended".to_owned();
                return Err(RegistryError::Unavailable {
                    operation: "loading",
                    reason,
                });
            }
            Err(_) => {
                return Err(RegistryError::Timeout {
                    operation: "loading",
                    after: limit,
                });
            }
        }

        let (commands, queue) = mpsc::channel(QUEUED_COMMANDS);
        let keeper = LeaseKeeper::new(config.clone(), keys.clone(), queue, Arc::clone(&health));
        start("registry-lease", move || keeper.run())?;
        let health = health.subscribe();
        let inner = Inner {
            config,
            keys,
            client,
            commands,
            snapshots,
            health,
            _following: following,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// State of the connection and its changes.
    pub fn health(&self) -> watch::Receiver<RegistryHealth> {
        self.inner.health.clone()
    }
}

impl Inner {
    fn kv(&self) -> KvClient {
        self.client.kv_client()
    }

    async fn find(&self, key: &Key) -> Result<Found, RegistryError> {
        let mut kv = self.kv();
        let read = kv.get(self.keys.format(key), None::<GetOptions>);
        let response = call("a read", self.config.request_timeout(), read).await?;
        let Some(pair) = response.kvs().first() else {
            return Ok(Found {
                existing: Existing::Absent,
                bytes: vec![],
                revision: 0,
            });
        };
        Ok(Found {
            existing: client::existing(key, pair),
            bytes: pair.value().to_vec(),
            revision: pair.mod_revision(),
        })
    }

    /// Writes an entry if nothing has changed since `found`; `None` where something has.
    async fn compare_and_put(
        &self,
        key: &Key,
        found: &Found,
        new: &Stored,
    ) -> Result<Option<u64>, RegistryError> {
        let name = self.keys.format(key);
        let unchanged = Compare::mod_revision(name.as_str(), CompareOp::Equal, found.revision);
        let put = TxnOp::put(name, new.encode_over(&found.bytes), None);
        let mut kv = self.kv();
        let txn = kv.txn(Txn::new().when([unchanged]).and_then([put]));
        let response = call("a write", self.config.request_timeout(), txn).await?;
        Ok(response
            .succeeded()
            .then(|| header_revision(response.header())))
    }

    /// Writes an entry as `decision` says, by compare-and-set.
    async fn write(
        &self,
        key: &Key,
        new: &Stored,
        decision: impl Fn(&Existing) -> Result<Write, CoreError>,
    ) -> Result<u64, CoreError> {
        for _ in 0..MAX_ATTEMPTS {
            let found = self.find(key).await?;
            match decision(&found.existing)? {
                // The revision of the entry and not of the answer, which counts other parts of
                // etcd too and which no snapshot may ever reach.
                Write::Superfluous => return Ok(client::revision(found.revision)),
                Write::Needed => {
                    if let Some(revision) = self.compare_and_put(key, &found, new).await? {
                        return Ok(revision);
                    }
                }
            }
        }
        let reason = format!("{} {:?} is being written too often", key.kind(), key.name());
        Err(CoreError::Unavailable {
            what: "etcd",
            reason,
        })
    }

    async fn put(&self, key: &Key, new: Stored, mode: PutMode) -> Result<u64, CoreError> {
        let new = new.normalised()?;
        self.write(key, &new, |existing| decide::put(key, existing, &new, mode))
            .await
    }

    async fn delete(&self, key: &Key) -> Result<u64, CoreError> {
        let name = self.keys.format(key);
        let mut kv = self.kv();
        let delete = kv.txn(Txn::new().and_then([TxnOp::delete(name, None)]));
        let response = call("a deletion", self.config.request_timeout(), delete).await?;
        let deleted = match response.op_responses().first() {
            Some(TxnOpResponse::Delete(deletion)) => deletion.deleted() > 0,
            _ => false,
        };
        if deleted {
            Ok(header_revision(response.header()))
        } else {
            Err(key.not_found())
        }
    }
}

#[async_trait]
impl Registry for EtcdRegistry {
    fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.inner.snapshots.clone()
    }

    async fn put_expert(&self, descriptor: &Descriptor, mode: PutMode) -> Result<u64, CoreError> {
        let entry = Entry {
            value: descriptor.clone(),
            written_at: Timestamp::now(),
        };
        self.inner
            .put(
                &Key::Expert(descriptor.name.clone()),
                Stored::Expert(entry),
                mode,
            )
            .await
    }

    async fn delete_expert(&self, name: &ExpertName) -> Result<u64, CoreError> {
        self.inner.delete(&Key::Expert(name.clone())).await
    }

    async fn put_skill(&self, header: &SkillHeader, mode: PutMode) -> Result<u64, CoreError> {
        let entry = Entry {
            value: header.clone(),
            written_at: Timestamp::now(),
        };
        self.inner
            .put(&Key::Skill(header.name.clone()), Stored::Skill(entry), mode)
            .await
    }

    async fn delete_skill(&self, name: &SkillName) -> Result<u64, CoreError> {
        self.inner.delete(&Key::Skill(name.clone())).await
    }

    async fn register(&self, spec: InstanceSpec) -> Result<Box<dyn Registration>, CoreError> {
        // Long enough to outlast the pause between two attempts of the lease thread to connect.
        let limit = backoff::LONGEST + self.inner.config.request_timeout() * 3;
        let registration = registration::register(&self.inner.commands, spec, limit).await?;
        Ok(Box::new(registration))
    }

    async fn set_policy(
        &self,
        slot: &str,
        expected: Option<&PolicySlot>,
        new: &PolicySlot,
    ) -> Result<u64, CoreError> {
        let key = Key::policy(slot)?;
        let expected = expected.cloned().map(Stored::Policy);
        let new = Stored::Policy(new.clone());
        let decision = |existing: &Existing| decide::swap(&key, existing, expected.as_ref(), &new);
        self.inner.write(&key, &new, decision).await
    }
}

/// Runs `work` on a thread and a runtime of its own.
pub(crate) fn start<F: Future<Output = ()>>(
    name: &str,
    work: impl FnOnce() -> F + Send + 'static,
) -> Result<(), RegistryError> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || runtime.block_on(work()))?;
    Ok(())
}
