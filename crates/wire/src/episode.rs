use std::sync::Arc;

use maestro_core::{
    CoreError, Digest, MicroUsd, RequestId, TenantId, Timestamp,
    answer::ExtractedAnswer,
    episode::{
        Action, Alternative, Answer, Choice, Conclusion, Decision, Durability, EpisodeRecord,
        EpisodeSpec, EpisodeStatus, Evidence, Failure, FinalAnswer, Observation, Outcome,
        ServingMode, Step, Termination, Trace, Truncation,
    },
    expert_call::Usage,
    task::{Pair, Task},
};
use maestro_proto::v1;

use crate::{FromProto, ToProto, list, optional, parse, parse_optional, read_list, required, text};

impl ToProto for Durability {
    type Proto = v1::Durability;
    fn to_proto(&self) -> Self::Proto {
        match self {
            Self::Durable => v1::Durability::Durable,
            Self::Ephemeral => v1::Durability::Ephemeral,
        }
    }
}

impl ToProto for ServingMode {
    type Proto = v1::ServingMode;
    fn to_proto(&self) -> Self::Proto {
        match self {
            Self::Greedy => v1::ServingMode::Greedy,
            Self::Sampled => v1::ServingMode::Sampled,
        }
    }
}

impl FromProto for ServingMode {
    type Proto = v1::ServingMode;
    /// Unspecified is greedy.
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        Ok(match proto {
            v1::ServingMode::Unspecified | v1::ServingMode::Greedy => Self::Greedy,
            v1::ServingMode::Sampled => Self::Sampled,
        })
    }
}

impl ToProto for EpisodeStatus {
    type Proto = v1::EpisodeStatus;
    fn to_proto(&self) -> Self::Proto {
        match self {
            Self::Running => v1::EpisodeStatus::Running,
            Self::Finished => v1::EpisodeStatus::Finished,
        }
    }
}

impl ToProto for Action {
    type Proto = v1::Action;
    fn to_proto(&self) -> Self::Proto {
        use v1::action::{Action as P, Invoke};
        let action = match self {
            Self::Invoke { pair, query } => P::Invoke(Invoke {
                pair: Some(pair.to_proto()),
                query: query.clone(),
            }),
            Self::Answer(Answer::Observation(index)) => P::AnswerObservation(*index),
            Self::Answer(Answer::Text(text)) => P::AnswerText(text.clone()),
        };
        v1::Action {
            action: Some(action),
        }
    }
}

impl FromProto for Action {
    type Proto = v1::Action;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        use v1::action::Action as P;
        Ok(match proto.action {
            Some(P::Invoke(invoke)) => Self::Invoke {
                pair: required("invoke.pair", invoke.pair)?,
                query: invoke.query,
            },
            Some(P::AnswerObservation(index)) => Self::Answer(Answer::Observation(index)),
            Some(P::AnswerText(text)) => Self::Answer(Answer::Text(text)),
            None => return Err(CoreError::invalid("action", "must be set")),
        })
    }
}

impl ToProto for Alternative {
    type Proto = v1::Alternative;
    fn to_proto(&self) -> Self::Proto {
        use v1::alternative::{AnswerText, Choice as P};
        let choice = match &self.choice {
            Choice::Invoke(pair) => P::Invoke(pair.to_proto()),
            Choice::AnswerObservation(index) => P::AnswerObservation(*index),
            Choice::AnswerText => P::AnswerText(AnswerText {}),
        };
        v1::Alternative {
            choice: Some(choice),
            probability: self.probability,
        }
    }
}

impl FromProto for Alternative {
    type Proto = v1::Alternative;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        use v1::alternative::Choice as P;
        let choice = match proto.choice {
            Some(P::Invoke(pair)) => Choice::Invoke(Pair::from_proto(pair)?),
            Some(P::AnswerObservation(index)) => Choice::AnswerObservation(index),
            Some(P::AnswerText(_)) => Choice::AnswerText,
            None => return Err(CoreError::invalid("choice", "must be set")),
        };
        Ok(Self {
            choice,
            probability: proto.probability,
        })
    }
}

impl ToProto for Trace {
    type Proto = v1::Trace;
    fn to_proto(&self) -> Self::Proto {
        use v1::trace::Content;
        let (format, content) = match self {
            Self::Inline(format, content) => (format, Content::Inline(content.clone())),
            Self::Blob(format, digest) => (format, Content::Blob(digest.to_string())),
        };
        v1::Trace {
            format: format.clone(),
            content: Some(content),
        }
    }
}

impl FromProto for Trace {
    type Proto = v1::Trace;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        use v1::trace::Content;
        Ok(match proto.content {
            Some(Content::Inline(content)) => Self::Inline(proto.format, content),
            Some(Content::Blob(digest)) => Self::Blob(proto.format, parse("blob", &digest)?),
            None => return Err(CoreError::invalid("content", "must be set")),
        })
    }
}

impl ToProto for Decision {
    type Proto = v1::Decision;
    fn to_proto(&self) -> Self::Proto {
        v1::Decision {
            action: Some(self.action.to_proto()),
            log_prob: self.log_prob,
            probability: self.probability,
            mode: self.mode.to_proto().into(),
            alternatives: list(&self.alternatives),
            policy_version: self.policy_version.clone(),
            catalogue: text(self.catalogue.as_ref()),
            revision: self.revision,
            trace: self.trace.as_ref().map(ToProto::to_proto),
        }
    }
}

impl FromProto for Decision {
    type Proto = v1::Decision;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        let mode = ServingMode::from_proto(proto.mode())?;
        Ok(Self {
            action: required("action", proto.action)?,
            log_prob: proto.log_prob,
            probability: proto.probability,
            mode,
            alternatives: read_list("alternatives", proto.alternatives)?,
            policy_version: proto.policy_version,
            catalogue: parse_optional::<Digest>("catalogue", &proto.catalogue)?,
            revision: proto.revision,
            trace: optional("trace", proto.trace)?,
        })
    }
}

impl ToProto for ExtractedAnswer {
    type Proto = v1::ExtractedAnswer;
    fn to_proto(&self) -> Self::Proto {
        v1::ExtractedAnswer {
            value: self.value.clone(),
            confidence: self.confidence,
        }
    }
}

impl FromProto for ExtractedAnswer {
    type Proto = v1::ExtractedAnswer;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        Ok(Self {
            value: proto.value,
            confidence: proto.confidence,
        })
    }
}

impl ToProto for Evidence {
    type Proto = v1::Evidence;
    fn to_proto(&self) -> Self::Proto {
        v1::Evidence {
            label: self.label.clone(),
            text: self.text.clone(),
            image: text(self.image.as_ref()),
        }
    }
}

impl FromProto for Evidence {
    type Proto = v1::Evidence;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        let image = parse_optional("image", &proto.image)?;
        Ok(Self {
            label: proto.label,
            text: proto.text,
            image,
        })
    }
}

impl ToProto for Usage {
    type Proto = v1::Usage;
    fn to_proto(&self) -> Self::Proto {
        v1::Usage {
            cost_micro_usd: self.cost.0,
            calls: self.calls,
            repeated_calls: self.repeated_calls,
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            expert_time: Some(self.expert_time.to_proto()),
        }
    }
}

impl FromProto for Usage {
    type Proto = v1::Usage;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        Ok(Self {
            cost: MicroUsd(proto.cost_micro_usd),
            calls: proto.calls,
            repeated_calls: proto.repeated_calls,
            input_tokens: proto.input_tokens,
            output_tokens: proto.output_tokens,
            expert_time: optional("expert_time", proto.expert_time)?.unwrap_or_default(),
        })
    }
}

impl ToProto for Observation {
    type Proto = v1::Observation;
    fn to_proto(&self) -> Self::Proto {
        v1::Observation {
            failure: self.failure.as_ref().map(ToProto::to_proto),
            text: self.text.clone(),
            answer: self.answer.as_ref().map(ToProto::to_proto),
            evidence: list(&self.evidence),
            solver: self.solver.clone().unwrap_or_default(),
            skill_digest: text(self.skill_digest.as_ref()),
            instance: text(self.instance.as_ref()),
            usage: Some(self.usage.to_proto()),
        }
    }
}

impl FromProto for Observation {
    type Proto = v1::Observation;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        Ok(Self {
            failure: optional::<Failure>("failure", proto.failure)?,
            text: proto.text,
            answer: optional("answer", proto.answer)?,
            evidence: read_list("evidence", proto.evidence)?,
            solver: Some(proto.solver).filter(|solver| !solver.is_empty()),
            skill_digest: parse_optional("skill_digest", &proto.skill_digest)?,
            instance: parse_optional("instance", &proto.instance)?,
            usage: optional("usage", proto.usage)?.unwrap_or_default(),
        })
    }
}

impl ToProto for Step {
    type Proto = v1::Step;
    fn to_proto(&self) -> Self::Proto {
        v1::Step {
            index: self.index,
            decision: Some(self.decision.to_proto()),
            observation: self.observation.as_ref().map(ToProto::to_proto),
            started_at: Some(self.started_at.to_proto()),
            decided_at: Some(self.decided_at.to_proto()),
            finished_at: Some(self.finished_at.to_proto()),
        }
    }
}

impl FromProto for Step {
    type Proto = v1::Step;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        Ok(Self {
            index: proto.index,
            decision: required("decision", proto.decision)?,
            observation: optional("observation", proto.observation)?,
            started_at: required("started_at", proto.started_at)?,
            decided_at: required("decided_at", proto.decided_at)?,
            finished_at: required("finished_at", proto.finished_at)?,
        })
    }
}

impl ToProto for Termination {
    type Proto = v1::Termination;
    fn to_proto(&self) -> Self::Proto {
        use v1::termination::{Answered, Cancelled, Limit, Termination as P, Truncated};
        let limit = |limit: Limit| {
            P::Truncated(Truncated {
                limit: limit.into(),
            })
        };
        let termination = match self {
            Self::Answered => P::Answered(Answered {}),
            Self::Truncated(Truncation::Steps) => limit(Limit::Steps),
            Self::Truncated(Truncation::Deadline) => limit(Limit::Deadline),
            Self::Cancelled { reason } => P::Cancelled(Cancelled {
                reason: reason.clone(),
            }),
            Self::Failed(failure) => P::Failed(failure.to_proto()),
        };
        v1::Termination {
            termination: Some(termination),
        }
    }
}

impl FromProto for Termination {
    type Proto = v1::Termination;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        use v1::termination::{Limit, Termination as P};
        Ok(match proto.termination {
            Some(P::Answered(_)) => Self::Answered,
            Some(P::Truncated(truncated)) => match truncated.limit() {
                Limit::Steps => Self::Truncated(Truncation::Steps),
                Limit::Deadline => Self::Truncated(Truncation::Deadline),
                Limit::Unspecified => {
                    return Err(CoreError::invalid(
                        "truncated.limit",
                        "must be a known limit",
                    ));
                }
            },
            Some(P::Cancelled(cancelled)) => Self::Cancelled {
                reason: cancelled.reason,
            },
            Some(P::Failed(failure)) => Self::Failed(Failure::from_proto(failure)?),
            None => return Err(CoreError::invalid("termination", "must be set")),
        })
    }
}

impl ToProto for FinalAnswer {
    type Proto = v1::FinalAnswer;
    fn to_proto(&self) -> Self::Proto {
        v1::FinalAnswer {
            value: self.value.clone(),
            from_step: self.from_step,
            confidence: self.confidence,
        }
    }
}

impl FromProto for FinalAnswer {
    type Proto = v1::FinalAnswer;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        Ok(Self {
            value: proto.value,
            from_step: proto.from_step,
            confidence: proto.confidence,
        })
    }
}

impl ToProto for Conclusion {
    type Proto = v1::Conclusion;
    fn to_proto(&self) -> Self::Proto {
        v1::Conclusion {
            termination: Some(self.termination.to_proto()),
            answer: self.answer.as_ref().map(ToProto::to_proto),
            usage: Some(self.usage.to_proto()),
            unsettled_cost_micro_usd: self.unsettled_cost.0,
            finished_at: Some(self.finished_at.to_proto()),
        }
    }
}

impl FromProto for Conclusion {
    type Proto = v1::Conclusion;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        Ok(Self {
            termination: required("termination", proto.termination)?,
            answer: optional("answer", proto.answer)?,
            usage: optional("usage", proto.usage)?.unwrap_or_default(),
            unsettled_cost: MicroUsd(proto.unsettled_cost_micro_usd),
            finished_at: required("finished_at", proto.finished_at)?,
        })
    }
}

impl ToProto for Outcome {
    type Proto = v1::Outcome;
    fn to_proto(&self) -> Self::Proto {
        v1::Outcome {
            score: self.score,
            source: self.source.clone(),
            reported_at: Some(self.reported_at.to_proto()),
        }
    }
}

impl FromProto for Outcome {
    type Proto = v1::Outcome;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        if !(0.0..=1.0).contains(&proto.score) {
            return Err(CoreError::invalid(
                "score",
                format!("is {}; must be 0 to 1", proto.score),
            ));
        }
        let reported_at = optional::<Timestamp>("reported_at", proto.reported_at)?;
        Ok(Self {
            score: proto.score,
            source: proto.source,
            reported_at: reported_at.unwrap_or_else(Timestamp::now),
        })
    }
}

impl ToProto for EpisodeRecord {
    type Proto = v1::Episode;
    fn to_proto(&self) -> Self::Proto {
        let spec = &self.spec;
        v1::Episode {
            id: spec.id.to_string(),
            tenant: spec.tenant.to_string(),
            request_id: spec
                .request_id
                .as_ref()
                .map(|id| id.as_str().to_owned())
                .unwrap_or_default(),
            task: Some(spec.task.to_proto()),
            durability: spec.durability.to_proto().into(),
            mode: spec.mode.to_proto().into(),
            slot: spec.slot.clone(),
            seed: spec.seed,
            created_at: Some(spec.created_at.to_proto()),
            status: self.status().to_proto().into(),
            steps: list(&self.steps),
            conclusion: self.conclusion.as_ref().map(ToProto::to_proto),
            outcome: self.outcome.as_ref().map(ToProto::to_proto),
        }
    }
}

impl FromProto for EpisodeRecord {
    type Proto = v1::Episode;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        let durability = match proto.durability() {
            v1::Durability::Ephemeral => Durability::Ephemeral,
            v1::Durability::Unspecified | v1::Durability::Durable => Durability::Durable,
        };
        let spec = EpisodeSpec {
            mode: ServingMode::from_proto(proto.mode())?,
            id: parse("id", &proto.id)?,
            tenant: parse::<TenantId>("tenant", &proto.tenant)?,
            request_id: Some(proto.request_id)
                .filter(|id| !id.is_empty())
                .map(RequestId::new)
                .transpose()?,
            task: Arc::new(required::<Task>("task", proto.task)?),
            durability,
            slot: proto.slot,
            seed: proto.seed,
            created_at: required("created_at", proto.created_at)?,
        };
        Ok(Self {
            spec,
            steps: read_list("steps", proto.steps)?,
            conclusion: optional("conclusion", proto.conclusion)?,
            outcome: optional("outcome", proto.outcome)?,
        })
    }
}
