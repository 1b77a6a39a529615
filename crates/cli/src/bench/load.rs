use std::time::{Duration, Instant};

use futures::StreamExt;
use hdrhistogram::Histogram;
use maestro_proto::v1::{self, episode_event::Event, episode_service_client::EpisodeServiceClient};
use maestro_rpc::{ChannelPool, PoolConfig};
use tokio::{sync::mpsc, task::JoinSet};
use tonic::transport::Channel;
use url::Url;

use super::cluster::process_cpu;
use crate::error::CliError;

/// Longest time of one episode; what takes longer counts as failed.
const EPISODE_TIMEOUT: Duration = Duration::from_secs(10);
/// Most episodes that the generator has under way.
const MAX_IN_FLIGHT: usize = 4096;

/// What was measured.
pub(super) struct Sample {
    /// Time of one step in microseconds: an episode's time as its client saw it, from the moment
    /// at which it was due, divided by its steps.
    pub(super) step_us: Histogram<u64>,
    /// Episodes that were answered.
    pub(super) answered: u64,
    /// Episodes that were not.
    pub(super) failed: u64,
    /// What the first of these met.
    pub(super) first_failure: Option<String>,
    /// From the first start to the last end.
    pub(super) time: Duration,
    /// Processor time of this process.
    pub(super) generator_cpu: f64,
}

struct Ended {
    time: Duration,
    steps: u32,
}

/// Offers `rate` episodes a second for `time`, whether or not earlier ones have ended (open loop:
/// a slow answer does not slow the questions down). `first` numbers the first question.
pub(super) async fn offer(
    endpoint: &Url,
    rate: u32,
    time: Duration,
    first: u64,
    durability: v1::Durability,
) -> Result<Sample, CliError> {
    let channel = ChannelPool::new(PoolConfig::default()).channel(endpoint)?;
    let client = EpisodeServiceClient::new(channel);
    let interval = Duration::from_secs(1) / rate.max(1);
    let total = time.as_secs_f64() * f64::from(rate);
    let cpu_before = process_cpu(std::process::id())?;
    let start = Instant::now();
    let (sender, mut results) = mpsc::channel(MAX_IN_FLIGHT);
    let mut episodes = JoinSet::new();
    let collect = tokio::spawn(async move {
        let mut sample = Sample {
            step_us: Histogram::<u64>::new(3).map_err(|e| CliError::Bench(e.to_string()))?,
            answered: 0,
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
                Err(reason) => {
                    sample.failed += 1;
                    sample.first_failure.get_or_insert(reason);
                }
            }
        }
        Ok::<_, CliError>(sample)
    });
    for number in 0..total as u64 {
        let due = start + interval.saturating_mul(u32::try_from(number).unwrap_or(u32::MAX));
        tokio::time::sleep_until(due.into()).await;
        while episodes.try_join_next().is_some() {}
        let client = client.clone();
        let sender = sender.clone();
        episodes.spawn(async move {
            let episode = run(client, first + number, durability);
            let ended = tokio::time::timeout(EPISODE_TIMEOUT, episode)
                .await
                .unwrap_or_else(|_| Err("took too long".to_owned()));
            let ended = ended.map_err(|reason| format!("question {}: {reason}", first + number));
            let result = ended.map(|steps| Ended {
                time: due.elapsed(),
                steps,
            });
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
) -> Result<u32, String> {
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
    let text = |status: tonic::Status| status.to_string();
    let mut events = client
        .run_episode(request)
        .await
        .map_err(text)?
        .into_inner();
    let mut result = Err("the stream ended before the episode".to_owned());
    // To its very end: a stream that is dropped before its trailers is reset, and after a thousand
    // of these h2 takes the connection for one under attack and closes it.
    while let Some(message) = events.next().await {
        let event = message.map_err(text)?.event.and_then(|event| event.event);
        if let Some(Event::Ended(episode)) = event {
            use v1::termination::Termination;
            let termination = episode
                .conclusion
                .and_then(|conclusion| conclusion.termination?.termination);
            result = match termination {
                Some(Termination::Answered(_)) => {
                    Ok(u32::try_from(episode.steps.len()).unwrap_or(1))
                }
                other => Err(format!("{other:?}")),
            };
        }
    }
    result
}
