use std::{pin::Pin, sync::Arc};

use async_trait::async_trait;
use futures::{Stream, StreamExt};
use maestro_core::{
    CoreError, TenantId, Timestamp,
    episode::{Durability, EpisodeRecord, EpisodeSpec, EpisodeStatus, Outcome},
    ids::EpisodeId,
    ports::{Created, ListQuery},
};
use maestro_proto::v1::{self, episode_service_server::EpisodeService};
use maestro_telemetry::{Counter, Label, TraceContext};
use maestro_wire::{EpisodeEvent, FromProto, ToProto, event_to_proto};
use ractor::ActorRef;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tonic::{Request, Response, Status};

use super::{name, status};
use crate::{
    actors::{Accepted, Live, SchedulerMessage, World, submit},
    admission::{self, Admission},
    feed::Feed,
};

/// Episodes of a page where the client says nothing.
const DEFAULT_PAGE: usize = 50;
/// Most episodes of a page.
const MAX_PAGE: i32 = 200;

/// `EpisodeService` over the scheduler and the journal.
pub(crate) struct EpisodeApi {
    pub(crate) admission: Admission,
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) world: Arc<World>,
    pub(crate) live: Arc<Live>,
    pub(crate) scheduler: watch::Receiver<Option<ActorRef<SchedulerMessage>>>,
    pub(crate) draining: watch::Receiver<bool>,
}

type EventStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl EpisodeApi {
    fn tenant(&self) -> TenantId {
        TenantId::anonymous()
    }

    /// Takes a permit, or refuses with a delay for the next try.
    fn permit(&self) -> Result<OwnedSemaphorePermit, CoreError> {
        if *self.draining.borrow() {
            Counter::EpisodesRejected.increment(&[Label::Reason("draining")]);
            return Err(CoreError::Unavailable {
                what: "coordinator",
                reason: "it is draining; another one takes new episodes".to_owned(),
            });
        }
        Arc::clone(&self.permits).try_acquire_owned().map_err(|_| {
            Counter::EpisodesRejected.increment(&[Label::Reason("max_running")]);
            CoreError::Exhausted {
                what: "concurrent episodes",
                limit: self.world.config.max_running as u64,
                retry_after_ms: self.world.config.retry_after_ms,
            }
        })
    }

    /// Admits, journals and starts an episode, or finds the one that the request id stands for.
    async fn accept(
        &self,
        task: Option<v1::Task>,
        options: Option<v1::EpisodeOptions>,
        durability: Durability,
    ) -> Result<Started, CoreError> {
        let permit = self.permit()?;
        let now = Timestamp::now();
        let snapshot = self.world.snapshot();
        let task = self
            .admission
            .task(task, &snapshot, now)
            .await
            .inspect_err(|_| {
                Counter::EpisodesRejected.increment(&[Label::Reason("invalid")]);
            })?;
        let spec = admission::spec(self.tenant(), task, options, durability, now)?;
        match self.world.journal.create(&spec).await? {
            Created::Existing(id) => Ok(Started::Before(id)),
            Created::New => {
                let trace = TraceContext::current().unwrap_or_else(TraceContext::generate);
                let accepted = Accepted {
                    spec: spec.clone(),
                    permit,
                    trace,
                };
                let feed = submit(&self.scheduler().await?, accepted).await?;
                Ok(Started::Now(feed, Box::new(spec)))
            }
        }
    }

    async fn scheduler(&self) -> Result<ActorRef<SchedulerMessage>, CoreError> {
        self.scheduler
            .borrow()
            .clone()
            .ok_or_else(|| CoreError::Unavailable {
                what: "episode scheduler",
                reason: "it is restarting".to_owned(),
            })
    }

    /// The record of an episode, from the feed while it runs.
    async fn record(&self, id: &EpisodeId) -> Result<EpisodeRecord, CoreError> {
        let tenant = self.tenant();
        match self.live.get(&tenant, id) {
            Some(episode) => Ok(episode.feed.record()),
            None => self.world.journal.get(&tenant, id).await,
        }
    }

    /// All events of an episode, running or finished.
    async fn events(
        &self,
        id: &EpisodeId,
    ) -> Result<Pin<Box<dyn Stream<Item = EpisodeEvent> + Send>>, CoreError> {
        let tenant = self.tenant();
        if let Some(episode) = self.live.get(&tenant, id) {
            return Ok(Box::pin(episode.feed.watch()));
        }
        let record = self.world.journal.get(&tenant, id).await?;
        if record.conclusion.is_none() {
            // Accepted, but neither running here nor ended: its start failed or its process died.
            return Err(CoreError::Unavailable {
                what: "episode",
                reason: format!("{id} is not running in this coordinator"),
            });
        }
        Ok(Box::pin(futures::stream::iter(replay(record))))
    }
}

enum Started {
    Now(Arc<Feed>, Box<EpisodeSpec>),
    Before(EpisodeId),
}

/// The events of a finished episode.
fn replay(record: EpisodeRecord) -> Vec<EpisodeEvent> {
    let accepted = EpisodeRecord {
        steps: vec![],
        conclusion: None,
        outcome: None,
        ..record.clone()
    };
    let mut events = vec![EpisodeEvent::Accepted(Arc::new(accepted))];
    events.extend(
        record
            .steps
            .iter()
            .cloned()
            .map(|step| EpisodeEvent::Finished(Arc::new(step))),
    );
    events.push(EpisodeEvent::Ended(Arc::new(record)));
    events
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
        let message = |event: EpisodeEvent| {
            Ok(v1::RunEpisodeResponse {
                event: Some(event_to_proto(&event)),
            })
        };
        let stream: Self::RunEpisodeStream = match started {
            Started::Before(id) => Box::pin(self.events(&id).await.map_err(status)?.map(message)),
            Started::Now(feed, spec) => {
                let guard = (spec.durability == Durability::Ephemeral).then(|| CancelOnDrop {
                    live: Arc::clone(&self.live),
                    tenant: spec.tenant.clone(),
                    id: spec.id.clone(),
                });
                Box::pin(feed.watch().map(move |event| {
                    let _keep = &guard;
                    message(event)
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
            .journal
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
        let id = name("id", &request.into_inner().id)?;
        let events = self.events(&id).await.map_err(status)?;
        let messages = events.map(|event| {
            Ok(v1::WatchEpisodeResponse {
                event: Some(event_to_proto(&event)),
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
        if let Some(episode) = self.live.get(&self.tenant(), &id) {
            let reason = if request.reason.is_empty() {
                "cancelled by the client"
            } else {
                &request.reason
            };
            episode.cancel(reason);
            let mut events = Box::pin(Arc::clone(&episode.feed).watch());
            while events.next().await.is_some() {}
        }
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
            .journal
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
