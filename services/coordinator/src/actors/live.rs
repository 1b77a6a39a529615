use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use maestro_core::{TenantId, ids::EpisodeId};
use ractor::ActorRef;
use tokio::sync::watch;

use super::episode::EpisodeMessage;
use crate::feed::Feed;

/// The running episodes: what requests need to watch or cancel one without asking an actor.
/// Bounded by admission's permits.
pub(crate) struct Live {
    episodes: Mutex<HashMap<EpisodeId, LiveEpisode>>,
    count: watch::Sender<usize>,
}

/// One running episode.
#[derive(Clone)]
pub(crate) struct LiveEpisode {
    pub(crate) tenant: TenantId,
    /// Whether others can go on with it.
    pub(crate) is_shared: bool,
    pub(crate) feed: Arc<Feed>,
    pub(crate) actor: ActorRef<EpisodeMessage>,
}

impl LiveEpisode {
    /// Asks it to stop. One that has ended needs no asking.
    pub(crate) fn cancel(&self, reason: &str) {
        self.tell(EpisodeMessage::Cancel(reason.to_owned()));
    }

    /// Asks it to stop here, so that another coordinator goes on with it.
    pub(crate) fn leave(&self, reason: &'static str) {
        self.tell(EpisodeMessage::Leave(reason));
    }

    fn tell(&self, message: EpisodeMessage) {
        if self.actor.send_message(message).is_err() {
            tracing::debug!("an episode had ended before it could be told");
        }
    }
}

impl Live {
    pub(crate) fn new() -> Self {
        Self {
            episodes: Mutex::default(),
            count: watch::Sender::new(0),
        }
    }

    pub(crate) fn insert(&self, id: EpisodeId, episode: LiveEpisode) {
        let mut episodes = self.lock();
        episodes.insert(id, episode);
        self.count.send_replace(episodes.len());
    }

    pub(crate) fn remove(&self, id: &EpisodeId) -> Option<LiveEpisode> {
        let mut episodes = self.lock();
        let removed = episodes.remove(id);
        self.count.send_replace(episodes.len());
        removed
    }

    /// A tenant's running episode.
    pub(crate) fn get(&self, tenant: &TenantId, id: &EpisodeId) -> Option<LiveEpisode> {
        self.lock()
            .get(id)
            .filter(|episode| episode.tenant == *tenant)
            .cloned()
    }

    /// A running episode, whosever it is.
    pub(crate) fn find(&self, id: &EpisodeId) -> Option<LiveEpisode> {
        self.lock().get(id).cloned()
    }

    pub(crate) fn all(&self) -> Vec<(EpisodeId, LiveEpisode)> {
        self.lock()
            .iter()
            .map(|(id, episode)| (id.clone(), episode.clone()))
            .collect()
    }

    /// How many there are, and its changes.
    pub(crate) fn count(&self) -> watch::Receiver<usize> {
        self.count.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<EpisodeId, LiveEpisode>> {
        self.episodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
