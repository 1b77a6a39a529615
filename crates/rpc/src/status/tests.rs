use super::*;
use maestro_core::episode::{Failure, FailureKind};
use proptest::prelude::*;

fn every_variant() -> Vec<CoreError> {
    vec![
        CoreError::invalid("task.budget.max_cost", "is -5; must not be negative"),
        CoreError::NotFound {
            kind: "episode",
            name: "e-1".into(),
        },
        CoreError::Conflict {
            kind: "expert",
            name: "reader".into(),
            existing: "price 1".into(),
            refused: "price 2".into(),
        },
        CoreError::FailedPrecondition("the episode is not finished".into()),
        CoreError::Superseded("another coordinator owns the episode".into()),
        CoreError::Exhausted {
            what: "episodes",
            limit: 64,
            retry_after_ms: 250,
        },
        CoreError::Unavailable {
            what: "etcd",
            reason: "connection refused".into(),
        },
        CoreError::DeadlineExceeded("after 120 s".into()),
        CoreError::Cancelled("by the client".into()),
        CoreError::DataLoss("blob is damaged".into()),
        CoreError::Internal("a defect".into()),
    ]
}

#[test]
fn every_error_survives_the_wire() {
    for error in every_variant() {
        let status = to_status(&error);
        let headers = status.clone();
        assert_eq!(from_status(&headers), error);
        let info = status.get_details_error_info().unwrap();
        assert_eq!(info.domain, DOMAIN);
        assert!(
            info.reason
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b == b'_')
        );
    }
}

#[test]
fn bad_input_names_its_field_and_limits_name_their_delay() {
    let status = to_status(&CoreError::invalid("task.question", "must not be empty"));
    assert_eq!(status.code(), Code::InvalidArgument);
    let bad = status.get_details_bad_request().unwrap();
    assert_eq!(bad.field_violations[0].field, "task.question");
    let status = to_status(&CoreError::Exhausted {
        what: "episodes",
        limit: 4,
        retry_after_ms: 250,
    });
    assert_eq!(
        status.get_details_retry_info().unwrap().retry_delay,
        Some(Duration::from_millis(250))
    );
}

#[test]
fn every_failure_survives_the_wire() {
    for kind in FailureKind::ALL {
        let failure = Failure::new(kind, "why");
        let status = failure_to_status(&failure);
        assert_eq!(failure_from_status(&status, Blame::Expert), failure);
    }
}

#[test]
fn statuses_of_others_are_read_by_their_code() {
    let kind = |code, blame| failure_from_status(&Status::new(code, "x"), blame).kind;
    assert_eq!(
        kind(Code::DeadlineExceeded, Blame::Expert),
        FailureKind::Timeout
    );
    assert_eq!(
        kind(Code::ResourceExhausted, Blame::Expert),
        FailureKind::Overloaded
    );
    assert_eq!(
        kind(Code::Unavailable, Blame::Skill),
        FailureKind::Unavailable
    );
    assert_eq!(
        kind(Code::InvalidArgument, Blame::Skill),
        FailureKind::Rejected
    );
    assert_eq!(kind(Code::Unknown, Blame::Skill), FailureKind::SkillFailed);
    assert_eq!(
        kind(Code::Internal, Blame::Expert),
        FailureKind::ExpertFailed
    );
}

#[test]
fn a_status_that_the_transport_made_is_no_verdict_of_the_server() {
    let made = |source: Box<dyn Error + Send + Sync>| Status::from_error(source);
    let broken = made("connection reset".into());
    assert_eq!(broken.code(), Code::Unknown);
    assert_eq!(
        failure_from_status(&broken, Blame::Expert).kind,
        FailureKind::Unavailable
    );
    assert!(matches!(
        from_status(&broken),
        CoreError::Unavailable { .. }
    ));
    let expired = made(Box::new(TimeoutExpired(())));
    assert_eq!(
        failure_from_status(&expired, Blame::Expert).kind,
        FailureKind::Timeout
    );
    assert!(matches!(
        from_status(&expired),
        CoreError::DeadlineExceeded(_)
    ));
}

#[test]
fn only_requests_that_were_turned_away_count_as_unprocessed() {
    assert!(is_unprocessed(&draining()));
    assert!(is_unprocessed(&failure_to_status(&Failure::new(
        FailureKind::Overloaded,
        "full"
    ))));
    assert!(!is_unprocessed(&Status::unavailable("connection reset")));
    assert!(!is_unprocessed(&failure_to_status(&Failure::new(
        FailureKind::ExpertFailed,
        "x"
    ))));
}

proptest! {
    #[test]
    fn a_status_fits_into_headers(text in "\\PC{0,4000}", name in "\\PC{0,4000}") {
        for error in [
            CoreError::Internal(text.clone()),
            CoreError::Conflict {
                kind: "skill", name: "s".into(), existing: text.clone(), refused: name,
            },
            CoreError::invalid("f", text),
        ] {
            let status = to_status(&error);
            prop_assert!(status.message().chars().count() <= MAX_TEXT_CHARS);
            prop_assert!(status.details().len() < 12 * 1024);
            prop_assert_eq!(from_status(&status).is_transient(), error.is_transient());
        }
    }
}
