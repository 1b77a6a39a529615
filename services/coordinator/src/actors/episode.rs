use std::sync::Arc;

use async_trait::async_trait;
use maestro_core::{
    Timestamp,
    episode::{Conclusion, Effect, Episode, EpisodeRecord, EpisodeSpec, Event, Step},
    ports::Standing,
};
use maestro_telemetry::{Counter, Gauge, Histogram, Label, Span, SpanKind, TraceContext};
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio_util::task::AbortOnDropHandle;

use super::{
    effects::{World, action_name},
    writes::Written,
};
use crate::{cursor::decided_step, feed::Feed, permits::Permit};

/// Runs one episode: feeds events to the state machine and carries its effects out in tracked
/// tasks, one at a time. Never restarted in place.
pub(crate) struct EpisodeActor;

/// What an episode is told.
pub(crate) enum EpisodeMessage {
    /// Something happened. `generation` is that of the effect it comes from; a result of an effect
    /// that was aborted since is ignored.
    Event { generation: u64, event: Box<Event> },
    /// Somebody wants it to stop.
    Cancel(String),
    /// The deadline has come.
    Deadline,
    /// The end is in the journal.
    Concluded(Box<Conclusion>),
    /// The episode is not this coordinator's any more, or is to be left to another: stop here.
    Leave(&'static str),
}

/// What an episode starts with.
pub(crate) struct EpisodeArguments {
    pub(crate) spec: EpisodeSpec,
    /// How far an owner before got, if there was one.
    pub(crate) before: Option<Standing>,
    pub(crate) world: Arc<World>,
    pub(crate) feed: Arc<Feed>,
    pub(crate) permit: Permit,
    pub(crate) trace: TraceContext,
}

/// What an episode holds. Dropping it, however it comes to that, stops its effects and gives the
/// permit back.
pub(crate) struct EpisodeState {
    episode: Episode,
    world: Arc<World>,
    feed: Arc<Feed>,
    span: Span,
    /// The step under way.
    step: Option<Span>,
    /// Steps that are surely in the journal.
    written: usize,
    min_revision: u64,
    generation: u64,
    effect: Option<AbortOnDropHandle<()>>,
    _deadline: AbortOnDropHandle<()>,
    _permit: Permit,
}

#[async_trait]
impl Actor for EpisodeActor {
    type Msg = EpisodeMessage;
    type State = EpisodeState;
    type Arguments = EpisodeArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        arguments: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let EpisodeArguments {
            spec,
            before,
            world,
            feed,
            permit,
            trace,
        } = arguments;
        Gauge::EpisodesRunning.add(1.0, &[]);
        Gauge::PermitsInUse.add(1.0, &[Label::Resource("episodes")]);
        let left = spec.task.budget.deadline.duration_since(Timestamp::now());
        let left = if left.is_negative() {
            std::time::Duration::ZERO
        } else {
            left.unsigned_abs()
        };
        let actor = myself.clone();
        let deadline = AbortOnDropHandle::new(tokio::spawn(async move {
            tokio::time::sleep(left).await;
            tell(&actor, EpisodeMessage::Deadline);
        }));
        tell(
            &myself,
            EpisodeMessage::Event {
                generation: 0,
                event: Box::new(Event::Started),
            },
        );
        let mut span = Span::under(Some(trace), false, SpanKind::Internal, "episode");
        span.set("gen_ai.operation.name", "invoke_agent");
        span.set("gen_ai.agent.name", "maestro");
        span.set("maestro.episode.id", spec.id.to_string());
        let (steps, call) = before.map_or((vec![], None), |standing| {
            (standing.record.steps, standing.call)
        });
        span.set(
            "maestro.episode.adopted",
            !steps.is_empty() || call.is_some(),
        );
        Ok(EpisodeState {
            written: steps.len(),
            episode: Episode::recover(spec, steps, call),
            min_revision: world.snapshot().changed,
            world,
            feed,
            span,
            step: None,
            generation: 0,
            effect: None,
            _deadline: deadline,
            _permit: permit,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let event = match message {
            EpisodeMessage::Event { generation, event } if generation == state.generation => *event,
            EpisodeMessage::Event { .. } => return Ok(()),
            EpisodeMessage::Cancel(reason) => Event::CancelRequested { reason },
            EpisodeMessage::Deadline => Event::DeadlinePassed,
            EpisodeMessage::Leave(reason) => {
                state.leave(reason);
                myself.stop(None);
                return Ok(());
            }
            EpisodeMessage::Concluded(conclusion) => {
                state.conclude(*conclusion);
                myself.stop(None);
                return Ok(());
            }
        };
        if event == Event::Journaled {
            state.written = state.episode.steps().len();
        }
        for effect in state.episode.apply(event, Timestamp::now()) {
            state.carry_out(effect, &myself);
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Self::Msg>,
        _: SupervisionEvent,
        _: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        // An episode has no children.
        Ok(())
    }
}

impl Drop for EpisodeState {
    fn drop(&mut self) {
        Gauge::EpisodesRunning.subtract(1.0, &[]);
        Gauge::PermitsInUse.subtract(1.0, &[Label::Resource("episodes")]);
    }
}

impl EpisodeState {
    fn carry_out(&mut self, effect: Effect, myself: &ActorRef<EpisodeMessage>) {
        let world = Arc::clone(&self.world);
        let spec = self.episode.spec().clone();
        match effect {
            Effect::Abort => {
                self.generation += 1;
                self.effect = None;
            }
            Effect::Decide { step, remaining } => {
                let mut span =
                    Span::under(Some(self.span.context()), false, SpanKind::Internal, "step");
                span.set("maestro.step.index", i64::from(step));
                self.step = Some(span);
                let steps = self.episode.steps().to_vec();
                let min_revision = self.min_revision;
                self.run(myself, async move {
                    let decided = world.decide(&spec, &steps, step, remaining, min_revision);
                    Some(decided.await)
                });
            }
            Effect::Invoke(invocation) => {
                let call = self.episode.pending_call().cloned();
                let feed = Arc::clone(&self.feed);
                self.run(myself, async move {
                    if let Some(call) = &call {
                        match world.begin(&spec, call).await {
                            Written::Done => feed.decided(Arc::new(decided_step(call))),
                            Written::Lost => return None,
                            Written::Failed(error) => {
                                let failure = Written::failure("a call", &error);
                                return Some(Event::JournalFailed(failure));
                            }
                        }
                    }
                    Some(Event::Observed(world.invoke(&spec, &invocation).await))
                });
            }
            Effect::Journal(step) => {
                record_step(&step);
                let feed = Arc::clone(&self.feed);
                self.run(myself, async move {
                    match world.append(&spec, &step).await {
                        Written::Done => {
                            feed.finished(step);
                            Some(Event::Journaled)
                        }
                        Written::Lost => None,
                        Written::Failed(error) => {
                            let what = format!("step {}", step.index);
                            Some(Event::JournalFailed(Written::failure(&what, &error)))
                        }
                    }
                });
            }
            Effect::Finish(conclusion) => {
                let rest = self.episode.steps()[self.written..].to_vec();
                let actor = myself.clone();
                let finishing = async move {
                    // An end that only this process knows of is none of a durable episode.
                    let is_shared = world.journals.shared(&spec).is_some();
                    let message = match world.finish(&spec, &rest, &conclusion).await {
                        Written::Lost => EpisodeMessage::Leave("lost"),
                        Written::Failed(_) if is_shared => EpisodeMessage::Leave("refused"),
                        Written::Done | Written::Failed(_) => {
                            EpisodeMessage::Concluded(Box::new(conclusion))
                        }
                    };
                    tell(&actor, message);
                };
                self.step = None;
                let task = tokio::spawn(self.span.scope(finishing));
                self.effect = Some(AbortOnDropHandle::new(task));
            }
        }
    }

    /// Runs an effect beside the mailbox; its event comes back as a message. None comes of a write
    /// that found the episode lost.
    fn run(
        &mut self,
        myself: &ActorRef<EpisodeMessage>,
        effect: impl Future<Output = Option<Event>> + Send + 'static,
    ) {
        self.generation += 1;
        let generation = self.generation;
        let actor = myself.clone();
        let task = async move {
            let message = match effect.await {
                Some(event) => EpisodeMessage::Event {
                    generation,
                    event: Box::new(event),
                },
                None => EpisodeMessage::Leave("lost"),
            };
            tell(&actor, message);
        };
        let span = self.step.as_ref().unwrap_or(&self.span);
        self.effect = Some(AbortOnDropHandle::new(tokio::spawn(span.scope(task))));
    }

    /// Stops without an end: whoever adopts the episode goes on with it.
    fn leave(&mut self, reason: &'static str) {
        self.effect = None;
        let spec = self.episode.spec();
        tracing::info!(episode = %spec.id, reason, "the episode is left to others");
        Counter::EpisodesHandedOver.increment(&[Label::Reason(reason)]);
        self.feed.left();
        if let Some(journal) = self.world.journals.shared(spec) {
            journal.release(&spec.id);
        }
    }

    fn conclude(&mut self, conclusion: Conclusion) {
        let spec = self.episode.spec();
        for step in &self.episode.steps()[self.written..] {
            // The answer, which is written with the end; others were counted when they came.
            if step.observation.is_none() {
                record_step(step);
            }
            self.feed.finished(step.clone());
        }
        let labels = [Label::Termination(conclusion.termination.name())];
        self.span
            .set("maestro.termination", conclusion.termination.name());
        Counter::Episodes.increment(&labels);
        let time = conclusion
            .finished_at
            .duration_since(spec.created_at)
            .unsigned_abs();
        Histogram::EpisodeDuration.record_duration(time, &labels);
        let record = EpisodeRecord {
            spec: spec.clone(),
            steps: self.episode.steps().to_vec(),
            conclusion: Some(conclusion),
            outcome: None,
        };
        self.feed.ended(record);
    }
}

fn record_step(step: &Step) {
    let time = step
        .finished_at
        .duration_since(step.started_at)
        .unsigned_abs();
    let labels = [Label::Action(action_name(&step.decision.action))];
    Histogram::StepDuration.record_duration(time, &labels);
}

/// Sends to an actor; one that has stopped needs no message any more.
fn tell(actor: &ActorRef<EpisodeMessage>, message: EpisodeMessage) {
    if actor.send_message(message).is_err() {
        tracing::debug!("an episode had stopped before a message reached it");
    }
}
