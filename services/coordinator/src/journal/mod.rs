//! The journals: one in memory, and, where there is one, the durable one.

mod memory;

use std::{collections::BTreeMap, sync::Arc};

use maestro_core::{
    CoreError, TenantId,
    episode::{Durability, EpisodeRecord, EpisodeSpec, Outcome},
    ids::EpisodeId,
    ports::{Journal, ListQuery, SharedJournal},
};

pub use memory::MemoryJournal;

/// Where the episodes of a coordinator are kept.
pub(crate) struct Journals {
    /// The ephemeral ones, and all where there is no other journal.
    pub(crate) memory: Arc<dyn Journal>,
    /// The durable ones.
    pub(crate) durable: Option<Arc<dyn SharedJournal>>,
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

    /// The record of a tenant's episode, wherever it is.
    pub(crate) async fn get(
        &self,
        tenant: &TenantId,
        id: &EpisodeId,
    ) -> Result<EpisodeRecord, CoreError> {
        match (self.memory.get(tenant, id).await, &self.durable) {
            (Err(CoreError::NotFound { .. }), Some(durable)) => durable.get(tenant, id).await,
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
        match (self.memory.report(tenant, id, outcome).await, &self.durable) {
            (Err(CoreError::NotFound { .. }), Some(durable)) => {
                durable.report(tenant, id, outcome).await
            }
            (reported, _) => reported,
        }
    }

    /// A page of a tenant's episodes of both journals, newest first.
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
