//! How an episode goes on after the process that ran it is gone.

use std::time::Duration;

use jiff::Timestamp;

use super::{Effect, Episode};
use crate::{
    episode::{
        Action, EpisodeSpec, Failure, FailureKind, Observation, PendingCall, Step, Termination,
        Truncation,
    },
    expert_call::Usage,
    money::MicroUsd,
};

impl PendingCall {
    /// What is kept back for it: one that is repeated may have cost its bound twice.
    pub fn reserved(&self) -> MicroUsd {
        let once = self.max_cost.unwrap_or_default();
        if self.repeated { once + once } else { once }
    }

    /// The observation with what the lost attempt before it may have used up.
    pub(super) fn settle(&self, mut observation: Observation) -> Observation {
        if self.repeated {
            let usage = &mut observation.usage;
            usage.cost = usage.cost + self.max_cost.unwrap_or_default();
            usage.repeated_calls = usage.calls;
        }
        observation
    }

    /// What comes of a call that is lost and not made again.
    fn lost(&self, kind: FailureKind, message: &str) -> Observation {
        let calls = if self.repeated { 2 } else { 1 };
        let usage = Usage {
            cost: self.reserved(),
            calls,
            repeated_calls: calls - 1,
            ..Usage::default()
        };
        Observation {
            usage,
            ..Observation::failed(Failure::new(kind, message))
        }
    }
}

impl Episode {
    /// The episode as the journal holds it: its written steps, and the call that was to be made
    /// last. It has not begun; `Started` makes it go on where it was. Money of the steps counts as
    /// spent. A call whose step is written already is done with. `suspended` is how long it stood
    /// still since the last of them.
    pub fn recover(
        spec: EpisodeSpec,
        steps: Vec<Step>,
        call: Option<PendingCall>,
        suspended: Duration,
    ) -> Self {
        let fresh = Self::new(spec);
        let mut episode = steps.into_iter().fold(fresh, Self::with_written_step);
        let before = call.as_ref().map_or(Duration::ZERO, |call| call.suspended);
        episode.suspended = before.saturating_add(suspended);
        episode.interrupted = call.filter(|call| call.step == episode.next_index());
        episode
    }

    fn with_written_step(mut self, step: Step) -> Self {
        if let Some(observation) = &step.observation {
            self.usage.add(&observation.usage);
        }
        self.steps.push(step);
        self
    }

    /// Repeats the call that was cut off, once, where the budget bears that both attempts cost
    /// their bound.
    pub(super) fn resume(&mut self, mut call: PendingCall, now: Timestamp) -> Vec<Effect> {
        self.step_started_at = call.started_at;
        let remaining = self.remaining(now);
        if remaining.time.is_zero() {
            let unsettled = call.reserved();
            let termination = Termination::Truncated(Truncation::Deadline);
            let answer = self.best_answer();
            return vec![self.finish(termination, answer, unsettled, now)];
        }
        if call.repeated {
            let message = "the call was cut off twice by the loss of a coordinator";
            let observation = call.lost(FailureKind::Unavailable, message);
            return self.record_lost(call, observation, now);
        }
        let twice = call.max_cost.unwrap_or_default().times(2);
        if remaining.cost.is_some_and(|left| twice > left) {
            let message = "the call was cut off, and making it again might exceed the budget";
            let observation = call.lost(FailureKind::BudgetExceeded, message);
            return self.record_lost(call, observation, now);
        }
        match call.decision.action.clone() {
            Action::Invoke { pair, query } => {
                call.repeated = true;
                call.suspended = self.suspended;
                self.invoke(call, pair, query)
            }
            // An answer is no call; the journal holds none, so the decision is taken anew.
            Action::Answer(_) => self.decide_or_stop(now),
        }
    }

    fn record_lost(
        &mut self,
        call: PendingCall,
        observation: Observation,
        now: Timestamp,
    ) -> Vec<Effect> {
        self.usage.add(&observation.usage);
        self.record(call.decision, observation, call.decided_at, now)
    }
}

#[cfg(test)]
#[path = "recovery_tests.rs"]
mod tests;
