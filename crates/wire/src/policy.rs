use std::sync::Arc;

use maestro_core::{
    CoreError, Digest, MicroUsd, Timestamp,
    episode::{Decision, Failure, Observation, Remaining, ServingMode},
    ports::{DecideRequest, PastStep, PolicyManifest},
    task::Task,
};
use maestro_proto::v1;

use crate::{FromProto, ToProto, list, optional, parse, read_list, required};

impl ToProto for Remaining {
    type Proto = v1::Remaining;
    fn to_proto(&self) -> Self::Proto {
        v1::Remaining {
            steps: self.steps,
            time: Some(self.time.to_proto()),
            cost_micro_usd: self.cost.map(|cost| cost.0),
        }
    }
}

impl FromProto for Remaining {
    type Proto = v1::Remaining;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        Ok(Self {
            steps: proto.steps,
            time: required("time", proto.time)?,
            cost: proto.cost_micro_usd.map(MicroUsd),
        })
    }
}

impl ToProto for PastStep {
    type Proto = v1::PastStep;
    fn to_proto(&self) -> Self::Proto {
        v1::PastStep {
            index: self.index,
            pair: self.pair.as_ref().map(ToProto::to_proto),
            query: self.query.clone(),
            observation: Some(self.observation.to_proto()),
        }
    }
}

impl FromProto for PastStep {
    type Proto = v1::PastStep;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        Ok(Self {
            index: proto.index,
            pair: optional("pair", proto.pair)?,
            query: proto.query,
            observation: required::<Observation>("observation", proto.observation)?,
        })
    }
}

impl ToProto for DecideRequest {
    type Proto = v1::DecideRequest;
    fn to_proto(&self) -> Self::Proto {
        v1::DecideRequest {
            episode: self.episode.to_string(),
            step: self.step,
            task: Some(self.task.to_proto()),
            history: list(&self.history),
            remaining: Some(self.remaining.to_proto()),
            mode: self.mode.to_proto().into(),
            slot: self.slot.clone(),
            seed: self.seed,
            min_revision: self.min_revision,
        }
    }
}

impl FromProto for DecideRequest {
    type Proto = v1::DecideRequest;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        Ok(Self {
            mode: ServingMode::from_proto(proto.mode())?,
            episode: parse("episode", &proto.episode)?,
            step: proto.step,
            task: Arc::new(required::<Task>("task", proto.task)?),
            history: read_list("history", proto.history)?,
            remaining: required("remaining", proto.remaining)?,
            slot: proto.slot,
            seed: proto.seed,
            min_revision: proto.min_revision,
        })
    }
}

/// `Decide` answers with a decision or a failure; both are ordinary results.
impl ToProto for Result<Decision, Failure> {
    type Proto = v1::DecideResponse;
    fn to_proto(&self) -> Self::Proto {
        use v1::decide_response::Result as P;
        let result = match self {
            Ok(decision) => P::Decision(decision.to_proto()),
            Err(failure) => P::Failure(failure.to_proto()),
        };
        v1::DecideResponse {
            result: Some(result),
        }
    }
}

impl FromProto for Result<Decision, Failure> {
    type Proto = v1::DecideResponse;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        use v1::decide_response::Result as P;
        match proto.result {
            Some(P::Decision(decision)) => Decision::from_proto(decision).map(Ok),
            Some(P::Failure(failure)) => Failure::from_proto(failure).map(Err),
            None => Err(CoreError::invalid("result", "must be set")),
        }
    }
}

impl ToProto for PolicyManifest {
    type Proto = v1::PolicyManifest;
    fn to_proto(&self) -> Self::Proto {
        v1::PolicyManifest {
            kind: self.kind.clone(),
            weights: self.weights.to_string(),
            created_at: Some(self.created_at.to_proto()),
            notes: self.notes.clone().into_iter().collect(),
        }
    }
}

impl FromProto for PolicyManifest {
    type Proto = v1::PolicyManifest;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        if proto.kind.trim().is_empty() {
            return Err(CoreError::invalid("kind", "must not be empty"));
        }
        let created_at = optional::<Timestamp>("created_at", proto.created_at)?;
        Ok(Self {
            kind: proto.kind,
            weights: parse::<Digest>("weights", &proto.weights)?,
            created_at: created_at.unwrap_or_else(Timestamp::now),
            notes: proto.notes.into_iter().collect(),
        })
    }
}

/// A stored policy as a message.
pub fn policy_to_proto(digest: &Digest, manifest: &PolicyManifest) -> v1::Policy {
    v1::Policy {
        digest: digest.to_string(),
        manifest: Some(manifest.to_proto()),
    }
}

/// Reads a stored policy.
pub fn policy_from_proto(proto: v1::Policy) -> Result<(Digest, PolicyManifest), CoreError> {
    Ok((
        parse("digest", &proto.digest)?,
        required("manifest", proto.manifest)?,
    ))
}
