//! The one place where errors become gRPC statuses and come back.
//!
//! Every status carries a `google.rpc.ErrorInfo` of the domain [`DOMAIN`] with an
//! UPPER_SNAKE reason and what is needed to rebuild the error; bad input adds `BadRequest`, a
//! limit or an absent dependency `RetryInfo`, a missing thing `ResourceInfo`. Texts are clipped,
//! so that a status always fits into a header list.

mod failure;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, error::Error, time::Duration};

use maestro_core::{CoreError, FieldViolation, episode::clip_middle};
use tonic::{Code, ConnectError, Status, TimeoutExpired};
use tonic_types::{ErrorDetails, StatusExt};

pub use failure::{Blame, core_error_from_failure, failure_from_status, failure_to_status};

/// Domain of every `ErrorInfo`.
pub const DOMAIN: &str = "maestro";
/// Reason of a server that takes no new work.
pub const DRAINING: &str = "DRAINING";
/// When a caller may try an absent dependency again.
const RETRY_UNAVAILABLE: Duration = Duration::from_secs(1);
/// Longest text in a status, in characters.
const MAX_TEXT_CHARS: usize = 512;

/// Words that may stand in `kind` and `what` of an error. One that comes over the wire and is not
/// among them becomes the last: the set of static texts must not grow with what peers send.
const WORDS: &[&str] = &[
    "action set",
    "admission",
    "backend",
    "bandwidth",
    "blob",
    "blob store",
    "budget",
    "bytes",
    "bytes of the skill",
    "calls",
    "catalogue",
    "concurrent episodes",
    "connections",
    "coordinator",
    "decisions",
    "disk",
    "episode",
    "episode scheduler",
    "episodes",
    "etcd",
    "expert",
    "experts",
    "files of the skill",
    "image",
    "images",
    "inference",
    "instance",
    "journal",
    "lease",
    "memory",
    "model",
    "permits",
    "policy",
    "policy slot",
    "policy worker",
    "process",
    "queue",
    "quota",
    "registry",
    "request",
    "request_id",
    "requests",
    "runs",
    "server",
    "skill",
    "skill runner",
    "slot",
    "steps",
    "store",
    "stream",
    "streams",
    "tasks",
    "tenant",
    "upload",
    "uploads",
    "watch",
    "watchers",
    "worker",
    "resource",
];

fn word(text: &str) -> &'static str {
    WORDS
        .iter()
        .copied()
        .find(|word| *word == text)
        .unwrap_or("resource")
}

fn clip(text: &str) -> String {
    clip_middle(text, MAX_TEXT_CHARS)
}

/// The status of an error.
pub fn to_status(error: &CoreError) -> Status {
    let mut details = ErrorDetails::new();
    let mut info = |reason: &str, metadata: &[(&str, &str)]| {
        let metadata: HashMap<String, String> = metadata
            .iter()
            .map(|(key, value)| ((*key).to_owned(), clip(value)))
            .collect();
        details.set_error_info(reason, DOMAIN, metadata);
    };
    let (code, message) = match error {
        CoreError::Invalid(violation) => {
            info("INVALID_FIELD", &[("field", &violation.field)]);
            details.add_bad_request_violation(&violation.field, clip(&violation.description));
            (Code::InvalidArgument, error.to_string())
        }
        CoreError::NotFound { kind, name } => {
            info("NOT_FOUND", &[("kind", kind), ("name", name)]);
            details.set_resource_info(*kind, clip(name), "", "not found");
            (Code::NotFound, error.to_string())
        }
        CoreError::Conflict {
            kind,
            name,
            existing,
            refused,
        } => {
            info(
                "CONFLICT",
                &[
                    ("kind", kind),
                    ("name", name),
                    ("existing", existing),
                    ("refused", refused),
                ],
            );
            details.set_resource_info(*kind, clip(name), "", "already registered");
            (Code::AlreadyExists, error.to_string())
        }
        CoreError::FailedPrecondition(text) => {
            info("FAILED_PRECONDITION", &[]);
            (Code::FailedPrecondition, text.clone())
        }
        CoreError::Superseded(text) => {
            info("SUPERSEDED", &[]);
            (Code::Aborted, text.clone())
        }
        CoreError::Exhausted {
            what,
            limit,
            retry_after_ms,
        } => {
            let (limit, delay) = (limit.to_string(), retry_after_ms.to_string());
            info(
                "EXHAUSTED",
                &[
                    ("what", what),
                    ("limit", &limit),
                    ("retry_after_ms", &delay),
                ],
            );
            details.set_retry_info(Some(Duration::from_millis(*retry_after_ms)));
            (Code::ResourceExhausted, error.to_string())
        }
        CoreError::Unavailable { what, reason } => {
            info("UNAVAILABLE", &[("what", what), ("reason", reason)]);
            details.set_retry_info(Some(RETRY_UNAVAILABLE));
            (Code::Unavailable, error.to_string())
        }
        CoreError::DeadlineExceeded(text) => {
            info("DEADLINE_EXCEEDED", &[]);
            (Code::DeadlineExceeded, text.clone())
        }
        CoreError::Cancelled(text) => {
            info("CANCELLED", &[]);
            (Code::Cancelled, text.clone())
        }
        CoreError::DataLoss(text) => {
            info("DATA_LOSS", &[]);
            (Code::DataLoss, text.clone())
        }
        CoreError::Internal(text) => {
            info("INTERNAL", &[]);
            (Code::Internal, text.clone())
        }
        // `CoreError` may gain variants before this crate knows them.
        other => {
            info("INTERNAL", &[]);
            (Code::Internal, other.to_string())
        }
    };
    Status::with_error_details(code, clip(&message), details)
}

/// The status of a server that takes no new work. The request has not been looked at, so it may
/// be sent to another server.
pub(crate) fn draining() -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(DRAINING, DOMAIN, HashMap::new());
    details.set_retry_info(Some(RETRY_UNAVAILABLE));
    Status::with_error_details(Code::Unavailable, "this server is draining", details)
}

/// The error that a status stands for. Statuses of servers other than Maestro's are read by their
/// code.
pub fn from_status(status: &Status) -> CoreError {
    let details = status.get_error_details();
    let info = details.error_info().filter(|info| info.domain == DOMAIN);
    let value = |key: &str| {
        info.and_then(|info| info.metadata.get(key))
            .map(String::as_str)
            .unwrap_or_default()
    };
    let text = || status.message().to_owned();
    let named = |field: &str| {
        if value(field).is_empty() {
            "resource"
        } else {
            word(value(field))
        }
    };
    match code_of(status) {
        Code::InvalidArgument | Code::OutOfRange => details
            .bad_request()
            .and_then(|bad| bad.field_violations.first())
            .map_or_else(
                || FieldViolation::new("request", text()),
                |violation| FieldViolation::new(&violation.field, &violation.description),
            )
            .into(),
        Code::NotFound => CoreError::NotFound {
            kind: named("kind"),
            name: if info.is_some() {
                value("name").to_owned()
            } else {
                text()
            },
        },
        Code::AlreadyExists => CoreError::Conflict {
            kind: named("kind"),
            name: value("name").to_owned(),
            existing: value("existing").to_owned(),
            refused: value("refused").to_owned(),
        },
        Code::Aborted if info.is_some_and(|info| info.reason == "SUPERSEDED") => {
            CoreError::Superseded(text())
        }
        Code::FailedPrecondition | Code::Aborted => CoreError::FailedPrecondition(text()),
        Code::ResourceExhausted => CoreError::Exhausted {
            what: named("what"),
            limit: value("limit").parse().unwrap_or_default(),
            retry_after_ms: details
                .retry_info()
                .and_then(|retry| retry.retry_delay)
                .map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX))
                .unwrap_or(1000),
        },
        Code::Unavailable => CoreError::Unavailable {
            what: if value("what").is_empty() {
                "server"
            } else {
                word(value("what"))
            },
            reason: if value("reason").is_empty() {
                text()
            } else {
                value("reason").to_owned()
            },
        },
        Code::DeadlineExceeded => CoreError::DeadlineExceeded(text()),
        Code::Cancelled => CoreError::Cancelled(text()),
        Code::DataLoss => CoreError::DataLoss(text()),
        Code::Unimplemented => CoreError::FailedPrecondition(format!("not served: {}", text())),
        Code::PermissionDenied | Code::Unauthenticated => CoreError::FailedPrecondition(text()),
        Code::Ok | Code::Unknown | Code::Internal => CoreError::Internal(text()),
    }
}

/// The reason of a status of Maestro's own.
fn reason(status: &Status) -> Option<String> {
    let info = status.get_details_error_info()?;
    (info.domain == DOMAIN).then_some(info.reason)
}

/// Whether the request was surely not processed, so that it may be sent again whatever it does:
/// the connection could not be made, or the server said that it turned the request away.
pub(crate) fn is_unprocessed(status: &Status) -> bool {
    if has_source::<ConnectError>(status) {
        return true;
    }
    match status.code() {
        Code::Unavailable => matches!(
            reason(status).as_deref(),
            Some(DRAINING | "FAILURE_UNAVAILABLE")
        ),
        Code::ResourceExhausted => {
            matches!(
                reason(status).as_deref(),
                Some("EXHAUSTED" | "FAILURE_OVERLOADED")
            )
        }
        _ => false,
    }
}

/// The code that a status deserves. A server's status has no source; one that the transport made
/// has, and its code is unreliable: a connection that breaks is `UNKNOWN`, an expired timer
/// `CANCELLED`.
pub(crate) fn code_of(status: &Status) -> Code {
    match status.source() {
        Some(_) if has_source::<TimeoutExpired>(status) => Code::DeadlineExceeded,
        Some(_) => Code::Unavailable,
        None => status.code(),
    }
}

fn has_source<E: Error + 'static>(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<E>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// Name of a code as it stands in metric labels.
pub(crate) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "ok",
        Code::Cancelled => "cancelled",
        Code::Unknown => "unknown",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
    }
}
