use std::time::Duration;

use maestro_core::{
    MicroUsd, Timestamp,
    episode::{
        Action, Answer, Choice, Conclusion, Decision, Effect, Episode, EpisodeSpec, Event, Failure,
        FailureKind, Quote, Remaining, ServingMode, Termination,
    },
    ports::{DecideRequest, PastStep},
    reward::has_format,
};

use super::world::{Absent, ReplayCall, ReplayTask, World};
use crate::actions::{PossibleAction, offered};

/// How an episode ended.
#[derive(Clone, Debug, PartialEq)]
pub struct EpisodeResult {
    /// How right the answer is, 0 to 1; 0 without an answer.
    pub score: f64,
    /// What its calls cost.
    pub cost: MicroUsd,
    /// How long it took. Only calls take time here.
    pub latency: Duration,
    /// Places of the calls that were made among the task's calls, in order.
    pub calls: Vec<usize>,
    /// Place of the call whose answer is the episode's.
    pub answered_by: Option<usize>,
    /// Whether the policy answered of its own accord.
    pub is_answered: bool,
    /// Whether its decisions had the form they must have.
    pub has_format: bool,
}

/// One episode over a task's recorded calls.
#[derive(Clone, Debug)]
pub struct ReplayEpisode<'w> {
    world: &'w World,
    task: &'w ReplayTask,
    absent: &'w Absent,
    machine: Episode,
    now: Timestamp,
    request: DecideRequest,
    /// Place of each step's call among the task's calls.
    calls: Vec<usize>,
    result: Option<EpisodeResult>,
}

impl<'w> ReplayEpisode<'w> {
    /// Starts an episode of a task of `world`, in which the entries of `absent` are not there.
    pub fn start(
        world: &'w World,
        task: &'w ReplayTask,
        absent: &'w Absent,
        spec: EpisodeSpec,
    ) -> Self {
        let now = spec.created_at;
        let request = DecideRequest {
            episode: spec.id.clone(),
            step: 0,
            task: std::sync::Arc::clone(&spec.task),
            history: Vec::new(),
            remaining: Remaining {
                steps: 0,
                time: Duration::ZERO,
                cost: None,
            },
            mode: ServingMode::Sampled,
            slot: String::new(),
            seed: spec.seed,
            min_revision: 0,
        };
        let mut episode = Self {
            world,
            task,
            absent,
            machine: Episode::new(spec),
            now,
            request,
            calls: Vec::new(),
            result: None,
        };
        episode.feed(Event::Started);
        episode
    }

    /// The task.
    pub fn task(&self) -> &'w ReplayTask {
        self.task
    }

    /// The state in which a decision is due.
    pub fn request(&self) -> &DecideRequest {
        &self.request
    }

    /// How it ended; `None` while a decision is due.
    pub fn result(&self) -> Option<&EpisodeResult> {
        self.result.as_ref()
    }

    /// Places of the calls made so far.
    pub fn calls(&self) -> &[usize] {
        &self.calls
    }

    /// The actions that may be taken. Where there is none the episode fails, as it would in a
    /// cluster, and the list is empty.
    pub fn actions(&mut self) -> Vec<PossibleAction<'w>> {
        if self.result.is_some() {
            return Vec::new();
        }
        let (world, task, absent) = (self.world, self.task, self.absent);
        let there = || {
            let calls = task.calls.iter().filter(|call| !absent.covers(call));
            calls.filter_map(|call| Some((world.candidate(call)?, call.bound)))
        };
        match offered(&self.request, there) {
            Ok(actions) => actions,
            Err(failure) => {
                self.feed(Event::DecideFailed(failure));
                Vec::new()
            }
        }
    }

    /// Takes an action. Nothing happens in an ended episode.
    pub fn take(&mut self, choice: &Choice) {
        let (action, quote) = match choice {
            Choice::Invoke(pair) => {
                let bound = self.call(pair).map(|(_, call)| call.bound);
                let quote = match bound {
                    Some(Some(bound)) => Quote::AtMost(bound),
                    Some(None) => Quote::Unpriced,
                    None => Quote::Refused(unknown()),
                };
                let action = Action::Invoke {
                    pair: pair.clone(),
                    query: String::new(),
                };
                (action, quote)
            }
            Choice::AnswerObservation(step) => {
                (Action::Answer(Answer::Observation(*step)), Quote::Unpriced)
            }
            Choice::AnswerText => (Action::Answer(Answer::Text(String::new())), Quote::Unpriced),
        };
        self.feed(Event::Decided {
            instance: None,
            decision: decision(action),
            quote,
        });
    }

    fn call(&self, pair: &maestro_core::task::Pair) -> Option<(usize, &'w ReplayCall)> {
        let mut calls = self.task.calls.iter().enumerate();
        calls.find(|(_, call)| call.pair == *pair && !self.absent.covers(call))
    }

    /// Feeds the machine and carries its effects out until a decision is due or it has ended.
    fn feed(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            for effect in self.machine.apply(event, self.now) {
                match effect {
                    Effect::Decide { step, remaining } => {
                        self.request.step = step;
                        self.request.remaining = remaining;
                    }
                    Effect::Invoke(invocation) => {
                        events.push(self.invoke(&invocation.pair));
                    }
                    Effect::Journal(step) => {
                        let pair = match &step.decision.action {
                            Action::Invoke { pair, .. } => Some(pair.clone()),
                            Action::Answer(_) => None,
                        };
                        self.request.history.push(PastStep {
                            index: step.index,
                            pair,
                            query: String::new(),
                            observation: step.observation.unwrap_or_default(),
                        });
                        // A step that called nothing stands for itself in the list of calls.
                        if self.calls.len() < self.request.history.len() {
                            self.calls.push(usize::MAX);
                        }
                        events.push(Event::Journaled);
                    }
                    Effect::Abort => {}
                    Effect::Finish(conclusion) => self.conclude(&conclusion),
                }
            }
        }
    }

    /// Makes a call: sets the clock forward and says what came of it.
    fn invoke(&mut self, pair: &maestro_core::task::Pair) -> Event {
        let Some((place, call)) = self.call(pair) else {
            return Event::Observed(maestro_core::episode::Observation::failed(unknown()));
        };
        self.calls.push(place);
        let deadline = self.machine.spec().task.budget.deadline;
        match self.now.checked_add(call.latency) {
            Ok(then) if then < deadline => self.now = then,
            _ => {
                self.now = deadline;
                return Event::DeadlinePassed;
            }
        }
        if call.is_final {
            self.finish_with(place, call);
        }
        Event::Observed(call.observation.clone())
    }

    /// Ends the episode with a call of which only the score is known.
    fn finish_with(&mut self, place: usize, call: &ReplayCall) {
        let before: u64 = self.calls.iter().map(|place| self.cost(*place)).sum();
        self.result = Some(EpisodeResult {
            score: call.score,
            cost: MicroUsd(before),
            latency: self.elapsed(),
            calls: self.calls.clone(),
            answered_by: Some(place),
            is_answered: true,
            has_format: true,
        });
    }

    fn conclude(&mut self, conclusion: &Conclusion) {
        if self.result.is_some() {
            return;
        }
        let answer = conclusion.answer.as_ref();
        let answered_by = answer
            .and_then(|answer| answer.from_step)
            .and_then(|step| self.calls.get(step as usize))
            .copied()
            .filter(|place| *place < self.task.calls.len());
        let score = answered_by
            .and_then(|place| self.task.calls.get(place))
            .map_or(0.0, |call| call.score);
        let calls: Vec<usize> = self
            .calls
            .iter()
            .copied()
            .filter(|c| *c != usize::MAX)
            .collect();
        self.result = Some(EpisodeResult {
            score,
            cost: conclusion.usage.cost + conclusion.unsettled_cost,
            latency: self.elapsed(),
            calls,
            answered_by,
            is_answered: conclusion.termination == Termination::Answered,
            has_format: has_format(self.machine.steps(), conclusion),
        });
    }

    fn cost(&self, place: usize) -> u64 {
        self.task.calls.get(place).map_or(0, |call| call.cost.0)
    }

    fn elapsed(&self) -> Duration {
        let start = self.machine.spec().created_at;
        self.now.duration_since(start).unsigned_abs()
    }
}

fn unknown() -> Failure {
    Failure::new(FailureKind::NotInActionSet, "the pair was not recorded")
}

fn decision(action: Action) -> Decision {
    Decision {
        action,
        log_prob: 0.0,
        probability: 1.0,
        mode: ServingMode::Sampled,
        alternatives: Vec::new(),
        policy_version: String::new(),
        catalogue: None,
        revision: 1,
        trace: None,
    }
}
