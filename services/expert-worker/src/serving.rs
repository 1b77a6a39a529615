//! One expert in service: admission, deadline, accounts around its backend.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use maestro_core::{
    Timestamp,
    episode::{Failure, FailureKind},
    expert_call::{ExpertCall, ExpertReply, Load},
    ids::InstanceId,
    quote,
    registry::{Descriptor, Modality},
};
use maestro_telemetry::{Counter, Gauge, Held, Histogram, Label};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{backend::Backend, images::Images};

/// An expert that this process serves.
pub(crate) struct Serving {
    instance: InstanceId,
    descriptor: ArcSwap<Descriptor>,
    backend: Arc<dyn Backend>,
    gate: Gate,
}

impl Serving {
    /// `descriptor.limits.max_concurrency` calls run at once, `max_waiting` more may wait.
    pub(crate) fn new(
        instance: InstanceId,
        descriptor: Descriptor,
        backend: Arc<dyn Backend>,
        max_waiting: u32,
    ) -> Self {
        let gate = Gate::new(descriptor.limits.max_concurrency, max_waiting);
        Self {
            instance,
            descriptor: ArcSwap::from_pointee(descriptor),
            backend,
            gate,
        }
    }

    pub(crate) fn instance(&self) -> &InstanceId {
        &self.instance
    }

    pub(crate) fn descriptor(&self) -> Arc<Descriptor> {
        self.descriptor.load_full()
    }

    /// Serves on under a changed descriptor. Calls that run keep the one they began with.
    pub(crate) fn update(&self, descriptor: Descriptor) {
        self.descriptor.store(Arc::new(descriptor));
    }

    pub(crate) fn load(&self) -> Load {
        self.gate.load()
    }

    /// Makes one call: waits for a permit at most `max_wait`, and for everything at most until
    /// the call's deadline and the expert's own limit of time.
    pub(crate) async fn call(
        &self,
        call: ExpertCall,
        images: &Images,
        max_wait: Duration,
    ) -> Result<ExpertReply, Failure> {
        let descriptor = self.descriptor();
        let call = admit(&descriptor, call)?;
        let left = time_left(call.deadline)
            .ok_or_else(|| Failure::new(FailureKind::Timeout, "the call came too late"))?;
        let wait = max_wait.min(left);
        let _pass = self.gate.enter(wait).await?;
        // The expert's own limit runs from here: time in the line is not the model's.
        let left = time_left(call.deadline)
            .unwrap_or_default()
            .min(descriptor.timeout());
        let expert = Label::Expert(descriptor.name.as_str());
        let began = Instant::now();
        let answered = tokio::time::timeout(left, self.backend.invoke(&call, images)).await;
        let time = began.elapsed();
        let result = answered.unwrap_or_else(|_| {
            let message = format!("no reply within {} ms", left.as_millis());
            Err(Failure::new(FailureKind::Timeout, message))
        });
        let outcome = result.as_ref().map_or_else(|f| f.kind.name(), |_| "ok");
        Histogram::BackendDuration.record_duration(time, &[expert, Label::Outcome(outcome)]);
        let reply = self.account(&descriptor, result?, time);
        for (direction, tokens) in [
            ("input", reply.usage.input_tokens),
            ("output", reply.usage.output_tokens),
        ] {
            if tokens > 0 {
                Counter::Tokens.add(tokens, &[expert, Label::Direction(direction)]);
            }
        }
        if reply.usage.cost.0 > 0 {
            Counter::CostMicroUsd.add(reply.usage.cost.0, &[expert]);
        }
        Ok(reply)
    }

    fn account(
        &self,
        descriptor: &Descriptor,
        mut reply: ExpertReply,
        time: Duration,
    ) -> ExpertReply {
        let usage = &mut reply.usage;
        usage.calls = 1;
        if !self.backend.keeps_accounts() {
            usage.expert_time = time;
            usage.cost = descriptor
                .price
                .map(|price| quote::actual(&price, usage.input_tokens, usage.output_tokens))
                .unwrap_or_default();
        }
        reply.instance = Some(self.instance.clone());
        reply
    }
}

/// Time from now to `deadline`; `None` if it has passed.
pub(crate) fn time_left(deadline: Timestamp) -> Option<Duration> {
    let left = deadline.duration_since(Timestamp::now());
    Duration::try_from(left).ok().filter(|left| !left.is_zero())
}

/// Holds a call against its expert's descriptor, and its length against the expert's limit. Pure.
fn admit(descriptor: &Descriptor, mut call: ExpertCall) -> Result<ExpertCall, Failure> {
    let reject = |message: String| Err(Failure::new(FailureKind::Rejected, message));
    if !descriptor.capabilities.contains(&call.capability) {
        return reject(format!(
            "expert {} has no capability {}",
            descriptor.name, call.capability
        ));
    }
    let reads_images = descriptor.modalities.contains(&Modality::Image);
    if !call.images.is_empty() && !reads_images {
        return reject(format!("expert {} reads no images", descriptor.name));
    }
    let limits = &descriptor.limits;
    if u32::try_from(call.images.len()).unwrap_or(u32::MAX) > limits.max_images {
        return reject(format!(
            "{} images; expert {} takes at most {}",
            call.images.len(),
            descriptor.name,
            limits.max_images
        ));
    }
    let asked = &mut call.generation.max_output_tokens;
    // 0 is what an unset field reads as.
    *asked = match *asked {
        0 => limits.max_output_tokens,
        tokens => tokens.min(limits.max_output_tokens),
    };
    Ok(call)
}

/// The line of calls before a backend.
const LINE: Label<'static> = Label::Queue("backend_permit");
/// The calls that backends run at once.
const PERMITS: Label<'static> = Label::Resource("backend_calls");

/// Permits with a bounded line before them. A call that finds the line full, or waits too long in
/// it, is turned away as [`FailureKind::Overloaded`].
struct Gate {
    permits: Semaphore,
    capacity: u32,
    max_waiting: u32,
    /// Calls that hold a permit or wait for one.
    present: AtomicU32,
}

/// A permit and a place in the count.
struct Pass<'a> {
    _permit: SemaphorePermit<'a>,
    _place: Place<'a>,
    _counted: Held,
}

struct Place<'a>(&'a AtomicU32);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Gate {
    fn new(capacity: u32, max_waiting: u32) -> Self {
        let permits = usize::try_from(capacity).unwrap_or(usize::MAX);
        // A process may serve several experts; their permits add up.
        Gauge::PermitsLimit.add(f64::from(capacity), &[PERMITS]);
        Self {
            permits: Semaphore::new(permits.min(Semaphore::MAX_PERMITS)),
            capacity,
            max_waiting,
            present: AtomicU32::new(0),
        }
    }

    /// Calls present, and how many run at once.
    fn load(&self) -> Load {
        Load {
            in_flight: self.present.load(Ordering::Acquire),
            capacity: self.capacity,
        }
    }

    async fn enter(&self, wait: Duration) -> Result<Pass<'_>, Failure> {
        let overloaded = |what: &str| Failure::new(FailureKind::Overloaded, what);
        let present = self.present.fetch_add(1, Ordering::AcqRel);
        let place = Place(&self.present);
        if present >= self.capacity.saturating_add(self.max_waiting) {
            return Err(overloaded("the line of waiting calls is full"));
        }
        let began = Instant::now();
        let waiting = Gauge::QueueDepth.hold(&[LINE]);
        let permit = match tokio::time::timeout(wait, self.permits.acquire()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) | Err(_) => return Err(overloaded("no permit came free in time")),
        };
        drop(waiting);
        Histogram::QueueWait.record_duration(began.elapsed(), &[LINE]);
        Ok(Pass {
            _permit: permit,
            _place: place,
            _counted: Gauge::PermitsInUse.hold(&[PERMITS]),
        })
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        Gauge::PermitsLimit.subtract(f64::from(self.capacity), &[PERMITS]);
    }
}

#[cfg(test)]
mod tests {
    use maestro_core::{
        Digest,
        expert_call::Generation,
        ids::{EpisodeId, IdempotencyKey},
        registry::Limits,
    };
    use proptest::prelude::*;

    use super::*;

    fn descriptor(modalities: &[Modality]) -> Descriptor {
        Descriptor {
            name: "e".parse().unwrap(),
            description: "d".into(),
            capabilities: ["chat".parse().unwrap()].into(),
            modalities: modalities.iter().copied().collect(),
            price: None,
            limits: Limits {
                max_output_tokens: 100,
                max_images: 2,
                ..Limits::default()
            },
            typical_latency_ms: None,
            backend: None,
        }
    }

    fn call(capability: &str, images: usize, max_output_tokens: u32) -> ExpertCall {
        ExpertCall {
            instance: None,
            expert: "e".parse().unwrap(),
            capability: capability.parse().unwrap(),
            operation: String::new(),
            messages: vec![],
            images: vec![Digest::of(b"i"); images],
            generation: Generation {
                max_output_tokens,
                ..Generation::default()
            },
            key: IdempotencyKey::step(EpisodeId::generate(), 0),
            deadline: Timestamp::now(),
        }
    }

    #[test]
    fn a_call_must_suit_its_expert() {
        let both = descriptor(&[Modality::Text, Modality::Image]);
        let text = descriptor(&[Modality::Text]);
        assert!(admit(&both, call("chat", 2, 10)).is_ok());
        for (descriptor, call) in [
            (&both, call("ocr", 0, 10)),
            (&both, call("chat", 3, 10)),
            (&text, call("chat", 1, 10)),
        ] {
            let failure = admit(descriptor, call).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Rejected);
        }
    }

    proptest! {
        #[test]
        fn the_length_never_passes_the_limit(asked: u32) {
            let both = descriptor(&[Modality::Text]);
            let admitted = admit(&both, call("chat", 0, asked)).unwrap();
            prop_assert!((1..=100).contains(&admitted.generation.max_output_tokens));
            if (1..=100).contains(&asked) {
                prop_assert_eq!(admitted.generation.max_output_tokens, asked);
            }
        }
    }

    #[tokio::test]
    async fn a_full_line_turns_away_at_once() {
        let gate = Gate::new(1, 1);
        let patience = Duration::from_millis(50);
        let first = gate.enter(patience).await.unwrap();
        let (waiting, refused) = tokio::join!(gate.enter(patience), gate.enter(patience));
        // The first of the two waited in vain, the other found no place in the line.
        assert!(waiting.err().unwrap().message.contains("in time"));
        assert!(refused.err().unwrap().message.contains("full"));
        assert_eq!(gate.load().in_flight, 1);
        drop(first);
        assert_eq!(gate.load().in_flight, 0);
        assert!(gate.enter(patience).await.is_ok());
    }
}
