use std::collections::BTreeSet;

use maestro_core::{
    Capability, CoreError, Digest, MicroUsd,
    registry::{
        BackendSpec, CallBounds, Descriptor, ImageNeed, Instance, Limits, Modality, PolicySlot,
        Price, SkillHeader, SolverHeader,
    },
};
use maestro_proto::v1;
use prost_types::{ListValue, Struct, Value, value::Kind};

use crate::{FromProto, ToProto, list, optional, parse, parse_optional, read_list, required, text};

impl ToProto for Modality {
    type Proto = i32;
    fn to_proto(&self) -> Self::Proto {
        match self {
            Self::Text => v1::Modality::Text.into(),
            Self::Image => v1::Modality::Image.into(),
        }
    }
}

impl FromProto for Modality {
    type Proto = i32;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        match v1::Modality::try_from(proto) {
            Ok(v1::Modality::Text) => Ok(Self::Text),
            Ok(v1::Modality::Image) => Ok(Self::Image),
            _ => Err(CoreError::invalid("modality", "must be text or image")),
        }
    }
}

impl ToProto for Price {
    type Proto = v1::Price;
    fn to_proto(&self) -> Self::Proto {
        v1::Price {
            input_micro_usd_per_mtok: self.input_per_mtok.0,
            output_micro_usd_per_mtok: self.output_per_mtok.0,
            micro_usd_per_call: self.per_call.0,
        }
    }
}

impl FromProto for Price {
    type Proto = v1::Price;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        Ok(Self {
            input_per_mtok: MicroUsd(proto.input_micro_usd_per_mtok),
            output_per_mtok: MicroUsd(proto.output_micro_usd_per_mtok),
            per_call: MicroUsd(proto.micro_usd_per_call),
        })
    }
}

impl ToProto for Limits {
    type Proto = v1::Limits;
    fn to_proto(&self) -> Self::Proto {
        v1::Limits {
            context_tokens: self.context_tokens,
            max_output_tokens: self.max_output_tokens,
            max_images: self.max_images,
            max_concurrency: self.max_concurrency,
            timeout_ms: self.timeout_ms,
        }
    }
}

impl FromProto for Limits {
    type Proto = v1::Limits;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        Ok(Self {
            context_tokens: proto.context_tokens,
            max_output_tokens: proto.max_output_tokens,
            max_images: proto.max_images,
            max_concurrency: proto.max_concurrency,
            timeout_ms: proto.timeout_ms,
        })
    }
}

impl ToProto for BackendSpec {
    type Proto = v1::BackendSpec;
    fn to_proto(&self) -> Self::Proto {
        let fields = self
            .config
            .iter()
            .map(|(key, value)| (key.clone(), json_to_proto(value)))
            .collect();
        v1::BackendSpec {
            kind: self.kind.clone(),
            config: Some(Struct { fields }),
        }
    }
}

impl FromProto for BackendSpec {
    type Proto = v1::BackendSpec;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        let fields = proto.config.unwrap_or_default().fields;
        let config = fields
            .into_iter()
            .map(|(key, value)| json_from_proto(value, 0).map(|value| (key, value)))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            kind: proto.kind,
            config,
        })
    }
}

fn json_to_proto(value: &serde_json::Value) -> Value {
    let kind = match value {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(value) => Kind::BoolValue(*value),
        serde_json::Value::Number(value) => Kind::NumberValue(value.as_f64().unwrap_or_default()),
        serde_json::Value::String(value) => Kind::StringValue(value.clone()),
        serde_json::Value::Array(values) => Kind::ListValue(ListValue {
            values: values.iter().map(json_to_proto).collect(),
        }),
        serde_json::Value::Object(fields) => Kind::StructValue(Struct {
            fields: fields
                .iter()
                .map(|(key, value)| (key.clone(), json_to_proto(value)))
                .collect(),
        }),
    };
    Value { kind: Some(kind) }
}

/// Deepest nesting of a backend's settings.
const MAX_DEPTH: u32 = 16;

fn json_from_proto(value: Value, depth: u32) -> Result<serde_json::Value, CoreError> {
    if depth > MAX_DEPTH {
        return Err(CoreError::invalid(
            "config",
            format!("is nested deeper than {MAX_DEPTH}"),
        ));
    }
    Ok(match value.kind {
        None | Some(Kind::NullValue(_)) => serde_json::Value::Null,
        Some(Kind::BoolValue(value)) => value.into(),
        Some(Kind::NumberValue(value)) => number(value),
        Some(Kind::StringValue(value)) => value.into(),
        Some(Kind::ListValue(list)) => list
            .values
            .into_iter()
            .map(|value| json_from_proto(value, depth + 1))
            .collect::<Result<Vec<_>, _>>()?
            .into(),
        Some(Kind::StructValue(object)) => object
            .fields
            .into_iter()
            .map(|(key, value)| json_from_proto(value, depth + 1).map(|value| (key, value)))
            .collect::<Result<serde_json::Map<_, _>, _>>()?
            .into(),
    })
}

/// The protocol has doubles only; whole ones become integers again, so that a descriptor's digest
/// does not depend on the way it came.
fn number(value: f64) -> serde_json::Value {
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53
    if value.fract() == 0.0 && value.abs() < EXACT {
        (value as i64).into()
    } else {
        value.into()
    }
}

impl ToProto for Descriptor {
    type Proto = v1::ExpertDescriptor;
    fn to_proto(&self) -> Self::Proto {
        v1::ExpertDescriptor {
            name: self.name.to_string(),
            description: self.description.clone(),
            capabilities: strings(&self.capabilities),
            modalities: list(&self.modalities),
            price: self.price.as_ref().map(ToProto::to_proto),
            limits: Some(self.limits.to_proto()),
            typical_latency_ms: self.typical_latency_ms,
            backend: self.backend.as_ref().map(ToProto::to_proto),
        }
    }
}

impl FromProto for Descriptor {
    type Proto = v1::ExpertDescriptor;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        let descriptor = Self {
            name: parse("name", &proto.name)?,
            description: proto.description,
            capabilities: capabilities("capabilities", &proto.capabilities)?,
            modalities: read_list("modalities", proto.modalities)?
                .into_iter()
                .collect(),
            price: optional("price", proto.price)?,
            limits: optional("limits", proto.limits)?.unwrap_or_default(),
            typical_latency_ms: proto.typical_latency_ms,
            backend: optional("backend", proto.backend)?,
        };
        descriptor.validate()?;
        Ok(descriptor)
    }
}

impl ToProto for Instance {
    type Proto = v1::ExpertInstance;
    fn to_proto(&self) -> Self::Proto {
        v1::ExpertInstance {
            expert: self.expert.to_string(),
            id: self.id.to_string(),
            endpoint: self.endpoint.to_string(),
            capacity: self.capacity,
            written_at: Some(self.written_at.to_proto()),
        }
    }
}

impl FromProto for Instance {
    type Proto = v1::ExpertInstance;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        Ok(Self {
            expert: parse("expert", &proto.expert)?,
            id: parse("id", &proto.id)?,
            endpoint: proto
                .endpoint
                .parse()
                .map_err(|error| CoreError::invalid("endpoint", format!("{error}")))?,
            capacity: proto.capacity,
            written_at: required("written_at", proto.written_at)?,
        })
    }
}

impl ToProto for SkillHeader {
    type Proto = v1::SkillHeader;
    fn to_proto(&self) -> Self::Proto {
        let images = match self.images {
            ImageNeed::Optional => v1::ImageNeed::Optional,
            ImageNeed::Required => v1::ImageNeed::Required,
            ImageNeed::None => v1::ImageNeed::None,
        };
        v1::SkillHeader {
            name: self.name.to_string(),
            description: self.description.clone(),
            bundle: self.bundle.to_string(),
            requires: strings(&self.requires),
            helpers: strings(&self.helpers),
            optional_helpers: strings(&self.optional_helpers),
            images: images.into(),
            expert_reads_images: self.expert_reads_images,
            answer_kinds: self.answer_kinds.iter().cloned().collect(),
            direct: self.direct,
            hedge: self.hedge,
            bounds: Some(v1::CallBounds {
                expert_calls: self.bounds.expert_calls,
                helper_calls: self.bounds.helper_calls,
                input_tokens: self.bounds.input_tokens,
                output_tokens: self.bounds.output_tokens,
            }),
            solvers: self
                .solvers
                .iter()
                .map(|solver| v1::SolverHeader {
                    name: solver.name.clone(),
                    description: solver.description.clone(),
                })
                .collect(),
        }
    }
}

impl FromProto for SkillHeader {
    type Proto = v1::SkillHeader;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        let images = match proto.images() {
            v1::ImageNeed::Unspecified | v1::ImageNeed::Optional => ImageNeed::Optional,
            v1::ImageNeed::Required => ImageNeed::Required,
            v1::ImageNeed::None => ImageNeed::None,
        };
        let bounds = proto.bounds.unwrap_or_default();
        let header = Self {
            name: parse("name", &proto.name)?,
            description: proto.description,
            bundle: parse::<Digest>("bundle", &proto.bundle)?,
            requires: capabilities("requires", &proto.requires)?,
            helpers: capabilities("helpers", &proto.helpers)?,
            optional_helpers: capabilities("optional_helpers", &proto.optional_helpers)?,
            images,
            expert_reads_images: proto.expert_reads_images,
            answer_kinds: proto.answer_kinds.into_iter().collect(),
            direct: proto.direct,
            hedge: proto.hedge,
            bounds: CallBounds {
                expert_calls: bounds.expert_calls,
                helper_calls: bounds.helper_calls,
                input_tokens: bounds.input_tokens,
                output_tokens: bounds.output_tokens,
            },
            solvers: proto
                .solvers
                .into_iter()
                .map(|solver| SolverHeader {
                    name: solver.name,
                    description: solver.description,
                })
                .collect(),
        };
        header.validate()?;
        Ok(header)
    }
}

impl ToProto for PolicySlot {
    type Proto = v1::PolicySlot;
    fn to_proto(&self) -> Self::Proto {
        v1::PolicySlot {
            active: self.active.to_string(),
            shadow: text(self.shadow.as_ref()),
            previous: text(self.previous.as_ref()),
        }
    }
}

impl FromProto for PolicySlot {
    type Proto = v1::PolicySlot;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        Ok(Self {
            active: parse("active", &proto.active)?,
            shadow: parse_optional("shadow", &proto.shadow)?,
            previous: parse_optional("previous", &proto.previous)?,
        })
    }
}

fn strings(set: &BTreeSet<Capability>) -> Vec<String> {
    set.iter().map(ToString::to_string).collect()
}

fn capabilities(field: &str, values: &[String]) -> Result<BTreeSet<Capability>, CoreError> {
    values
        .iter()
        .enumerate()
        .map(|(index, value)| parse(&format!("{field}[{index}]"), value))
        .collect()
}
