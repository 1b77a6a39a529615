use maestro_core::{CoreError, MicroUsd, episode::PendingCall};
use maestro_proto::v1;

use crate::{FromProto, ToProto, parse_optional, required, text};

impl ToProto for PendingCall {
    type Proto = v1::StoredCall;
    fn to_proto(&self) -> Self::Proto {
        v1::StoredCall {
            step: self.step,
            decision: Some(self.decision.to_proto()),
            started_at: Some(self.started_at.to_proto()),
            decided_at: Some(self.decided_at.to_proto()),
            max_cost_micro_usd: self.max_cost.map(|cost| cost.0),
            repeated: self.repeated,
            instance: text(self.instance.as_ref()),
        }
    }
}

impl FromProto for PendingCall {
    type Proto = v1::StoredCall;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        Ok(Self {
            step: proto.step,
            decision: required("decision", proto.decision)?,
            started_at: required("started_at", proto.started_at)?,
            decided_at: required("decided_at", proto.decided_at)?,
            max_cost: proto.max_cost_micro_usd.map(MicroUsd),
            repeated: proto.repeated,
            instance: parse_optional("instance", &proto.instance)?,
        })
    }
}
