//! The port [`Journal`] over the parts: what an owner writes, and what anybody reads.

use std::{collections::BTreeSet, sync::atomic::Ordering};

use async_trait::async_trait;
use etcd_client::{Compare, CompareOp, GetOptions, SortOrder, SortTarget, Txn, TxnOp};
use futures::{StreamExt, TryStreamExt};
use maestro_core::{
    CoreError, EpisodeId, RequestId, TenantId,
    episode::{
        Conclusion, EpisodeRecord, EpisodeSpec, EpisodeStatus, Outcome as Grade, PendingCall, Step,
    },
    ports::{Created, Journal, ListQuery, SharedJournal},
};
use prost::bytes::Bytes;

use super::{
    EtcdJournal,
    batch::{Outcome, Seen, Write},
    codec::{self, Finished, Head},
    keys::Part,
    owned::{Owned, Reserved, superseded},
    reads::not_found,
    seat::Seat,
    writer::{Full, no_room},
};
use crate::etcd::client::call;

/// A step of more bytes goes into the blob store.
const MAX_INLINE_STEP: usize = 64 << 10;
/// Episodes that a listing reads at once.
const READ_AT_ONCE: usize = 16;

impl EtcdJournal {
    /// The value of a step's key; a large one is put into the blob store first.
    async fn stored_step(&self, step: &Step) -> Result<Vec<u8>, CoreError> {
        let inline = codec::encode_step(step);
        if inline.len() <= MAX_INLINE_STEP {
            return Ok(inline);
        }
        let content = Bytes::from(codec::step_bytes(step));
        let digest = self.reader.blobs.put(content).await?;
        Ok(codec::encode_step_blob(&digest))
    }

    pub(super) fn head_key(&self, spec: &EpisodeSpec) -> String {
        self.keys.part(&spec.tenant, &spec.id, Part::Head)
    }

    /// A write to an episode that is owned, fenced by its head.
    fn fenced(&self, owned: &Owned) -> Write {
        let head = self.head_key(&owned.spec);
        Write::default()
            .unchanged(&head, owned.revision)
            .else_read(&head)
    }

    /// Writes for an owner. `Err` with what stands in the journal where it was refused.
    async fn submit(
        &self,
        owned: &Owned,
        write: Write,
    ) -> Result<Result<(), Vec<Option<Seen>>>, CoreError> {
        let written = self.submitter.submit(&owned.seat, write, Full::Wait).await;
        match written {
            Ok(Outcome::Written(_)) => Ok(Ok(())),
            Ok(Outcome::Refused(seen)) => Ok(Err(seen)),
            Err(error) => {
                if matches!(error, CoreError::Superseded(_)) {
                    self.owned.remove(&owned.spec.id);
                }
                Err(error)
            }
        }
    }

    /// Whether the head is still as its owner left it.
    fn is_own(owned: &Owned, seen: &[Option<Seen>]) -> bool {
        matches!(seen.first(), Some(Some(head)) if head.revision == owned.revision)
    }

    fn lost(&self, id: &EpisodeId) -> CoreError {
        self.owned.remove(id);
        superseded(id)
    }

    /// What a refused creation means: it was made before, by this very attempt, or its request id
    /// stands for another.
    async fn created_before(
        &self,
        spec: &EpisodeSpec,
        seat: Seat,
        seen: Vec<Option<Seen>>,
        reserved: Reserved<'_>,
    ) -> Result<Created, CoreError> {
        let mut seen = seen.into_iter();
        if let Some(head) = seen.next().flatten() {
            if Head::decode(&head.value)?.owner != seat.id {
                return Err(superseded(&spec.id));
            }
            reserved.own(Owned {
                spec: spec.clone(),
                seat,
                terms: 1,
                revision: head.revision,
                head: vec![],
            });
            return Ok(Created::New);
        }
        let gone = || CoreError::Unavailable {
            what: "journal",
            reason: "the episode of this request id is being deleted".to_owned(),
        };
        let request = seen.next().flatten().ok_or_else(gone)?;
        let id = codec::decode_request(&request.value)?;
        let found = self
            .reader
            .read(&spec.tenant, &id)
            .await?
            .ok_or_else(gone)?;
        if found.head.record.spec.asks_the_same(spec) {
            return Ok(Created::Existing(id));
        }
        Err(CoreError::Conflict {
            kind: "request_id",
            name: spec
                .request_id
                .as_ref()
                .map(RequestId::as_str)
                .unwrap_or_default()
                .to_owned(),
            existing: format!("episode {id} with another task"),
            refused: "this task".to_owned(),
        })
    }

    /// Ids of a tenant's episodes that have not ended, newest first.
    async fn running_ids(&self, tenant: &TenantId) -> Result<BTreeSet<EpisodeId>, CoreError> {
        let unfinished = self.unfinished().await?;
        Ok(unfinished
            .into_iter()
            .filter(|one| one.tenant == *tenant)
            .map(|one| one.episode)
            .collect())
    }

    /// Ids of a tenant's episodes that have ended, newest first, at most `limit`.
    async fn finished_ids(
        &self,
        tenant: &TenantId,
        before: Option<&EpisodeId>,
        limit: usize,
    ) -> Result<BTreeSet<EpisodeId>, CoreError> {
        let prefix = self.keys.finished_of(tenant);
        // Up to, but without, the one before; else up to the end of the tenant's ('0' follows '/').
        let end = match before {
            Some(before) => self.keys.finished(tenant, before),
            None => format!("{}0", prefix.trim_end_matches('/')),
        };
        let newest = GetOptions::new()
            .with_range(end)
            .with_keys_only()
            .with_sort(SortTarget::Key, SortOrder::Descend)
            .with_limit(i64::try_from(limit).unwrap_or(i64::MAX));
        let mut kv = self.reader.kv();
        let reading = kv.get(prefix, Some(newest));
        let response = call("listing episodes", self.reader.limit, reading).await?;
        Ok(response
            .kvs()
            .iter()
            .filter_map(|pair| self.keys.parse_finished(pair.key()))
            .map(|(_, id)| id)
            .collect())
    }
}

#[async_trait]
impl Journal for EtcdJournal {
    async fn create(&self, spec: &EpisodeSpec) -> Result<Created, CoreError> {
        if self.submitter.tally().full.load(Ordering::Relaxed) {
            return Err(no_room());
        }
        let seat = self.seat()?;
        let head_key = self.head_key(spec);
        let head = Head::new(seat.id.clone(), 1, spec, None).encode_over(&[]);
        let mut write = Write::default()
            .absent(&head_key)
            .else_read(&head_key)
            .put(head_key.clone(), head)
            .put(
                self.keys.running(&seat.id, &spec.id),
                codec::encode_running(&spec.tenant),
            );
        if let Some(request) = &spec.request_id {
            let key = self.keys.request(&spec.tenant, request);
            write = write
                .absent(&key)
                .else_read(&key)
                .put(key, codec::encode_request(&spec.id));
        }
        let reserved = self.owned.reserve(&spec.id);
        match self.submitter.submit_new(&seat, write).await? {
            Outcome::Written(revision) => {
                reserved.own(Owned {
                    spec: spec.clone(),
                    seat,
                    terms: 1,
                    revision,
                    head: vec![],
                });
                Ok(Created::New)
            }
            Outcome::Refused(seen) => self.created_before(spec, seat, seen, reserved).await,
        }
    }

    async fn begin(&self, id: &EpisodeId, pending: &PendingCall) -> Result<(), CoreError> {
        let owned = self.owned.get(id)?;
        let key = self.keys.part(&owned.spec.tenant, id, Part::Call);
        let write = self.fenced(&owned).put(key, codec::encode_call(pending));
        match self.submit(&owned, write).await? {
            Ok(()) => Ok(()),
            Err(_) => Err(self.lost(id)),
        }
    }

    async fn append(&self, id: &EpisodeId, step: &Step) -> Result<(), CoreError> {
        let owned = self.owned.get(id)?;
        let key = self
            .keys
            .part(&owned.spec.tenant, id, Part::Step(step.index));
        let value = self.stored_step(step).await?;
        let mut write = self.fenced(&owned).absent(&key).else_read(&key);
        if let Some(before) = step.index.checked_sub(1) {
            // No gap: what stands before it was written, at some revision.
            let before = self.keys.part(&owned.spec.tenant, id, Part::Step(before));
            write = write.present(&before);
        }
        let write = write.put(key, value.clone());
        let Err(seen) = self.submit(&owned, write).await? else {
            return Ok(());
        };
        if !Self::is_own(&owned, &seen) {
            return Err(self.lost(id));
        }
        let index = step.index;
        match seen.get(1) {
            Some(Some(existing)) if existing.value == value => Ok(()),
            Some(Some(_)) => Err(CoreError::FailedPrecondition(format!(
                "step {index} of episode {id} is written already and differs"
            ))),
            Some(None) | None => Err(CoreError::FailedPrecondition(format!(
                "step {index} of episode {id} would leave a gap"
            ))),
        }
    }

    async fn finish(
        &self,
        id: &EpisodeId,
        rest: &[Step],
        conclusion: &Conclusion,
    ) -> Result<(), CoreError> {
        let owned = self.owned.get(id)?;
        let spec = &owned.spec;
        let head = Head::new(owned.seat.id.clone(), owned.terms, spec, Some(conclusion));
        let mut write = self
            .fenced(&owned)
            .put(self.head_key(spec), head.encode_over(&owned.head))
            .put(
                self.keys.finished(&spec.tenant, id),
                Finished::unmoved(conclusion.finished_at, spec.request_id.as_ref())
                    .encode_over(&[]),
            )
            .delete(self.keys.running(&owned.seat.id, id))
            .delete(self.keys.part(&spec.tenant, id, Part::Call))
            .delete(self.keys.cancellation(id));
        for step in rest {
            let key = self.keys.part(&spec.tenant, id, Part::Step(step.index));
            write = write.put(key, self.stored_step(step).await?);
        }
        let Err(seen) = self.submit(&owned, write).await? else {
            self.owned.remove(id);
            return Ok(());
        };
        self.owned.remove(id);
        // Where an answer was lost, this is the second attempt at the same end.
        match seen.first() {
            Some(Some(found)) if Head::decode(&found.value)? == head => Ok(()),
            _ => Err(superseded(id)),
        }
    }

    async fn report(
        &self,
        tenant: &TenantId,
        id: &EpisodeId,
        outcome: &Grade,
    ) -> Result<(), CoreError> {
        let found = self.reader.read(tenant, id).await?;
        let found = found.ok_or_else(|| not_found(id))?;
        let Some(conclusion) = &found.head.record.conclusion else {
            return Err(CoreError::FailedPrecondition(format!(
                "episode {id} is still running"
            )));
        };
        let head = self.keys.part(tenant, id, Part::Head);
        let unchanged = Compare::mod_revision(head.as_str(), CompareOp::Equal, found.head_revision);
        let key = self.keys.part(tenant, id, Part::Outcome);
        let mut puts = vec![TxnOp::put(key, codec::encode_outcome(outcome), None)];
        if self.is_moving {
            // What stands in the store of trajectories is not the latest any more.
            let request = found.head.record.spec.request_id.as_ref();
            let finished = Finished::unmoved(conclusion.finished_at, request).encode_over(&[]);
            puts.push(TxnOp::put(self.keys.finished(tenant, id), finished, None));
        }
        let mut kv = self.reader.kv();
        let txn = kv.txn(Txn::new().when([unchanged]).and_then(puts));
        let written = call("reporting an outcome", self.reader.limit, txn).await?;
        // An ended head changes only by being deleted.
        written
            .succeeded()
            .then_some(())
            .ok_or_else(|| not_found(id))
    }

    async fn get(&self, tenant: &TenantId, id: &EpisodeId) -> Result<EpisodeRecord, CoreError> {
        let found = self.reader.read(tenant, id).await?;
        Ok(found.ok_or_else(|| not_found(id))?.record())
    }

    async fn list(
        &self,
        tenant: &TenantId,
        query: &ListQuery,
    ) -> Result<Vec<EpisodeRecord>, CoreError> {
        let before = query.before.as_ref();
        let mut ids = BTreeSet::new();
        if query.status != Some(EpisodeStatus::Finished) {
            ids.extend(self.running_ids(tenant).await?);
        }
        if query.status != Some(EpisodeStatus::Running) {
            ids.extend(self.finished_ids(tenant, before, query.page_size).await?);
        }
        let page = ids
            .into_iter()
            .rev()
            .filter(|id| before.is_none_or(|before| id < before))
            .take(query.page_size);
        let records: Vec<Option<EpisodeRecord>> = futures::stream::iter(page)
            .map(|id| async move {
                let found = self.reader.read(tenant, &id).await?;
                Ok::<_, CoreError>(found.map(|found| found.record()))
            })
            .buffered(READ_AT_ONCE)
            .try_collect()
            .await?;
        // One that ended or was deleted in between is left out rather than shown wrongly.
        let wanted =
            |record: &EpisodeRecord| query.status.is_none_or(|status| record.status() == status);
        Ok(records.into_iter().flatten().filter(wanted).collect())
    }
}
