use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::StreamExt;
use hdrhistogram::Histogram;
use maestro_core::fallback;
use maestro_proto::v1::{self, episode_event::Event, episode_service_client::EpisodeServiceClient};
use maestro_rpc::{ChannelPool, PoolConfig};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
};
use tonic::{Code, transport::Channel};
use url::Url;

use super::cluster::process_cpu;
use crate::error::CliError;

/// Longest time of one episode; what takes longer counts as failed.
const EPISODE_TIMEOUT: Duration = Duration::from_secs(10);
/// Results that wait for the collector.
const RESULTS: usize = 4096;
/// Connections over which episodes are offered in turn, since a server bounds the streams of one.
const CONNECTIONS: usize = 8;

/// How episodes are offered.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pace {
    /// So many a second, whether or not earlier ones have ended (open loop: a slow answer does not
    /// slow the questions down).
    PerSecond(u32),
    /// So many at once, each followed by another (closed loop).
    AtOnce(u32),
}

/// What was measured.
pub(super) struct Sample {
    /// Time of one step in microseconds: an episode's time as its client saw it, from the moment
    /// at which it was due, divided by its steps.
    pub(super) step_us: Histogram<u64>,
    /// Episodes that were answered.
    pub(super) answered: u64,
    /// Episodes that were refused for want of room.
    pub(super) refused: u64,
    /// Other episodes that were not answered.
    pub(super) failed: u64,
    /// What the first of these met.
    pub(super) first_failure: Option<String>,
    /// From the first start to the last end.
    pub(super) time: Duration,
    /// Processor time of this process.
    pub(super) generator_cpu: f64,
}

impl Sample {
    /// Answered episodes a second.
    pub(super) fn per_second(&self) -> f64 {
        self.answered as f64 / self.time.as_secs_f64()
    }

    /// A quantile of the time of one step, in milliseconds.
    pub(super) fn step_ms(&self, quantile: f64) -> f64 {
        self.step_us.value_at_quantile(quantile) as f64 / 1e3
    }
}

struct Ended {
    time: Duration,
    steps: u32,
}

enum Unanswered {
    Refused,
    Failed(String),
}

impl Unanswered {
    fn of(self, number: u64) -> Self {
        match self {
            Self::Failed(reason) => Self::Failed(format!("question {number}: {reason}")),
            refused @ Self::Refused => refused,
        }
    }
}

impl From<tonic::Status> for Unanswered {
    fn from(status: tonic::Status) -> Self {
        match status.code() {
            Code::ResourceExhausted => Self::Refused,
            _ => Self::Failed(status.to_string()),
        }
    }
}

/// Offers episodes for `time`. `first` numbers the first question.
pub(super) async fn offer(
    endpoint: &Url,
    pace: Pace,
    time: Duration,
    first: u64,
    durability: v1::Durability,
) -> Result<Sample, CliError> {
    let clients: Vec<EpisodeServiceClient<Channel>> = (0..CONNECTIONS)
        .map(|_| ChannelPool::new(PoolConfig::default()).channel(endpoint))
        .map(|channel| channel.map(EpisodeServiceClient::new))
        .collect::<Result<_, _>>()?;
    let (interval, at_once) = match pace {
        Pace::PerSecond(rate) => (Duration::from_secs(1) / rate.max(1), Semaphore::MAX_PERMITS),
        Pace::AtOnce(count) => (Duration::ZERO, count as usize),
    };
    let room = Arc::new(Semaphore::new(at_once));
    let cpu_before = process_cpu(std::process::id())?;
    let start = Instant::now();
    let (sender, mut results) = mpsc::channel(RESULTS);
    let mut episodes = JoinSet::new();
    let collect = tokio::spawn(async move {
        let mut sample = Sample {
            step_us: Histogram::<u64>::new(3).map_err(|e| CliError::Bench(e.to_string()))?,
            answered: 0,
            refused: 0,
            failed: 0,
            first_failure: None,
            time: Duration::ZERO,
            generator_cpu: 0.0,
        };
        while let Some(result) = results.recv().await {
            match result {
                Ok(Ended { time, steps }) => {
                    sample.answered += 1;
                    let micros = (time / steps.max(1)).as_micros();
                    // It grows with its values; saturating would cut the tail off.
                    sample
                        .step_us
                        .record(u64::try_from(micros).unwrap_or(u64::MAX))
                        .map_err(|e| CliError::Bench(e.to_string()))?;
                }
                Err(Unanswered::Refused) => sample.refused += 1,
                Err(Unanswered::Failed(reason)) => {
                    sample.failed += 1;
                    sample.first_failure.get_or_insert(reason);
                }
            }
        }
        Ok::<_, CliError>(sample)
    });
    for number in 0u32.. {
        let due = start + interval.saturating_mul(number);
        if due >= start + time || start.elapsed() >= time {
            break;
        }
        tokio::time::sleep_until(due.into()).await;
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            break;
        };
        let due = match pace {
            Pace::PerSecond(_) => due,
            Pace::AtOnce(_) => Instant::now(),
        };
        while episodes.try_join_next().is_some() {}
        let client = clients[number as usize % CONNECTIONS].clone();
        let number = first + u64::from(number);
        let sender = sender.clone();
        episodes.spawn(async move {
            let episode = run(client, number, durability);
            let ended = tokio::time::timeout(EPISODE_TIMEOUT, episode)
                .await
                .unwrap_or_else(|_| Err(Unanswered::Failed("took too long".to_owned())));
            let result = ended
                .map(|steps| Ended {
                    time: due.elapsed(),
                    steps,
                })
                .map_err(|unanswered| unanswered.of(number));
            drop(permit);
            // The collector lives until every sender is gone.
            if sender.send(result).await.is_err() {
                tracing::debug!("a result came after the measurement");
            }
        });
    }
    drop(sender);
    while episodes.join_next().await.is_some() {}
    let collected = collect
        .await
        .map_err(|error| CliError::Bench(error.to_string()))?;
    let mut sample = collected?;
    sample.time = start.elapsed();
    sample.generator_cpu = process_cpu(std::process::id())? - cpu_before;
    Ok(sample)
}

/// Runs one episode and returns its number of steps if it was answered, else what happened.
async fn run(
    mut client: EpisodeServiceClient<Channel>,
    number: u64,
    durability: v1::Durability,
) -> Result<u32, Unanswered> {
    let question = format!("Question {number}: what is {number} plus {}?", number % 97);
    let request = v1::RunEpisodeRequest {
        task: Some(v1::Task {
            question,
            ..v1::Task::default()
        }),
        options: Some(v1::EpisodeOptions {
            durability: durability.into(),
            ..v1::EpisodeOptions::default()
        }),
    };
    let mut events = client.run_episode(request).await?.into_inner();
    let mut result = Err(Unanswered::Failed(
        "the stream ended before the episode".to_owned(),
    ));
    // To its very end: a stream that is dropped before its trailers is reset, and after a thousand
    // of these h2 takes the connection for one under attack and closes it.
    while let Some(message) = events.next().await {
        let event = message?.event.and_then(|event| event.event);
        if let Some(Event::Ended(episode)) = event {
            use v1::termination::Termination;
            let termination = episode
                .conclusion
                .and_then(|conclusion| conclusion.termination?.termination);
            let by_rule = episode.steps.iter().any(|step| {
                let decision = step.decision.as_ref();
                decision.is_some_and(|decision| decision.policy_version == fallback::VERSION)
            });
            result = match termination {
                Some(Termination::Answered(_)) if by_rule => {
                    // A rule is quicker than the policy, which is to be measured.
                    Err(Unanswered::Failed("the policy did not decide".to_owned()))
                }
                Some(Termination::Answered(_)) => {
                    Ok(u32::try_from(episode.steps.len()).unwrap_or(1))
                }
                other => Err(Unanswered::Failed(format!("{other:?}"))),
            };
        }
    }
    result
}
