//! The port [`Experts`] over every serving instance in the registry.
//!
//! A call goes to the least loaded instance ([`maestro_core::routing`]) whose breaker is closed
//! and which has a permit free; calls of one run go to one instance while that is so.
//! Loads travel on replies. What a router knows of an instance goes
//! when the instance leaves the registry.
//!
//! **Repeating.** A call is sent to another instance only where the first surely has not begun it:
//! no connection, or the instance turned it away.
//!
//! Where the skill allows it, a slow call is made a second time all the same.
//!
//! **Waiting.** Where all permits are out, a call waits at most [`RouterConfig::max_wait_ms`], in
//! a line of at most [`RouterConfig::max_waiting`]; then it fails as overloaded.
//!
//! **Instances that leave.** An instance that drains leaves the registry before it has finished,
//! and its last calls must live; one that died or was cut off must not hold its callers until
//! their deadline. So once an instance has left, its connection is asked for its health every
//! second while calls are under way on it, and the calls fail as unavailable when no answer comes.

mod connection;
mod expert;
mod hedge;
mod outcome;
mod table;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use maestro_core::{
    Timestamp,
    breaker::BreakerConfig,
    episode::{Failure, FailureKind},
    expert_call::{ExpertCall, ExpertReply, Usage},
    ids::{ExpertName, InstanceId},
    ports::Experts,
    registry::Snapshot,
};
use maestro_telemetry::{Counter, Histogram, Label, Span, SpanKind};
use maestro_wire::ToProto;
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use self::{
    connection::{Connection, probe},
    expert::{Acquired, Expert},
    outcome::{Next, Verdict},
    table::Ticket,
};
use crate::{call::time_left, pool::ChannelPool};

/// How calls to experts are routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RouterConfig {
    /// Most instances that a call is sent to.
    pub max_attempts: u32,
    /// Longest wait for a permit, in milliseconds.
    pub max_wait_ms: u64,
    /// Most calls that wait for a permit of one expert.
    pub max_waiting: usize,
    /// Longest wait for an expert that the policy has seen and this process has not yet, in
    /// milliseconds.
    pub registry_wait_ms: u64,
    /// How long a load that an instance reported counts, in milliseconds.
    pub load_age_ms: u64,
    /// Where a skill allows a second attempt: it is made for calls that take longer than this share of
    /// the calls of late, in percent.
    pub hedge_percent: u32,
    /// Failures in a row that open an instance's breaker.
    pub breaker_failures: u32,
    /// How long a breaker stays open the first time, in milliseconds; doubles with each failed
    /// probe.
    pub breaker_open_ms: u64,
    /// Longest time that a breaker stays open, in milliseconds.
    pub breaker_max_open_ms: u64,
}

impl Default for RouterConfig {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            max_wait_ms: 10_000,
            max_waiting: 1024,
            registry_wait_ms: 250,
            load_age_ms: 1_000,
            hedge_percent: 95,
            breaker_failures: 3,
            breaker_open_ms: 1_000,
            breaker_max_open_ms: 30_000,
        }
    }
}

impl RouterConfig {
    fn breaker(&self) -> BreakerConfig {
        BreakerConfig {
            failure_threshold: self.breaker_failures,
            open_for: Duration::from_millis(self.breaker_open_ms),
            max_open_for: Duration::from_millis(self.breaker_max_open_ms),
        }
    }
}

type ExpertMap = Arc<HashMap<ExpertName, Arc<Expert>>>;

/// Calls experts through whatever instances the registry's snapshots show.
pub struct ExpertRouter {
    config: RouterConfig,
    experts: watch::Receiver<ExpertMap>,
    _follower: AbortOnDropHandle<()>,
}

impl ExpertRouter {
    /// A router that follows `snapshots`; the first is in effect at once. Where the snapshots end
    /// (the registry's port is gone), the last one stays. Must run inside a tokio runtime.
    pub fn new(
        mut snapshots: watch::Receiver<Arc<Snapshot>>,
        pool: Arc<ChannelPool>,
        config: RouterConfig,
    ) -> Self {
        let (sender, experts) = watch::channel(ExpertMap::default());
        let mut follower = Follower {
            config,
            pool,
            endpoints: HashSet::new(),
            sender,
        };
        let first = Arc::clone(&snapshots.borrow_and_update());
        follower.apply(&first);
        let task = tokio::spawn(follower.follow(snapshots));
        Self {
            config,
            experts,
            _follower: AbortOnDropHandle::new(task),
        }
    }

    /// The expert, as soon as the registry shows it with an instance.
    async fn find(&self, name: &ExpertName, deadline: Timestamp) -> Result<Arc<Expert>, Failure> {
        let lookup = |experts: &ExpertMap| experts.get(name).cloned();
        let serving = |expert: &Arc<Expert>| !expert.is_empty();
        if let Some(expert) = lookup(&self.experts.borrow()).filter(serving) {
            return Ok(expert);
        }
        let wait = Duration::from_millis(self.config.registry_wait_ms)
            .min(time_left(deadline).unwrap_or_default());
        let mut experts = self.experts.clone();
        let appears = experts.wait_for(|experts| lookup(experts).filter(serving).is_some());
        if let Ok(Ok(experts)) = tokio::time::timeout(wait, appears).await
            && let Some(expert) = lookup(&experts)
        {
            return Ok(expert);
        }
        Err(match lookup(&self.experts.borrow()) {
            Some(_) => Failure::new(
                FailureKind::Unavailable,
                format!("expert {name} has no serving instance"),
            ),
            None => Failure::new(
                FailureKind::NotInActionSet,
                format!("expert {name} is not registered"),
            ),
        })
    }

    async fn route(&self, call: &ExpertCall) -> Result<Box<ExpertReply>, Failure> {
        let expert = self.find(&call.expert, call.deadline).await?;
        let message = call.to_proto();
        let wait_until = Instant::now() + Duration::from_millis(self.config.max_wait_ms);
        let mut tried: Vec<Ticket> = Vec::new();
        let mut attempts = 1;
        let mut last: Option<(Failure, Next)> = None;
        loop {
            let Some(left) = time_left(call.deadline) else {
                return Err(Failure::new(FailureKind::Timeout, "the call's time is up"));
            };
            let first = call.instance.as_ref();
            let lease = match expert.acquire(&tried, first, wait_until, left).await {
                Acquired::Lease(lease) => lease,
                Acquired::Tried => {
                    // Every instance turned the call away. One that was full may have room soon.
                    let Some((failure, next)) = last else {
                        return Err(Failure::new(FailureKind::Unavailable, "no instance"));
                    };
                    if next != Next::Full || Instant::now() >= wait_until {
                        return Err(failure);
                    }
                    last = Some((failure, next));
                    expert.pause(left).await;
                    tried.clear();
                    continue;
                }
                Acquired::Failed(failure) => {
                    return Err(last.map_or(failure, |(failure, _)| failure));
                }
            };
            let ticket = lease.ticket();
            let verdict = if call.hedge {
                let percent = self.config.hedge_percent;
                Box::pin(hedge::call(&expert, lease, &tried, &message, left, percent)).await
            } else {
                lease.call(message.clone(), left).await
            };
            match verdict {
                Verdict::Done(result) => return result,
                Verdict::Again(failure, next) => {
                    tried.push(ticket);
                    if next == Next::Elsewhere {
                        attempts += 1;
                        if attempts > self.config.max_attempts {
                            return Err(failure);
                        }
                    }
                    Counter::Retries.increment(&[
                        Label::Method(connection::INVOKE),
                        Label::Reason(failure.kind.name()),
                    ]);
                    last = Some((failure, next));
                }
            }
        }
    }
}

#[async_trait]
impl Experts for ExpertRouter {
    async fn invoke(&self, call: ExpertCall) -> Result<ExpertReply, Failure> {
        let started = Instant::now();
        let mut span = Span::begin(
            SpanKind::Client,
            format!("{} {}", call.capability, call.expert),
        );
        span.set("gen_ai.operation.name", call.capability.to_string());
        span.set("gen_ai.provider.name", PROVIDER);
        span.set("gen_ai.request.model", call.expert.to_string());
        let result = span.scope(self.route(&call)).await;
        let outcome = result
            .as_ref()
            .err()
            .map_or("ok", |failure| failure.kind.name());
        let expert = Label::Expert(call.expert.as_str());
        Histogram::ExpertCallDuration
            .record_duration(started.elapsed(), &[expert, Label::Outcome(outcome)]);
        match &result {
            Ok(reply) => usage_of(&mut span, &reply.usage),
            Err(failure) => span.fail(failure.kind.name()),
        }
        if let Err(failure) = &result {
            Counter::CallFailures.increment(&[expert, Label::Reason(failure.kind.name())]);
        }
        result.map(|reply| *reply)
    }

    fn likely_instance(&self, expert: &ExpertName) -> Option<InstanceId> {
        self.experts.borrow().get(expert)?.likely()
    }
}

/// Who answers, in the GenAI semantic conventions: experts are reached through Maestro alone.
const PROVIDER: &str = "maestro";

/// Names and units of the GenAI semantic conventions of OpenTelemetry.
fn usage_of(span: &mut Span, usage: &Usage) {
    let count = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
    span.set("gen_ai.usage.input_tokens", count(usage.input_tokens));
    span.set("gen_ai.usage.output_tokens", count(usage.output_tokens));
    span.set("maestro.cost_micro_usd", count(usage.cost.0));
}

/// Keeps the router's view in step with the registry.
struct Follower {
    config: RouterConfig,
    pool: Arc<ChannelPool>,
    endpoints: HashSet<Url>,
    sender: watch::Sender<ExpertMap>,
}

impl Follower {
    /// Takes over a snapshot; returns the connections of instances that left.
    fn apply(&mut self, snapshot: &Snapshot) -> Vec<Arc<Connection>> {
        let old = Arc::clone(&self.sender.borrow());
        let mut departed = Vec::new();
        let mut new = HashMap::with_capacity(snapshot.catalogue.experts.len());
        for (name, descriptor) in &snapshot.catalogue.experts {
            let expert = old
                .get(name)
                .cloned()
                .unwrap_or_else(|| Arc::new(Expert::new(name.clone(), &self.config)));
            let instances = snapshot
                .instances
                .get(name)
                .map(Vec::as_slice)
                .unwrap_or_default();
            departed.extend(expert.sync(&descriptor.limits, instances, &self.pool));
            new.insert(name.clone(), expert);
        }
        for (name, expert) in old.iter() {
            if !new.contains_key(name) {
                departed.extend(expert.clear());
            }
        }
        let used = endpoints(&snapshot.instances);
        for gone in self.endpoints.difference(&used) {
            self.pool.evict(gone);
        }
        self.endpoints = used;
        self.sender.send_replace(Arc::new(new));
        departed
    }

    async fn follow(mut self, mut snapshots: watch::Receiver<Arc<Snapshot>>) {
        let mut probes: JoinSet<()> = JoinSet::new();
        loop {
            tokio::select! {
                changed = snapshots.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    let snapshot = Arc::clone(&snapshots.borrow_and_update());
                    for connection in self.apply(&snapshot) {
                        probes.spawn(probe(connection));
                    }
                }
                Some(_) = probes.join_next() => {}
            }
        }
        while probes.join_next().await.is_some() {}
        // The sender must outlive the registry's port: callers still look the experts up.
        std::future::pending::<()>().await;
    }
}

fn endpoints(
    instances: &BTreeMap<ExpertName, Vec<maestro_core::registry::Instance>>,
) -> HashSet<Url> {
    instances
        .values()
        .flatten()
        .map(|instance| instance.endpoint.clone())
        .collect()
}

/// Locks, whatever a panicking holder left: every change under these locks is one assignment or
/// a plain value's method.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
