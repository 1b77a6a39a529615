//! What every outgoing call shares: metadata, deadline, metrics.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use maestro_core::Timestamp;
use maestro_telemetry::{Histogram, Label, TraceContext, trace_context::TRACEPARENT};
use tonic::{Code, Request, Response, Status, metadata::MetadataValue};

use crate::status::{code_name, code_of};

/// Time from now to `deadline`; `None` if it has passed.
pub(crate) fn time_left(deadline: Timestamp) -> Option<Duration> {
    let left = deadline.duration_since(Timestamp::now());
    Duration::try_from(left).ok().filter(|left| !left.is_zero())
}

/// A request that carries the current span, of which what is done for it becomes a part, and the
/// time that it may take.
pub(crate) fn request<T>(message: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    if let Some(context) = TraceContext::current() {
        // The text is ASCII by construction.
        if let Ok(value) = MetadataValue::try_from(context.to_string()) {
            request.metadata_mut().insert(TRACEPARENT, value);
        }
    }
    request
}

/// Awaits a call at most `timeout` long and records it. Dropping this future cancels the call on
/// the wire.
pub(crate) async fn send<T>(
    method: &'static str,
    timeout: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Status> {
    let started = Instant::now();
    let result = tokio::time::timeout(timeout, call)
        .await
        .unwrap_or_else(|_| {
            Err(Status::deadline_exceeded(format!(
                "no reply within {} ms",
                timeout.as_millis()
            )))
        });
    let code = result.as_ref().err().map_or(Code::Ok, code_of);
    Histogram::RpcClientDuration.record_duration(
        started.elapsed(),
        &[Label::Method(method), Label::Code(code_name(code))],
    );
    result.map(Response::into_inner)
}
