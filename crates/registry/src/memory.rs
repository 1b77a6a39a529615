//! The registry inside one process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_trait::async_trait;
use maestro_core::{
    CoreError, ExpertName, SkillName, Timestamp,
    ports::{InstanceSpec, PutMode, Registration, Registry},
    registry::{Descriptor, Entry, Instance, PolicySlot, SkillHeader, Snapshot},
};
use tokio::sync::watch;

use crate::{
    codec::Stored,
    decide::{self, Existing, Write},
    fold::{Change, SnapshotBuilder},
    health::RegistryHealth,
    keys::Key,
};

/// A registry that lives and dies with its process and follows the same rules as the one over
/// etcd. Clones share it. A change is in every snapshot before the call that makes it returns.
#[derive(Clone)]
pub struct MemoryRegistry {
    shared: Arc<Shared>,
}

struct Shared {
    builder: Mutex<SnapshotBuilder>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    health: watch::Sender<RegistryHealth>,
}

impl Default for MemoryRegistry {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryRegistry {
    /// An empty registry.
    pub fn new() -> Self {
        let mut builder = SnapshotBuilder::new();
        let snapshots = watch::Sender::new(builder.snapshot());
        let health = RegistryHealth {
            connected: true,
            leased: true,
            ..RegistryHealth::new()
        };
        let shared = Shared {
            builder: Mutex::new(builder),
            snapshots,
            health: watch::Sender::new(health),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Always connected. (The last contact is the registry's making: it cannot be away.)
    pub fn health(&self) -> watch::Receiver<RegistryHealth> {
        self.shared.health.subscribe()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, SnapshotBuilder> {
        // No call under the lock leaves the builder half changed.
        self.builder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes or deletes what `decision` says after a look at what stands there.
    fn change(
        &self,
        key: Key,
        entry: Option<Stored>,
        decision: impl FnOnce(&Existing) -> Result<Write, CoreError>,
    ) -> Result<u64, CoreError> {
        let mut builder = self.lock();
        let (existing, since) = match builder.get(&key) {
            Some((stored, revision)) => (Existing::Readable(Box::new(stored)), revision),
            None => (Existing::Absent, 0),
        };
        match decision(&existing)? {
            Write::Superfluous => Ok(since),
            Write::Needed => {
                let revision = builder.revision() + 1;
                builder.apply(Change {
                    key,
                    revision,
                    entry,
                });
                // Under the lock, so that snapshots are published in order.
                self.snapshots.send_replace(builder.snapshot());
                Ok(revision)
            }
        }
    }

    fn put(&self, key: &Key, new: Stored, mode: PutMode) -> Result<u64, CoreError> {
        let new = new.normalised()?;
        let entry = Some(new.clone());
        self.change(key.clone(), entry, |existing| {
            decide::put(key, existing, &new, mode)
        })
    }

    fn delete(&self, key: Key) -> Result<u64, CoreError> {
        let absent = key.not_found();
        self.change(key, None, |existing| match existing {
            Existing::Absent => Err(absent),
            _ => Ok(Write::Needed),
        })
    }
}

#[async_trait]
impl Registry for MemoryRegistry {
    fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.shared.snapshots.subscribe()
    }

    async fn put_expert(&self, descriptor: &Descriptor, mode: PutMode) -> Result<u64, CoreError> {
        let entry = Entry {
            value: descriptor.clone(),
            written_at: Timestamp::now(),
        };
        self.shared.put(
            &Key::Expert(descriptor.name.clone()),
            Stored::Expert(entry),
            mode,
        )
    }

    async fn delete_expert(&self, name: &ExpertName) -> Result<u64, CoreError> {
        self.shared.delete(Key::Expert(name.clone()))
    }

    async fn put_skill(&self, header: &SkillHeader, mode: PutMode) -> Result<u64, CoreError> {
        let entry = Entry {
            value: header.clone(),
            written_at: Timestamp::now(),
        };
        self.shared
            .put(&Key::Skill(header.name.clone()), Stored::Skill(entry), mode)
    }

    async fn delete_skill(&self, name: &SkillName) -> Result<u64, CoreError> {
        self.shared.delete(Key::Skill(name.clone()))
    }

    async fn register(&self, spec: InstanceSpec) -> Result<Box<dyn Registration>, CoreError> {
        let InstanceSpec {
            expert,
            id,
            endpoint,
            capacity,
        } = spec;
        let key = Key::Instance(expert.clone(), id.clone());
        let new = Stored::Instance(Instance {
            expert,
            id,
            endpoint,
            capacity,
            written_at: Timestamp::now(),
        });
        let entry = Some(new.clone());
        // Whoever holds the identifier is somebody else: a registration is made once.
        self.shared.change(key.clone(), entry, |existing| {
            decide::claim(&key, existing, 0, &[], &new)
        })?;
        Ok(Box::new(MemoryRegistration {
            shared: Arc::downgrade(&self.shared),
            key,
        }))
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
        let entry = Some(new.clone());
        self.shared.change(key.clone(), entry, |existing| {
            decide::swap(&key, existing, expected.as_ref(), &new)
        })
    }
}

struct MemoryRegistration {
    shared: Weak<Shared>,
    key: Key,
}

impl Drop for MemoryRegistration {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            // Nobody else can have removed it; absent is removed as well.
            let _ = shared.delete(self.key.clone());
        }
    }
}

#[async_trait]
impl Registration for MemoryRegistration {
    async fn revoke(self: Box<Self>) -> Result<(), CoreError> {
        drop(self);
        Ok(())
    }
}
