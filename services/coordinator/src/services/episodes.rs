use std::{pin::Pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{Stream, StreamExt};
use maestro_core::{
    CoreError, TenantId, Timestamp,
    episode::{Durability, EpisodeRecord, EpisodeSpec, EpisodeStatus, Outcome},
    ids::EpisodeId,
    ports::{Created, ListQuery},
    task::Task,
};
use maestro_proto::v1::{self, episode_service_server::EpisodeService};
use maestro_telemetry::{Counter, Label, TraceContext};
use maestro_wire::{FromProto, ToProto, event_to_proto};
use ractor::ActorRef;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status};

use super::{name, status};
use crate::{
    actors::{Accepted, Live, SchedulerMessage, World, submit},
    admission::{self, Admission, Draft},
    config::WhileAway,
    cursor::Cursor,
    feed::Feed,
    permits::{Permit, Permits},
    watching::{Seen, Watching},
};

/// Episodes of a page where the client says nothing.
const DEFAULT_PAGE: usize = 50;
/// Most episodes of a page.
const MAX_PAGE: i32 = 200;

/// `EpisodeService` over the scheduler and the journal.
pub(crate) struct EpisodeApi {
    pub(crate) admission: Admission,
    pub(crate) permits: Arc<Permits>,
    pub(crate) world: Arc<World>,
    pub(crate) live: Arc<Live>,
    pub(crate) scheduler: watch::Receiver<Option<ActorRef<SchedulerMessage>>>,
    pub(crate) draining: watch::Receiver<bool>,
    pub(crate) watching: Watching,
    /// Acceptances under way, which go on when their client leaves.
    pub(crate) accepting: TaskTracker,
}

type EventStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl EpisodeApi {
    fn tenant(&self) -> TenantId {
        TenantId::anonymous()
    }

    /// Takes a permit, waits for one, or refuses with a delay for the next try.
    async fn permit(&self, task: &Task, now: Timestamp) -> Result<Permit, CoreError> {
        let left = task.budget.deadline.duration_since(now);
        let left = left.try_into().unwrap_or_default();
        let mut draining = self.draining.clone();
        tokio::select! {
            biased;
            // A closed channel is a coordinator that is gone.
            _ = draining.wait_for(|draining| *draining) => {
                Counter::EpisodesRejected.increment(&[Label::Reason("draining")]);
                Err(CoreError::Unavailable {
                    what: "coordinator",
                    reason: "it is draining; another one takes new episodes".to_owned(),
                })
            }
            permit = self.permits.acquire(self.tenant(), left) => permit.map_err(|refused| {
                Counter::EpisodesRejected.increment(&[Label::Reason(refused.reason.name())]);
                self.permits.exhausted(refused)
            }),
        }
    }

    /// Admits, journals and starts an episode, or finds the one that the request id stands for.
    async fn accept(
        &self,
        task: Option<v1::Task>,
        options: Option<v1::EpisodeOptions>,
        durability: Durability,
    ) -> Result<Started, CoreError> {
        let now = Timestamp::now();
        let invalid = |_: &CoreError| {
            Counter::EpisodesRejected.increment(&[Label::Reason("invalid")]);
        };
        let draft = Draft::parse(task, &self.world.snapshot(), now).inspect_err(invalid)?;
        let permit = self.permit(&draft.task, now).await?;
        let task = self.admission.task(draft).await.inspect_err(invalid)?;
        let spec = admission::spec(self.tenant(), task, options, durability, now)?;
        let trace = TraceContext::current().unwrap_or_else(TraceContext::generate);
        let accepted = Accepted {
            spec,
            before: None,
            suspended: Duration::ZERO,
            permit,
            trace,
        };
        // A client that leaves now must not leave behind an episode that is written and not run.
        let starting = self.accepting.spawn(start(
            Arc::clone(&self.world),
            self.scheduler.clone(),
            accepted,
        ));
        starting
            .await
            .map_err(|error| CoreError::Internal(error.to_string()))?
    }

    /// Has an episode cancelled, wherever it runs, and waits for its end.
    async fn cancel(&self, id: &EpisodeId, reason: &str) -> Result<(), CoreError> {
        let tenant = self.tenant();
        if let Some(episode) = self.live.get(&tenant, id) {
            episode.cancel(reason);
        } else if let Some(durable) = &self.world.journals.durable
            && self.world.journals.memory.get(&tenant, id).await.is_err()
        {
            match durable.request_cancel(&tenant, id, reason).await {
                // It may have ended and left the journal: its events say.
                Ok(()) | Err(CoreError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let events = self.watching.events(tenant, id.clone(), Cursor::default());
        let mut events = Box::pin(events.await?);
        while let Some(seen) = events.next().await {
            seen?;
        }
        Ok(())
    }

    async fn record(&self, id: &EpisodeId) -> Result<EpisodeRecord, CoreError> {
        self.watching.record(&self.tenant(), id).await
    }
}

/// Journals an episode and hands it to the scheduler, or finds the one that the request id stands
/// for.
async fn start(
    world: Arc<World>,
    scheduler: watch::Receiver<Option<ActorRef<SchedulerMessage>>>,
    accepted: Accepted,
) -> Result<Started, CoreError> {
    let spec = accepted.spec.clone();
    let created = create(&world, &spec).await;
    let created = created.inspect_err(|error| {
        let reason = match error {
            CoreError::Exhausted { .. } if away(&world, &spec).is_some() => "journal_away",
            CoreError::Exhausted { .. } => "journal_full",
            CoreError::Unavailable { .. } | CoreError::Superseded(_) => "journal_away",
            _ => "refused",
        };
        Counter::EpisodesRejected.increment(&[Label::Reason(reason)]);
    });
    let created = created.map_err(|error| match error {
        // The lease ended just now: nothing was written, and another attempt may succeed.
        CoreError::Superseded(reason) => CoreError::Unavailable {
            what: "journal",
            reason,
        },
        other => other,
    })?;
    if let Created::Existing(id) = created {
        return Ok(Started::Before(id));
    }
    let scheduler = scheduler.borrow().clone();
    let submitted = match scheduler {
        Some(scheduler) => submit(&scheduler, accepted).await,
        None => Err(CoreError::Unavailable {
            what: "episode scheduler",
            reason: "it is restarting".to_owned(),
        }),
    };
    match (submitted, world.journals.shared(&spec)) {
        (Ok(feed), _) => Ok(Started::Now(feed, Box::new(spec))),
        (Err(error), None) => Err(error),
        (Err(error), Some(journal)) => {
            // It is accepted, so it runs: here or elsewhere, as soon as that can be.
            tracing::warn!(episode = %spec.id, %error, "an accepted episode waits to be adopted");
            journal.release(&spec.id);
            Ok(Started::Before(spec.id))
        }
    }
}

async fn create(world: &World, spec: &EpisodeSpec) -> Result<Created, CoreError> {
    let journal = world.journals.of(spec);
    if world.journals.shared(spec).is_none() {
        return journal.create(spec).await;
    }
    let away = away(world, spec);
    if away.is_some() && world.config.durable_while_away == WhileAway::Refuse {
        return Err(CoreError::Unavailable {
            what: "journal",
            reason: "etcd cannot be reached; durable episodes are refused until it can".to_owned(),
        });
    }
    let _place = world.creations.enter(away).await?;
    journal.create(spec).await
}

/// For how long the journal of a durable episode has been away, if it is.
fn away(world: &World, spec: &EpisodeSpec) -> Option<Duration> {
    let membership = world.journals.shared(spec)?.membership();
    let since = membership.borrow().away_since?;
    // A clock that was set back says nothing.
    Some(Duration::try_from(Timestamp::now().duration_since(since)).unwrap_or_default())
}

enum Started {
    Now(Arc<Feed>, Box<EpisodeSpec>),
    Before(EpisodeId),
}

/// Cancels an ephemeral episode when its stream is dropped before the end.
struct CancelOnDrop {
    live: Arc<Live>,
    tenant: TenantId,
    id: EpisodeId,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(episode) = self.live.get(&self.tenant, &self.id) {
            episode.cancel("the client closed the stream");
        }
    }
}

#[async_trait]
impl EpisodeService for EpisodeApi {
    type RunEpisodeStream = EventStream<v1::RunEpisodeResponse>;
    type WatchEpisodeStream = EventStream<v1::WatchEpisodeResponse>;

    async fn create_episode(
        &self,
        request: Request<v1::CreateEpisodeRequest>,
    ) -> Result<Response<v1::CreateEpisodeResponse>, Status> {
        let request = request.into_inner();
        let started = self
            .accept(request.task, request.options, Durability::Durable)
            .await
            .map_err(status)?;
        let record = match started {
            Started::Now(feed, _) => feed.record(),
            Started::Before(id) => self.record(&id).await.map_err(status)?,
        };
        Ok(Response::new(v1::CreateEpisodeResponse {
            episode: Some(record.to_proto()),
        }))
    }

    async fn run_episode(
        &self,
        request: Request<v1::RunEpisodeRequest>,
    ) -> Result<Response<Self::RunEpisodeStream>, Status> {
        let request = request.into_inner();
        let started = self
            .accept(request.task, request.options, Durability::Ephemeral)
            .await
            .map_err(status)?;
        let message = |seen: Result<Seen, CoreError>| {
            let (event, cursor) = seen.map_err(status)?;
            Ok(v1::RunEpisodeResponse {
                event: Some(event_to_proto(&event)),
                resume_token: cursor.to_string(),
            })
        };
        let cursor = Cursor::default();
        let stream: Self::RunEpisodeStream = match started {
            Started::Before(id) => {
                let events = self.watching.events(self.tenant(), id, cursor).await;
                Box::pin(events.map_err(status)?.map(message))
            }
            Started::Now(feed, spec) => {
                let guard = (spec.durability == Durability::Ephemeral).then(|| CancelOnDrop {
                    live: Arc::clone(&self.live),
                    tenant: spec.tenant.clone(),
                    id: spec.id.clone(),
                });
                let watching = self.watching.clone();
                let source = feed.watch().boxed();
                let events = watching.events_from(source, spec.tenant, spec.id, cursor);
                Box::pin(events.map(move |seen| {
                    let _keep = &guard;
                    message(seen)
                }))
            }
        };
        Ok(Response::new(stream))
    }

    async fn get_episode(
        &self,
        request: Request<v1::GetEpisodeRequest>,
    ) -> Result<Response<v1::GetEpisodeResponse>, Status> {
        let id = name("id", &request.into_inner().id)?;
        let record = self.record(&id).await.map_err(status)?;
        Ok(Response::new(v1::GetEpisodeResponse {
            episode: Some(record.to_proto()),
        }))
    }

    async fn list_episodes(
        &self,
        request: Request<v1::ListEpisodesRequest>,
    ) -> Result<Response<v1::ListEpisodesResponse>, Status> {
        let query = list_query(request.into_inner()).map_err(status)?;
        let records = self
            .world
            .journals
            .list(&self.tenant(), &query)
            .await
            .map_err(status)?;
        let next_page_token = match records.last() {
            Some(last) if records.len() == query.page_size => last.spec.id.to_string(),
            _ => String::new(),
        };
        let episodes = records.iter().map(ToProto::to_proto).collect();
        Ok(Response::new(v1::ListEpisodesResponse {
            episodes,
            next_page_token,
        }))
    }

    async fn watch_episode(
        &self,
        request: Request<v1::WatchEpisodeRequest>,
    ) -> Result<Response<Self::WatchEpisodeStream>, Status> {
        let request = request.into_inner();
        let id = name("id", &request.id)?;
        let cursor: Cursor = request.resume_token.parse().map_err(status)?;
        let events = self.watching.events(self.tenant(), id, cursor).await;
        let messages = events.map_err(status)?.map(|seen| {
            let (event, cursor) = seen.map_err(status)?;
            Ok(v1::WatchEpisodeResponse {
                event: Some(event_to_proto(&event)),
                resume_token: cursor.to_string(),
            })
        });
        Ok(Response::new(Box::pin(messages)))
    }

    async fn cancel_episode(
        &self,
        request: Request<v1::CancelEpisodeRequest>,
    ) -> Result<Response<v1::CancelEpisodeResponse>, Status> {
        let request = request.into_inner();
        let id = name("id", &request.id)?;
        let reason = if request.reason.is_empty() {
            "cancelled by the client"
        } else {
            &request.reason
        };
        self.cancel(&id, reason).await.map_err(status)?;
        let record = self.record(&id).await.map_err(status)?;
        Ok(Response::new(v1::CancelEpisodeResponse {
            episode: Some(record.to_proto()),
        }))
    }

    async fn report_outcome(
        &self,
        request: Request<v1::ReportOutcomeRequest>,
    ) -> Result<Response<v1::ReportOutcomeResponse>, Status> {
        let request = request.into_inner();
        let id: EpisodeId = name("id", &request.id)?;
        let outcome = request
            .outcome
            .ok_or_else(|| status(CoreError::invalid("outcome", "must be set")))?;
        let mut outcome =
            Outcome::from_proto(outcome).map_err(|error| status(error.under("outcome")))?;
        outcome.reported_at = Timestamp::now();
        self.world
            .journals
            .report(&self.tenant(), &id, &outcome)
            .await
            .map_err(status)?;
        let record = self.record(&id).await.map_err(status)?;
        Ok(Response::new(v1::ReportOutcomeResponse {
            episode: Some(record.to_proto()),
        }))
    }
}

fn list_query(request: v1::ListEpisodesRequest) -> Result<ListQuery, CoreError> {
    let status = match request.status() {
        v1::EpisodeStatus::Unspecified => None,
        v1::EpisodeStatus::Running => Some(EpisodeStatus::Running),
        v1::EpisodeStatus::Finished => Some(EpisodeStatus::Finished),
    };
    let page_size = match request.page_size {
        0 => DEFAULT_PAGE,
        size @ 1..=MAX_PAGE => usize::try_from(size).unwrap_or(DEFAULT_PAGE),
        size => {
            let rule = format!("is {size}; must be 1 to {MAX_PAGE}, or 0 for {DEFAULT_PAGE}");
            return Err(CoreError::invalid("page_size", rule));
        }
    };
    let before =
        match request.page_token.as_str() {
            "" => None,
            token => Some(token.parse().map_err(|_| {
                CoreError::invalid("page_token", "is none that a listing gave out")
            })?),
        };
    Ok(ListQuery {
        status,
        page_size,
        before,
    })
}
