//! One call of one pair: an episode that may use no other.

use std::time::Duration;

use futures::StreamExt;
use maestro_core::{
    CoreError,
    episode::{EpisodeRecord, Failure, FailureKind, Observation, Termination},
    recording::{KnownTask, RecordedCall, RecordedResult},
    task::Pair,
};
use maestro_proto::v1;
use maestro_wire::{EpisodeEvent, FromProto, ToProto};

use crate::{connection::Connection, error::CliError};

/// The call and the answer.
const STEPS: i64 = 2;
/// How often a call is made that the installation could not take.
const ATTEMPTS: u32 = 6;
/// The wait before the second attempt; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// Whether a call gave nothing.
pub(crate) fn failed(call: &RecordedCall) -> bool {
    matches!(&call.result, RecordedResult::Observed(observation) if observation.failure.is_some())
}

/// Calls a pair. What comes of it is the result, failures included; what says no more than that
/// the installation is full or restarting is tried again first.
///
/// # Errors
/// What the installation refused for good, or what it could not be asked at all.
pub(crate) async fn make(
    connection: &Connection,
    task: &KnownTask,
    images: &[v1::Image],
    pair: Pair,
) -> Result<RecordedCall, CliError> {
    let mut wait = FIRST_WAIT;
    for _ in 1..ATTEMPTS {
        match attempt(connection, task, images, &pair).await {
            Ok(call) if !is_refused(&call) => return Ok(call),
            Err(CliError::Remote(error)) if !error.is_transient() => return Err(error.into()),
            Ok(_) | Err(CliError::Remote(_)) => {
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
            Err(error) => return Err(error),
        }
    }
    attempt(connection, task, images, &pair).await
}

fn is_refused(call: &RecordedCall) -> bool {
    let RecordedResult::Observed(observation) = &call.result else {
        return false;
    };
    let kind = observation.failure.as_ref().map(|failure| failure.kind);
    matches!(
        kind,
        Some(FailureKind::Overloaded | FailureKind::Unavailable)
    )
}

async fn attempt(
    connection: &Connection,
    task: &KnownTask,
    images: &[v1::Image],
    pair: &Pair,
) -> Result<RecordedCall, CliError> {
    let request = v1::RunEpisodeRequest {
        task: Some(v1::Task {
            question: task.question.clone(),
            images: images.to_vec(),
            answer_kind: Some(task.answer_kind.to_proto()),
            budget: Some(v1::Budget {
                max_steps: Some(STEPS),
                ..v1::Budget::default()
            }),
            constraints: Some(v1::Constraints {
                pinned: vec![pair.to_proto()],
                ..v1::Constraints::default()
            }),
            weights: None,
        }),
        options: None,
    };
    let mut events = connection
        .episodes()
        .run_episode(request)
        .await?
        .into_inner();
    while let Some(message) = events.next().await {
        let event = message?
            .event
            .ok_or_else(|| CoreError::DataLoss("an empty event".to_owned()))?;
        if let EpisodeEvent::Ended(record) = EpisodeEvent::from_proto(event)? {
            return Ok(read(&record, pair)?);
        }
    }
    Err(CoreError::Unavailable {
        what: "coordinator",
        reason: "the stream ended before the episode did".to_owned(),
    }
    .into())
}

/// The call out of a finished episode.
fn read(record: &EpisodeRecord, pair: &Pair) -> Result<RecordedCall, CoreError> {
    let step = record.steps.first();
    let observed = step.and_then(|step| Some((step, step.observation.as_ref()?)));
    if let Some((step, observation)) = observed {
        let took = step.finished_at.duration_since(step.decided_at);
        return Ok(RecordedCall {
            pair: pair.clone(),
            cost: observation.usage.cost,
            latency_ms: u64::try_from(took.as_millis()).unwrap_or(0),
            result: RecordedResult::Observed(Box::new(observation.clone())),
        });
    }
    // No call was made, or its end was not awaited.
    let conclusion = record.conclusion.as_ref();
    let conclusion =
        conclusion.ok_or_else(|| CoreError::DataLoss("an end without conclusion".to_owned()))?;
    let failure = match &conclusion.termination {
        Termination::Failed(failure) => failure.clone(),
        Termination::Truncated(_) => {
            Failure::new(FailureKind::Timeout, "the episode's time ran out")
        }
        Termination::Cancelled { reason } => return Err(CoreError::Cancelled(reason.clone())),
        Termination::Answered => {
            let reason = "the policy answered without a call".to_owned();
            return Err(CoreError::FailedPrecondition(reason));
        }
    };
    let took = conclusion
        .finished_at
        .duration_since(record.spec.created_at);
    Ok(RecordedCall {
        pair: pair.clone(),
        cost: conclusion.usage.cost + conclusion.unsettled_cost,
        latency_ms: u64::try_from(took.as_millis()).unwrap_or(0),
        result: RecordedResult::Observed(Box::new(Observation::failed(failure))),
    })
}
