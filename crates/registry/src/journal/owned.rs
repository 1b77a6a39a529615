//! What this process owns, as far as it knows.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use maestro_core::{CoreError, EpisodeId, episode::EpisodeSpec};

use super::seat::Seat;

/// An episode that is owned.
#[derive(Clone, Debug)]
pub(super) struct Owned {
    pub(super) spec: EpisodeSpec,
    /// The seat that it hangs on.
    pub(super) seat: Seat,
    pub(super) terms: u32,
    /// Revision of the head as its owner left it.
    pub(super) revision: i64,
    /// The head's bytes, where it was read: they may hold fields that only a newer version knows.
    pub(super) head: Vec<u8>,
}

/// Bounded by the episodes that a coordinator runs at once.
#[derive(Debug, Default)]
pub(super) struct OwnedEpisodes {
    /// `None` while it is being written for the first time.
    episodes: Mutex<HashMap<EpisodeId, Option<Owned>>>,
}

/// An episode that is being written for the first time, so that nobody takes it for one that was
/// left behind. Dropped without an owner, it is left behind.
pub(super) struct Reserved<'a> {
    episodes: &'a OwnedEpisodes,
    id: EpisodeId,
}

impl Reserved<'_> {
    pub(super) fn own(self, owned: Owned) {
        self.episodes.insert(owned);
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        let mut episodes = self.episodes.lock();
        if matches!(episodes.get(&self.id), Some(None)) {
            episodes.remove(&self.id);
        }
    }
}

impl OwnedEpisodes {
    pub(super) fn reserve(&self, id: &EpisodeId) -> Reserved<'_> {
        self.lock().entry(id.clone()).or_insert(None);
        Reserved {
            episodes: self,
            id: id.clone(),
        }
    }

    pub(super) fn insert(&self, owned: Owned) {
        self.lock().insert(owned.spec.id.clone(), Some(owned));
    }

    pub(super) fn remove(&self, id: &EpisodeId) {
        self.lock().remove(id);
    }

    /// Whether it is this process's under the seat that it has now, or about to be.
    pub(super) fn contains(&self, id: &EpisodeId, seat: Option<&Seat>) -> bool {
        match self.lock().get(id) {
            Some(Some(owned)) => seat == Some(&owned.seat),
            Some(None) => true,
            None => false,
        }
    }

    /// The episode, or that it is not this process's.
    pub(super) fn get(&self, id: &EpisodeId) -> Result<Owned, CoreError> {
        self.lock()
            .get(id)
            .cloned()
            .flatten()
            .ok_or_else(|| superseded(id))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<EpisodeId, Option<Owned>>> {
        // Nothing panics while it holds the lock; were it so, the data would still be whole.
        self.episodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The error of a write to an episode that is another's.
pub(super) fn superseded(id: &EpisodeId) -> CoreError {
    CoreError::Superseded(format!("another coordinator goes on with episode {id}"))
}
