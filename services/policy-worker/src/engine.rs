//! Inference on one thread of its own, so that it neither blocks the runtime nor competes with
//! itself.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use maestro_core::{
    episode::{Action, Decision, Failure, FailureKind},
    ports::DecideRequest,
};
use maestro_policy::{Prepared, ScorerPolicy};
use maestro_telemetry::{Counter, Gauge, GaugeHandle, Histogram, HistogramHandle, Label};
use tokio::sync::oneshot;

use crate::{
    batcher::{Batcher, Next},
    config::BatchingConfig,
    error::WorkerError,
    follower::View,
    policies::Policies,
    shadow::{Shadow, Watched},
};

const QUEUE: Label<'static> = Label::Queue("decisions");

type Outcome = Result<Decision, Failure>;

/// A request that waits.
struct Job {
    request: DecideRequest,
    /// When nobody waits for it any more.
    deadline: Instant,
    reply: oneshot::Sender<Outcome>,
}

struct Queue {
    batcher: Batcher<Job>,
    closed: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    depth: GaugeHandle,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics under the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The queue is full.
    Full,
    /// The engine is ending.
    Closed,
}

/// The thread and its queue. Dropping it answers what still waits with a failure and ends the
/// thread.
pub(crate) struct Engine {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// Starts the thread.
    pub(crate) fn start(
        config: &BatchingConfig,
        view: Arc<View>,
        policies: Arc<Policies>,
    ) -> Result<Self, WorkerError> {
        let queue = Queue {
            batcher: Batcher::new(config),
            closed: false,
        };
        let shared = Arc::new(Shared {
            queue: Mutex::new(queue),
            wake: Condvar::new(),
            depth: Gauge::QueueDepth.handle(&[QUEUE]),
        });
        let worker = Worker {
            shared: Arc::clone(&shared),
            view,
            policies,
            wait: Histogram::QueueWait.handle(&[QUEUE]),
            size: Histogram::InferenceBatchSize.handle(&[]),
            time: Histogram::InferenceDuration.handle(&[]),
            entropy: Histogram::DecisionEntropy.handle(&[]),
            shadow: Shadow::start()?,
        };
        let thread = thread::Builder::new()
            .name("inference".into())
            .spawn(move || worker.run())
            .map_err(WorkerError::Thread)?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Lets a request wait for at most `time`. The receiver fails if the engine ends.
    pub(crate) fn submit(
        &self,
        request: DecideRequest,
        time: Duration,
    ) -> Result<oneshot::Receiver<Outcome>, Refused> {
        let now = Instant::now();
        let (reply, outcome) = oneshot::channel();
        let job = Job {
            request,
            deadline: now + time,
            reply,
        };
        let mut queue = self.shared.lock();
        if queue.closed {
            return Err(Refused::Closed);
        }
        queue.batcher.push(job, now).map_err(|_| Refused::Full)?;
        self.shared.depth.set(queue.batcher.len() as f64);
        drop(queue);
        self.shared.wake.notify_one();
        Ok(outcome)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // It ends after the pass under way; a panic in it has nobody left to reach.
            let _ = thread.join();
        }
    }
}

/// What runs on the thread.
struct Worker {
    shared: Arc<Shared>,
    view: Arc<View>,
    policies: Arc<Policies>,
    wait: HistogramHandle,
    size: HistogramHandle,
    time: HistogramHandle,
    entropy: HistogramHandle,
    shadow: Shadow,
}

impl Worker {
    fn run(&self) {
        while let Some(batch) = self.next_batch() {
            self.decide(batch);
        }
    }

    /// Waits for a batch; `None` once the engine is closed.
    fn next_batch(&self) -> Option<Vec<(Job, Duration)>> {
        let mut queue = self.shared.lock();
        loop {
            if queue.closed {
                return None;
            }
            queue = match queue.batcher.next(Instant::now()) {
                Next::Batch(batch) => {
                    self.shared.depth.set(queue.batcher.len() as f64);
                    return Some(batch);
                }
                Next::Wait(time) => {
                    let woken = self.shared.wake.wait_timeout(queue, time);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                Next::Idle => {
                    let woken = self.shared.wake.wait(queue);
                    woken.unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
    }

    fn decide(&self, batch: Vec<(Job, Duration)>) {
        let now = Instant::now();
        // Requests of one policy go together; nearly always all do.
        let mut groups: Vec<(Arc<ScorerPolicy>, Vec<Job>)> = Vec::new();
        for (job, waited) in batch {
            self.wait.record_duration(waited);
            if job.reply.is_closed() || job.deadline <= now {
                // Nobody waits for it.
                continue;
            }
            let policy = self.policies.of(&job.request.slot);
            match groups.iter_mut().find(|(of, _)| Arc::ptr_eq(of, &policy)) {
                Some((_, jobs)) => jobs.push(job),
                None => groups.push((policy, vec![job])),
            }
        }
        for (policy, jobs) in groups {
            self.size.record(jobs.len() as f64);
            let started = Instant::now();
            let prepared = self.view.current();
            let outcomes = self.pass(&policy, &prepared, &jobs);
            self.time.record_duration(started.elapsed());
            for decision in outcomes.iter().flatten() {
                self.entropy.record(f64::from(decision.entropy()));
                if let Action::Invoke { pair, .. } = &decision.action {
                    let known = policy.knows(prepared.snapshot(), pair);
                    Counter::PolicyChoices.increment(&[Label::Known(known)]);
                }
            }
            for (job, outcome) in jobs.into_iter().zip(outcomes) {
                let watched = outcome.as_ref().ok().and_then(|decision| {
                    let shadow = self.policies.shadow_of(&job.request.slot)?;
                    Some((shadow, Watched::of(decision)?))
                });
                // Who has gone needs no reply.
                let _ = job.reply.send(outcome);
                if let Some((shadow, watched)) = watched {
                    self.shadow.offer(shadow, &prepared, job.request, watched);
                }
            }
        }
    }

    fn pass(&self, policy: &ScorerPolicy, prepared: &Prepared, jobs: &[Job]) -> Vec<Outcome> {
        let requests: Vec<&DecideRequest> = jobs.iter().map(|job| &job.request).collect();
        decide_unharmed(policy, prepared, &requests)
    }
}

/// Decides requests. A defect that shows with one of them must not take the thread with it.
pub(crate) fn decide_unharmed(
    policy: &ScorerPolicy,
    prepared: &Prepared,
    requests: &[&DecideRequest],
) -> Vec<Outcome> {
    catch_unwind(AssertUnwindSafe(|| policy.decide_batch(prepared, requests))).unwrap_or_else(
        |_| {
            tracing::error!(requests = requests.len(), "inference panicked");
            let failure = Failure::new(FailureKind::Unavailable, "inference failed");
            requests.iter().map(|_| Err(failure.clone())).collect()
        },
    )
}
