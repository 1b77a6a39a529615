//! Where finished episodes are kept for good.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    episode::{EpisodeRecord, Outcome},
    error::CoreError,
    ids::{EpisodeId, TenantId},
};

/// The store of finished episodes. An episode is known by its tenant and id; of several copies the
/// one of the highest [`EpisodeRecord::version`] counts, so that writing one again does no harm.
#[async_trait]
pub trait Trajectories: Send + Sync {
    /// Writes finished episodes. Where it fails, some of them may have been written all the same:
    /// write all of them again.
    ///
    /// # Errors
    /// [`CoreError::FailedPrecondition`] where one has not ended, [`CoreError::Unavailable`] while
    /// the store is away.
    async fn put(&self, records: &[EpisodeRecord]) -> Result<(), CoreError>;

    /// The latest copy of an episode.
    ///
    /// # Errors
    /// [`CoreError::NotFound`] where there is none.
    async fn get(&self, tenant: &TenantId, id: &EpisodeId) -> Result<EpisodeRecord, CoreError>;

    /// Adds how good an episode was, in a later copy of it.
    ///
    /// # Errors
    /// [`CoreError::NotFound`] where there is no such episode.
    async fn report(
        &self,
        tenant: &TenantId,
        id: &EpisodeId,
        outcome: &Outcome,
    ) -> Result<(), CoreError> {
        let mut record = self.get(tenant, id).await?;
        record.report(outcome);
        self.put(&[record]).await
    }

    /// Merges what has become many small files and deletes what is too old, as the store's settings
    /// say. Several processes may do so at once.
    async fn tidy(&self, now: Timestamp) -> Result<Tidied, CoreError>;
}

/// What tidying did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tidied {
    /// Files that were merged into others and deleted.
    pub merged: u64,
    /// Files that were deleted for their age.
    pub expired: u64,
}

/// How finished episodes are gathered before they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Batching {
    /// Most episodes written at once.
    pub max_rows: usize,
    /// Size of the episodes, in bytes as a message, from which on no further one is gathered.
    pub max_bytes: u64,
    /// Longest time that a finished episode waits for others, in seconds.
    pub max_wait_s: u64,
}

impl Default for Batching {
    fn default() -> Self {
        Self {
            max_rows: 1000,
            max_bytes: 32 << 20,
            max_wait_s: 60,
        }
    }
}

impl Batching {
    /// Longest time that a finished episode waits for others.
    pub fn max_wait(&self) -> Duration {
        Duration::from_secs(self.max_wait_s)
    }
}
