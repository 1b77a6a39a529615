use maestro_core::{CoreError, MicroUsd, skill_run::SkillRun};
use maestro_proto::v1;

use crate::{FromProto, ToProto, list, optional, parse, parse_optional, read_list, required, text};

impl ToProto for SkillRun {
    type Proto = v1::RunRequest;
    fn to_proto(&self) -> Self::Proto {
        v1::RunRequest {
            episode: self.episode.to_string(),
            step: self.step,
            pair: Some(self.pair.to_proto()),
            skill_digest: self.skill_digest.to_string(),
            question: self.question.clone(),
            query: self.query.clone(),
            images: list(&self.images),
            answer_kind: Some(self.answer_kind.to_proto()),
            max_cost_micro_usd: self.max_cost.map(|cost| cost.0),
            deadline: Some(self.deadline.to_proto()),
            instance: text(self.instance.as_ref()),
        }
    }
}

impl FromProto for SkillRun {
    type Proto = v1::RunRequest;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        Ok(Self {
            episode: parse("episode", &proto.episode)?,
            step: proto.step,
            pair: required("pair", proto.pair)?,
            skill_digest: parse("skill_digest", &proto.skill_digest)?,
            question: proto.question,
            query: proto.query,
            images: read_list("images", proto.images)?,
            answer_kind: optional("answer_kind", proto.answer_kind)?.unwrap_or_default(),
            max_cost: proto.max_cost_micro_usd.map(MicroUsd),
            deadline: required("deadline", proto.deadline)?,
            instance: parse_optional("instance", &proto.instance)?,
        })
    }
}
