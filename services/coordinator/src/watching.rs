//! The events of an episode, wherever it runs.

use std::{sync::Arc, time::Duration};

use futures::{Stream, StreamExt, stream::BoxStream};
use maestro_core::{CoreError, TenantId, episode::EpisodeRecord, ids::EpisodeId};
use maestro_wire::EpisodeEvent;
use tokio::sync::watch;

use crate::{
    actors::{Live, World},
    cursor::{Cursor, replay},
};

/// Before another source is looked for where one has ended early.
const PAUSE: Duration = Duration::from_millis(50);
/// The same, where the journal cannot be reached.
const AWAY: Duration = Duration::from_millis(500);

/// Finds episodes: running here, in a journal, or running at another coordinator.
#[derive(Clone)]
pub(crate) struct Watching {
    pub(crate) world: Arc<World>,
    pub(crate) live: Arc<Live>,
    pub(crate) draining: watch::Receiver<bool>,
}

/// An event and where its watcher stands after it.
pub(crate) type Seen = (EpisodeEvent, Cursor);

impl Watching {
    /// The record of an episode, from its feed while it runs here.
    pub(crate) async fn record(
        &self,
        tenant: &TenantId,
        id: &EpisodeId,
    ) -> Result<EpisodeRecord, CoreError> {
        match self.live.get(tenant, id) {
            Some(episode) if !episode.feed.is_over() => Ok(episode.feed.record()),
            _ => match self.world.journals.get(tenant, id).await {
                // It ends in the feed a moment before it leaves the running ones.
                Err(CoreError::NotFound { .. }) if self.live.get(tenant, id).is_some() => {
                    Err(CoreError::Unavailable {
                        what: "episode",
                        reason: format!("{id} is changing hands"),
                    })
                }
                found => found,
            },
        }
    }

    /// The events of an episode after `cursor`, to its end, each once. The stream outlives the
    /// owner of a durable episode: it goes on with what the next one does.
    ///
    /// # Errors
    /// [`CoreError::NotFound`] where there is no such episode.
    pub(crate) async fn events(
        &self,
        tenant: TenantId,
        id: EpisodeId,
        cursor: Cursor,
    ) -> Result<impl Stream<Item = Result<Seen, CoreError>> + Send + 'static, CoreError> {
        let source = self.source(&tenant, &id).await?;
        Ok(self.clone().events_from(source, tenant, id, cursor))
    }

    /// The same, beginning with a source at hand.
    pub(crate) fn events_from(
        self,
        source: BoxStream<'static, EpisodeEvent>,
        tenant: TenantId,
        id: EpisodeId,
        cursor: Cursor,
    ) -> impl Stream<Item = Result<Seen, CoreError>> + Send + 'static {
        let watcher = Watcher {
            watching: self,
            tenant,
            id,
            cursor,
            source: Some(source),
        };
        futures::stream::try_unfold(watcher, |mut watcher| async move {
            let seen = watcher.next().await?;
            Ok(seen.map(|seen| (seen, watcher)))
        })
    }

    /// What is known of an episode from its beginning.
    async fn source(
        &self,
        tenant: &TenantId,
        id: &EpisodeId,
    ) -> Result<BoxStream<'static, EpisodeEvent>, CoreError> {
        if let Some(episode) = self.live.get(tenant, id) {
            return Ok(episode.feed.watch().boxed());
        }
        match self.world.journals.memory.get(tenant, id).await {
            Ok(record) if record.conclusion.is_some() => {
                return Ok(futures::stream::iter(replay(&record, None)).boxed());
            }
            // Accepted, but neither running nor ended: its start failed.
            Ok(_) => {
                return Err(CoreError::Unavailable {
                    what: "episode",
                    reason: format!("{id} is not running in this coordinator"),
                });
            }
            Err(CoreError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        let not_found = || CoreError::NotFound {
            kind: "episode",
            name: id.to_string(),
        };
        let followed = match &self.world.journals.durable {
            Some(durable) => durable.follow(tenant, id).await,
            None => Err(not_found()),
        };
        let standings = match (followed, &self.world.journals.trajectories) {
            (Err(CoreError::NotFound { .. }), Some(store)) => {
                let record = store.get(tenant, id).await?;
                return Ok(futures::stream::iter(replay(&record, None)).boxed());
            }
            (followed, _) => followed?,
        };
        let events = standings.flat_map(|standing| {
            futures::stream::iter(replay(&standing.record, standing.call.as_ref()))
        });
        Ok(events.boxed())
    }
}

struct Watcher {
    watching: Watching,
    tenant: TenantId,
    id: EpisodeId,
    cursor: Cursor,
    source: Option<BoxStream<'static, EpisodeEvent>>,
}

impl Watcher {
    async fn next(&mut self) -> Result<Option<Seen>, CoreError> {
        while !self.cursor.is_over() {
            let Some(source) = &mut self.source else {
                self.source = self.another_source().await?;
                continue;
            };
            match source.next().await {
                Some(event) if self.cursor.admits(&event) => {
                    return Ok(Some((event, self.cursor)));
                }
                Some(_) => {}
                None => self.source = None,
            }
        }
        Ok(None)
    }

    /// Where the episode goes on. `None` while that is not known.
    async fn another_source(
        &mut self,
    ) -> Result<Option<BoxStream<'static, EpisodeEvent>>, CoreError> {
        if *self.watching.draining.borrow() {
            let reason = "it is draining; another one goes on with the episode".to_owned();
            return Err(CoreError::Unavailable {
                what: "coordinator",
                reason,
            });
        }
        tokio::time::sleep(PAUSE).await;
        match self.watching.source(&self.tenant, &self.id).await {
            Ok(source) => Ok(Some(source)),
            Err(error)
                if error.is_transient() && self.watching.world.journals.durable.is_some() =>
            {
                tokio::time::sleep(AWAY).await;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
