use maestro_core::{
    CoreError, Digest, MicroUsd, Timestamp,
    answer::AnswerKind,
    task::{Budget, Constraints, ImageRef, Pair, PairPattern, Task, TaskDraft, Weights},
};
use maestro_proto::v1::{self, answer_kind::Kind, image::Source};
use prost::bytes::Bytes;

use crate::{FromProto, ToProto, list, optional, parse, parse_optional, read_list, required, text};

/// A task as a client sent it: its images are not yet in the blob store, nothing is validated.
#[derive(Debug)]
pub struct UncheckedTask {
    /// Everything but the images.
    pub draft: TaskDraft,
    /// The images, by digest or by content.
    pub images: Vec<UncheckedImage>,
}

/// An image as a client sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UncheckedImage {
    /// Uploaded before.
    Digest(Digest),
    /// Sent along.
    Content(Bytes),
}

/// Reads a client's task as far as it can be read without the blob store. Field names in errors
/// are relative to the task.
pub fn unchecked_task(proto: v1::Task) -> Result<UncheckedTask, CoreError> {
    let images = proto
        .images
        .into_iter()
        .enumerate()
        .map(|(index, image)| match image.source {
            Some(Source::Digest(digest)) => {
                parse(&format!("images[{index}].digest"), &digest).map(UncheckedImage::Digest)
            }
            Some(Source::Content(content)) => Ok(UncheckedImage::Content(content)),
            None => Err(CoreError::invalid(
                format!("images[{index}].source"),
                "must be a digest or the content",
            )),
        })
        .collect::<Result<_, _>>()?;
    let budget = proto.budget.unwrap_or_default();
    let weights = optional::<Weights>("weights", proto.weights)?;
    let draft = TaskDraft {
        question: proto.question,
        images: Vec::new(),
        answer_kind: optional("answer_kind", proto.answer_kind)?.unwrap_or_default(),
        max_steps: budget.max_steps,
        deadline: optional("budget.deadline", budget.deadline)?,
        timeout: optional("budget.timeout", budget.timeout)?,
        max_cost_micro_usd: budget.max_cost_micro_usd,
        constraints: optional("constraints", proto.constraints)?.unwrap_or_default(),
        weights,
    };
    Ok(UncheckedTask { draft, images })
}

impl ToProto for Pair {
    type Proto = v1::Pair;
    fn to_proto(&self) -> Self::Proto {
        v1::Pair {
            expert: self.expert.to_string(),
            skill: self.skill.to_string(),
        }
    }
}

impl FromProto for Pair {
    type Proto = v1::Pair;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        Ok(Self {
            expert: parse("expert", &proto.expert)?,
            skill: parse("skill", &proto.skill)?,
        })
    }
}

impl ToProto for PairPattern {
    type Proto = v1::PairPattern;
    fn to_proto(&self) -> Self::Proto {
        v1::PairPattern {
            expert: text(self.expert.as_ref()),
            skill: text(self.skill.as_ref()),
        }
    }
}

impl FromProto for PairPattern {
    type Proto = v1::PairPattern;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        Ok(Self {
            expert: parse_optional("expert", &proto.expert)?,
            skill: parse_optional("skill", &proto.skill)?,
        })
    }
}

impl ToProto for Constraints {
    type Proto = v1::Constraints;
    fn to_proto(&self) -> Self::Proto {
        v1::Constraints {
            allowed: list(&self.allowed),
            denied: list(&self.denied),
            pinned: list(&self.pinned),
        }
    }
}

impl FromProto for Constraints {
    type Proto = v1::Constraints;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        Ok(Self {
            allowed: read_list("allowed", proto.allowed)?,
            denied: read_list("denied", proto.denied)?,
            pinned: read_list("pinned", proto.pinned)?,
        })
    }
}

impl ToProto for Weights {
    type Proto = v1::Weights;
    fn to_proto(&self) -> Self::Proto {
        v1::Weights {
            accuracy: self.accuracy,
            cost: self.cost,
            latency: self.latency,
        }
    }
}

impl FromProto for Weights {
    type Proto = v1::Weights;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        Ok(Self {
            accuracy: proto.accuracy,
            cost: proto.cost,
            latency: proto.latency,
        })
    }
}

impl ToProto for AnswerKind {
    type Proto = v1::AnswerKind;
    fn to_proto(&self) -> Self::Proto {
        use v1::answer_kind as p;
        let kind = match self {
            Self::FreeText => Kind::FreeText(p::FreeText {}),
            Self::Integer => Kind::Integer(p::Integer {}),
            Self::Number => Kind::Number(p::Number {}),
            Self::YesNo => Kind::YesNo(p::YesNo {}),
            Self::Choice { options } => Kind::Choice(p::Choice {
                options: options.clone(),
            }),
            Self::ShortText => Kind::ShortText(p::ShortText {}),
            Self::Date => Kind::Date(p::Date {}),
            Self::Set => Kind::Set(p::Set {}),
            Self::Expression => Kind::Expression(p::Expression {}),
            Self::Program => Kind::Program(p::Program {}),
        };
        v1::AnswerKind { kind: Some(kind) }
    }
}

impl FromProto for AnswerKind {
    type Proto = v1::AnswerKind;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        Ok(match proto.kind {
            None | Some(Kind::FreeText(_)) => Self::FreeText,
            Some(Kind::Integer(_)) => Self::Integer,
            Some(Kind::Number(_)) => Self::Number,
            Some(Kind::YesNo(_)) => Self::YesNo,
            Some(Kind::Choice(choice)) => Self::Choice {
                options: choice.options,
            },
            Some(Kind::ShortText(_)) => Self::ShortText,
            Some(Kind::Date(_)) => Self::Date,
            Some(Kind::Set(_)) => Self::Set,
            Some(Kind::Expression(_)) => Self::Expression,
            Some(Kind::Program(_)) => Self::Program,
        })
    }
}

impl ToProto for ImageRef {
    type Proto = v1::Image;
    fn to_proto(&self) -> Self::Proto {
        v1::Image {
            source: Some(Source::Digest(self.digest.to_string())),
            media_type: self.media_type.clone(),
            width: self.width,
            height: self.height,
            size_bytes: self.bytes,
        }
    }
}

impl FromProto for ImageRef {
    type Proto = v1::Image;
    /// Reads an image between services: by digest, with what admission found out.
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        let Some(Source::Digest(digest)) = proto.source else {
            return Err(CoreError::invalid("source", "must be a digest"));
        };
        Ok(Self {
            digest: parse("digest", &digest)?,
            media_type: proto.media_type,
            width: proto.width,
            height: proto.height,
            bytes: proto.size_bytes,
        })
    }
}

impl ToProto for Task {
    type Proto = v1::Task;
    fn to_proto(&self) -> Self::Proto {
        let cost = |cost: MicroUsd| i64::try_from(cost.0).unwrap_or(i64::MAX);
        v1::Task {
            question: self.question.clone(),
            images: list(&self.images),
            answer_kind: Some(self.answer_kind.to_proto()),
            budget: Some(v1::Budget {
                max_steps: Some(i64::from(self.budget.max_steps)),
                deadline: Some(self.budget.deadline.to_proto()),
                timeout: None,
                max_cost_micro_usd: self.budget.max_cost.map(cost),
            }),
            constraints: Some(self.constraints.to_proto()),
            weights: Some(self.weights.to_proto()),
        }
    }
}

impl FromProto for Task {
    type Proto = v1::Task;
    /// Reads a task between services, or back from storage: it was validated at admission, so
    /// that its deadline may have passed since.
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        let images = read_list::<ImageRef>("images", proto.images)?;
        let budget = proto.budget.unwrap_or_default();
        let deadline = required::<Timestamp>("budget.deadline", budget.deadline)?;
        let cost = |cost: i64| {
            u64::try_from(cost).map(MicroUsd).map_err(|_| {
                CoreError::invalid("budget.max_cost_micro_usd", "must not be negative")
            })
        };
        Ok(Self {
            question: proto.question,
            images,
            answer_kind: optional("answer_kind", proto.answer_kind)?.unwrap_or_default(),
            budget: Budget {
                max_steps: budget
                    .max_steps
                    .and_then(|s| u32::try_from(s).ok())
                    .ok_or_else(|| {
                        CoreError::invalid("budget.max_steps", "must be a positive number")
                    })?,
                deadline,
                max_cost: budget.max_cost_micro_usd.map(cost).transpose()?,
            },
            constraints: optional("constraints", proto.constraints)?.unwrap_or_default(),
            weights: optional("weights", proto.weights)?.unwrap_or_default(),
        })
    }
}
