//! How far a watcher has come. Pure.

use std::{fmt, str::FromStr, sync::Arc};

use maestro_core::{
    CoreError,
    episode::{Action, EpisodeRecord, PendingCall, Step},
};
use maestro_wire::EpisodeEvent;

/// What a watcher has seen of an episode. Whatever the events come from (the feed of a running
/// episode, its journal, one after the other), each passes once. In text form it is the resume
/// token: `FINISHED.DECIDED`, steps of which the end and of which the decision was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    is_begun: bool,
    finished: u32,
    decided: u32,
    is_over: bool,
}

impl Cursor {
    /// Whether the watcher has not seen the event; it has then.
    pub(crate) fn admits(&mut self, event: &EpisodeEvent) -> bool {
        if self.is_over {
            return false;
        }
        match event {
            EpisodeEvent::Accepted(_) => !std::mem::replace(&mut self.is_begun, true),
            EpisodeEvent::Decided(step) => {
                let is_new = step.index >= self.decided.max(self.finished);
                if is_new {
                    self.decided = step.index.saturating_add(1);
                }
                is_new
            }
            EpisodeEvent::Finished(step) => {
                let is_new = step.index >= self.finished;
                if is_new {
                    self.finished = step.index.saturating_add(1);
                }
                is_new
            }
            EpisodeEvent::Ended(_) => {
                self.is_over = true;
                true
            }
        }
    }

    /// Whether the end was seen.
    pub(crate) fn is_over(self) -> bool {
        self.is_over
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.finished, self.decided)
    }
}

impl FromStr for Cursor {
    type Err = CoreError;

    /// The empty text is the beginning.
    fn from_str(token: &str) -> Result<Self, CoreError> {
        if token.is_empty() {
            return Ok(Self::default());
        }
        let parts = token
            .split_once('.')
            .and_then(|(finished, decided)| Some((finished.parse().ok()?, decided.parse().ok()?)));
        let (finished, decided) = parts
            .ok_or_else(|| CoreError::invalid("resume_token", "is none that an event carried"))?;
        Ok(Self {
            is_begun: true,
            finished,
            decided,
            is_over: false,
        })
    }
}

/// The events of an episode as far as its journal tells of them: the same, whoever tells them.
pub(crate) fn replay(record: &EpisodeRecord, call: Option<&PendingCall>) -> Vec<EpisodeEvent> {
    let accepted = EpisodeRecord {
        spec: record.spec.clone(),
        steps: vec![],
        conclusion: None,
        outcome: None,
    };
    let mut events = vec![EpisodeEvent::Accepted(Arc::new(accepted))];
    events.extend(record.steps.iter().flat_map(step_events));
    if record.conclusion.is_some() {
        events.push(EpisodeEvent::Ended(Arc::new(record.clone())));
    } else if let Some(call) = call
        && usize::try_from(call.step).is_ok_and(|index| index == record.steps.len())
    {
        events.push(EpisodeEvent::Decided(Arc::new(decided_step(call))));
    }
    events
}

/// The events of a finished step: the decision of a call, and its end.
pub(crate) fn step_events(step: &Step) -> Vec<EpisodeEvent> {
    let finished = EpisodeEvent::Finished(Arc::new(step.clone()));
    if matches!(step.decision.action, Action::Answer(_)) {
        return vec![finished];
    }
    let decided = Step {
        observation: None,
        finished_at: step.decided_at,
        ..step.clone()
    };
    vec![EpisodeEvent::Decided(Arc::new(decided)), finished]
}

/// The step of a call that is about to be made, as far as it is known then.
pub(crate) fn decided_step(call: &PendingCall) -> Step {
    Step {
        index: call.step,
        decision: call.decision.clone(),
        observation: None,
        started_at: call.started_at,
        decided_at: call.decided_at,
        finished_at: call.decided_at,
    }
}

#[cfg(test)]
#[path = "cursor_tests.rs"]
mod tests;
