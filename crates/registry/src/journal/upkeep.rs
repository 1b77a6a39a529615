//! Keeps the journal from growing: finished episodes go after a while, and new ones are refused
//! before etcd is full. etcd does not do that by itself: what transactions put inside transactions it
//! does not count against its quota, but everybody else's writes are refused once that is reached.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use etcd_client::{GetOptions, KeyValue, SortOrder, SortTarget};
use futures::future::join_all;
use maestro_core::{CoordinatorId, CoreError, Timestamp, adoption, ports::Membership};
use maestro_telemetry::Gauge;
use tokio::{sync::watch, time};

use super::{
    batch::{Outcome, Write},
    codec::{self, Finished},
    reads::Reader,
    seat::Seat,
    writer::{Full, Submitter},
};
use crate::{error::RegistryError, etcd::client::call, journal::config::JournalConfig};

/// How often the room is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// How often finished episodes are looked at, and how long deleting them takes at most.
const SWEEP: Duration = Duration::from_secs(10);
/// Entries of their index that are looked at together.
const PAGE: usize = 512;
/// Deletions that wait for the writer at once.
const SWEPT_AT_ONCE: usize = 64;
/// What the coordinators agree on by whom the sweeping is done.
const SWEEPING: &str = "sweeping";

/// See the module.
pub(super) struct Upkeep {
    pub(super) reader: Reader,
    pub(super) config: JournalConfig,
    pub(super) membership: watch::Receiver<Membership>,
    pub(super) seat: watch::Receiver<Option<Seat>>,
    pub(super) submitter: Submitter,
    /// Whether finished episodes are moved to a store of trajectories before they are deleted.
    pub(super) is_moving: bool,
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
            if swept.elapsed() < SWEEP || !is_sweeper(&self.membership) {
                continue;
            }
            swept = time::Instant::now();
            if let Err(error) = self.sweep(swept + SWEEP).await {
                tracing::warn!(%error, "finished episodes are kept for longer");
            }
        }
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
        Gauge::JournalLimit.set(limit as f64, &[]);
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

    /// Deletes the finished episodes that have been kept for long enough, the oldest first, until
    /// nothing is left to delete or the time is up.
    async fn sweep(&self, until: time::Instant) -> Result<(), CoreError> {
        let Some(seat) = self.seat.borrow().clone() else {
            return Ok(());
        };
        let rule = |excess| Rule {
            now: Timestamp::now(),
            retention: self.config.retention(),
            excess,
            is_moving: self.is_moving,
        };
        let (mut from, mut position, mut excess) = (0, 0, None);
        while time::Instant::now() < until {
            let (total, page) = self.oldest(from).await?;
            if from == 0 {
                Gauge::JournalFinished.set(total as f64, &[]);
            }
            let excess = *excess.get_or_insert(total.saturating_sub(self.config.max_finished));
            let rule = rule(excess);
            let mut deletions = vec![];
            let mut is_done = page.len() < PAGE;
            for pair in &page {
                let finished = codec::decode_finished(pair.value())?;
                match rule.verdict(&finished, position) {
                    Verdict::Delete => deletions.extend(self.deletion(pair, &finished)),
                    Verdict::Keep => {}
                    Verdict::KeepAllFromHere => {
                        is_done = true;
                        break;
                    }
                }
                position += 1;
                from = pair.create_revision();
            }
            let swept = self.delete(&seat, deletions).await?;
            if swept > 0 {
                tracing::debug!(swept, total, "finished episodes were deleted");
            }
            if is_done {
                return Ok(());
            }
            from += 1;
        }
        Ok(())
    }

    /// How many finished episodes there are, and the entries of some of them, in the order in which
    /// they ended.
    async fn oldest(&self, from: i64) -> Result<(u64, Vec<KeyValue>), CoreError> {
        let oldest = GetOptions::new()
            .with_prefix()
            .with_sort(SortTarget::Create, SortOrder::Ascend)
            .with_min_create_revision(from)
            .with_limit(i64::try_from(PAGE).unwrap_or(i64::MAX));
        let mut kv = self.reader.kv();
        let reading = kv.get(self.reader.keys.all_finished(), Some(oldest));
        let mut response = call("listing finished episodes", self.reader.limit, reading).await?;
        let total = u64::try_from(response.count()).unwrap_or_default();
        Ok((total, response.take_kvs()))
    }

    /// Deletes an episode, unless something became known of it meanwhile.
    fn deletion(&self, pair: &KeyValue, finished: &Finished) -> Option<Write> {
        let keys = &self.reader.keys;
        let (tenant, id) = keys.parse_finished(pair.key())?;
        let key = keys.finished(&tenant, &id);
        let mut write = Write::default()
            .unchanged(&key, pair.mod_revision())
            .delete_all(keys.episode(&tenant, &id))
            .delete(key);
        if let Some(request) = &finished.request {
            write = write.delete(keys.request(&tenant, request));
        }
        Some(write)
    }

    /// Returns how many were deleted.
    async fn delete(&self, seat: &Seat, deletions: Vec<Write>) -> Result<usize, CoreError> {
        let mut deletions = deletions.into_iter();
        let mut deleted = 0;
        loop {
            let some = deletions.by_ref().take(SWEPT_AT_ONCE);
            let some = some.map(|write| self.submitter.submit(seat, write, Full::Wait));
            let outcomes = join_all(some).await;
            if outcomes.is_empty() {
                return Ok(deleted);
            }
            for outcome in outcomes {
                if let Outcome::Written(_) = outcome? {
                    deleted += 1;
                }
            }
        }
    }
}

/// What is kept, and for how long.
struct Rule {
    now: Timestamp,
    retention: Duration,
    /// How many there are too many.
    excess: u64,
    /// Whether they have to be moved first.
    is_moving: bool,
}

/// What becomes of a finished episode.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Delete,
    Keep,
    /// This one and all that ended later.
    KeepAllFromHere,
}

impl Rule {
    /// What becomes of the one at `position`, counted from the oldest.
    fn verdict(&self, finished: &Finished, position: u64) -> Verdict {
        let age = self.now.duration_since(finished.finished_at);
        let is_old = !age.is_negative() && age.unsigned_abs() >= self.retention;
        if !is_old && position >= self.excess {
            Verdict::KeepAllFromHere
        } else if self.is_moving && !finished.is_moved {
            // Nowhere else is it: the journal's bound on bytes refuses new ones first.
            Verdict::Keep
        } else {
            Verdict::Delete
        }
    }
}

/// Whether it is this coordinator's turn to sweep and move.
pub(super) fn is_sweeper(membership: &watch::Receiver<Membership>) -> bool {
    let membership = membership.borrow();
    is_heir(membership.me.as_ref(), &membership.living)
}

fn is_heir(me: Option<&CoordinatorId>, living: &Arc<BTreeSet<CoordinatorId>>) -> bool {
    me.is_some() && adoption::heir(SWEEPING, living.iter()) == me
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_moved_is_never_deleted() {
        let now = Timestamp::now();
        let ended = |seconds_ago, is_moved| Finished {
            finished_at: now.checked_sub(Duration::from_secs(seconds_ago)).unwrap(),
            request: None,
            is_moved,
        };
        let rule = |is_moving| Rule {
            now,
            retention: Duration::from_secs(60),
            excess: 2,
            is_moving,
        };
        for (seconds_ago, position, without, unmoved, moved) in [
            // Old.
            (61, 5, Verdict::Delete, Verdict::Keep, Verdict::Delete),
            // Too many.
            (1, 1, Verdict::Delete, Verdict::Keep, Verdict::Delete),
            // Neither.
            (
                1,
                2,
                Verdict::KeepAllFromHere,
                Verdict::KeepAllFromHere,
                Verdict::KeepAllFromHere,
            ),
        ] {
            let verdict = |is_moving, is_moved| {
                rule(is_moving).verdict(&ended(seconds_ago, is_moved), position)
            };
            assert_eq!(verdict(false, false), without);
            assert_eq!(verdict(true, false), unmoved);
            assert_eq!(verdict(true, true), moved);
        }
    }
}
