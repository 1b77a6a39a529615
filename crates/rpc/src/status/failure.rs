use std::{collections::HashMap, time::Duration};

use maestro_core::{
    CoreError,
    episode::{Failure, FailureKind},
};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::{DOMAIN, clip, code_of, reason};

/// Prefix of the reason of a failure's status.
const PREFIX: &str = "FAILURE_";
/// When an overloaded or absent instance may be tried again.
const RETRY: Duration = Duration::from_millis(100);

/// Whose failure it is when a status says only that something went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// An expert was called.
    Expert,
    /// A skill was run.
    Skill,
    /// A decision was asked for: no decision can be had.
    Policy,
}

/// The status by which a worker reports a failed call.
pub fn failure_to_status(failure: &Failure) -> Status {
    let code = match failure.kind {
        FailureKind::Malformed | FailureKind::Rejected => Code::InvalidArgument,
        FailureKind::NotInActionSet => Code::NotFound,
        FailureKind::Unavailable => Code::Unavailable,
        FailureKind::Overloaded => Code::ResourceExhausted,
        FailureKind::Timeout => Code::DeadlineExceeded,
        FailureKind::BudgetExceeded => Code::FailedPrecondition,
        FailureKind::ExpertFailed | FailureKind::SkillFailed => Code::Internal,
    };
    let mut details = ErrorDetails::new();
    let reason = format!("{PREFIX}{}", failure.kind.name().to_ascii_uppercase());
    details.set_error_info(reason, DOMAIN, HashMap::new());
    if matches!(
        failure.kind,
        FailureKind::Unavailable | FailureKind::Overloaded
    ) {
        details.set_retry_info(Some(RETRY));
    }
    Status::with_error_details(code, clip(&failure.message), details)
}

/// The failure that a status stands for. What [`failure_to_status`] made comes back as it was;
/// any other status is read by its code, and where that names no cause, `blame` has failed.
pub fn failure_from_status(status: &Status, blame: Blame) -> Failure {
    let kind = stated_kind(status).unwrap_or_else(|| kind_of_code(status, blame));
    Failure::new(kind, status.message())
}

fn stated_kind(status: &Status) -> Option<FailureKind> {
    let reason = reason(status)?;
    let name = reason.strip_prefix(PREFIX)?.to_ascii_lowercase();
    FailureKind::ALL
        .into_iter()
        .find(|kind| kind.name() == name)
}

fn kind_of_code(status: &Status, blame: Blame) -> FailureKind {
    match code_of(status) {
        Code::DeadlineExceeded => FailureKind::Timeout,
        Code::ResourceExhausted => FailureKind::Overloaded,
        Code::Unavailable => FailureKind::Unavailable,
        Code::InvalidArgument | Code::OutOfRange => FailureKind::Rejected,
        // The peer does not serve what was asked for: its registration is newer or older than it.
        Code::NotFound | Code::Unimplemented => FailureKind::Unavailable,
        _ => match blame {
            Blame::Expert => FailureKind::ExpertFailed,
            Blame::Skill => FailureKind::SkillFailed,
            Blame::Policy => FailureKind::Unavailable,
        },
    }
}

/// A failure as an error, for callers whose own result is not an observation.
pub fn core_error_from_failure(failure: &Failure) -> CoreError {
    let text = failure.message.clone();
    match failure.kind {
        FailureKind::Malformed | FailureKind::Rejected => CoreError::invalid("request", text),
        FailureKind::NotInActionSet | FailureKind::BudgetExceeded => {
            CoreError::FailedPrecondition(text)
        }
        FailureKind::Unavailable => CoreError::Unavailable {
            what: "expert",
            reason: text,
        },
        FailureKind::Overloaded => CoreError::Exhausted {
            what: "calls",
            limit: 0,
            retry_after_ms: u64::try_from(RETRY.as_millis()).unwrap_or(u64::MAX),
        },
        FailureKind::Timeout => CoreError::DeadlineExceeded(text),
        FailureKind::ExpertFailed | FailureKind::SkillFailed => CoreError::Internal(text),
    }
}
