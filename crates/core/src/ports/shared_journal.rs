//! The part of the journal that several coordinators share: who owns what, and who is gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use async_trait::async_trait;
use futures::stream::BoxStream;
use jiff::Timestamp;
use tokio::sync::watch;

use super::Journal;
use crate::{
    adoption::{Outage, Unfinished},
    episode::{EpisodeRecord, PendingCall},
    error::CoreError,
    ids::{CoordinatorId, EpisodeId, TenantId},
};

/// The coordinators that hold a lease, as this process sees them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// This process; `None` while it holds no lease. Under another name it is another owner: what
    /// the one before it owned is not its own any more.
    pub me: Option<CoordinatorId>,
    /// Everybody, this process included.
    pub living: Arc<BTreeSet<CoordinatorId>>,
    /// Since when this process cannot reach the journal, where that is longer than its lease bears.
    pub away_since: Option<Timestamp>,
    /// The last time that this process could not reach the journal for longer than a lease bears.
    pub outage: Option<Outage>,
}

impl Membership {
    /// The outage that lasts at `now`, else the last one. One that lasts may be over for others, and
    /// for other connections of this process.
    pub fn outage_at(&self, now: Timestamp) -> Option<Outage> {
        let lasting = self.away_since.map(|from| Outage {
            from,
            length: now.duration_since(from).try_into().unwrap_or_default(),
        });
        lasting.or(self.outage)
    }
}

/// An episode as it stands in the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Its record so far.
    pub record: EpisodeRecord,
    /// The last call that was to be made. Its step may be written since.
    pub call: Option<PendingCall>,
}

impl Standing {
    /// When it last went on, as far as is written.
    pub fn last_progress(&self) -> Timestamp {
        let steps = self.record.steps.iter().map(|step| step.finished_at);
        let call = self.call.iter().map(|call| call.decided_at);
        let begun = self.record.spec.created_at;
        steps.chain(call).fold(begun, Timestamp::max)
    }
}

/// An episode that this process owns from now on.
#[derive(Clone, Debug, PartialEq)]
pub struct Adopted {
    /// Where it stands.
    pub standing: Standing,
    /// Owners so far, this one included.
    pub terms: u32,
}

/// A journal that several coordinators write, each the episodes that it owns. Ownership hangs on a
/// lease: every write of an owner whose lease has ended is refused.
#[async_trait]
pub trait SharedJournal: Journal {
    /// Who lives, and its changes.
    fn membership(&self) -> watch::Receiver<Membership>;

    /// The episodes that somebody wants cancelled, with the reasons, and the changes. A wish stands
    /// until its episode has ended.
    fn cancellations(&self) -> watch::Receiver<Arc<BTreeMap<EpisodeId, String>>>;

    /// Every episode that has not ended.
    async fn unfinished(&self) -> Result<Vec<Unfinished>, CoreError>;

    /// Whether this process owns the episode, as far as it knows.
    fn owns(&self, id: &EpisodeId) -> bool;

    /// Takes over an episode whose owner is gone, or takes up one of its own. `None` where somebody
    /// else was first, it has ended, or its owner lives.
    async fn adopt(&self, entry: &Unfinished) -> Result<Option<Adopted>, CoreError>;

    /// Gives an episode up without ending it: whoever adopts it goes on.
    fn release(&self, id: &EpisodeId);

    /// An episode as it stands, again whenever that has changed, until it has ended.
    ///
    /// # Errors
    /// [`CoreError::NotFound`] where there is none. Interruptions are waited out.
    async fn follow(
        &self,
        tenant: &TenantId,
        id: &EpisodeId,
    ) -> Result<BoxStream<'static, Standing>, CoreError>;

    /// Asks the owner of an episode, whoever that is, to cancel it. One that has ended needs no
    /// asking.
    async fn request_cancel(
        &self,
        tenant: &TenantId,
        id: &EpisodeId,
        reason: &str,
    ) -> Result<(), CoreError>;

    /// Waits for the writes under way and gives the lease back, so that what is left is adopted at
    /// once. No lease is taken after it.
    async fn resign(&self) -> Result<(), CoreError>;
}
