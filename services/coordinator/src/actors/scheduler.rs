use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use maestro_core::{
    CoreError, MicroUsd, Timestamp,
    episode::{Conclusion, EpisodeRecord, EpisodeSpec, Failure, FailureKind, Termination},
    expert_call::Usage,
    ids::EpisodeId,
    ports::Standing,
};
use maestro_telemetry::{Counter, Label, TraceContext};
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use super::{
    effects::World,
    episode::{EpisodeActor, EpisodeArguments},
    live::{Live, LiveEpisode},
};
use crate::{feed::Feed, permits::Permit};

/// Starts an actor for each accepted episode and makes sure that every one of them ends.
pub(crate) struct Scheduler {
    pub(crate) world: Arc<World>,
    pub(crate) live: Arc<Live>,
    /// Ends that are still being written; waited for in a drain.
    pub(crate) cleanup: TaskTracker,
}

/// What the scheduler is told.
pub(crate) enum SchedulerMessage {
    /// Run an episode that is in the journal.
    Submit {
        accepted: Box<Accepted>,
        reply: oneshot::Sender<Arc<Feed>>,
    },
}

/// An episode that was admitted and journalled.
pub(crate) struct Accepted {
    pub(crate) spec: EpisodeSpec,
    /// How far an owner before got, if there was one.
    pub(crate) before: Option<Standing>,
    pub(crate) permit: Permit,
    pub(crate) trace: TraceContext,
}

/// Hands an accepted episode over.
///
/// # Errors
/// [`CoreError::Unavailable`] while the scheduler restarts.
pub(crate) async fn submit(
    scheduler: &ActorRef<SchedulerMessage>,
    accepted: Accepted,
) -> Result<Arc<Feed>, CoreError> {
    let unavailable = || CoreError::Unavailable {
        what: "episode scheduler",
        reason: "it is restarting".to_owned(),
    };
    let (reply, feed) = oneshot::channel();
    let message = SchedulerMessage::Submit {
        accepted: Box::new(accepted),
        reply,
    };
    scheduler.send_message(message).map_err(|_| unavailable())?;
    feed.await.map_err(|_| unavailable())
}

#[async_trait]
impl Actor for Scheduler {
    type Msg = SchedulerMessage;
    type State = HashMap<ActorId, EpisodeId>;
    type Arguments = ();

    async fn pre_start(
        &self,
        _: ActorRef<Self::Msg>,
        (): (),
    ) -> Result<Self::State, ActorProcessingErr> {
        // After a restart of the scheduler: its episodes went with it, so they end here.
        for (id, episode) in self.live.all() {
            self.fail(&id, &episode, "the scheduler failed");
        }
        Ok(HashMap::new())
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        episodes: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let SchedulerMessage::Submit { accepted, reply } = message;
        let Accepted {
            spec,
            before,
            permit,
            trace,
        } = *accepted;
        let id = spec.id.clone();
        let tenant = spec.tenant.clone();
        let is_shared = self.world.journals.shared(&spec).is_some();
        let record = EpisodeRecord {
            spec: spec.clone(),
            steps: before
                .as_ref()
                .map(|standing| standing.record.steps.clone())
                .unwrap_or_default(),
            conclusion: None,
            outcome: None,
        };
        let feed = Arc::new(Feed::new(record));
        let arguments = EpisodeArguments {
            spec,
            before,
            world: Arc::clone(&self.world),
            feed: Arc::clone(&feed),
            permit,
            trace,
        };
        // The start itself awaits nothing that could be slow.
        let (actor, _task) =
            Actor::spawn_linked(None, EpisodeActor, arguments, myself.get_cell()).await?;
        episodes.insert(actor.get_id(), id.clone());
        self.live.insert(
            id,
            LiveEpisode {
                tenant,
                is_shared,
                feed: Arc::clone(&feed),
                actor,
            },
        );
        if reply.send(feed).is_err() {
            tracing::debug!("the client left before its episode started");
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        episodes: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let (cell, reason) = match event {
            SupervisionEvent::ActorTerminated(cell, _, reason) => {
                (cell, reason.unwrap_or_else(|| "it stopped".to_owned()))
            }
            SupervisionEvent::ActorFailed(cell, error) => (cell, error.to_string()),
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {
                return Ok(());
            }
        };
        let Some(id) = episodes.remove(&cell.get_id()) else {
            return Ok(());
        };
        if let Some(episode) = self.live.remove(&id)
            && !episode.feed.is_over()
        {
            self.fail(&id, &episode, &reason);
        }
        Ok(())
    }
}

impl Scheduler {
    /// Ends an episode whose actor is gone before its end. A durable one is left to be adopted, by
    /// whoever it may be, so often as [`maestro_core::adoption::MAX_TERMS`] allows.
    fn fail(&self, id: &EpisodeId, episode: &LiveEpisode, reason: &str) {
        tracing::error!(episode = %id, reason, "an episode's actor failed");
        self.live.remove(id);
        if let Some(journal) = &self.world.journals.durable
            && episode.is_shared
        {
            Counter::EpisodesHandedOver.increment(&[Label::Reason("failed")]);
            episode.feed.left();
            journal.release(id);
            return;
        }
        let world = Arc::clone(&self.world);
        let feed = Arc::clone(&episode.feed);
        self.cleanup.spawn(async move {
            let record = feed.record();
            let message = "a defect of the coordinator ended this episode".to_owned();
            let conclusion = Conclusion {
                termination: Termination::Failed(Failure::new(FailureKind::Unavailable, message)),
                answer: None,
                usage: total_usage(&record),
                unsettled_cost: MicroUsd::ZERO,
                finished_at: Timestamp::now(),
            };
            world.finish(&record.spec, &[], &conclusion).await;
            Counter::Episodes.increment(&[Label::Termination(conclusion.termination.name())]);
            feed.ended(EpisodeRecord {
                conclusion: Some(conclusion),
                ..record
            });
        });
    }
}

/// What all steps used up.
pub(crate) fn total_usage(record: &EpisodeRecord) -> Usage {
    let mut usage = Usage::default();
    for observation in record
        .steps
        .iter()
        .filter_map(|step| step.observation.as_ref())
    {
        usage.add(&observation.usage);
    }
    usage
}
