//! Keeps the journal from growing: finished episodes go after a while, and new ones are refused
//! before etcd is full. etcd does not do that by itself: what transactions put inside transactions it
//! does not count against its quota, but everybody else's writes are refused once that is reached.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use etcd_client::{DeleteOptions, GetOptions, SortOrder, SortTarget, Txn, TxnOp};
use maestro_core::{CoordinatorId, CoreError, Timestamp, adoption, ports::Membership};
use maestro_telemetry::Gauge;
use tokio::{sync::watch, time};

use super::{codec, reads::Reader, writer::Submitter};
use crate::{error::RegistryError, etcd::client::call, journal::config::JournalConfig};

/// How often the room is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// How often finished episodes are looked at. More often while there is much to delete.
const SWEEP: Duration = Duration::from_secs(10);
/// Episodes that one transaction deletes, with three operations each.
const SWEPT_AT_ONCE: usize = 32;
/// What the coordinators agree on by whom the sweeping is done.
const SWEEPING: &str = "sweeping";

/// See the module.
pub(super) struct Upkeep {
    pub(super) reader: Reader,
    pub(super) config: JournalConfig,
    pub(super) membership: watch::Receiver<Membership>,
    pub(super) submitter: Submitter,
}

impl Upkeep {
    pub(super) async fn run(self) {
        let mut look = time::interval(LOOK);
        let mut swept = time::Instant::now();
        loop {
            look.tick().await;
            if let Err(error) = self.look().await {
                tracing::debug!(%error, "the journal's room is not known");
            }
            if swept.elapsed() < SWEEP || !self.is_sweeper() {
                continue;
            }
            swept = time::Instant::now();
            // Until nothing is left to delete, within the time of one sweep.
            while swept.elapsed() < SWEEP {
                match self.sweep().await {
                    Ok(SWEPT_AT_ONCE) => {}
                    Ok(_) => break,
                    Err(error) => {
                        tracing::warn!(%error, "finished episodes are kept for longer");
                        break;
                    }
                }
            }
        }
    }

    fn is_sweeper(&self) -> bool {
        let membership = self.membership.borrow();
        is_heir(membership.me.as_ref(), &membership.living)
    }

    /// Looks how full etcd is.
    async fn look(&self) -> Result<(), RegistryError> {
        let mut client = self.reader.client.maintenance_client();
        let status = call("a status", self.reader.limit, client.status()).await?;
        // What is in use: the file itself does not shrink when data is deleted.
        let bytes = u64::try_from(status.raft_used_db_size()).unwrap_or_default();
        // Known from etcd 3.6 on. The registry needs what is left of it.
        let quota = u64::try_from(status.db_size_quota()).unwrap_or_default();
        let limit = match quota / 4 * 3 {
            0 => self.config.max_bytes,
            share => share.min(self.config.max_bytes),
        };
        let alarm = status
            .errors()
            .iter()
            .any(|error| error.contains("NOSPACE"));
        Gauge::JournalBytes.set(bytes as f64, &[]);
        let full = alarm || bytes >= limit;
        let before = self.submitter.tally().full.swap(full, Ordering::Relaxed);
        if full && !before {
            tracing::error!(
                bytes,
                alarm,
                limit,
                "new durable episodes are refused: etcd has no room for them"
            );
        } else if before && !full {
            tracing::info!(bytes, "there is room for durable episodes again");
        }
        Ok(())
    }

    /// Deletes the finished episodes that have been kept for long enough, some at once; returns how
    /// many.
    async fn sweep(&self) -> Result<usize, CoreError> {
        let keys = &self.reader.keys;
        let oldest = GetOptions::new()
            .with_prefix()
            .with_sort(SortTarget::Mod, SortOrder::Ascend)
            .with_limit(i64::try_from(SWEPT_AT_ONCE).unwrap_or(i64::MAX));
        let mut kv = self.reader.kv();
        let reading = kv.get(keys.all_finished(), Some(oldest));
        let response = call("listing finished episodes", self.reader.limit, reading).await?;
        let total = u64::try_from(response.count()).unwrap_or_default();
        let excess = total.saturating_sub(self.config.max_finished);
        let now = Timestamp::now();
        let mut deletions = vec![];
        let mut swept = 0;
        for (position, pair) in response.kvs().iter().enumerate() {
            let Some((tenant, id)) = keys.parse_finished(pair.key()) else {
                continue;
            };
            let finished = codec::decode_finished(pair.value())?;
            let age = now.duration_since(finished.finished_at);
            let is_old = !age.is_negative() && age.unsigned_abs() >= self.config.retention();
            if !is_old && position as u64 >= excess {
                break;
            }
            let whole = Some(DeleteOptions::new().with_prefix());
            deletions.push(TxnOp::delete(keys.episode(&tenant, &id), whole));
            deletions.push(TxnOp::delete(pair.key(), None));
            if let Some(request) = &finished.request {
                deletions.push(TxnOp::delete(keys.request(&tenant, request), None));
            }
            swept += 1;
        }
        if swept > 0 {
            let deleting = kv.txn(Txn::new().and_then(deletions));
            call("deleting finished episodes", self.reader.limit, deleting).await?;
            tracing::debug!(swept, total, "finished episodes were deleted");
        }
        Ok(swept)
    }
}

fn is_heir(me: Option<&CoordinatorId>, living: &Arc<BTreeSet<CoordinatorId>>) -> bool {
    me.is_some() && adoption::heir(SWEEPING, living.iter()) == me
}
