//! What the end of a call means: for the instance, for the caller, for a repetition.

use maestro_core::{
    episode::{Failure, FailureKind},
    expert_call::ExpertReply,
};
use tonic::{Code, Status};

use super::table::CallEnd;
use crate::status::{Blame, code_of, failure_from_status, is_unprocessed};

/// Where a call that was not begun can go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// To another instance.
    Elsewhere,
    /// To another instance, or to the same one a little later: it was full.
    Full,
}

/// How one attempt ended.
#[derive(Debug)]
pub(super) enum Verdict {
    /// This is the call's result.
    Done(Result<Box<ExpertReply>, Failure>),
    /// The instance has not begun the call.
    Again(Failure, Next),
}

/// Judges a failed attempt. `own_limit` says whether its time was cut by the expert's own limit,
/// rather than by the caller's deadline.
pub(super) fn judge(status: &Status, own_limit: bool) -> (CallEnd, Failure, Option<Next>) {
    let failure = failure_from_status(status, Blame::Expert);
    if is_unprocessed(status) {
        return match failure.kind {
            FailureKind::Overloaded => (CallEnd::Neutral, failure, Some(Next::Full)),
            _ => (CallEnd::Failed, failure, Some(Next::Elsewhere)),
        };
    }
    let end = match failure.kind {
        FailureKind::Timeout if own_limit => CallEnd::Failed,
        FailureKind::Timeout | FailureKind::Overloaded => CallEnd::Neutral,
        FailureKind::Unavailable | FailureKind::ExpertFailed | FailureKind::SkillFailed => {
            // A server that says "not found" or "not served" lives, but does not serve the call.
            match code_of(status) {
                Code::FailedPrecondition | Code::PermissionDenied | Code::Unauthenticated => {
                    CallEnd::Answered
                }
                _ => CallEnd::Failed,
            }
        }
        FailureKind::Malformed
        | FailureKind::NotInActionSet
        | FailureKind::BudgetExceeded
        | FailureKind::Rejected => CallEnd::Answered,
    };
    (end, failure, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{draining, failure_to_status};

    #[test]
    fn a_call_goes_elsewhere_only_if_it_was_not_begun() {
        let (end, failure, next) = judge(&draining(), false);
        assert_eq!(
            (end, failure.kind),
            (CallEnd::Failed, FailureKind::Unavailable)
        );
        assert_eq!(next, Some(Next::Elsewhere));
        let (end, _, next) = judge(&Status::unavailable("connection reset"), false);
        assert_eq!((end, next), (CallEnd::Failed, None));
        let full = failure_to_status(&Failure::new(FailureKind::Overloaded, "full"));
        let (end, _, next) = judge(&full, false);
        assert_eq!((end, next), (CallEnd::Neutral, Some(Next::Full)));
    }

    #[test]
    fn only_the_experts_own_limit_counts_against_the_instance() {
        let late = Status::deadline_exceeded("x");
        assert_eq!(judge(&late, true).0, CallEnd::Failed);
        assert_eq!(judge(&late, false).0, CallEnd::Neutral);
    }

    #[test]
    fn a_refused_input_says_that_the_instance_lives() {
        let (end, failure, next) = judge(&Status::invalid_argument("no image"), false);
        assert_eq!(
            (end, failure.kind, next),
            (CallEnd::Answered, FailureKind::Rejected, None)
        );
    }
}
