//! Clients: each asks for one episode, as often as it takes, and writes down what it sees.

use std::time::{Duration, Instant};

use futures::{Stream, StreamExt, future::join_all};
use maestro_proto::v1::{self, episode_event::Event, episode_service_client::EpisodeServiceClient};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use tokio::time::timeout;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

use super::{
    evidence::{ClientView, Read, Watch},
    plan::{Component, Plan},
    settings::url,
    tasks::{self, Wish},
};

/// For an answer to anything but a stream.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two events of a stream. A silent stream is given up for another one.
const SILENCE: Duration = Duration::from_secs(6);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(150);
/// How long a client goes on after the last fault has ended.
pub(super) const RECOVERY: Duration = Duration::from_secs(60);

/// The coordinators, as clients reach them.
#[derive(Clone)]
pub(super) struct Coordinators(Vec<(String, EpisodeServiceClient<Channel>)>);

impl Coordinators {
    /// Connects when they are needed, and anew where a connection is silent. To be called inside
    /// the runtime of the clients.
    ///
    /// # Errors
    /// An address that is none.
    pub(super) fn new() -> Result<Self, tonic::transport::Error> {
        let connect = |component: Component| {
            let endpoint = Endpoint::from_shared(url(component))?
                .connect_timeout(Duration::from_secs(1))
                .http2_keep_alive_interval(Duration::from_secs(1))
                .keep_alive_timeout(Duration::from_secs(2));
            let client = EpisodeServiceClient::new(endpoint.connect_lazy())
                .max_decoding_message_size(16 << 20);
            Ok((component.to_string(), client))
        };
        let all = Component::those(Component::is_coordinator);
        all.into_iter()
            .map(connect)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    fn any(&self, random: &mut StdRng) -> (String, EpisodeServiceClient<Channel>) {
        // There are some.
        self.0
            .choose(random)
            .cloned()
            .unwrap_or_else(|| self.0[0].clone())
    }

    /// Ids that each lists as running.
    ///
    /// # Errors
    /// Which one does not answer.
    pub(super) async fn running(&self) -> Result<Vec<(String, String)>, String> {
        let mut running = Vec::new();
        for (name, client) in &self.0 {
            let list = v1::ListEpisodesRequest {
                status: v1::EpisodeStatus::Running.into(),
                page_size: 200,
                ..v1::ListEpisodesRequest::default()
            };
            let mut client = client.clone();
            let listed = within(PATIENCE, client.list_episodes(list)).await;
            let listed = listed.map_err(|status| format!("{name}: {status}"))?;
            let ids = listed.into_inner().episodes.into_iter().map(|one| one.id);
            running.extend(ids.map(|id| (name.clone(), id)));
        }
        Ok(running)
    }

    /// What each tells of each episode.
    pub(super) async fn read(&self, ids: &[String]) -> Vec<Read> {
        const AT_ONCE: usize = 8;
        let mut reads = Vec::new();
        for (name, client) in &self.0 {
            reads.extend(
                ids.iter()
                    .map(|id| read(name.clone(), client.clone(), id.clone())),
            );
        }
        futures::stream::iter(reads)
            .buffer_unordered(AT_ONCE)
            .collect()
            .await
    }
}

async fn read(name: String, client: EpisodeServiceClient<Channel>, id: String) -> Read {
    let mut episode = Err(String::new());
    for _ in 0..3 {
        let request = v1::GetEpisodeRequest { id: id.clone() };
        let mut client = client.clone();
        match within(PATIENCE, client.get_episode(request)).await {
            Ok(got) => {
                episode = got.into_inner().episode.ok_or_else(|| "nothing".to_owned());
                break;
            }
            Err(status) => episode = Err(status.to_string()),
        }
        tokio::time::sleep(PAUSE).await;
    }
    Read {
        coordinator: name,
        id,
        episode,
    }
}

/// Its answer, or that the client lost its patience.
///
/// # Errors
/// The call's, or UNAVAILABLE after `limit`.
pub(super) async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    timeout(limit, call)
        .await
        .unwrap_or_else(|_| Err(Status::unavailable("the client lost its patience")))
}

/// Whether another attempt may succeed.
fn is_passing(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable
            | Code::ResourceExhausted
            | Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Unknown
            | Code::Aborted
    )
}

/// All clients of a run, one after the other at the rate of the plan.
pub(super) async fn all(plan: Plan, coordinators: Coordinators) -> Vec<ClientView> {
    let started = Instant::now();
    let give_up = started + plan.duration + RECOVERY;
    let interval = Duration::from_secs(1) / plan.load.per_second;
    let mut clients = Vec::new();
    for number in 0u32.. {
        let due = interval * number;
        if due >= plan.duration {
            break;
        }
        tokio::time::sleep_until((started + due).into()).await;
        let client = Client {
            wish: tasks::wish(plan.seed, number),
            random: StdRng::seed_from_u64(plan.seed ^ u64::from(number) << 32),
            coordinators: coordinators.clone(),
            give_up,
        };
        clients.push(tokio::spawn(Box::pin(client.run())));
    }
    let views = join_all(clients).await;
    views.into_iter().filter_map(Result::ok).collect()
}

struct Client {
    wish: Wish,
    random: StdRng,
    coordinators: Coordinators,
    give_up: Instant,
}

impl Client {
    async fn run(mut self) -> ClientView {
        let mut view = ClientView {
            request_id: self.wish.request_id.clone(),
            is_durable: self.wish.is_durable,
            answer: self.wish.answer.clone(),
            cancels: self.wish.cancels_after.is_some(),
            ..ClientView::default()
        };
        let outcome = if self.wish.is_durable {
            self.durable(&mut view).await
        } else {
            self.ephemeral(&mut view).await
        };
        view.gave_up = outcome.err();
        view
    }

    async fn durable(&mut self, view: &mut ClientView) -> Result<(), String> {
        let id = self.create(view).await?;
        if self.wish.asks_twice {
            self.create(view).await?;
        }
        let watchers = (0..self.wish.watchers).map(|_| {
            let random = StdRng::from_rng(&mut self.random);
            watch(self.coordinators.clone(), id.clone(), random, self.give_up)
        });
        let watching = join_all(watchers.collect::<Vec<_>>());
        let cancelling = cancel(&self.coordinators, &id, self.wish.cancels_after);
        let (watched, ()) = tokio::join!(watching, cancelling);
        for watched in watched {
            let (watch, outcome) = watched;
            view.watches.push(watch);
            outcome?;
        }
        Ok(())
    }

    /// Asks until it is told an id.
    async fn create(&mut self, view: &mut ClientView) -> Result<String, String> {
        loop {
            let (name, mut coordinator) = self.coordinators.any(&mut self.random);
            let request = v1::CreateEpisodeRequest {
                task: Some(self.wish.task.clone()),
                options: Some(v1::EpisodeOptions {
                    request_id: view.request_id.clone(),
                    ..v1::EpisodeOptions::default()
                }),
            };
            match within(PATIENCE, coordinator.create_episode(request)).await {
                Ok(created) => {
                    let episode = created.into_inner().episode;
                    let id = episode
                        .ok_or_else(|| format!("{name} accepted nothing"))?
                        .id;
                    view.accepted.push((name, id.clone()));
                    return Ok(id);
                }
                // The blob store is full: which of its errors that is does not matter here.
                Err(status) if is_passing(&status) || self.wish.has_image => {}
                Err(status) => return Err(format!("{name} refuses it: {status}")),
            }
            if Instant::now() > self.give_up {
                return Err("nobody accepts it".to_owned());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Asks until a stream is opened, under another request id each time, and follows it as far as
    /// it goes.
    async fn ephemeral(&mut self, view: &mut ClientView) -> Result<(), String> {
        for attempt in 0.. {
            view.request_id = format!("{}-{attempt}", self.wish.request_id);
            let (name, mut coordinator) = self.coordinators.any(&mut self.random);
            let request = v1::RunEpisodeRequest {
                task: Some(self.wish.task.clone()),
                options: Some(v1::EpisodeOptions {
                    request_id: view.request_id.clone(),
                    ..v1::EpisodeOptions::default()
                }),
            };
            match within(PATIENCE, coordinator.run_episode(request)).await {
                Ok(stream) => {
                    let messages = stream.into_inner().map(|message| {
                        let message = message?;
                        Ok((message.event, message.resume_token))
                    });
                    let mut watch = Watch {
                        is_of_creation: true,
                        ..Watch::default()
                    };
                    let mut cursor = String::new();
                    // A live coordinator ends it by its deadline; a dead one by its silence.
                    let _end = follow(messages, &mut watch, &mut cursor, None).await;
                    if let Some(Event::Accepted(episode)) =
                        watch.events.first().and_then(|event| event.event.as_ref())
                    {
                        view.accepted.push((name, episode.id.clone()));
                    }
                    view.watches.push(watch);
                    return Ok(());
                }
                Err(status) if is_passing(&status) || self.wish.has_image => {}
                Err(status) => return Err(format!("{name} refuses it: {status}")),
            }
            if Instant::now() > self.give_up {
                return Err("nobody runs it".to_owned());
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}

/// How a stream ended.
enum End {
    /// With the episode.
    Whole,
    /// Earlier: it broke, was silent, or as much was read as was wanted.
    Early,
    /// With an error that another attempt does not mend.
    Refused(Status),
}

/// Notes the events of a stream, at most `most` of them.
async fn follow(
    messages: impl Stream<Item = Result<(Option<v1::EpisodeEvent>, String), Status>>,
    watch: &mut Watch,
    cursor: &mut String,
    most: Option<usize>,
) -> End {
    let mut messages = std::pin::pin!(messages);
    watch.streams += 1;
    for _ in 0..most.unwrap_or(usize::MAX) {
        match timeout(SILENCE, messages.next()).await {
            Ok(Some(Ok((event, token)))) => {
                *cursor = token;
                let event = event.unwrap_or_default();
                let is_end = matches!(event.event, Some(Event::Ended(_)));
                watch.events.push(event);
                if is_end {
                    return End::Whole;
                }
            }
            Ok(Some(Err(status))) if !is_passing(&status) => return End::Refused(status),
            Ok(Some(Err(_)) | None) | Err(_) => return End::Early,
        }
    }
    End::Early
}

/// Watches to the end, over as many streams as it takes, at whichever coordinators.
async fn watch(
    coordinators: Coordinators,
    id: String,
    mut random: StdRng,
    give_up: Instant,
) -> (Watch, Result<(), String>) {
    let mut watch = Watch::default();
    let mut cursor = String::new();
    loop {
        let (name, mut coordinator) = coordinators.any(&mut random);
        let request = v1::WatchEpisodeRequest {
            id: id.clone(),
            resume_token: cursor.clone(),
        };
        // Now and then a client goes elsewhere although nothing is wrong.
        let most = random.random_ratio(1, 4).then(|| random.random_range(1..4));
        let end = match within(PATIENCE, coordinator.watch_episode(request)).await {
            Ok(stream) => {
                let messages = stream.into_inner().map(|message| {
                    let message = message?;
                    Ok((message.event, message.resume_token))
                });
                follow(messages, &mut watch, &mut cursor, most).await
            }
            Err(status) if is_passing(&status) => End::Early,
            Err(status) => End::Refused(status),
        };
        match end {
            End::Whole => return (watch, Ok(())),
            End::Early if Instant::now() > give_up => {
                return (watch, Err(format!("the end of {id} is never told")));
            }
            End::Early => tokio::time::sleep(PAUSE).await,
            End::Refused(status) => {
                return (
                    watch,
                    Err(format!("{name} does not tell of {id}: {status}")),
                );
            }
        }
    }
}

/// Wishes an episode cancelled. Whether that comes in time is not known.
async fn cancel(coordinators: &Coordinators, id: &str, after: Option<Duration>) {
    let Some(after) = after else { return };
    tokio::time::sleep(after).await;
    for (_, coordinator) in &coordinators.0 {
        let request = v1::CancelEpisodeRequest {
            id: id.to_owned(),
            reason: "a test".to_owned(),
        };
        let mut coordinator = coordinator.clone();
        if within(PATIENCE, coordinator.cancel_episode(request))
            .await
            .is_ok()
        {
            return;
        }
    }
}
