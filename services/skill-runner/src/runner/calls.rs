//! Calls to experts on behalf of one run: quoted, reserved, timed, counted.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use maestro_core::{
    Capability, Digest, InstanceId, MicroUsd, Timestamp,
    episode::{Failure, FailureKind},
    expert_call::{ExpertCall, ExpertReply, Generation, Message, Usage},
    ids::IdempotencyKey,
    ports::Experts,
    quote::call_bound,
    registry::{CallBounds, Descriptor, Snapshot},
    skill_run::SkillRun,
};

use maestro_skills::IMAGE_TOKENS;

use super::{
    ledger::{self, Ledger},
    select::cheapest,
};

/// Tokens that the frame of one message takes at most.
const MESSAGE_TOKENS: u64 = 16;

/// What to call.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) capability: Capability,
    pub(crate) operation: String,
    pub(crate) messages: Vec<Message>,
    pub(crate) images: Vec<Digest>,
    pub(crate) generation: Generation,
    /// Path of the node, for the idempotency key.
    pub(crate) path: String,
    pub(crate) sample: u32,
    pub(crate) timeout: Duration,
}

/// Makes the calls of one run.
pub(crate) struct Caller {
    experts: Arc<dyn Experts>,
    snapshot: Arc<Snapshot>,
    run: Arc<SkillRun>,
    expert: Descriptor,
    ledger: Arc<Ledger>,
    instance: Mutex<Option<InstanceId>>,
}

impl Caller {
    /// # Errors
    /// Where the pair's expert is not in the registry.
    pub(crate) fn new(
        experts: Arc<dyn Experts>,
        snapshot: Arc<Snapshot>,
        run: Arc<SkillRun>,
    ) -> Result<Self, Failure> {
        let name = &run.pair.expert;
        let expert = snapshot
            .catalogue
            .experts
            .get(name)
            .cloned()
            .ok_or_else(|| {
                Failure::new(
                    FailureKind::NotInActionSet,
                    format!("expert {name} is not registered"),
                )
            })?;
        let ledger = Ledger::new(run.max_cost);
        Ok(Self {
            experts,
            snapshot,
            run,
            expert,
            ledger,
            instance: Mutex::default(),
        })
    }

    /// The pair's expert.
    pub(crate) fn expert(&self) -> &Descriptor {
        &self.expert
    }

    pub(crate) fn usage(&self) -> Usage {
        self.ledger.usage()
    }

    /// The instance that answered the last call to the pair's expert.
    pub(crate) fn instance(&self) -> Option<InstanceId> {
        self.instance
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Calls the pair's expert.
    pub(crate) async fn expert_call(&self, request: Request) -> Result<ExpertReply, Failure> {
        let reply = self.call(&self.expert, request).await?;
        if reply.instance.is_some() {
            *self.instance.lock().unwrap_or_else(PoisonError::into_inner) = reply.instance.clone();
        }
        Ok(reply)
    }

    /// Calls the cheapest serving expert that has the capability.
    pub(crate) async fn helper_call(&self, request: Request) -> Result<ExpertReply, Failure> {
        let bounds = bounds(&request);
        let priced_only = self.ledger.has_limit();
        let Some(helper) = cheapest(&self.snapshot, &request.capability, &bounds, priced_only)
        else {
            let message = format!(
                "no serving expert has the capability {}",
                request.capability
            );
            return Err(Failure::new(FailureKind::Unavailable, message));
        };
        self.call(helper, request).await
    }

    async fn call(&self, expert: &Descriptor, request: Request) -> Result<ExpertReply, Failure> {
        let now = Timestamp::now();
        let left = self.run.deadline.duration_since(now);
        let left = Duration::try_from(left)
            .unwrap_or_default()
            .min(request.timeout);
        if left.is_zero() {
            return Err(Failure::new(FailureKind::Timeout, "the step's time is up"));
        }
        let bound = call_bound(expert, &bounds(&request));
        let reservation = self.ledger.reserve(bound)?;
        let call = ExpertCall {
            expert: expert.name.clone(),
            capability: request.capability,
            operation: request.operation,
            messages: request.messages,
            images: request.images,
            generation: Generation {
                max_output_tokens: request
                    .generation
                    .max_output_tokens
                    .min(expert.limits.max_output_tokens),
                ..request.generation
            },
            key: IdempotencyKey {
                episode: self.run.episode.clone(),
                step: self.run.step,
                path: request.path,
                sample: request.sample,
            },
            deadline: now.checked_add(left).unwrap_or(self.run.deadline),
            instance: (expert.name == self.run.pair.expert)
                .then(|| self.run.instance.clone())
                .flatten(),
        };
        let result = tokio::time::timeout(left, self.experts.invoke(call)).await;
        match result {
            Ok(Ok(reply)) => {
                if bound.is_some_and(|bound| reply.usage.cost > bound) {
                    let bound = bound.unwrap_or(MicroUsd::ZERO);
                    tracing::warn!(expert = %expert.name, cost = %reply.usage.cost, %bound,
                        "a call cost more than its price and limits allow");
                }
                let calls = reply.usage.calls.max(1);
                reservation.settle(&Usage {
                    calls,
                    ..reply.usage
                });
                Ok(reply)
            }
            Ok(Err(failure)) => {
                if ledger::is_free(&failure) {
                    reservation.release();
                }
                Err(failure)
            }
            Err(_) => {
                let message = format!("expert {} did not answer in time", expert.name);
                Err(Failure::new(FailureKind::Timeout, message))
            }
        }
    }
}

/// The most tokens that a call can read and write. A tokenizer makes at most one token of a byte.
fn bounds(request: &Request) -> CallBounds {
    let text: u64 = request
        .messages
        .iter()
        .map(|m| m.text.len() as u64 + MESSAGE_TOKENS)
        .sum();
    let input = text + u64::from(IMAGE_TOKENS) * request.images.len() as u64;
    CallBounds {
        expert_calls: 1,
        helper_calls: 0,
        input_tokens: u32::try_from(input).unwrap_or(u32::MAX),
        output_tokens: request.generation.max_output_tokens,
    }
}
