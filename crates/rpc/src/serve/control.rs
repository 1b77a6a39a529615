use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use maestro_core::Timestamp;
use maestro_proto::v1;
use maestro_telemetry::{Gauge, GaugeHandle, Histogram, HistogramHandle, Label};
use prost::Message;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;
use tonic_health::{ServingStatus, server::HealthReporter};

use super::{Drainable, NOTICE_TIME};
use crate::{RpcError, status::code_name};

/// A method that this server knows.
pub(super) struct Method {
    /// `maestro.v1.Service/Method`.
    name: String,
    /// Whether a drain waits for it and turns it away.
    pub(super) is_work: bool,
    ok: HistogramHandle,
}

impl Method {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn record(&self, code: tonic::Code, time: Duration) {
        if code == tonic::Code::Ok {
            self.ok.record_duration(time);
        } else {
            Histogram::RpcServerDuration.record_duration(
                time,
                &[Label::Method(&self.name), Label::Code(code_name(code))],
            );
        }
    }
}

/// The methods of `maestro.v1` by request path. Paths that are not among them get no series of
/// their own: a peer must not be able to make metrics.
pub(super) fn known_methods() -> Result<HashMap<String, Arc<Method>>, RpcError> {
    let descriptors = prost_types::FileDescriptorSet::decode(v1::FILE_DESCRIPTOR_SET)
        .map_err(|error| RpcError::Reflection(error.to_string()))?;
    let mut methods = HashMap::new();
    for file in &descriptors.file {
        for service in &file.service {
            for method in &service.method {
                let name = format!("{}.{}/{}", file.package(), service.name(), method.name());
                let labels = [Label::Method(&name), Label::Code("ok")];
                let ok = Histogram::RpcServerDuration.handle(&labels);
                let is_work = service.name() != "AdminService";
                methods.insert(format!("/{name}"), Arc::new(Method { name, is_work, ok }));
            }
        }
    }
    Ok(methods)
}

/// What the parts of one server share.
pub(super) struct Control {
    pub(super) methods: HashMap<String, Arc<Method>>,
    pub(super) drainable: Arc<dyn Drainable>,
    pub(super) started_at: Timestamp,
    pub(super) request_cap: Duration,
    pub(super) drain_grace: Duration,
    pub(super) refuse_while_draining: bool,
    pub(super) health: HealthReporter,
    pub(super) services: Vec<&'static str>,
    pub(super) draining: AtomicBool,
    pub(super) in_flight: AtomicU32,
    pub(super) in_flight_gauge: GaugeHandle,
    pub(super) idle: Notify,
    /// Cancelled when connections shall move elsewhere.
    pub(super) announced: CancellationToken,
    /// Cancelled when a drain that somebody asked for is over.
    pub(super) drained: CancellationToken,
}

impl Control {
    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Counts a request until the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        self.in_flight_gauge.add(1.0);
        InFlight(Arc::clone(self))
    }

    /// Phases 1 to 3 of a drain (see the module's documentation). May be called more than once.
    pub(super) async fn drain(&self, grace: Duration) -> u32 {
        let until = Instant::now() + grace;
        if !self.draining.swap(true, Ordering::AcqRel) {
            tracing::info!(
                grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX),
                "draining"
            );
            Gauge::Draining.set(1.0, &[Label::Service(self.drainable.status().service)]);
        }
        for service in self.services.iter().chain(&[""]) {
            self.health
                .set_service_status(service, ServingStatus::NotServing)
                .await;
        }
        if !self.refuse_while_draining {
            self.announced.cancel();
            tokio::time::sleep(NOTICE_TIME.min(grace / 10)).await;
        }
        let left = until.saturating_duration_since(Instant::now());
        let unfinished = self.drainable.drain(left).await;
        // The service's own work is done; what is left are requests that are being answered.
        let requests = tokio::time::timeout_at(until, self.wait_idle()).await;
        let left = if requests.is_ok() {
            0
        } else {
            self.in_flight.load(Ordering::Acquire)
        };
        unfinished.max(left)
    }

    pub(super) async fn set_ready(&self) {
        if self.is_draining() {
            return;
        }
        for service in self.services.iter().chain(&[""]) {
            self.health
                .set_service_status(service, ServingStatus::Serving)
                .await;
        }
    }

    async fn wait_idle(&self) {
        loop {
            let mut idle = std::pin::pin!(self.idle.notified());
            idle.as_mut().enable();
            if self.in_flight.load(Ordering::Acquire) == 0 {
                return;
            }
            idle.await;
        }
    }
}

/// One request being served.
pub(super) struct InFlight(Arc<Control>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight_gauge.subtract(1.0);
        if self.0.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}
