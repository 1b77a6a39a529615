//! The state machine of an episode. Pure: events in, effects out, the caller says what time it is.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    Action, Answer, Conclusion, Decision, EpisodeSpec, Failure, FailureKind, FinalAnswer,
    Observation, PendingCall, Step, Termination, Truncation,
};
use crate::{expert_call::Usage, ids::InstanceId, money::MicroUsd, task::Pair};

mod recovery;

/// What is left of the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remaining {
    /// Decisions, the next one included. With 1 left only an answer is allowed.
    pub steps: u32,
    /// Time.
    pub time: Duration,
    /// Money, `None` without a limit.
    pub cost: Option<MicroUsd>,
}

/// What a call may cost at most, found out by the caller before it reports a decision.
#[derive(Clone, Debug, PartialEq)]
pub enum Quote {
    /// The call can be made and costs at most this.
    AtMost(MicroUsd),
    /// The call can be made, but a price is unknown.
    Unpriced,
    /// The call cannot be made.
    Refused(Failure),
}

/// A call to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct Invocation {
    /// Index of the step.
    pub step: u32,
    /// Expert and skill.
    pub pair: Pair,
    /// What to ask; empty for the question itself.
    pub query: String,
    /// What it may cost at most; `None` without a cost limit.
    pub max_cost: Option<MicroUsd>,
    /// Whether it repeats a call of an owner that is gone and that may have happened already.
    pub repeated: bool,
    /// The expert's instance to ask first.
    pub instance: Option<InstanceId>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The episode was accepted and journalled.
    Started,
    /// The policy decided; the rest matters for an invocation only.
    Decided {
        /// What it decided.
        decision: Decision,
        /// What the call may cost.
        quote: Quote,
        /// The expert's instance to ask first, where one is known.
        instance: Option<InstanceId>,
    },
    /// No policy could decide.
    DecideFailed(Failure),
    /// The call came back.
    Observed(Observation),
    /// The last step is in the journal.
    Journaled,
    /// The journal refused the last step, or the call that was to be made.
    JournalFailed(Failure),
    /// Somebody wants the episode to stop.
    CancelRequested {
        /// Who and why.
        reason: String,
    },
    /// The deadline has come.
    DeadlinePassed,
}

/// Something to do.
#[expect(
    clippy::large_enum_variant,
    reason = "made once a step and moved, never stored in bulk"
)]
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Ask the policy for the decision of a step.
    Decide {
        /// Index of the step.
        step: u32,
        /// What is left.
        remaining: Remaining,
    },
    /// Make a call.
    Invoke(Invocation),
    /// Write the step to the journal; report [`Event::Journaled`].
    Journal(Step),
    /// Stop what is under way. Its result will be ignored.
    Abort,
    /// The episode has ended. Comes exactly once, and nothing comes after it.
    Finish(Conclusion),
}

/// Where an episode stands.
#[expect(
    clippy::large_enum_variant,
    reason = "made once a step and moved, never stored in bulk"
)]
#[derive(Clone, Debug, PartialEq)]
pub enum Phase {
    /// Accepted, not begun.
    New,
    /// The policy is being asked.
    Deciding,
    /// A call is under way.
    Invoking(PendingCall),
    /// The last step is being written.
    Journaling,
    /// Ended.
    Done,
}

/// One episode. See the module documentation.
#[derive(Clone, Debug)]
pub struct Episode {
    spec: EpisodeSpec,
    steps: Vec<Step>,
    phase: Phase,
    usage: Usage,
    step_started_at: Timestamp,
    /// The call that an earlier owner had under way when it was lost.
    interrupted: Option<PendingCall>,
}

impl Episode {
    /// An episode that has not begun.
    pub fn new(spec: EpisodeSpec) -> Self {
        let step_started_at = spec.created_at;
        Self {
            spec,
            steps: Vec::new(),
            phase: Phase::New,
            usage: Usage::default(),
            step_started_at,
            interrupted: None,
        }
    }

    /// What was fixed at the start.
    pub fn spec(&self) -> &EpisodeSpec {
        &self.spec
    }

    /// The finished steps, and after an answer the answering step.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Where it stands.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The call under way, as the journal keeps it.
    pub fn pending_call(&self) -> Option<&PendingCall> {
        match &self.phase {
            Phase::Invoking(call) => Some(call),
            _ => None,
        }
    }

    /// What is left of the budget at `now`. Reserved money counts as spent.
    pub fn remaining(&self, now: Timestamp) -> Remaining {
        let budget = &self.spec.task.budget;
        let taken = u32::try_from(self.steps.len()).unwrap_or(u32::MAX);
        let time = budget.deadline.duration_since(now);
        Remaining {
            steps: budget.max_steps.saturating_sub(taken),
            time: if time.is_negative() {
                Duration::ZERO
            } else {
                time.unsigned_abs()
            },
            cost: budget
                .max_cost
                .map(|limit| limit.saturating_sub(self.usage.cost + self.reserved())),
        }
    }

    /// Takes an event and says what to do. Events that do not fit the phase change nothing: a
    /// result that arrives after an abort, a second cancellation.
    pub fn apply(&mut self, event: Event, now: Timestamp) -> Vec<Effect> {
        match (&self.phase, event) {
            (Phase::Done, _) => vec![],
            (_, Event::CancelRequested { reason }) => {
                self.finish_early(Termination::Cancelled { reason }, now)
            }
            (_, Event::DeadlinePassed) => {
                self.finish_early(Termination::Truncated(Truncation::Deadline), now)
            }
            (Phase::New, Event::Started) => match self.interrupted.take() {
                Some(call) => self.resume(call, now),
                None => self.decide_or_stop(now),
            },
            (
                Phase::Deciding,
                Event::Decided {
                    decision,
                    quote,
                    instance,
                },
            ) => self.act(decision, &quote, instance, now),
            (Phase::Deciding, Event::DecideFailed(failure))
            | (Phase::Journaling | Phase::Invoking(_), Event::JournalFailed(failure)) => {
                vec![self.finish(Termination::Failed(failure), None, MicroUsd::ZERO, now)]
            }
            (Phase::Invoking(_), Event::Observed(observation)) => self.observe(observation, now),
            (Phase::Journaling, Event::Journaled) => self.decide_or_stop(now),
            _ => vec![],
        }
    }

    fn reserved(&self) -> MicroUsd {
        match &self.phase {
            Phase::Invoking(call) => call.reserved(),
            // An earlier owner's, until it is known what becomes of it.
            _ => self
                .interrupted
                .as_ref()
                .map_or(MicroUsd::ZERO, PendingCall::reserved),
        }
    }

    fn decide_or_stop(&mut self, now: Timestamp) -> Vec<Effect> {
        let remaining = self.remaining(now);
        let limit = if remaining.steps == 0 {
            Some(Truncation::Steps)
        } else if remaining.time.is_zero() {
            Some(Truncation::Deadline)
        } else {
            None
        };
        if let Some(limit) = limit {
            let answer = self.best_answer();
            return vec![self.finish(Termination::Truncated(limit), answer, MicroUsd::ZERO, now)];
        }
        self.phase = Phase::Deciding;
        self.step_started_at = now;
        vec![Effect::Decide {
            step: self.next_index(),
            remaining,
        }]
    }

    fn act(
        &mut self,
        decision: Decision,
        quote: &Quote,
        instance: Option<InstanceId>,
        now: Timestamp,
    ) -> Vec<Effect> {
        match decision.action.clone() {
            Action::Answer(answer) => match self.resolve_answer(&answer) {
                Ok(answer) => {
                    let step = self.step(decision, None, now, now);
                    self.steps.push(step);
                    vec![self.finish(Termination::Answered, Some(answer), MicroUsd::ZERO, now)]
                }
                Err(failure) => self.record(decision, Observation::failed(failure), now, now),
            },
            Action::Invoke { pair, query } => {
                let remaining = self.remaining(now);
                match admit(&pair, quote, &remaining, &self.spec) {
                    Ok(max_cost) => {
                        let call = PendingCall {
                            step: self.next_index(),
                            decision,
                            started_at: self.step_started_at,
                            decided_at: now,
                            max_cost,
                            repeated: false,
                            instance,
                        };
                        self.invoke(call, pair, query)
                    }
                    Err(failure) => self.record(decision, Observation::failed(failure), now, now),
                }
            }
        }
    }

    fn invoke(&mut self, call: PendingCall, pair: Pair, query: String) -> Vec<Effect> {
        let invocation = Invocation {
            step: call.step,
            pair,
            query,
            max_cost: call.max_cost,
            repeated: call.repeated,
            instance: call.instance.clone(),
        };
        self.phase = Phase::Invoking(call);
        vec![Effect::Invoke(invocation)]
    }

    fn observe(&mut self, observation: Observation, now: Timestamp) -> Vec<Effect> {
        let Phase::Invoking(call) = std::mem::replace(&mut self.phase, Phase::Journaling) else {
            return vec![];
        };
        let observation = call.settle(observation);
        self.usage.add(&observation.usage);
        self.record(call.decision, observation, call.decided_at, now)
    }

    fn record(
        &mut self,
        decision: Decision,
        observation: Observation,
        decided_at: Timestamp,
        now: Timestamp,
    ) -> Vec<Effect> {
        let step = self.step(decision, Some(observation), decided_at, now);
        self.steps.push(step.clone());
        self.phase = Phase::Journaling;
        vec![Effect::Journal(step)]
    }

    fn step(
        &self,
        decision: Decision,
        observation: Option<Observation>,
        decided_at: Timestamp,
        finished_at: Timestamp,
    ) -> Step {
        let index = self.next_index();
        let started_at = self.step_started_at;
        Step {
            index,
            decision,
            observation,
            started_at,
            decided_at,
            finished_at,
        }
    }

    fn next_index(&self) -> u32 {
        u32::try_from(self.steps.len()).unwrap_or(u32::MAX)
    }

    fn resolve_answer(&self, answer: &Answer) -> Result<FinalAnswer, Failure> {
        let malformed = |message: String| Failure::new(FailureKind::Malformed, message);
        match answer {
            Answer::Text(text) if text.trim().is_empty() => {
                Err(malformed("the answer is empty".into()))
            }
            Answer::Text(text) => Ok(FinalAnswer {
                value: text.trim().to_owned(),
                from_step: None,
                confidence: 0.0,
            }),
            Answer::Observation(index) => {
                let position = usize::try_from(*index).unwrap_or(usize::MAX);
                self.steps
                    .get(position)
                    .and_then(final_answer)
                    .ok_or_else(|| malformed(format!("step {index} holds no answer")))
            }
        }
    }

    /// The most confident answer so far, the earliest among equals.
    fn best_answer(&self) -> Option<FinalAnswer> {
        self.steps
            .iter()
            .filter_map(final_answer)
            .reduce(|best, answer| {
                if answer.confidence > best.confidence {
                    answer
                } else {
                    best
                }
            })
    }

    fn finish_early(&mut self, termination: Termination, now: Timestamp) -> Vec<Effect> {
        let reserved = self.reserved();
        let answer = match termination {
            Termination::Truncated(_) => self.best_answer(),
            _ => None,
        };
        vec![
            Effect::Abort,
            self.finish(termination, answer, reserved, now),
        ]
    }

    fn finish(
        &mut self,
        termination: Termination,
        answer: Option<FinalAnswer>,
        unsettled_cost: MicroUsd,
        now: Timestamp,
    ) -> Effect {
        self.phase = Phase::Done;
        let usage = self.usage.clone();
        Effect::Finish(Conclusion {
            termination,
            answer,
            usage,
            unsettled_cost,
            finished_at: now,
        })
    }
}

fn final_answer(step: &Step) -> Option<FinalAnswer> {
    let observation = step.observation.as_ref().filter(|o| o.is_answerable())?;
    Some(FinalAnswer {
        value: observation.answer_text().to_owned(),
        from_step: Some(step.index),
        confidence: observation.confidence(),
    })
}

/// Whether a call may be made, and what to reserve for it.
fn admit(
    pair: &Pair,
    quote: &Quote,
    remaining: &Remaining,
    spec: &EpisodeSpec,
) -> Result<Option<MicroUsd>, Failure> {
    if !spec.task.constraints.permit(pair) {
        let message = format!("{}@{} is not permitted", pair.expert, pair.skill);
        return Err(Failure::new(FailureKind::NotInActionSet, message));
    }
    if remaining.steps <= 1 {
        let message = "the last decision must be an answer";
        return Err(Failure::new(FailureKind::NotInActionSet, message));
    }
    match (remaining.cost, quote) {
        (_, Quote::Refused(failure)) => Err(failure.clone()),
        (None, _) => Ok(None),
        (Some(left), Quote::AtMost(bound)) if *bound <= left => Ok(Some(*bound)),
        (Some(left), Quote::AtMost(bound)) => Err(Failure::new(
            FailureKind::BudgetExceeded,
            format!("the call may cost {bound}, {left} is left"),
        )),
        (Some(_), Quote::Unpriced) => Err(Failure::new(
            FailureKind::BudgetExceeded,
            "the call has no known price and the episode has a cost limit",
        )),
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
