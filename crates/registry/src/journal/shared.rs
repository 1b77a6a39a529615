//! The port [`SharedJournal`] over the parts: who owns what, and who goes on.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use etcd_client::{Compare, CompareOp, GetOptions, Txn, TxnOp};
use futures::stream::BoxStream;
use maestro_core::{
    CoreError, EpisodeId, TenantId,
    adoption::Unfinished,
    ports::{Adopted, Membership, SharedJournal, Standing},
};
use tokio::{sync::watch, time};

use super::{
    EtcdJournal,
    batch::{Outcome, Write},
    codec::{self, Head},
    keys::Part,
    owned::Owned,
    reads::not_found,
    writer::Full,
};
use crate::etcd::client::call;

/// How often a wish is written again when the owner wrote in between.
const MAX_ATTEMPTS: u32 = 16;

#[async_trait]
impl SharedJournal for EtcdJournal {
    fn membership(&self) -> watch::Receiver<Membership> {
        self.membership.clone()
    }

    fn cancellations(&self) -> watch::Receiver<Arc<BTreeMap<EpisodeId, String>>> {
        self.cancellations.clone()
    }

    async fn unfinished(&self) -> Result<Vec<Unfinished>, CoreError> {
        let mut kv = self.reader.kv();
        let all = Some(GetOptions::new().with_prefix());
        let reading = kv.get(self.keys.all_running(), all);
        let response = call("listing running episodes", self.reader.limit, reading).await?;
        let entry = |pair: &etcd_client::KeyValue| {
            let tenant = codec::decode_running(pair.value()).ok()?;
            self.keys.parse_running(pair.key(), tenant)
        };
        Ok(response.kvs().iter().filter_map(entry).collect())
    }

    fn owns(&self, id: &EpisodeId) -> bool {
        self.owned.contains(id, self.seat.borrow().as_ref())
    }

    async fn adopt(&self, entry: &Unfinished) -> Result<Option<Adopted>, CoreError> {
        let (tenant, id) = (&entry.tenant, &entry.episode);
        if self.owns(id) {
            return Ok(None);
        }
        let seat = self.seat()?;
        let Some(found) = self.reader.read(tenant, id).await? else {
            return Ok(None);
        };
        if found.head.owner != entry.owner || found.head.record.conclusion.is_some() {
            return Ok(None);
        }
        let spec = found.head.record.spec.clone();
        let head = self.head_key(&spec);
        let terms = found.head.terms.saturating_add(1);
        let new = Head::new(seat.id.clone(), terms, &spec, None).encode_over(&found.head_bytes);
        let mut write = Write::default()
            .unchanged(&head, found.head_revision)
            .put(head, new.clone());
        if entry.owner != seat.id {
            write = write
                .absent(&self.keys.coordinator(&entry.owner))
                .put(
                    self.keys.running(&seat.id, id),
                    codec::encode_running(tenant),
                )
                .delete(self.keys.running(&entry.owner, id));
        }
        let written = self.submitter.submit(&seat, write, Full::Wait).await?;
        let Outcome::Written(revision) = written else {
            return Ok(None);
        };
        // Read again: the owner before may have written a step until it lost its lease.
        let found = self.reader.read(tenant, id).await?;
        let Some(found) = found.filter(|found| found.head_revision == revision) else {
            return Ok(None);
        };
        self.owned.insert(Owned {
            spec,
            seat,
            terms,
            revision,
            head: new,
        });
        Ok(Some(Adopted {
            standing: found.standing(),
            terms,
        }))
    }

    fn release(&self, id: &EpisodeId) {
        self.owned.remove(id);
    }

    async fn follow(
        &self,
        tenant: &TenantId,
        id: &EpisodeId,
    ) -> Result<BoxStream<'static, Standing>, CoreError> {
        let reader = self.reader.clone();
        reader.follow(tenant.clone(), id.clone()).await
    }

    async fn request_cancel(
        &self,
        tenant: &TenantId,
        id: &EpisodeId,
        reason: &str,
    ) -> Result<(), CoreError> {
        for _ in 0..MAX_ATTEMPTS {
            let found = self.reader.read(tenant, id).await?;
            let found = found.ok_or_else(|| not_found(id))?;
            if found.head.record.conclusion.is_some() {
                return Ok(());
            }
            // The end deletes the wish, so it must not come after it.
            let head = self.keys.part(tenant, id, Part::Head);
            let unchanged =
                Compare::mod_revision(head.as_str(), CompareOp::Equal, found.head_revision);
            let key = self.keys.cancellation(id);
            let put = TxnOp::put(key, codec::encode_cancellation(reason), None);
            let mut kv = self.reader.kv();
            let txn = kv.txn(Txn::new().when([unchanged]).and_then([put]));
            if call("asking for a cancellation", self.reader.limit, txn)
                .await?
                .succeeded()
            {
                return Ok(());
            }
        }
        Err(CoreError::Unavailable {
            what: "journal",
            reason: format!("episode {id} changes hands too often"),
        })
    }

    async fn resign(&self) -> Result<(), CoreError> {
        self.submitter.flush().await;
        self.leave.cancel();
        let mut left = self.left.clone();
        // Nothing is ever sent: the end of the thread closes it.
        let ended = async { while left.changed().await.is_ok() {} };
        time::timeout(self.leave_limit(), ended)
            .await
            .map_err(|_| CoreError::Unavailable {
                what: "journal",
                reason: "the lease is left to expire".to_owned(),
            })
    }
}
