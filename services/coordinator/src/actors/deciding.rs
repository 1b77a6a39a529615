//! Decisions: the policy is asked, again where its workers are away, and for a while a fixed rule
//! stands in for it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use maestro_core::{
    MicroUsd,
    breaker::{Breaker, BreakerConfig},
    episode::{Action, Decision, EpisodeSpec, Event, Failure, FailureKind, Quote, Remaining, Step},
    fallback,
    ports::{DecideRequest, PastStep, Undecided},
    quote,
    registry::Snapshot,
};
use maestro_telemetry::{Counter, Histogram, Label, Span, SpanKind};

use super::effects::{World, action_name, resolve};
use crate::config::Fallback;

/// First wait before the policy is asked again; it doubles up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_millis(500);

impl World {
    /// Asks the policy, and finds out what the call may cost.
    pub(crate) async fn decide(
        &self,
        spec: &EpisodeSpec,
        steps: &[Step],
        step: u32,
        remaining: Remaining,
        min_revision: u64,
    ) -> Event {
        let started = Instant::now();
        let request = DecideRequest {
            episode: spec.id.clone(),
            step,
            task: Arc::clone(&spec.task),
            history: PastStep::history(steps),
            remaining,
            mode: spec.mode,
            slot: spec.slot.clone(),
            seed: spec.seed,
            min_revision,
        };
        let mut span = Span::begin(SpanKind::Internal, "decide");
        let decided = span.scope(self.ask(&request)).await;
        let outcome = decided
            .as_ref()
            .err()
            .map_or("ok", |failure| failure.kind.name());
        Histogram::DecisionDuration.record_duration(started.elapsed(), &[Label::Outcome(outcome)]);
        match decided {
            Ok(decision) => {
                span.set("maestro.action", action_name(&decision.action));
                if let Action::Invoke { pair, .. } = &decision.action {
                    span.set("maestro.expert", pair.expert.to_string());
                    span.set("maestro.skill", pair.skill.to_string());
                }
                span.set(
                    "maestro.policy.version",
                    decision.policy_version.to_string(),
                );
                drop(span);
                Counter::Decisions.increment(&[Label::Action(action_name(&decision.action))]);
                let quote = self.quote(&decision, remaining.cost).await;
                let instance = match &decision.action {
                    Action::Invoke { pair, .. } => self.experts.likely_instance(&pair.expert),
                    Action::Answer(_) => None,
                };
                Event::Decided {
                    decision,
                    quote,
                    instance,
                }
            }
            Err(failure) => {
                span.fail(failure.kind.name());
                Event::DecideFailed(failure)
            }
        }
    }

    /// The policy's decision, or the fallback's where the settings have one.
    async fn ask(&self, request: &DecideRequest) -> Result<Decision, Failure> {
        let fallback = self.config.fallback.policy;
        if fallback != Fallback::None && !self.policy_health.may_be_there() {
            let message = "every policy worker was away just now";
            let away = Failure::new(FailureKind::Unavailable, message);
            return self.stand_in(request, away);
        }
        let asked = self.ask_again_and_again(request).await;
        // An episode whose own time was short says nothing of the workers.
        if request.remaining.time >= self.config.decide_timeout() || asked.is_ok() {
            self.policy_health.note(&asked);
        }
        match asked {
            Ok(decision) => Ok(decision),
            Err(Undecided::Away(failure)) if fallback != Fallback::None => {
                self.stand_in(request, failure)
            }
            Err(undecided) => Err(undecided.failure()),
        }
    }

    /// While no policy can be asked, it is tried again for as long as the settings allow.
    async fn ask_again_and_again(&self, request: &DecideRequest) -> Result<Decision, Undecided> {
        let time = self.config.decide_timeout().min(request.remaining.time);
        let until = Instant::now() + time;
        let patient_until = until.min(Instant::now() + self.config.fallback.patience());
        let mut wait = FIRST_WAIT;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let decided = tokio::time::timeout(left, self.policy.decide(request.clone())).await;
            let decided = decided.unwrap_or_else(|_| {
                let message = format!("no decision within {} ms", time.as_millis());
                Err(Undecided::Away(Failure::new(FailureKind::Timeout, message)))
            });
            let is_away = matches!(decided, Err(Undecided::Away(_)));
            if !is_away || Instant::now() + wait >= patient_until {
                return decided;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// The fallback's decision; where it finds none either, the failure that called for it.
    fn stand_in(&self, request: &DecideRequest, failure: Failure) -> Result<Decision, Failure> {
        let sure = self.config.fallback.confidence;
        let Ok(decision) = fallback::cheapest_first(request, &self.snapshot(), sure) else {
            return Err(failure);
        };
        tracing::warn!(episode = %request.episode, %failure, "no policy could be asked: a rule decides");
        Counter::FallbackDecisions.increment(&[Label::Action(action_name(&decision.action))]);
        Ok(decision)
    }

    /// What the call may cost: where a slow one may be made twice, both, if `left` covers them.
    async fn quote(&self, decision: &Decision, left: Option<MicroUsd>) -> Quote {
        let Action::Invoke { pair, .. } = &decision.action else {
            return Quote::AtMost(MicroUsd::ZERO);
        };
        let snapshot = self.at_least(decision.revision).await;
        match resolve(&snapshot, pair) {
            Ok(candidate) => match quote::upper_bound(&snapshot, &candidate) {
                Some(once)
                    if candidate.skill.hedge && left.is_some_and(|left| once.times(2) <= left) =>
                {
                    Quote::AtMost(once.times(2))
                }
                Some(once) => Quote::AtMost(once),
                None => Quote::Unpriced,
            },
            Err(failure) => Quote::Refused(failure),
        }
    }

    /// The snapshot, once it is as new as the one a decision was taken on; after the time of the
    /// setting whatever there is.
    async fn at_least(&self, revision: u64) -> Arc<Snapshot> {
        let mut snapshots = self.snapshots.clone();
        let newer = snapshots.wait_for(|snapshot| snapshot.revision >= revision);
        match tokio::time::timeout(self.config.catch_up(), newer).await {
            Ok(Ok(snapshot)) => Arc::clone(&snapshot),
            Ok(Err(_)) | Err(_) => self.snapshot(),
        }
    }
}

/// Whether the policy workers were there of late, so that not every decision waits for workers that
/// are away.
pub(crate) struct PolicyHealth {
    breaker: Mutex<Breaker>,
    epoch: Instant,
}

impl Default for PolicyHealth {
    fn default() -> Self {
        // The one failure is that of all workers, after all patience.
        let config = BreakerConfig {
            failure_threshold: 1,
            ..BreakerConfig::default()
        };
        Self {
            breaker: Mutex::new(Breaker::new(config)),
            epoch: Instant::now(),
        }
    }
}

impl PolicyHealth {
    /// Whether to ask. While they are away one decision at a time finds out whether they still are.
    fn may_be_there(&self) -> bool {
        let now = self.epoch.elapsed();
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        let allows = breaker.allows(now);
        if allows {
            breaker.on_start(now);
        }
        allows
    }

    fn note(&self, asked: &Result<Decision, Undecided>) {
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        match asked {
            Ok(_) | Err(Undecided::Impossible(_)) => breaker.on_success(),
            Err(Undecided::Away(_)) => breaker.on_failure(self.epoch.elapsed()),
        }
    }
}
