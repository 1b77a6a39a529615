//! Group commit: one task that writes what waits in as few transactions as etcd's limits allow.
//! While a transaction is under way the next writes gather, so the more there are, the more share
//! one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use etcd_client::KvClient;
use maestro_core::CoreError;
use maestro_telemetry::{Counter, Gauge, Label};
use tokio::{
    sync::{mpsc, oneshot},
    time,
};

use super::{
    batch::{Filling, MAX_BYTES, Outcome, Write, outcomes, transaction},
    seat::Seat,
};
use crate::{backoff::Backoff, error::RegistryError, etcd::client::call};

/// When a refused client may try again.
const RETRY_AFTER_MS: u64 = 500;
/// The same, where the store is full.
const RETRY_FULL_MS: u64 = 5_000;

/// What the writer is asked to do.
pub(super) enum Command {
    Write(Job),
    /// Answers once everything asked before is done.
    Flush(oneshot::Sender<()>),
}

/// A write that waits.
pub(super) struct Job {
    seat: Seat,
    write: Write,
    reply: oneshot::Sender<Result<Outcome, CoreError>>,
}

/// How much was written, and whether there is room.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) transactions: AtomicU64,
    pub(super) writes: AtomicU64,
    /// Set while etcd has no room for the journal: new episodes are refused. Cleared by the upkeep
    /// alone, since what fits in now says nothing of what is left.
    pub(super) full: AtomicBool,
}

/// Hands writes to the writer.
#[derive(Clone)]
pub(super) struct Submitter {
    queue: mpsc::Sender<Command>,
    limit: Duration,
    tally: Arc<Tally>,
}

/// Whether to wait for room in the queue.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// New work is refused at once.
    Refuse,
    /// What was accepted waits, up to the limit.
    Wait,
}

impl Submitter {
    /// Writes, in the order of the calls. An error other than [`CoreError::Superseded`] may mean
    /// that it was written all the same.
    ///
    /// # Errors
    /// [`CoreError::Superseded`] once the lease behind `seat` has ended, [`CoreError::Exhausted`]
    /// with a full queue or a full store, [`CoreError::Unavailable`] while etcd is away.
    pub(super) async fn submit(
        &self,
        seat: &Seat,
        write: Write,
        when_full: Full,
    ) -> Result<Outcome, CoreError> {
        if write.bytes() > MAX_BYTES {
            let bytes = write.bytes();
            let reason = format!("{bytes} bytes do not fit into the journal ({MAX_BYTES})");
            return Err(CoreError::FailedPrecondition(reason));
        }
        let (reply, answer) = oneshot::channel();
        let seat = seat.clone();
        let job = Command::Write(Job { seat, write, reply });
        let exhausted = || CoreError::Exhausted {
            what: "journal",
            limit: self.queue.max_capacity() as u64,
            retry_after_ms: RETRY_AFTER_MS,
        };
        let gone = || unavailable("its writer has ended");
        match when_full {
            Full::Refuse => self.queue.try_send(job).map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => exhausted(),
                mpsc::error::TrySendError::Closed(_) => gone(),
            })?,
            Full::Wait => match self.queue.send_timeout(job, self.limit).await {
                Ok(()) => {}
                Err(mpsc::error::SendTimeoutError::Timeout(_)) => return Err(exhausted()),
                Err(mpsc::error::SendTimeoutError::Closed(_)) => return Err(gone()),
            },
        }
        match time::timeout(self.limit, answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(gone()),
            Err(_) => Err(unavailable("it took too long to write")),
        }
    }

    /// Writes new work, and tries again while etcd turns it away, up to the limit of one write: where
    /// a member is gone or another one becomes the leader, the next attempt meets one that serves.
    ///
    /// # Errors
    /// As [`Submitter::submit`].
    pub(super) async fn submit_new(&self, seat: &Seat, write: Write) -> Result<Outcome, CoreError> {
        let mut last = unavailable("it took too long to write");
        let mut backoff = Backoff::default();
        let attempts = async {
            loop {
                match self.submit(seat, write.clone(), Full::Refuse).await {
                    Err(error @ CoreError::Unavailable { .. }) => last = error,
                    other => return other,
                }
                time::sleep(backoff.next()).await;
            }
        };
        let submitted = time::timeout(self.limit, attempts).await;
        submitted.unwrap_or(Err(last))
    }

    /// Waits until everything submitted before is written, at most the limit.
    pub(super) async fn flush(&self) {
        let (reply, done) = oneshot::channel();
        let flushing = async {
            if self.queue.send(Command::Flush(reply)).await.is_ok() {
                // It has ended, where nobody answers.
                let _ = done.await;
            }
        };
        if time::timeout(self.limit, flushing).await.is_err() {
            tracing::warn!("the journal was not written out in time");
        }
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }
}

fn unavailable(reason: &str) -> CoreError {
    CoreError::Unavailable {
        what: "journal",
        reason: reason.to_owned(),
    }
}

/// The error of a store without room.
pub(super) fn no_room() -> CoreError {
    CoreError::Exhausted {
        what: "journal",
        limit: 0,
        retry_after_ms: RETRY_FULL_MS,
    }
}

/// See the module. `capacity` writes wait at most, `limit` each.
pub(super) fn writer(
    kv: KvClient,
    capacity: usize,
    limit: Duration,
    request_limit: Duration,
) -> (Submitter, impl Future<Output = ()> + Send + 'static) {
    let (queue, commands) = mpsc::channel(capacity);
    let tally = Arc::new(Tally::default());
    let writer = Writer {
        kv,
        commands,
        next: None,
        limit: request_limit,
        tally: Arc::clone(&tally),
    };
    let submitter = Submitter {
        queue,
        limit,
        tally,
    };
    (submitter, writer.run())
}

struct Writer {
    kv: KvClient,
    commands: mpsc::Receiver<Command>,
    /// What did not fit into the last batch.
    next: Option<Job>,
    limit: Duration,
    tally: Arc<Tally>,
}

impl Writer {
    async fn run(mut self) {
        loop {
            let first = match self.next.take() {
                Some(job) => job,
                None => match self.commands.recv().await {
                    Some(Command::Write(job)) => job,
                    Some(Command::Flush(reply)) => {
                        let _ = reply.send(());
                        continue;
                    }
                    None => return,
                },
            };
            let (jobs, flushed) = self.gather(first);
            self.commit(jobs).await;
            if let Some(reply) = flushed {
                let _ = reply.send(());
            }
        }
    }

    /// The first write and all that wait behind it, as far as they fit into one transaction, in
    /// order.
    fn gather(&mut self, first: Job) -> (Vec<Job>, Option<oneshot::Sender<()>>) {
        let mut filling = Filling::default();
        filling.take(&first.write);
        let mut jobs = vec![first];
        loop {
            match self.commands.try_recv() {
                Ok(Command::Write(job)) => {
                    let same_seat = jobs.first().is_some_and(|first| first.seat == job.seat);
                    if same_seat && filling.take(&job.write) {
                        jobs.push(job);
                    } else {
                        self.next = Some(job);
                        return (jobs, None);
                    }
                }
                Ok(Command::Flush(reply)) => return (jobs, Some(reply)),
                Err(_) => return (jobs, None),
            }
        }
    }

    async fn commit(&mut self, jobs: Vec<Job>) {
        let Some(seat) = jobs.first().map(|job| job.seat.clone()) else {
            return;
        };
        let (writes, replies): (Vec<Write>, Vec<_>) =
            jobs.into_iter().map(|job| (job.write, job.reply)).unzip();
        let count = writes.len() as u64;
        Gauge::QueueDepth.set(self.commands.len() as f64, &[Label::Queue("journal")]);
        Counter::JournalTransactions.increment(&[]);
        Counter::JournalWrites.add(count, &[]);
        self.tally.transactions.fetch_add(1, Ordering::Relaxed);
        self.tally.writes.fetch_add(count, Ordering::Relaxed);
        let txn = transaction(seat.fence(), writes);
        let answered = call("a journal write", self.limit, self.kv.txn(txn)).await;
        let error = match answered {
            Ok(response) if response.succeeded() => {
                for (reply, outcome) in replies.into_iter().zip(outcomes(&response)) {
                    // Whoever has given up reads what it needs when it asks again.
                    let _ = reply.send(Ok(outcome));
                }
                return;
            }
            Ok(_) => CoreError::Superseded(format!("the lease of coordinator {} ended", seat.id)),
            Err(RegistryError::NoSpace) => {
                self.tally.full.store(true, Ordering::Relaxed);
                tracing::error!("etcd has no room for the journal");
                no_room()
            }
            Err(error) => error.into(),
        };
        for reply in replies {
            let _ = reply.send(Err(error.clone()));
        }
    }
}
