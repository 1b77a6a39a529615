//! A gRPC server with everything around the services.
//!
//! Always served along: `grpc.health.v1.Health` (one status per service, and the empty name for
//! all), `grpc.reflection.v1`, `maestro.v1.AdminService`. Around every request: W3C trace context,
//! its deadline, metrics, and containment of panics.
//!
//! # Phases of a drain
//! [`Running::drain`] goes through all of them. The admin service's `Drain` goes through 1 to 3,
//! answers, and lets [`Running::wait`] return, whereupon the process closes and ends:
//! 1. **Announce.** Every health status turns NOT_SERVING; new requests are turned away with
//!    UNAVAILABLE and the reason `DRAINING`, so that Maestro's own clients send them elsewhere. A
//!    server that serves foreign clients ([`Server::serve_while_draining`]) lets requests through
//!    and sends GOAWAY on its connections instead: what runs on them goes on, and for further
//!    requests clients connect anew, which a load balancer sends elsewhere. For [`NOTICE_TIME`] it
//!    takes new work all the same: a request may have crossed the announcement.
//! 2. **Finish the work.** [`Drainable::drain`] takes no new work and finishes what runs, within
//!    the grace period.
//! 3. **Finish the answers.** Requests in flight, streams included, end within what is left of
//!    the grace period.
//! 4. **Close.** The listener closes, the last connections get GOAWAY. Whoever has not gone after
//!    [`CLOSE_TIME`] is cut off.

mod admin;
mod control;
mod deadline;
mod io;
mod layer;

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::{Stream, StreamExt};
use maestro_core::Timestamp;
use maestro_proto::v1;
use maestro_telemetry::Gauge;
use serde::{Deserialize, Serialize};
use tokio::{
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    sync::Notify,
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::AbortOnDropHandle,
};
use tonic::{body::Body, server::NamedService, service::RoutesBuilder};
use tonic_health::ServingStatus;
use tower::Service;

use self::{control::Control, io::Cuttable, layer::RequestLayer};
use crate::{MAX_MESSAGE_BYTES, error::RpcError};

/// How long connections may take to go away once the listener is closed.
pub const CLOSE_TIME: Duration = Duration::from_secs(2);

/// How long a server of foreign clients takes new work after it has announced its drain; at most a
/// tenth of the grace period.
pub const NOTICE_TIME: Duration = Duration::from_secs(1);

/// How a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServeConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Largest message taken, in bytes. The services are built with it
    /// (`max_decoding_message_size`).
    pub max_message_bytes: usize,
    /// Most requests at once on one connection; a client holds further ones back.
    pub max_concurrent_streams: u32,
    /// How often an open connection is checked, in milliseconds.
    pub keep_alive_interval_ms: u64,
    /// How long a check may take before the connection is closed, in milliseconds.
    pub keep_alive_timeout_ms: u64,
    /// Longest time of one request until its response begins, in milliseconds.
    pub request_timeout_ms: u64,
    /// How long running work may take when the process ends, in milliseconds.
    pub drain_grace_ms: u64,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            max_message_bytes: MAX_MESSAGE_BYTES,
            max_concurrent_streams: 1024,
            keep_alive_interval_ms: 20_000,
            keep_alive_timeout_ms: 10_000,
            request_timeout_ms: 3_700_000,
            drain_grace_ms: 25_000,
        }
    }
}

impl ServeConfig {
    /// Opens the listener.
    ///
    /// # Errors
    /// [`RpcError::Listen`] where the address is taken or not this machine's.
    pub async fn bind(&self) -> Result<TcpListener, RpcError> {
        TcpListener::bind(self.listen)
            .await
            .map_err(|source| RpcError::Listen {
                address: self.listen,
                source,
            })
    }

    /// The grace period of a drain.
    pub fn drain_grace(&self) -> Duration {
        Duration::from_millis(self.drain_grace_ms)
    }
}

/// What a service says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceStatus {
    /// `coordinator`, `policy-worker`, `expert-worker`, `skill-runner`.
    pub service: &'static str,
    /// Work under way.
    pub in_flight: u32,
    /// Most work at once.
    pub capacity: u32,
    /// Registry revision that the service sees.
    pub revision: u64,
    /// More, by name.
    pub details: BTreeMap<String, String>,
}

/// A service that can stop taking work.
#[async_trait]
pub trait Drainable: Send + Sync + 'static {
    /// What it is doing now.
    fn status(&self) -> ServiceStatus;

    /// Takes no new work, finishes what runs, and returns how much had not ended after `grace`.
    /// May be called again while it runs or after it.
    async fn drain(&self, grace: Duration) -> u32;
}

/// What a drain left behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrainReport {
    /// Work that had not ended when the time was up.
    pub unfinished: u32,
}

/// Builds a server.
pub struct Server {
    config: ServeConfig,
    drainable: Arc<dyn Drainable>,
    routes: RoutesBuilder,
    services: Vec<&'static str>,
    refuse_while_draining: bool,
    ready: bool,
}

impl Server {
    /// A server without services of its own yet.
    pub fn new(config: ServeConfig, drainable: Arc<dyn Drainable>) -> Self {
        Self {
            config,
            drainable,
            routes: RoutesBuilder::default(),
            services: Vec::new(),
            refuse_while_draining: true,
            ready: true,
        }
    }

    /// Adds a generated service.
    #[must_use]
    pub fn add_service<S>(mut self, service: S) -> Self
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.services.push(S::NAME);
        self.routes.add_service(service);
        self
    }

    /// Lets requests through while draining: the service itself refuses new work, and clients can
    /// still ask about what runs. Open connections get GOAWAY when the drain begins.
    #[must_use]
    pub fn serve_while_draining(mut self) -> Self {
        self.refuse_while_draining = false;
        self
    }

    /// Has every health status say NOT_SERVING until [`Readiness::ready`]; requests are served.
    #[must_use]
    pub fn not_ready_yet(mut self) -> Self {
        self.ready = false;
        self
    }

    /// Serves on `listener` until it is drained or dropped. Call it after
    /// [`maestro_telemetry::install_metrics`].
    ///
    /// # Errors
    /// [`RpcError::Reflection`] or [`RpcError::Listen`]; nothing is served then.
    pub async fn serve(self, listener: TcpListener) -> Result<Running, RpcError> {
        let address = listener.local_addr().map_err(|source| RpcError::Listen {
            address: self.config.listen,
            source,
        })?;
        let (health, health_service) = tonic_health::server::health_reporter();
        let mut services = self.services;
        services.push("maestro.v1.AdminService");
        let status = if self.ready {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        for service in services.iter().chain(&[""]) {
            health.set_service_status(service, status).await;
        }
        let reflection = services
            .iter()
            .fold(
                tonic_reflection::server::Builder::configure(),
                |builder, service| builder.with_service_name(*service),
            )
            .with_service_name("grpc.health.v1.Health")
            .register_encoded_file_descriptor_set(v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .map_err(|error| RpcError::Reflection(error.to_string()))?;
        let control = Arc::new(Control {
            methods: control::known_methods()?,
            drainable: self.drainable,
            started_at: Timestamp::now(),
            request_cap: Duration::from_millis(self.config.request_timeout_ms),
            drain_grace: self.config.drain_grace(),
            refuse_while_draining: self.refuse_while_draining,
            health,
            services,
            draining: AtomicBool::new(false),
            in_flight: AtomicU32::new(0),
            in_flight_gauge: Gauge::RpcInFlight.handle(&[]),
            idle: Notify::new(),
            announced: CancellationToken::new(),
            drained: CancellationToken::new(),
        });
        let mut routes = self.routes;
        routes.add_service(health_service);
        routes.add_service(reflection);
        routes.add_service(admin::service(Arc::clone(&control)));
        let (stop, cut) = (CancellationToken::new(), CancellationToken::new());
        let listener = Arc::new(listener);
        let config = self.config;
        let layer = RequestLayer(Arc::clone(&control));
        let server = move || {
            tonic::transport::Server::builder()
                .max_concurrent_streams(config.max_concurrent_streams)
                .http2_keepalive_interval(Some(Duration::from_millis(
                    config.keep_alive_interval_ms,
                )))
                .http2_keepalive_timeout(Some(Duration::from_millis(config.keep_alive_timeout_ms)))
                .layer(layer.clone())
        };
        let routes = routes.routes();
        // One server after the other on the same listener: the first one's end is the GOAWAY that
        // announces a drain, the second answers whoever still comes until the close.
        let (announced, stopped) = (control.announced.clone(), stop.clone());
        let before = server()
            .add_routes(routes.clone())
            .serve_with_incoming_shutdown(
                connections(Arc::clone(&listener), cut.clone()),
                announced.clone().cancelled_owned(),
            );
        let connections_while_draining = connections(listener, cut.clone());
        let while_draining = async move {
            announced.cancelled().await;
            server()
                .add_routes(routes)
                .serve_with_incoming_shutdown(connections_while_draining, stopped.cancelled_owned())
                .await
        };
        let serving = async move { tokio::try_join!(before, while_draining).map(drop) };
        let task = AbortOnDropHandle::new(tokio::spawn(serving));
        tracing::info!(%address, "serving");
        Ok(Running {
            address,
            control,
            stop,
            task,
            _cut: cut.drop_guard(),
        })
    }
}

/// The connections that come in.
fn connections(
    listener: Arc<TcpListener>,
    cut: CancellationToken,
) -> impl Stream<Item = std::io::Result<Cuttable>> {
    let accepted = futures::stream::unfold(listener, |listener| async move {
        let accepted = listener.accept().await;
        Some((
            accepted.and_then(|(stream, _)| without_delay(stream)),
            listener,
        ))
    });
    accepted.map(move |stream| stream.map(|stream| Cuttable::new(stream, cut.clone())))
}

fn without_delay(stream: TcpStream) -> std::io::Result<TcpStream> {
    stream.set_nodelay(true).map(|()| stream)
}

/// A server that serves. Dropping it cuts every connection off and so ends every request;
/// [`Running::drain`] ends it well.
pub struct Running {
    address: SocketAddr,
    control: Arc<Control>,
    stop: CancellationToken,
    task: AbortOnDropHandle<Result<(), tonic::transport::Error>>,
    _cut: DropGuard,
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets it be told when it is ready.
    pub fn readiness(&self) -> Readiness {
        Readiness(Arc::clone(&self.control))
    }

    /// Whether it takes no new work.
    pub fn is_draining(&self) -> bool {
        self.control.is_draining()
    }

    /// Waits until the server was drained through its admin service, or cannot go on.
    ///
    /// # Errors
    /// [`RpcError::Server`] with the reason why it cannot.
    pub async fn wait(&mut self) -> Result<(), RpcError> {
        let ended = tokio::select! {
            ended = &mut self.task => ended,
            () = self.control.drained.cancelled() => return Ok(()),
        };
        match ended {
            Ok(result) => result.map_err(|error| RpcError::Server(error.to_string())),
            Err(error) => Err(RpcError::Server(error.to_string())),
        }
    }

    /// Ends the server in the phases that the module's documentation lists.
    pub async fn drain(self, grace: Duration) -> DrainReport {
        let unfinished = self.control.drain(grace).await;
        self.stop.cancel();
        self.control.announced.cancel();
        if tokio::time::timeout(CLOSE_TIME, self.task).await.is_err() {
            tracing::debug!(address = %self.address, "connections were cut off");
        }
        DrainReport { unfinished }
    }
}

/// Tells a server that was [`Server::not_ready_yet`] that it is.
pub struct Readiness(Arc<Control>);

impl Readiness {
    /// Every health status says SERVING from now on, unless the server drains.
    pub async fn ready(&self) {
        self.0.set_ready().await;
    }
}

/// Waits for SIGTERM or SIGINT.
///
/// # Errors
/// [`RpcError::Signals`] where they cannot be watched.
pub async fn shutdown_signal() -> Result<(), RpcError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(RpcError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RpcError::Signals)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
