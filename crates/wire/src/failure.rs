use maestro_core::{
    CoreError,
    episode::{Failure, FailureKind},
};
use maestro_proto::v1;

use crate::{FromProto, ToProto};

impl ToProto for FailureKind {
    type Proto = v1::FailureKind;
    fn to_proto(&self) -> Self::Proto {
        match self {
            Self::Malformed => v1::FailureKind::Malformed,
            Self::NotInActionSet => v1::FailureKind::NotInActionSet,
            Self::Unavailable => v1::FailureKind::Unavailable,
            Self::Overloaded => v1::FailureKind::Overloaded,
            Self::Timeout => v1::FailureKind::Timeout,
            Self::BudgetExceeded => v1::FailureKind::BudgetExceeded,
            Self::Rejected => v1::FailureKind::Rejected,
            Self::ExpertFailed => v1::FailureKind::ExpertFailed,
            Self::SkillFailed => v1::FailureKind::SkillFailed,
        }
    }
}

impl FromProto for FailureKind {
    type Proto = v1::FailureKind;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        Ok(match proto {
            v1::FailureKind::Unspecified => {
                return Err(CoreError::invalid("kind", "must be set to a known kind"));
            }
            v1::FailureKind::Malformed => Self::Malformed,
            v1::FailureKind::NotInActionSet => Self::NotInActionSet,
            v1::FailureKind::Unavailable => Self::Unavailable,
            v1::FailureKind::Overloaded => Self::Overloaded,
            v1::FailureKind::Timeout => Self::Timeout,
            v1::FailureKind::BudgetExceeded => Self::BudgetExceeded,
            v1::FailureKind::Rejected => Self::Rejected,
            v1::FailureKind::ExpertFailed => Self::ExpertFailed,
            v1::FailureKind::SkillFailed => Self::SkillFailed,
        })
    }
}

impl ToProto for Failure {
    type Proto = v1::Failure;
    fn to_proto(&self) -> Self::Proto {
        v1::Failure {
            kind: self.kind.to_proto().into(),
            message: self.message.clone(),
        }
    }
}

impl FromProto for Failure {
    type Proto = v1::Failure;
    fn from_proto(proto: Self::Proto) -> Result<Self, CoreError> {
        Ok(Self {
            kind: FailureKind::from_proto(proto.kind())?,
            message: proto.message,
        })
    }
}
