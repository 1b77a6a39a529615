//! What happens around every request: trace context, deadline, metrics, panics contained.

use std::{
    convert::Infallible,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use http::{HeaderMap, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use maestro_telemetry::{Span, SpanKind, TraceContext, trace_context::TRACEPARENT};
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};
use tracing::Instrument;

use super::{
    control::{Control, InFlight, Method},
    deadline,
};
use crate::status::{code_name, draining};

#[derive(Clone)]
pub(super) struct RequestLayer(pub(super) Arc<Control>);

impl<S> Layer<S> for RequestLayer {
    type Service = RequestService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequestService {
            inner,
            control: Arc::clone(&self.0),
        }
    }
}

#[derive(Clone)]
pub(super) struct RequestService<S> {
    inner: S,
    control: Arc<Control>,
}

impl<S> Service<Request<Body>> for RequestService<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // Health, reflection and unknown paths pass untouched: they neither delay a drain nor
        // make series of their own.
        let Some(method) = self.control.methods.get(request.uri().path()) else {
            return Box::pin(self.inner.call(request));
        };
        if method.is_work && self.control.refuse_while_draining && self.control.is_draining() {
            return Box::pin(std::future::ready(Ok(draining().into_http())));
        }
        let parent = incoming_parent(request.headers());
        let mut served = Span::under(parent, true, SpanKind::Server, method.name().to_owned());
        served.set("rpc.system", "grpc");
        let context = served.context();
        let time = deadline::of_request(request.headers(), self.control.request_cap);
        let span = tracing::debug_span!(
            "rpc",
            method = method.name(),
            trace_id = %context.trace_id(),
            span_id = %context.span_id()
        );
        let record = Record {
            method: Arc::clone(method),
            started: Instant::now(),
            span: served,
            _in_flight: method.is_work.then(|| self.control.begin()),
        };
        let call = self.inner.call(request);
        let respond = async move {
            let response = answer(call, time).await;
            Ok(track(response, record, context))
        };
        Box::pin(context.scope(respond.instrument(span)))
    }
}

/// The caller's span, if it says so.
fn incoming_parent(headers: &HeaderMap) -> Option<TraceContext> {
    headers.get(TRACEPARENT)?.to_str().ok()?.parse().ok()
}

/// Runs the handler for at most `time`. A handler that panics answers `INTERNAL`; the connection
/// and the other requests on it live on.
async fn answer(
    call: impl Future<Output = Result<Response<Body>, Infallible>>,
    time: Duration,
) -> Response<Body> {
    match tokio::time::timeout(time, AssertUnwindSafe(call).catch_unwind()).await {
        Ok(Ok(Ok(response))) => response,
        Ok(Err(_panic)) => {
            tracing::error!("a request handler panicked");
            Status::internal("a defect of the server ended this request").into_http()
        }
        Err(_elapsed) => Status::deadline_exceeded("the request's time is up").into_http(),
    }
}

/// What is recorded when a response ends.
struct Record {
    method: Arc<Method>,
    started: Instant,
    span: Span,
    _in_flight: Option<InFlight>,
}

fn track(response: Response<Body>, record: Record, context: TraceContext) -> Response<Body> {
    let code = code_in(response.headers());
    response.map(|inner| {
        Body::new(TrackedBody {
            inner,
            code,
            record: Some(record),
            context,
        })
    })
}

fn code_in(headers: &HeaderMap) -> Option<Code> {
    headers
        .get("grpc-status")
        .map(|value| Code::from_bytes(value.as_bytes()))
}

/// A response body that records its end, and carries the trace to streams that work while they
/// are read.
struct TrackedBody {
    inner: Body,
    code: Option<Code>,
    record: Option<Record>,
    context: TraceContext,
}

impl TrackedBody {
    fn finish(&mut self, code: Code) {
        if let Some(mut record) = self.record.take() {
            record
                .span
                .set("rpc.grpc.status_code", i64::from(i32::from(code)));
            if code != Code::Ok {
                record.span.fail(code_name(code));
            }
            let time = record.started.elapsed();
            record.method.record(code, time);
            self.context.sync_scope(|| {
                tracing::debug!(
                    method = record.method.name(),
                    code = code_name(code),
                    us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX),
                    "request served"
                );
            });
        }
    }
}

impl HttpBody for TrackedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let trace = self.context;
        let polled = trace.sync_scope(|| Pin::new(&mut self.inner).poll_frame(context));
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(code) = frame.trailers_ref().and_then(code_in) {
                    self.finish(code);
                }
            }
            Poll::Ready(Some(Err(status))) => self.finish(status.code()),
            Poll::Ready(None) => {
                let code = self.code.unwrap_or(Code::Ok);
                self.finish(code);
            }
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for TrackedBody {
    fn drop(&mut self) {
        // A response without a body has its code in the headers; any other that is dropped before
        // its end was cancelled by the caller.
        let code = self.code.unwrap_or(Code::Cancelled);
        self.finish(code);
    }
}
