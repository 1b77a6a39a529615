use maestro_core::{
    CoreError,
    expert_call::{
        Detection, ExpertCall, ExpertReply, Finding, Generation, Load, Message, Role, TextRegion,
    },
    ids::IdempotencyKey,
};
use maestro_proto::v1;

use crate::{FromProto, ToProto, list, optional, parse, parse_optional, read_list, required, text};

impl ToProto for IdempotencyKey {
    type Proto = v1::IdempotencyKey;
    fn to_proto(&self) -> Self::Proto {
        v1::IdempotencyKey {
            episode: self.episode.to_string(),
            step: self.step,
            path: self.path.clone(),
            sample: self.sample,
        }
    }
}

impl FromProto for IdempotencyKey {
    type Proto = v1::IdempotencyKey;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        Ok(Self {
            episode: parse("episode", &proto.episode)?,
            step: proto.step,
            path: proto.path,
            sample: proto.sample,
        })
    }
}

impl ToProto for Message {
    type Proto = v1::Message;
    fn to_proto(&self) -> Self::Proto {
        let role = match self.role {
            Role::System => v1::message::Role::System,
            Role::User => v1::message::Role::User,
            Role::Assistant => v1::message::Role::Assistant,
        };
        v1::Message {
            role: role.into(),
            text: self.text.clone(),
        }
    }
}

impl FromProto for Message {
    type Proto = v1::Message;
    /// An unspecified role is the user's.
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        let role = match proto.role() {
            v1::message::Role::System => Role::System,
            v1::message::Role::Unspecified | v1::message::Role::User => Role::User,
            v1::message::Role::Assistant => Role::Assistant,
        };
        Ok(Self {
            role,
            text: proto.text,
        })
    }
}

impl ToProto for Generation {
    type Proto = v1::Generation;
    fn to_proto(&self) -> Self::Proto {
        v1::Generation {
            max_output_tokens: self.max_output_tokens,
            temperature: self.temperature,
            stop: self.stop.clone(),
            seed: self.seed,
            log_probs: self.log_probs,
        }
    }
}

impl FromProto for Generation {
    type Proto = v1::Generation;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        if !(0.0..=10.0).contains(&proto.temperature) {
            return Err(CoreError::invalid("temperature", "must be 0 to 10"));
        }
        Ok(Self {
            max_output_tokens: proto.max_output_tokens,
            temperature: proto.temperature,
            stop: proto.stop,
            seed: proto.seed,
            log_probs: proto.log_probs,
        })
    }
}

impl ToProto for ExpertCall {
    type Proto = v1::InvokeRequest;
    fn to_proto(&self) -> Self::Proto {
        v1::InvokeRequest {
            expert: self.expert.to_string(),
            capability: self.capability.to_string(),
            operation: self.operation.clone(),
            messages: list(&self.messages),
            images: self.images.iter().map(ToString::to_string).collect(),
            generation: Some(self.generation.to_proto()),
            key: Some(self.key.to_proto()),
            deadline: Some(self.deadline.to_proto()),
        }
    }
}

impl FromProto for ExpertCall {
    type Proto = v1::InvokeRequest;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        let images = proto
            .images
            .iter()
            .enumerate()
            .map(|(index, digest)| parse(&format!("images[{index}]"), digest))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            expert: parse("expert", &proto.expert)?,
            capability: parse("capability", &proto.capability)?,
            operation: proto.operation,
            messages: read_list("messages", proto.messages)?,
            images,
            generation: optional("generation", proto.generation)?.unwrap_or_default(),
            key: required("key", proto.key)?,
            deadline: required("deadline", proto.deadline)?,
            instance: None,
        })
    }
}

impl ToProto for TextRegion {
    type Proto = v1::TextRegion;
    fn to_proto(&self) -> Self::Proto {
        v1::TextRegion {
            text: self.text.clone(),
            confidence: self.confidence,
            quad: self.quad.iter().map(|&[x, y]| v1::Point { x, y }).collect(),
            word_confidences: self.word_confidences.clone(),
        }
    }
}

impl FromProto for TextRegion {
    type Proto = v1::TextRegion;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        let points: Vec<[f32; 2]> = proto.quad.iter().map(|point| [point.x, point.y]).collect();
        let quad = points
            .try_into()
            .map_err(|_| CoreError::invalid("quad", "must have four corners"))?;
        Ok(Self {
            text: proto.text,
            confidence: proto.confidence,
            quad,
            word_confidences: proto.word_confidences,
        })
    }
}

impl ToProto for Detection {
    type Proto = v1::Detection;
    fn to_proto(&self) -> Self::Proto {
        let [left, top, right, bottom] = self.bounds;
        v1::Detection {
            label: self.label.clone(),
            confidence: self.confidence,
            left,
            top,
            right,
            bottom,
        }
    }
}

impl FromProto for Detection {
    type Proto = v1::Detection;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        Ok(Self {
            label: proto.label,
            confidence: proto.confidence,
            bounds: [proto.left, proto.top, proto.right, proto.bottom],
        })
    }
}

impl ToProto for Finding {
    type Proto = v1::Finding;
    fn to_proto(&self) -> Self::Proto {
        v1::Finding {
            value: self.value.clone(),
            confidence: self.confidence,
            evidence: self.evidence.clone(),
        }
    }
}

impl FromProto for Finding {
    type Proto = v1::Finding;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        Ok(Self {
            value: proto.value,
            confidence: proto.confidence,
            evidence: proto.evidence,
        })
    }
}

impl ToProto for Load {
    type Proto = v1::Load;
    fn to_proto(&self) -> Self::Proto {
        v1::Load {
            in_flight: self.in_flight,
            capacity: self.capacity,
        }
    }
}

impl FromProto for Load {
    type Proto = v1::Load;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        Ok(Self {
            in_flight: proto.in_flight,
            capacity: proto.capacity,
        })
    }
}

impl ToProto for ExpertReply {
    type Proto = v1::InvokeResponse;
    fn to_proto(&self) -> Self::Proto {
        v1::InvokeResponse {
            text: self.text.clone(),
            regions: list(&self.regions),
            detections: list(&self.detections),
            findings: list(&self.findings),
            embeddings: self
                .embeddings
                .iter()
                .map(|values| v1::Embedding {
                    values: values.clone(),
                })
                .collect(),
            token_log_probs: self.token_log_probs.clone(),
            finish_reason: self.finish_reason.clone(),
            usage: Some(self.usage.to_proto()),
            load: Some(self.load.to_proto()),
            instance: text(self.instance.as_ref()),
        }
    }
}

impl FromProto for ExpertReply {
    type Proto = v1::InvokeResponse;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        Ok(Self {
            text: proto.text,
            regions: read_list("regions", proto.regions)?,
            detections: read_list("detections", proto.detections)?,
            findings: read_list("findings", proto.findings)?,
            embeddings: proto.embeddings.into_iter().map(|e| e.values).collect(),
            token_log_probs: proto.token_log_probs,
            finish_reason: proto.finish_reason,
            usage: optional("usage", proto.usage)?.unwrap_or_default(),
            load: optional("load", proto.load)?.unwrap_or_default(),
            instance: parse_optional("instance", &proto.instance)?,
        })
    }
}
