//! Copies finished episodes into the store of trajectories, after which the upkeep may delete them.
//!
//! ```text
//! finished/… not marked ─► read ─► store ─► marked, unless it changed meanwhile
//! ```
//!
//! At least once: a copy that was written and not marked is written again, and the store counts it
//! once. One of the coordinators does it; where two believe for a moment that they are the one, both
//! write the same. While the store is away, everything stays in the journal.

use std::{slice::from_ref, sync::Arc, time::Duration};

use etcd_client::{GetOptions, KeyValue, SortOrder, SortTarget};
use futures::{StreamExt, future::join_all, stream};
use maestro_core::{
    CoreError, EpisodeId, TenantId, Timestamp,
    episode::EpisodeRecord,
    ports::{Batching, Membership, Trajectories},
};
use maestro_telemetry::{Counter, Gauge, Label};
use maestro_wire::ToProto;
use prost::Message;
use tokio::{sync::watch, time};

use super::{
    batch::{Outcome, Write},
    codec::{self, Finished},
    reads::Reader,
    seat::Seat,
    upkeep::is_sweeper,
    writer::{Full, Submitter},
};
use crate::{backoff::Backoff, etcd::client::call};

/// How often the index is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often the store is tidied.
const TIDY: Duration = Duration::from_secs(5 * 60);
/// Entries of the index that are looked at together. More than one transaction of etcd holds, so that
/// not all of them are of one revision.
const PAGE: usize = 1024;
/// Episodes that are read at once.
const READ_AT_ONCE: usize = 16;
/// Marks that wait for the writer at once.
const MARKED_AT_ONCE: usize = 128;

/// Where finished episodes are moved to.
#[derive(Clone)]
pub struct Moving {
    /// The store.
    pub trajectories: Arc<dyn Trajectories>,
    /// How many are moved together, and how long they wait for each other.
    pub batching: Batching,
}

/// See the module.
pub(super) struct Mover {
    pub(super) reader: Reader,
    pub(super) moving: Moving,
    pub(super) membership: watch::Receiver<Membership>,
    pub(super) seat: watch::Receiver<Option<Seat>>,
    pub(super) submitter: Submitter,
    /// Up to this revision of etcd everything has been moved, or cannot be read.
    pub(super) moved_to: i64,
    /// Since when something has been waiting.
    pub(super) waiting_since: Option<time::Instant>,
}

/// A finished episode that has not been moved.
struct Waiting {
    tenant: TenantId,
    id: EpisodeId,
    finished: Finished,
    key: String,
    value: Vec<u8>,
    revision: i64,
}

/// What a look at the index showed.
struct Page {
    waiting: Vec<Waiting>,
    /// Whether there is more behind it.
    is_full: bool,
    /// Revision of its last entry.
    last: i64,
}

/// What is to be moved together.
#[derive(Default)]
struct Batch {
    records: Vec<EpisodeRecord>,
    entries: Vec<Waiting>,
    /// Revision of the first entry that did not fit in.
    left: Option<i64>,
}

impl Mover {
    pub(super) async fn run(self) {
        let tidying = tidy(
            Arc::clone(&self.moving.trajectories),
            self.membership.clone(),
        );
        tokio::join!(self.move_all(), tidying);
    }

    async fn move_all(mut self) {
        let mut look = time::interval(LOOK);
        let mut backoff = Backoff::default();
        loop {
            look.tick().await;
            if is_sweeper(&self.membership) {
                match self.pass().await {
                    Ok(()) => backoff.reset(),
                    Err(error) => {
                        let reason = Label::Reason("not_moved");
                        Counter::TrajectoryFailures.increment(&[reason]);
                        tracing::warn!(%error, "finished episodes wait for the store of trajectories");
                        time::sleep(backoff.next()).await;
                    }
                }
            } else {
                // Whoever moves them now sees for itself what is left.
                self.moved_to = 0;
                self.waiting_since = None;
            }
            let waited = self.waiting_since.map(|since| since.elapsed());
            Gauge::TrajectoriesWaiting.set(waited.unwrap_or_default().as_secs_f64(), &[]);
        }
    }

    /// Moves what is due: everything, once there is enough of it or it has waited for long enough.
    async fn pass(&mut self) -> Result<(), CoreError> {
        loop {
            let page = self.page().await?;
            if page.waiting.is_empty() {
                self.waiting_since = None;
                self.moved_to = seen(&page, None);
                if page.is_full {
                    continue;
                }
                return Ok(());
            }
            let since = *self.waiting_since.get_or_insert_with(time::Instant::now);
            let Batching {
                max_rows,
                max_bytes,
                ..
            } = self.moving.batching;
            let is_enough = page.is_full || page.waiting.len() >= max_rows;
            if !is_enough && since.elapsed() < self.moving.batching.max_wait() {
                return Ok(());
            }
            let (last, is_full) = (page.last, page.is_full);
            let batch = self.gather(page.waiting, max_rows, max_bytes).await?;
            let left = batch.left;
            self.store(batch).await?;
            let rest = Page {
                waiting: vec![],
                is_full,
                last,
            };
            self.moved_to = seen(&rest, left);
            if left.is_none() && !is_full {
                self.waiting_since = None;
                return Ok(());
            }
        }
    }

    /// The next entries of the index, in the order of their last change.
    async fn page(&self) -> Result<Page, CoreError> {
        let keys = &self.reader.keys;
        let next = GetOptions::new()
            .with_prefix()
            .with_sort(SortTarget::Mod, SortOrder::Ascend)
            .with_min_mod_revision(self.moved_to + 1)
            .with_limit(i64::try_from(PAGE).unwrap_or(i64::MAX));
        let mut kv = self.reader.kv();
        let reading = kv.get(keys.all_finished(), Some(next));
        let response = call("listing finished episodes", self.reader.limit, reading).await?;
        let pairs = response.kvs();
        let waiting: Result<Vec<_>, CoreError> = pairs
            .iter()
            .filter_map(|pair| self.waiting(pair).transpose())
            .collect();
        Ok(Page {
            waiting: waiting?,
            is_full: pairs.len() >= PAGE,
            last: pairs.last().map_or(self.moved_to, KeyValue::mod_revision),
        })
    }

    fn waiting(&self, pair: &KeyValue) -> Result<Option<Waiting>, CoreError> {
        let Some((tenant, id)) = self.reader.keys.parse_finished(pair.key()) else {
            return Ok(None);
        };
        let finished = codec::decode_finished(pair.value())?;
        Ok((!finished.is_moved).then(|| Waiting {
            key: self.reader.keys.finished(&tenant, &id),
            tenant,
            id,
            finished,
            value: pair.value().to_vec(),
            revision: pair.mod_revision(),
        }))
    }

    /// Reads episodes until there are enough of them.
    async fn gather(
        &self,
        waiting: Vec<Waiting>,
        max_rows: usize,
        max_bytes: u64,
    ) -> Result<Batch, CoreError> {
        let mut batch = Batch::default();
        let mut bytes = 0;
        let reads = waiting.into_iter().map(|entry| async move {
            let read = self.reader.read(&entry.tenant, &entry.id).await;
            (entry, read)
        });
        let mut reads = stream::iter(reads).buffered(READ_AT_ONCE);
        while let Some((entry, read)) = reads.next().await {
            if batch.records.len() >= max_rows || bytes >= max_bytes {
                batch.left = Some(entry.revision);
                break;
            }
            let record = match read {
                Ok(Some(found)) => found.record(),
                // Deleted since: by an operator, or by a coordinator that moves nothing.
                Ok(None) => continue,
                Err(error) if is_lasting(&error) => {
                    stays(&entry, &error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            bytes += record.to_proto().encoded_len() as u64;
            batch.records.push(record);
            batch.entries.push(entry);
        }
        Ok(batch)
    }

    /// Writes a batch to the store and marks what it wrote.
    async fn store(&self, mut batch: Batch) -> Result<(), CoreError> {
        if batch.records.is_empty() {
            return Ok(());
        }
        match self.moving.trajectories.put(&batch.records).await {
            // One that the store cannot take must not keep the others.
            Err(error) if !error.is_transient() => batch = self.put_each(batch).await?,
            put => put?,
        }
        Counter::TrajectoriesStored.add(batch.records.len() as u64, &[]);
        let Some(seat) = self.seat.borrow().clone() else {
            return Err(CoreError::Unavailable {
                what: "journal",
                reason: "this coordinator holds no lease".to_owned(),
            });
        };
        let moved = batch.entries.len();
        for entries in batch.entries.chunks(MARKED_AT_ONCE) {
            let marks = entries.iter().map(|entry| self.mark(&seat, entry));
            for marked in join_all(marks).await {
                // One that changed meanwhile waits again, at its new revision.
                let _ = marked?;
            }
        }
        tracing::debug!(
            moved,
            "finished episodes were written to the store of trajectories"
        );
        Ok(())
    }

    /// Writes one episode after the other; returns those that were taken.
    async fn put_each(&self, batch: Batch) -> Result<Batch, CoreError> {
        let mut taken = Batch::default();
        for (record, entry) in batch.records.into_iter().zip(batch.entries) {
            match self.moving.trajectories.put(from_ref(&record)).await {
                Err(error) if !error.is_transient() => stays(&entry, &error),
                put => {
                    put?;
                    taken.records.push(record);
                    taken.entries.push(entry);
                }
            }
        }
        Ok(taken)
    }

    async fn mark(&self, seat: &Seat, entry: &Waiting) -> Result<Outcome, CoreError> {
        let moved = Finished {
            is_moved: true,
            ..entry.finished.clone()
        };
        let write = Write::default()
            .unchanged(&entry.key, entry.revision)
            .put(entry.key.clone(), moved.encode_over(&entry.value));
        self.submitter.submit(seat, write, Full::Wait).await
    }
}

/// Up to which revision nothing is left after a page, where the entry at `left` was the first that
/// was. A revision may have more entries than the page shows.
fn seen(page: &Page, left: Option<i64>) -> i64 {
    match left {
        Some(left) => left - 1,
        None if page.is_full => page.last - 1,
        None => page.last,
    }
}

/// Says that an episode cannot be moved. It is kept in the journal, for people to look at.
fn stays(entry: &Waiting, error: &CoreError) {
    Counter::TrajectoryFailures.increment(&[Label::Reason("refused")]);
    tracing::error!(episode = %entry.id, %error, "a finished episode cannot be moved and stays in the journal");
}

/// Whether reading again cannot help.
fn is_lasting(error: &CoreError) -> bool {
    matches!(error, CoreError::DataLoss(_) | CoreError::NotFound { .. })
}

/// Tidies the store now and then, whoever's turn it is.
async fn tidy(trajectories: Arc<dyn Trajectories>, membership: watch::Receiver<Membership>) {
    let mut ticks = time::interval(TIDY);
    ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if !is_sweeper(&membership) {
            continue;
        }
        match trajectories.tidy(Timestamp::now()).await {
            Ok(tidied) => {
                let count = |amount, reason| {
                    Counter::TrajectoryFilesDeleted.add(amount, &[Label::Reason(reason)]);
                };
                count(tidied.merged, "merged");
                count(tidied.expired, "expired");
            }
            Err(error) => {
                Counter::TrajectoryFailures.increment(&[Label::Reason("not_tidied")]);
                tracing::warn!(%error, "the store of trajectories is tidied later");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_revision_is_passed_over() {
        let page = |is_full| Page {
            waiting: vec![],
            is_full,
            last: 9,
        };
        assert_eq!(seen(&page(false), None), 9);
        // More entries of revision 9 may stand behind the page.
        assert_eq!(seen(&page(true), None), 8);
        assert_eq!(seen(&page(true), Some(5)), 4);
        assert_eq!(seen(&page(false), Some(5)), 4);
    }
}
