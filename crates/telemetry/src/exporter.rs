//! Exposes the metrics in Prometheus' text format.

use std::{
    convert::Infallible,
    net::{SocketAddr, TcpListener as StdListener},
    sync::{Mutex, OnceLock},
    time::Duration,
};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::CONTENT_TYPE,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::{net::TcpListener, runtime::Handle, task::JoinSet, time};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    error::TelemetryError,
    metrics::{Histogram, describe_all},
};

/// How often recorded values are folded into their buckets where nobody scrapes.
const UPKEEP: Duration = Duration::from_secs(5);
/// Connections served at once; a further one waits in the kernel's backlog.
const MAX_CONNECTIONS: usize = 16;
/// Longest life of a scraping connection.
const CONNECTION_LIFE: Duration = Duration::from_secs(300);
/// Longest time until a request's headers are there.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
static INSTALLING: Mutex<()> = Mutex::new(());

/// The process's metrics, and the endpoint that exposes them. Dropping it closes the endpoint;
/// the metrics themselves last as long as the process.
#[derive(Debug)]
pub struct MetricsHandle {
    recorder: PrometheusHandle,
    address: Option<SocketAddr>,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

impl MetricsHandle {
    /// Where `/metrics` is served, if anywhere.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// All metrics in Prometheus' text format.
    pub fn render(&self) -> String {
        self.recorder.render()
    }
}

/// Makes the enums of [`crate::metrics`] record, and serves them on `http://LISTEN/metrics` (port
/// 0 takes a free one, see [`MetricsHandle::address`]). The metrics are the process's: several
/// services in one process share them, and each may open an endpoint of its own.
///
/// # Errors
/// [`TelemetryError::NoRuntime`] outside tokio, [`TelemetryError::Bind`] where the address is
/// taken, [`TelemetryError::ForeignRecorder`] where other code has installed a recorder.
pub fn install_metrics(listen: Option<SocketAddr>) -> Result<MetricsHandle, TelemetryError> {
    let runtime = Handle::try_current().map_err(|_| TelemetryError::NoRuntime)?;
    let listener = listen.map(bind).transpose()?;
    let recorder = recorder()?;
    let address = listener
        .as_ref()
        .and_then(|listener| listener.local_addr().ok());
    let upkeep = runtime.spawn(keep_up(recorder.clone()));
    let mut tasks = vec![AbortOnDropHandle::new(upkeep)];
    if let Some(listener) = listener {
        tasks.push(AbortOnDropHandle::new(
            runtime.spawn(serve(listener, recorder.clone())),
        ));
    }
    Ok(MetricsHandle {
        recorder,
        address,
        _tasks: tasks,
    })
}

fn bind(address: SocketAddr) -> Result<TcpListener, TelemetryError> {
    let failed = |source| TelemetryError::Bind { address, source };
    let listener = StdListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    TcpListener::from_std(listener).map_err(failed)
}

fn recorder() -> Result<PrometheusHandle, TelemetryError> {
    // A poisoned lock guards nothing that could be half-written.
    let _installing = INSTALLING
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(recorder) = RECORDER.get() {
        return Ok(recorder.clone());
    }
    let mut builder = PrometheusBuilder::new();
    for histogram in Histogram::ALL {
        builder = builder
            .set_buckets_for_metric(Matcher::Full(histogram.name().into()), histogram.buckets())
            .map_err(|error| TelemetryError::Exporter(error.to_string()))?;
    }
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|_| TelemetryError::ForeignRecorder)?;
    describe_all();
    Ok(RECORDER.get_or_init(|| handle).clone())
}

async fn keep_up(recorder: PrometheusHandle) {
    let mut ticks = time::interval(UPKEEP);
    ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        recorder.run_upkeep();
    }
}

async fn serve(listener: TcpListener, recorder: PrometheusHandle) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
        }
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely; waiting is all that helps.
                tracing::warn!(%error, "metrics endpoint cannot accept a connection");
                time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        let recorder = recorder.clone();
        let service = service_fn(move |request| {
            let response = respond(&request, &recorder);
            async move { Ok::<_, Infallible>(response) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        connections.spawn(async move {
            if let Ok(Err(error)) = time::timeout(CONNECTION_LIFE, connection).await {
                tracing::debug!(%error, "metrics connection ended");
            }
        });
    }
}

fn respond(request: &Request<Incoming>, recorder: &PrometheusHandle) -> Response<Full<Bytes>> {
    let (status, media_type, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => (
            StatusCode::OK,
            "text/plain; version=0.0.4; charset=utf-8",
            recorder.render(),
        ),
        (_, "/metrics") => (
            StatusCode::METHOD_NOT_ALLOWED,
            "text/plain",
            "use GET\n".to_owned(),
        ),
        _ => (
            StatusCode::NOT_FOUND,
            "text/plain",
            "see /metrics\n".to_owned(),
        ),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        hyper::header::HeaderValue::from_static(media_type),
    );
    response
}
