//! The journals: one in memory, and, where there is one, the durable one; and what has left them for
//! the store of trajectories.

mod kept;
mod memory;

use std::{collections::BTreeMap, sync::Arc};

use maestro_core::{
    CoreError, TenantId,
    episode::{Durability, EpisodeRecord, EpisodeSpec, Outcome},
    ids::EpisodeId,
    ports::{Journal, ListQuery, SharedJournal, Trajectories},
};

pub(crate) use kept::{Keeper, Keeping, Kept};
pub use memory::MemoryJournal;

/// Where the episodes of a coordinator are kept.
pub(crate) struct Journals {
    /// The ephemeral ones, and all where there is no other journal.
    pub(crate) memory: Arc<dyn Journal>,
    /// The durable ones.
    pub(crate) durable: Option<Arc<dyn SharedJournal>>,
    /// The finished ones that stand in neither any more.
    pub(crate) trajectories: Option<Arc<dyn Trajectories>>,
    /// Takes the finished ones of the journal in memory, where those go to the store, too.
    pub(crate) kept: Option<Kept>,
}

impl Journals {
    /// The durable journal, where this episode is kept there.
    pub(crate) fn shared(&self, spec: &EpisodeSpec) -> Option<&Arc<dyn SharedJournal>> {
        self.durable
            .as_ref()
            .filter(|_| spec.durability == Durability::Durable)
    }

    /// Where an episode is kept.
    pub(crate) fn of(&self, spec: &EpisodeSpec) -> &dyn Journal {
        match self.shared(spec) {
            Some(durable) => &**durable,
            None => &*self.memory,
        }
    }

    /// Hands an episode of the journal in memory that has ended, or of which something new is known,
    /// to the store of trajectories.
    pub(crate) async fn keep(&self, tenant: &TenantId, id: &EpisodeId) {
        let Some(kept) = &self.kept else {
            return;
        };
        // It is gone already where the journal keeps hardly any.
        if let Ok(record) = self.memory.get(tenant, id).await {
            kept.keep(record);
        }
    }

    /// The record of a tenant's episode, wherever it is.
    pub(crate) async fn get(
        &self,
        tenant: &TenantId,
        id: &EpisodeId,
    ) -> Result<EpisodeRecord, CoreError> {
        let found = match (self.memory.get(tenant, id).await, &self.durable) {
            (Err(CoreError::NotFound { .. }), Some(durable)) => durable.get(tenant, id).await,
            (found, _) => found,
        };
        match (found, &self.trajectories) {
            (Err(CoreError::NotFound { .. }), Some(store)) => store.get(tenant, id).await,
            (found, _) => found,
        }
    }

    /// Adds how good a finished episode was.
    pub(crate) async fn report(
        &self,
        tenant: &TenantId,
        id: &EpisodeId,
        outcome: &Outcome,
    ) -> Result<(), CoreError> {
        let in_memory = self.memory.report(tenant, id, outcome).await;
        if in_memory.is_ok() {
            self.keep(tenant, id).await;
        }
        let reported = match (in_memory, &self.durable) {
            (Err(CoreError::NotFound { .. }), Some(durable)) => {
                durable.report(tenant, id, outcome).await
            }
            (reported, _) => reported,
        };
        match (reported, &self.trajectories) {
            (Err(CoreError::NotFound { .. }), Some(store)) => {
                store.report(tenant, id, outcome).await
            }
            (reported, _) => reported,
        }
    }

    /// A page of a tenant's episodes of both journals, newest first. Those that have left them are not
    /// in it.
    pub(crate) async fn list(
        &self,
        tenant: &TenantId,
        query: &ListQuery,
    ) -> Result<Vec<EpisodeRecord>, CoreError> {
        let mut records = self.memory.list(tenant, query).await?;
        let Some(durable) = &self.durable else {
            return Ok(records);
        };
        records.extend(durable.list(tenant, query).await?);
        let by_id: BTreeMap<EpisodeId, EpisodeRecord> = records
            .into_iter()
            .map(|record| (record.spec.id.clone(), record))
            .collect();
        Ok(by_id.into_values().rev().take(query.page_size).collect())
    }
}
