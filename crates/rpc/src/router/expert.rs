//! One expert's instances: the table behind a lock, and the line of calls that wait for a permit.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use maestro_core::{
    episode::{Failure, FailureKind},
    expert_call::{ExpertReply, Load},
    ids::{ExpertName, InstanceId},
    registry::{Instance, Limits},
};
use maestro_proto::v1;
use maestro_telemetry::{Gauge, Held, Histogram, Label};
use maestro_wire::FromProto;
use rand::Rng;
use tokio::sync::Notify;

use super::{
    RouterConfig,
    connection::{Connection, Ended},
    hedge::Times,
    lock,
    outcome::{Verdict, judge},
    table::{CallEnd, Selection, Table, Ticket},
};
use crate::pool::ChannelPool;

/// Pause of a call that every instance has turned away as full.
const FULL_PAUSE: Duration = Duration::from_millis(20);

pub(super) struct Expert {
    name: ExpertName,
    epoch: Instant,
    max_waiting: usize,
    /// Longest time of one call, in milliseconds.
    timeout_ms: AtomicU64,
    waiting: AtomicUsize,
    /// A permit was given back or the instances changed.
    freed: Notify,
    table: Mutex<Table<Arc<Connection>>>,
    times: Times,
}

/// What a wait for a permit gave.
pub(super) enum Acquired {
    Lease(Lease),
    /// Every instance was tried before.
    Tried,
    Failed(Failure),
}

impl Expert {
    pub(super) fn new(name: ExpertName, config: &RouterConfig) -> Self {
        Self {
            name,
            epoch: Instant::now(),
            max_waiting: config.max_waiting,
            timeout_ms: AtomicU64::new(Limits::default().timeout_ms),
            waiting: AtomicUsize::new(0),
            freed: Notify::new(),
            table: Mutex::new(Table::new(
                config.breaker(),
                Duration::from_millis(config.load_age_ms),
            )),
            times: Times::default(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        lock(&self.table).is_empty()
    }

    /// Takes over the registry's instances; returns the connections of those that left.
    pub(super) fn sync(
        &self,
        limits: &Limits,
        instances: &[Instance],
        pool: &ChannelPool,
    ) -> Vec<Arc<Connection>> {
        self.timeout_ms.store(limits.timeout_ms, Ordering::Relaxed);
        let connect = |instance: &Instance| match pool.channel(&instance.endpoint) {
            Ok(channel) => Some(Arc::new(Connection::new(instance.id.clone(), channel))),
            Err(error) => {
                tracing::warn!(instance = %instance.id, %error, "an instance is left out");
                None
            }
        };
        let departed = lock(&self.table).sync(instances, connect);
        self.freed.notify_waiters();
        self.export_breakers();
        departed
    }

    /// Forgets every instance, as the registry has forgotten the expert; returns their connections.
    pub(super) fn clear(&self) -> Vec<Arc<Connection>> {
        let departed = lock(&self.table).sync(&[], |_| None);
        self.freed.notify_waiters();
        // No value, rather than the 0 of an expert that nobody serves.
        self.export([f64::NAN; 3]);
        departed
    }

    /// Takes a permit at an instance that is not in `tried`, at `first` if that can be, waiting until
    /// `wait_until` and at most `left` where all are out.
    pub(super) async fn acquire(
        self: &Arc<Self>,
        tried: &[Ticket],
        first: Option<&InstanceId>,
        wait_until: Instant,
        left: Duration,
    ) -> Acquired {
        match self.select(tried, first) {
            Selection::Full => {}
            selection => return self.acquired(selection),
        }
        let Some(_place) = Place::take(&self.waiting, self.max_waiting) else {
            return Acquired::Failed(self.overloaded("too many calls wait"));
        };
        let began = Instant::now();
        let until = wait_until.min(began + left);
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            match self.select(tried, first) {
                Selection::Full => {}
                selection => {
                    Histogram::QueueWait.record_duration(began.elapsed(), &[LINE]);
                    self.pass_on();
                    return self.acquired(selection);
                }
            }
            if tokio::time::timeout_at(until.into(), freed).await.is_err() {
                self.pass_on();
                return Acquired::Failed(if wait_until <= began + left {
                    self.overloaded("all permits are out")
                } else {
                    Failure::new(FailureKind::Timeout, "no permit within the call's time")
                });
            }
        }
    }

    /// Takes a permit at an instance that is not in `tried`, where one is free now.
    pub(super) fn try_acquire(self: &Arc<Self>, tried: &[Ticket]) -> Option<Lease> {
        match self.acquired(self.select(tried, None)) {
            Acquired::Lease(lease) => Some(lease),
            Acquired::Tried | Acquired::Failed(_) => None,
        }
    }

    pub(super) fn name(&self) -> &ExpertName {
        &self.name
    }

    pub(super) fn times(&self) -> &Times {
        &self.times
    }

    /// Waits a moment, not longer than `left`, for full instances to get room.
    pub(super) async fn pause(&self, left: Duration) {
        let pause = FULL_PAUSE.mul_f64(rand::rng().random_range(0.5..=1.5));
        tokio::time::sleep(pause.min(left)).await;
    }

    /// The instance that a call would go to now.
    pub(super) fn likely(&self) -> Option<InstanceId> {
        lock(&self.table).likely(self.epoch.elapsed(), rand::random())
    }

    fn select(&self, tried: &[Ticket], first: Option<&InstanceId>) -> Selection<Arc<Connection>> {
        lock(&self.table).select(self.epoch.elapsed(), rand::random(), tried, first)
    }

    fn acquired(self: &Arc<Self>, selection: Selection<Arc<Connection>>) -> Acquired {
        let unavailable = |what: &str| {
            let message = format!("expert {}: {what}", self.name);
            Acquired::Failed(Failure::new(FailureKind::Unavailable, message))
        };
        match selection {
            Selection::Chosen(ticket, connection) => Acquired::Lease(Lease {
                expert: Arc::clone(self),
                connection,
                ticket,
                ended: false,
            }),
            Selection::Tried => Acquired::Tried,
            Selection::Blocked => unavailable("every instance failed of late"),
            Selection::Absent => unavailable("no serving instance"),
            Selection::Full => Acquired::Failed(self.overloaded("all permits are out")),
        }
    }

    fn overloaded(&self, what: &str) -> Failure {
        Failure::new(
            FailureKind::Overloaded,
            format!("expert {}: {what}", self.name),
        )
    }

    /// Wakes the next in line where there is still room: the one that was woken may not have
    /// used what was freed.
    fn pass_on(&self) {
        if self.waiting.load(Ordering::Relaxed) > 1
            && lock(&self.table).has_room(self.epoch.elapsed())
        {
            self.freed.notify_one();
        }
    }

    fn finish(&self, ticket: Ticket, end: CallEnd, load: Option<Load>) {
        let now = self.epoch.elapsed();
        let changed = {
            let mut table = lock(&self.table);
            let before = table.breakers(now);
            table.finish(ticket, end, load, now);
            before != table.breakers(now)
        };
        self.freed.notify_one();
        if changed {
            self.export_breakers();
        }
    }

    fn export_breakers(&self) {
        let counts = lock(&self.table).breakers(self.epoch.elapsed());
        self.export(counts.map(f64::from));
    }

    fn export(&self, counts: [f64; 3]) {
        for (state, count) in ["closed", "open", "half_open"].into_iter().zip(counts) {
            let labels = [Label::Expert(self.name.as_str()), Label::State(state)];
            Gauge::BreakerInstances.set(count, &labels);
        }
    }
}

/// The line of calls whose expert has no free permit.
const LINE: Label<'static> = Label::Queue("expert_permit");

/// A place in the line.
struct Place<'a> {
    waiting: &'a AtomicUsize,
    _counted: Held,
}

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize, limit: usize) -> Option<Self> {
        if waiting.fetch_add(1, Ordering::AcqRel) >= limit {
            waiting.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        Some(Self {
            waiting,
            _counted: Gauge::QueueDepth.hold(&[LINE]),
        })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A permit at an instance. Dropping it gives the permit back and says nothing of the instance.
pub(super) struct Lease {
    expert: Arc<Expert>,
    connection: Arc<Connection>,
    ticket: Ticket,
    ended: bool,
}

impl Lease {
    pub(super) fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// Makes the call within the expert's own limit and `left`.
    pub(super) async fn call(mut self, message: v1::InvokeRequest, left: Duration) -> Verdict {
        let limit = Duration::from_millis(self.expert.timeout_ms.load(Ordering::Relaxed));
        let own_limit = limit < left;
        let began = Instant::now();
        match self.connection.invoke(message, limit.min(left)).await {
            Ok(response) => {
                self.expert.times.note(began.elapsed());
                Verdict::Done(self.read(response))
            }
            Err(Ended::Gone) => {
                self.end(CallEnd::Neutral, None);
                let message = format!("instance {} is gone", self.connection.instance);
                Verdict::Done(Err(Failure::new(FailureKind::Unavailable, message)))
            }
            Err(Ended::Status(status)) => {
                let (end, failure, next) = judge(&status, own_limit);
                self.end(end, None);
                match next {
                    Some(next) => Verdict::Again(failure, next),
                    None => Verdict::Done(Err(failure)),
                }
            }
        }
    }

    fn read(&mut self, response: v1::InvokeResponse) -> Result<Box<ExpertReply>, Failure> {
        match ExpertReply::from_proto(response) {
            Ok(mut reply) => {
                self.end(CallEnd::Answered, Some(reply.load));
                reply
                    .instance
                    .get_or_insert_with(|| self.connection.instance.clone());
                Ok(Box::new(reply))
            }
            Err(error) => {
                self.end(CallEnd::Failed, None);
                Err(Failure::new(
                    FailureKind::ExpertFailed,
                    format!("unreadable reply: {error}"),
                ))
            }
        }
    }

    fn end(&mut self, end: CallEnd, load: Option<Load>) {
        if !std::mem::replace(&mut self.ended, true) {
            self.expert.finish(self.ticket, end, load);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.end(CallEnd::Neutral, None);
    }
}
