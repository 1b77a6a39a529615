//! Values of the journal and their bytes. Pure.

use maestro_core::{
    CoordinatorId, CoreError, EpisodeId, RequestId, TenantId, Timestamp,
    episode::{Conclusion, EpisodeRecord, EpisodeSpec, Outcome, PendingCall, Step},
};
use maestro_proto::v1;
use maestro_wire::{FromProto, ToProto};
use prost::Message;

use crate::unknown::keep_unknown;

/// The head of an episode.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Head {
    pub(super) owner: CoordinatorId,
    pub(super) terms: u32,
    /// Without steps and outcome.
    pub(super) record: EpisodeRecord,
}

impl Head {
    pub(super) fn new(
        owner: CoordinatorId,
        terms: u32,
        spec: &EpisodeSpec,
        conclusion: Option<&Conclusion>,
    ) -> Self {
        let record = EpisodeRecord {
            spec: spec.clone(),
            steps: vec![],
            conclusion: conclusion.cloned(),
            outcome: None,
        };
        Self {
            owner,
            terms,
            record,
        }
    }

    /// The bytes to store in place of `old`, whose unknown fields are kept.
    pub(super) fn encode_over(&self, old: &[u8]) -> Vec<u8> {
        let new = v1::StoredEpisode {
            owner: self.owner.to_string(),
            terms: self.terms,
            episode: Some(self.record.to_proto()),
        };
        keep_unknown(old, new.encode_to_vec(), &[1, 2, 3])
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, CoreError> {
        let stored: v1::StoredEpisode = message(bytes)?;
        let record = stored
            .episode
            .ok_or_else(|| CoreError::DataLoss("a head without an episode".to_owned()))?;
        Ok(Self {
            owner: CoordinatorId::new(stored.owner).map_err(damaged)?,
            terms: stored.terms,
            record: EpisodeRecord::from_proto(record).map_err(damaged)?,
        })
    }
}

/// The bytes of a step by itself, as a blob holds them.
pub(super) fn step_bytes(step: &Step) -> Vec<u8> {
    step.to_proto().encode_to_vec()
}

pub(super) fn read_step_bytes(bytes: &[u8]) -> Result<Step, CoreError> {
    Step::from_proto(message(bytes)?).map_err(damaged)
}

/// A step as it stands under its key.
pub(super) enum StoredStep {
    Inline(Box<Step>),
    Blob(maestro_core::Digest),
}

pub(super) fn encode_step(step: &Step) -> Vec<u8> {
    let content = v1::stored_step::Content::Step(step.to_proto());
    v1::StoredStep {
        content: Some(content),
    }
    .encode_to_vec()
}

pub(super) fn encode_step_blob(blob: &maestro_core::Digest) -> Vec<u8> {
    let content = v1::stored_step::Content::Blob(blob.to_string());
    v1::StoredStep {
        content: Some(content),
    }
    .encode_to_vec()
}

pub(super) fn decode_step(bytes: &[u8]) -> Result<StoredStep, CoreError> {
    let stored: v1::StoredStep = message(bytes)?;
    match stored.content {
        Some(v1::stored_step::Content::Step(step)) => {
            let step = Step::from_proto(step).map_err(damaged)?;
            Ok(StoredStep::Inline(Box::new(step)))
        }
        Some(v1::stored_step::Content::Blob(digest)) => {
            digest.parse().map(StoredStep::Blob).map_err(damaged)
        }
        None => Err(CoreError::DataLoss("a step without content".to_owned())),
    }
}

pub(super) fn encode_call(call: &PendingCall) -> Vec<u8> {
    call.to_proto().encode_to_vec()
}

pub(super) fn decode_call(bytes: &[u8]) -> Result<PendingCall, CoreError> {
    PendingCall::from_proto(message(bytes)?).map_err(damaged)
}

pub(super) fn encode_outcome(outcome: &Outcome) -> Vec<u8> {
    v1::StoredOutcome {
        outcome: Some(outcome.to_proto()),
    }
    .encode_to_vec()
}

pub(super) fn decode_outcome(bytes: &[u8]) -> Result<Outcome, CoreError> {
    let stored: v1::StoredOutcome = message(bytes)?;
    let outcome = stored
        .outcome
        .ok_or_else(|| CoreError::DataLoss("an outcome without content".to_owned()))?;
    Outcome::from_proto(outcome).map_err(damaged)
}

pub(super) fn encode_coordinator(host: &str, started_at: Timestamp) -> Vec<u8> {
    v1::StoredCoordinator {
        started_at: Some(started_at.to_proto()),
        host: host.to_owned(),
    }
    .encode_to_vec()
}

pub(super) fn encode_request(episode: &EpisodeId) -> Vec<u8> {
    v1::StoredRequest {
        episode: episode.to_string(),
    }
    .encode_to_vec()
}

pub(super) fn decode_request(bytes: &[u8]) -> Result<EpisodeId, CoreError> {
    let stored: v1::StoredRequest = message(bytes)?;
    EpisodeId::new(stored.episode).map_err(damaged)
}

pub(super) fn encode_running(tenant: &TenantId) -> Vec<u8> {
    v1::StoredRunning {
        tenant: tenant.to_string(),
    }
    .encode_to_vec()
}

pub(super) fn decode_running(bytes: &[u8]) -> Result<TenantId, CoreError> {
    let stored: v1::StoredRunning = message(bytes)?;
    TenantId::new(stored.tenant).map_err(damaged)
}

/// What the index of finished episodes says of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finished {
    pub(super) finished_at: Timestamp,
    pub(super) request: Option<RequestId>,
    /// Whether it stands in the store of trajectories as it stands in the journal.
    pub(super) is_moved: bool,
}

impl Finished {
    /// One that has just ended, or of which something new is known.
    pub(super) fn unmoved(finished_at: Timestamp, request: Option<&RequestId>) -> Self {
        Self {
            finished_at,
            request: request.cloned(),
            is_moved: false,
        }
    }

    /// The bytes to store in place of `old`, whose unknown fields are kept.
    pub(super) fn encode_over(&self, old: &[u8]) -> Vec<u8> {
        let request = self.request.as_ref();
        let new = v1::StoredFinished {
            finished_at: Some(self.finished_at.to_proto()),
            request_id: request.map(|id| id.as_str().to_owned()).unwrap_or_default(),
            is_moved: self.is_moved,
        };
        keep_unknown(old, new.encode_to_vec(), &[1, 2, 3])
    }
}

pub(super) fn decode_finished(bytes: &[u8]) -> Result<Finished, CoreError> {
    let stored: v1::StoredFinished = message(bytes)?;
    let finished_at = stored
        .finished_at
        .ok_or_else(|| CoreError::DataLoss("no time of an end".to_owned()))?;
    Ok(Finished {
        finished_at: Timestamp::from_proto(finished_at).map_err(damaged)?,
        request: Some(stored.request_id)
            .filter(|id| !id.is_empty())
            .map(RequestId::new)
            .transpose()
            .map_err(damaged)?,
        is_moved: stored.is_moved,
    })
}

pub(super) fn encode_cancellation(reason: &str) -> Vec<u8> {
    v1::StoredCancellation {
        reason: reason.to_owned(),
    }
    .encode_to_vec()
}

pub(super) fn decode_cancellation(bytes: &[u8]) -> Result<String, CoreError> {
    let stored: v1::StoredCancellation = message(bytes)?;
    Ok(stored.reason)
}

fn message<M: Message + Default>(bytes: &[u8]) -> Result<M, CoreError> {
    M::decode(bytes).map_err(|error| CoreError::DataLoss(error.to_string()))
}

/// What was written here once and cannot be read is damaged, not badly asked for.
fn damaged(error: CoreError) -> CoreError {
    CoreError::DataLoss(error.to_string())
}

#[cfg(test)]
mod tests {
    use prost_types::FileDescriptorSet;

    use super::*;

    #[test]
    fn the_known_fields_are_those_of_the_schema() {
        let schema = FileDescriptorSet::decode(v1::FILE_DESCRIPTOR_SET).unwrap();
        let numbers = |name: &str| -> Vec<i32> {
            let mut messages = schema.file.iter().flat_map(|file| &file.message_type);
            let message = messages.find(|message| message.name() == name).unwrap();
            message.field.iter().map(|field| field.number()).collect()
        };
        assert_eq!(numbers("StoredEpisode"), [1, 2, 3]);
        assert_eq!(numbers("StoredFinished"), [1, 2, 3]);
    }

    #[test]
    fn bytes_that_are_no_message_are_data_loss() {
        for error in [
            Head::decode(b"\xff").err(),
            decode_step(b"\xff").err(),
            decode_call(b"\xff").err(),
            decode_finished(b"").err(),
        ] {
            assert!(matches!(error, Some(CoreError::DataLoss(_))), "{error:?}");
        }
    }
}
