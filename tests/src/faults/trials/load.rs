//! Clients of a trial: so many requests a second whether or not earlier ones have ended, each asked
//! and watched until it is answered or hopeless.

use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use maestro_core::fallback;
use maestro_proto::v1::{
    self, episode_event::Event, episode_service_client::EpisodeServiceClient,
    termination::Termination,
};
use tokio::{sync::watch, time::timeout};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;

use crate::faults::{
    clients::within,
    plan::Component,
    settings::url,
    tasks::{self, SKILLS},
};

/// For an answer to a request; a coordinator without etcd takes ten seconds to say so.
const PATIENCE: Duration = Duration::from_secs(15);
/// Between two events of a stream. A silent stream is given up for another one.
const SILENCE: Duration = Duration::from_secs(20);
/// Before the second attempt; it doubles up to the longest, unless the server says when.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// From when a request is due until its client gives up.
const HOPELESS: Duration = Duration::from_secs(240);
/// Connections to each coordinator, for the durable requests and for the others.
const CONNECTIONS: usize = 8;
/// One request in so many goes through a skill runner.
const THROUGH_RUNNER: u32 = 8;

/// What clients do.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    /// Requests a second.
    pub per_second: u32,
    /// How many of a hundred are durable: created, then watched. The others are run.
    pub durable_percent: u32,
}

/// How an episode ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// With the right answer.
    Right,
    /// With another one.
    Wrong(String),
    /// Without one, and why.
    Unanswered(String),
}

/// What a client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// That the episode is accepted.
    Accepted,
    /// What the policy decided in a step.
    Decided(u32),
    /// That a step is finished.
    Finished(u32),
    /// The end.
    Ended,
}

/// A request as its client saw it. Times are from the beginning of the load.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Whether it was durable.
    pub is_durable: bool,
    /// When it was to be asked.
    pub due: Duration,
    /// Which coordinator accepted it, and when.
    pub accepted: Option<(usize, Duration)>,
    /// What was told, over all streams.
    pub told: Vec<(Duration, Told)>,
    /// Attempts before one was accepted.
    pub refused: u32,
    /// What the first of them met.
    pub refusal: Option<String>,
    /// Streams that ended before the episode.
    pub broken: u32,
    /// Steps that a rule decided, as no policy worker answered in time.
    pub by_rule: usize,
    /// How it ended, or why the client gave up.
    pub end: Result<End, String>,
}

impl Seen {
    /// From when it was due to its end.
    pub fn time(&self) -> Option<Duration> {
        let (at, told) = self.told.last()?;
        (*told == Told::Ended).then(|| at.saturating_sub(self.due))
    }
}

type Client = EpisodeServiceClient<Channel>;

/// Connections to all coordinators: of the durable requests, and of the others.
struct Connections([Vec<Vec<Client>>; 2]);

impl Connections {
    fn new() -> Result<Self, tonic::transport::Error> {
        let connect = |component: Component| {
            let endpoint = Endpoint::from_shared(url(component))?
                .connect_timeout(Duration::from_secs(1))
                .http2_keep_alive_interval(Duration::from_secs(2))
                .keep_alive_timeout(Duration::from_secs(5));
            Ok(EpisodeServiceClient::new(endpoint.connect_lazy()))
        };
        let all = || {
            let coordinators = Component::those(Component::is_coordinator);
            let several =
                |component: Component| (0..CONNECTIONS).map(|_| connect(component)).collect();
            coordinators
                .into_iter()
                .map(several)
                .collect::<Result<Vec<Vec<Client>>, _>>()
        };
        Ok(Self([all()?, all()?]))
    }

    /// The connections of one client, one to each coordinator.
    fn of(&self, number: u32, is_durable: bool) -> Vec<Client> {
        let index = number as usize % CONNECTIONS;
        let coordinators = &self.0[usize::from(is_durable)];
        coordinators.iter().map(|one| one[index].clone()).collect()
    }
}

/// Asks at the rate of the offer until `stop` says so, and waits for the end of all. Requests are
/// numbered from `first`, and all questions are distinct.
///
/// # Errors
/// An address that is none.
pub(super) async fn offer(
    offer: Offer,
    first: u32,
    started: Instant,
    stop: watch::Receiver<bool>,
) -> Result<Vec<Seen>, tonic::transport::Error> {
    let connections = Connections::new()?;
    let interval = Duration::from_secs(1) / offer.per_second.max(1);
    let from = Instant::now();
    let mut requests = Vec::new();
    for count in 0u32.. {
        tokio::time::sleep_until((from + interval * count).into()).await;
        if *stop.borrow() {
            break;
        }
        let number = first + count;
        // Spread evenly, in the given proportion.
        let is_durable = number.wrapping_mul(61) % 100 < offer.durable_percent;
        let request = Request {
            number,
            clients: connections.of(number, is_durable),
            started,
            seen: Seen {
                is_durable,
                due: (from + interval * count).duration_since(started),
                accepted: None,
                told: Vec::new(),
                refused: 0,
                refusal: None,
                broken: 0,
                by_rule: 0,
                end: Err("it was never asked".to_owned()),
            },
        };
        requests.push(tokio::spawn(Box::pin(request.run())));
    }
    // One after the other: polling all of them at once takes quadratic time, as the runtime makes a
    // task pause after so many results.
    let mut seen = Vec::with_capacity(requests.len());
    for request in requests {
        seen.extend(request.await.ok());
    }
    Ok(seen)
}

struct Request {
    number: u32,
    clients: Vec<Client>,
    started: Instant,
    seen: Seen,
}

impl Request {
    async fn run(mut self) -> Seen {
        let limit = self.started + self.seen.due + HOPELESS;
        let asked = timeout(
            limit.saturating_duration_since(Instant::now()),
            Box::pin(async {
                if self.seen.is_durable {
                    self.durable().await
                } else {
                    self.ephemeral().await
                }
            }),
        );
        let end = asked.await;
        self.seen.end = end.unwrap_or_else(|_| Err("the client gave up".to_owned()));
        self.seen
    }

    /// The coordinator of an attempt: each client begins at another one.
    fn coordinator(&self, attempt: u32) -> usize {
        (self.number.wrapping_add(attempt) % 3) as usize
    }

    fn task(&self) -> v1::Task {
        let budget = v1::Budget {
            max_steps: Some(4),
            timeout: Some(prost_types::Duration {
                seconds: 60,
                nanos: 0,
            }),
            ..v1::Budget::default()
        };
        let allowed = v1::PairPattern {
            expert: String::new(),
            skill: SKILLS[usize::from(self.through_runner())].to_owned(),
        };
        v1::Task {
            question: tasks::question(self.number),
            budget: Some(budget),
            constraints: Some(v1::Constraints {
                allowed: vec![allowed],
                ..v1::Constraints::default()
            }),
            ..v1::Task::default()
        }
    }

    fn through_runner(&self) -> bool {
        self.number.is_multiple_of(THROUGH_RUNNER)
    }

    fn options(&self) -> v1::EpisodeOptions {
        v1::EpisodeOptions {
            request_id: format!("trial-{}", self.number),
            ..v1::EpisodeOptions::default()
        }
    }

    /// Notes a refusal and waits before the next attempt, where there is to be one.
    async fn refused(&mut self, status: &Status, attempt: u32) -> Result<(), String> {
        self.seen.refused += 1;
        self.seen
            .refusal
            .get_or_insert_with(|| format!("{:?}: {}", status.code(), status.message()));
        if !is_passing(status) {
            return Err(status.to_string());
        }
        let said = status.get_details_retry_info();
        let own = PAUSE
            .saturating_mul(1 << attempt.min(16))
            .min(LONGEST_PAUSE);
        let pause = said.and_then(|retry| retry.retry_delay).unwrap_or(own);
        tokio::time::sleep(pause).await;
        Ok(())
    }

    async fn durable(&mut self) -> Result<End, String> {
        let mut id = None;
        for attempt in 0.. {
            let index = self.coordinator(attempt);
            let request = v1::CreateEpisodeRequest {
                task: Some(self.task()),
                options: Some(self.options()),
            };
            let mut client = self.clients[index].clone();
            match within(PATIENCE, client.create_episode(request)).await {
                Ok(created) => {
                    self.seen.accepted = Some((index, self.started.elapsed()));
                    id = created.into_inner().episode.map(|episode| episode.id);
                    break;
                }
                Err(status) => self.refused(&status, attempt).await?,
            }
        }
        let id = id.ok_or("accepted without an episode")?;
        let first = self.seen.accepted.map_or(0, |(index, _)| index);
        let mut cursor = String::new();
        for attempt in 0.. {
            let index = (first + attempt) % self.clients.len();
            let request = v1::WatchEpisodeRequest {
                id: id.clone(),
                resume_token: cursor.clone(),
            };
            let mut client = self.clients[index].clone();
            match within(PATIENCE, client.watch_episode(request)).await {
                Ok(stream) => {
                    let messages = stream.into_inner().map(|message| {
                        let message = message?;
                        Ok((message.event, message.resume_token))
                    });
                    if let Some(end) = self.follow(messages, &mut cursor).await? {
                        return Ok(end);
                    }
                }
                Err(status) if is_passing(&status) => {}
                Err(status) => return Err(status.to_string()),
            }
            self.seen.broken += 1;
            tokio::time::sleep(PAUSE).await;
        }
        Err("it was asked too often".to_owned())
    }

    async fn ephemeral(&mut self) -> Result<End, String> {
        for attempt in 0.. {
            let index = self.coordinator(attempt);
            let request = v1::RunEpisodeRequest {
                task: Some(self.task()),
                options: Some(v1::EpisodeOptions {
                    request_id: format!("trial-{}-{attempt}", self.number),
                    ..v1::EpisodeOptions::default()
                }),
            };
            let mut client = self.clients[index].clone();
            match within(PATIENCE, client.run_episode(request)).await {
                Ok(stream) => {
                    self.seen.accepted = Some((index, self.started.elapsed()));
                    let messages = stream.into_inner().map(|message| {
                        let message = message?;
                        Ok((message.event, message.resume_token))
                    });
                    let end = self.follow(messages, &mut String::new()).await?;
                    return end.ok_or_else(|| {
                        self.seen.broken += 1;
                        "its stream broke".to_owned()
                    });
                }
                Err(status) => self.refused(&status, attempt).await?,
            }
        }
        Err("it was asked too often".to_owned())
    }

    /// Notes the events of a stream to its very end: one that is dropped before its trailers is
    /// reset, and many of these close the connection. `None` where it broke.
    async fn follow(
        &mut self,
        messages: impl Stream<Item = Result<(Option<v1::EpisodeEvent>, String), Status>>,
        cursor: &mut String,
    ) -> Result<Option<End>, String> {
        let mut messages = std::pin::pin!(messages);
        let mut end = None;
        loop {
            match timeout(SILENCE, messages.next()).await {
                Ok(Some(Ok((event, token)))) => {
                    *cursor = token;
                    let Some(event) = event.and_then(|event| event.event) else {
                        return Err("an event without content".to_owned());
                    };
                    let told = match &event {
                        Event::Accepted(_) => Told::Accepted,
                        Event::Decided(step) => Told::Decided(step.index),
                        Event::Finished(step) => Told::Finished(step.index),
                        Event::Ended(_) => Told::Ended,
                    };
                    self.seen.told.push((self.started.elapsed(), told));
                    if let Event::Ended(episode) = event {
                        self.seen.by_rule = by_rule(&episode);
                        end = Some(self.end(episode));
                    }
                }
                Ok(Some(Err(status))) if end.is_none() && !is_passing(&status) => {
                    return Err(status.to_string());
                }
                Ok(Some(Err(_)) | None) | Err(_) => return Ok(end),
            }
        }
    }

    fn end(&self, episode: v1::Episode) -> End {
        let conclusion = episode.conclusion.unwrap_or_default();
        let termination = conclusion
            .termination
            .and_then(|termination| termination.termination);
        match termination {
            Some(Termination::Answered(_)) => {
                let answer = conclusion.answer.unwrap_or_default().value;
                let right = tasks::right_answer(self.number, self.through_runner());
                if answer == right {
                    End::Right
                } else {
                    End::Wrong(answer)
                }
            }
            Some(Termination::Failed(failure)) => {
                End::Unanswered(format!("{:?}: {}", failure.kind(), failure.message))
            }
            other => End::Unanswered(format!("{other:?}")),
        }
    }
}

fn by_rule(episode: &v1::Episode) -> usize {
    let decisions = episode
        .steps
        .iter()
        .filter_map(|step| step.decision.as_ref());
    decisions
        .filter(|decision| decision.policy_version == fallback::VERSION)
        .count()
}

/// Whether a client asks again: what gRPC clients retry by a policy, and connections that broke.
fn is_passing(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::ResourceExhausted | Code::Unknown | Code::Cancelled
    )
}
