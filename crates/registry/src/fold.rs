//! A snapshot from changes. Pure.

use std::{
    collections::{BTreeMap, btree_map},
    sync::Arc,
};

use maestro_core::registry::{Catalogue, Entry, Instance, Snapshot};

use crate::{codec::Stored, keys::Key};

/// Most deletions that are remembered to refuse late changes of the deleted entries.
const REMEMBERED_DELETIONS: usize = 4096;

/// What happened to one entry at one revision.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The entry.
    pub key: Key,
    /// Revision of the registry at which it happened.
    pub revision: u64,
    /// What stands there now; `None` where it was deleted or cannot be read.
    pub entry: Option<Stored>,
}

/// Folds changes into snapshots. The latest revision of each entry counts, in whatever order and
/// however often changes arrive, so the result equals a fresh listing. The catalogue and its
/// digest are made anew only when a description has changed; snapshots in between share them.
#[derive(Clone, Debug)]
pub struct SnapshotBuilder {
    snapshot: Snapshot,
    /// Revision of each entry that is there.
    revisions: BTreeMap<Key, u64>,
    /// Revision of each deletion that may still be overtaken.
    deletions: BTreeMap<Key, u64>,
    digest_is_stale: bool,
    is_changed: bool,
}

impl Default for SnapshotBuilder {
    fn default() -> Self {
        Self {
            snapshot: Snapshot::new(0, Catalogue::default()),
            revisions: BTreeMap::new(),
            deletions: BTreeMap::new(),
            digest_is_stale: false,
            is_changed: false,
        }
    }
}

impl SnapshotBuilder {
    /// An empty registry at revision 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts again from a full listing at `revision`. A catalogue that has not changed is kept.
    pub fn reset(&mut self, listing: impl IntoIterator<Item = Change>, revision: u64) {
        let mut fresh = Self::new();
        for change in listing {
            fresh.apply(change);
        }
        // The listing says what the registry is, also where it was set back to an earlier state.
        fresh.snapshot.revision = revision;
        if fresh.snapshot.catalogue == self.snapshot.catalogue {
            fresh.snapshot.catalogue = Arc::clone(&self.snapshot.catalogue);
            fresh.snapshot.digest = self.snapshot.digest;
            fresh.digest_is_stale = self.digest_is_stale;
        }
        fresh.is_changed = true;
        *self = fresh;
    }

    /// Applies one change.
    pub fn apply(&mut self, change: Change) {
        let Change {
            key,
            revision,
            entry,
        } = change;
        self.snapshot.revision = self.snapshot.revision.max(revision);
        self.snapshot.changed = self.snapshot.changed.max(revision);
        let known = self
            .revisions
            .get(&key)
            .or_else(|| self.deletions.get(&key));
        if known.is_some_and(|known| *known >= revision) {
            return;
        }
        self.is_changed = true;
        match entry {
            Some(entry) => {
                self.insert(entry, &key);
                self.deletions.remove(&key);
                self.revisions.insert(key, revision);
            }
            None => {
                self.remove(&key);
                self.revisions.remove(&key);
                self.deletions.insert(key, revision);
                self.forget_old_deletions();
            }
        }
    }

    /// Whether something has changed since the last snapshot.
    pub fn is_changed(&self) -> bool {
        self.is_changed
    }

    /// The registry after the changes so far.
    pub fn snapshot(&mut self) -> Arc<Snapshot> {
        if self.digest_is_stale {
            self.snapshot.digest = Some(self.snapshot.catalogue.digest());
            self.digest_is_stale = false;
        }
        self.is_changed = false;
        Arc::new(self.snapshot.clone())
    }

    /// The latest revision that has been seen.
    pub fn revision(&self) -> u64 {
        self.snapshot.revision
    }

    /// What stands under `key` and since which revision.
    pub(crate) fn get(&self, key: &Key) -> Option<(Stored, u64)> {
        let revision = *self.revisions.get(key)?;
        let Snapshot {
            catalogue,
            experts_written,
            skills_written,
            instances,
            policies,
            ..
        } = &self.snapshot;
        let stored = match key {
            Key::Expert(name) => Stored::Expert(Entry {
                value: catalogue.experts.get(name)?.clone(),
                written_at: *experts_written.get(name)?,
            }),
            Key::Skill(name) => Stored::Skill(Entry {
                value: catalogue.skills.get(name)?.clone(),
                written_at: *skills_written.get(name)?,
            }),
            Key::Instance(expert, id) => {
                let serving = instances.get(expert)?;
                Stored::Instance(serving.iter().find(|instance| instance.id == *id)?.clone())
            }
            Key::Policy(slot) => Stored::Policy(policies.get(slot)?.clone()),
        };
        Some((stored, revision))
    }

    fn insert(&mut self, entry: Stored, key: &Key) {
        match (entry, key) {
            (Stored::Expert(Entry { value, written_at }), Key::Expert(name)) => {
                self.snapshot
                    .experts_written
                    .insert(name.clone(), written_at);
                if self.snapshot.catalogue.experts.get(name) != Some(&value) {
                    self.catalogue().experts.insert(name.clone(), value);
                }
            }
            (Stored::Skill(Entry { value, written_at }), Key::Skill(name)) => {
                self.snapshot
                    .skills_written
                    .insert(name.clone(), written_at);
                if self.snapshot.catalogue.skills.get(name) != Some(&value) {
                    self.catalogue().skills.insert(name.clone(), value);
                }
            }
            (Stored::Instance(instance), Key::Instance(expert, _)) => {
                let serving = self.snapshot.instances.entry(expert.clone()).or_default();
                put_sorted(serving, instance);
            }
            (Stored::Policy(slot), Key::Policy(name)) => {
                self.snapshot.policies.insert(name.clone(), slot);
            }
            // An entry under a key of another kind is none: see `Stored::decode`.
            (_, key) => self.remove(key),
        }
    }

    fn remove(&mut self, key: &Key) {
        match key {
            Key::Expert(name) => {
                self.snapshot.experts_written.remove(name);
                if self.snapshot.catalogue.experts.contains_key(name) {
                    self.catalogue().experts.remove(name);
                }
            }
            Key::Skill(name) => {
                self.snapshot.skills_written.remove(name);
                if self.snapshot.catalogue.skills.contains_key(name) {
                    self.catalogue().skills.remove(name);
                }
            }
            Key::Instance(expert, id) => {
                let serving = self.snapshot.instances.entry(expert.clone());
                if let btree_map::Entry::Occupied(mut serving) = serving {
                    serving.get_mut().retain(|instance| instance.id != *id);
                    if serving.get().is_empty() {
                        serving.remove();
                    }
                }
            }
            Key::Policy(slot) => {
                self.snapshot.policies.remove(slot);
            }
        }
    }

    /// The catalogue to be changed; snapshots that share it keep theirs.
    fn catalogue(&mut self) -> &mut Catalogue {
        self.digest_is_stale = true;
        Arc::make_mut(&mut self.snapshot.catalogue)
    }

    /// Halves the remembered deletions when they are too many, the oldest first. Only changes that
    /// arrive that late could then be taken for new ones; etcd sends those of a key in order.
    fn forget_old_deletions(&mut self) {
        if self.deletions.len() <= REMEMBERED_DELETIONS {
            return;
        }
        let mut revisions: Vec<u64> = self.deletions.values().copied().collect();
        revisions.sort_unstable();
        let oldest_kept = revisions[revisions.len() / 2];
        self.deletions
            .retain(|_, revision| *revision >= oldest_kept);
    }
}

fn put_sorted(serving: &mut Vec<Instance>, instance: Instance) {
    match serving.binary_search_by(|other| other.id.cmp(&instance.id)) {
        Ok(index) => serving[index] = instance,
        Err(index) => serving.insert(index, instance),
    }
}

#[cfg(test)]
#[path = "fold_tests.rs"]
mod tests;
