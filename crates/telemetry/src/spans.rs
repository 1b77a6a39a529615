//! Spans of traces, sent to an OpenTelemetry collector over OTLP/gRPC.
//!
//! A [`Span`] is a part of the trace that [`TraceContext`] carries: it takes the current context as
//! its parent and makes its own the current one for what runs in it. So the ids in the logs, in the
//! `traceparent` headers and in the exported spans are the same. Without an exporter, or in a trace
//! that is not sampled, a span costs no more than its context.

use std::{
    borrow::Cow,
    sync::{OnceLock, RwLock},
    time::{Duration, SystemTime},
};

use opentelemetry::{
    InstrumentationScope, KeyValue, SpanId, TraceFlags, TraceId, Value,
    trace::{SpanContext, SpanKind as OtelKind, Status, TraceState},
};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanEvents, SpanLinks, SpanProcessor,
    },
};
use serde::{Deserialize, Serialize};

use crate::{
    error::TelemetryError,
    trace_context::{self, TraceContext},
};

/// Where spans are sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtlpConfig {
    /// The collector's OTLP/gRPC endpoint, `http://host:4317`.
    pub endpoint: String,
    /// Share of the traces begun here that is recorded, 0 to 1. A trace that a caller began is
    /// recorded if the caller says so.
    #[serde(default = "all")]
    pub sample_ratio: f64,
    /// Spans that wait for the exporter; further ones are dropped.
    #[serde(default = "default_queue")]
    pub queue: usize,
    /// Longest time of one export, in milliseconds.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
}

fn all() -> f64 {
    1.0
}

fn default_queue() -> usize {
    8192
}

fn default_timeout_ms() -> u64 {
    5_000
}

impl OtlpConfig {
    fn validate(&self) -> Result<(), TelemetryError> {
        let broken = |setting, reason| Err(TelemetryError::Otlp { setting, reason });
        if !(0.0..=1.0).contains(&self.sample_ratio) {
            return broken("otlp.sample_ratio", "must be 0 to 1".to_owned());
        }
        if !(1..=1 << 20).contains(&self.queue) {
            return broken("otlp.queue", format!("must be 1 to {}", 1 << 20));
        }
        if self.timeout_ms == 0 {
            return broken("otlp.timeout_ms", "must be at least 1".to_owned());
        }
        Ok(())
    }
}

/// The side of a call that a span stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// Work inside the process.
    Internal,
    /// A request that is served.
    Server,
    /// A request that is made.
    Client,
}

/// The process's exporter; `None` once it is shut down.
static PROCESSOR: OnceLock<RwLock<Option<BatchSpanProcessor>>> = OnceLock::new();

/// Ends the export when dropped, after what is waiting was sent.
#[derive(Debug)]
pub struct SpansHandle {
    timeout: Duration,
}

/// Sends spans to a collector from now on. `None` sends none. Called once in a process, inside a
/// tokio runtime.
///
/// # Errors
/// [`TelemetryError::Otlp`] for a setting that cannot be used.
pub fn install_spans(
    config: Option<&OtlpConfig>,
    service: &'static str,
    instance: &str,
) -> Result<Option<SpansHandle>, TelemetryError> {
    let Some(config) = config else {
        return Ok(None);
    };
    config.validate()?;
    let timeout = Duration::from_millis(config.timeout_ms);
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(&config.endpoint)
        .with_timeout(timeout)
        .build()
        .map_err(|error| TelemetryError::Otlp {
            setting: "otlp.endpoint",
            reason: error.to_string(),
        })?;
    let batch = BatchConfigBuilder::default()
        .with_max_queue_size(config.queue)
        .build();
    let mut processor = BatchSpanProcessor::new(exporter, batch);
    let resource = Resource::builder()
        .with_service_name(service)
        .with_attribute(KeyValue::new("service.namespace", "maestro"))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("service.instance.id", instance.to_owned()))
        .build();
    processor.set_resource(&resource);
    trace_context::set_sample_ratio(config.sample_ratio);
    let slot = PROCESSOR.get_or_init(RwLock::default);
    let mut slot = slot
        .write()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    *slot = Some(processor);
    Ok(Some(SpansHandle { timeout }))
}

impl Drop for SpansHandle {
    fn drop(&mut self) {
        let processor = PROCESSOR.get().and_then(|slot| {
            slot.write()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .take()
        });
        if let Some(processor) = processor
            && let Err(error) = processor.shutdown_with_timeout(self.timeout)
        {
            tracing::warn!(%error, "the last spans may not have reached the collector");
        }
    }
}

fn exports() -> bool {
    PROCESSOR.get().is_some_and(|slot| {
        slot.read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .is_some()
    })
}

/// A span. It ends when it is dropped.
#[derive(Debug)]
pub struct Span {
    context: TraceContext,
    /// Absent where nobody will see the span.
    record: Option<Box<Record>>,
}

#[derive(Debug)]
struct Record {
    parent: Option<u64>,
    parent_is_remote: bool,
    kind: SpanKind,
    name: Cow<'static, str>,
    start: SystemTime,
    attributes: Vec<KeyValue>,
    failure: Option<String>,
}

impl Span {
    /// A span under the current context, or the first one of a new trace.
    pub fn begin(kind: SpanKind, name: impl Into<Cow<'static, str>>) -> Self {
        Self::under(TraceContext::current(), false, kind, name)
    }

    /// A span under `parent`. `is_remote` says that the parent is a span of another process.
    pub fn under(
        parent: Option<TraceContext>,
        is_remote: bool,
        kind: SpanKind,
        name: impl Into<Cow<'static, str>>,
    ) -> Self {
        let context = parent.map_or_else(TraceContext::generate, TraceContext::child);
        let record = (context.is_sampled() && exports()).then(|| {
            Box::new(Record {
                parent: parent.map(TraceContext::span_number),
                parent_is_remote: is_remote,
                kind,
                name: name.into(),
                start: SystemTime::now(),
                attributes: Vec::new(),
                failure: None,
            })
        });
        Self { context, record }
    }

    /// The context of what happens in it.
    pub fn context(&self) -> TraceContext {
        self.context
    }

    /// Adds an attribute.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(record) = &mut self.record {
            record.attributes.push(KeyValue::new(key, value));
        }
    }

    /// Marks it as failed. The text is a kind of failure, never content.
    pub fn fail(&mut self, kind: &str) {
        if let Some(record) = &mut self.record {
            record.failure = Some(kind.to_owned());
        }
    }

    /// Runs `future` in this span; what it calls becomes a child.
    pub fn scope<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        self.context.scope(future)
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let Some(record) = self.record.take() else {
            return;
        };
        let Some(slot) = PROCESSOR.get() else { return };
        let processor = slot
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(processor) = &*processor {
            processor.on_end(data(self.context, *record));
        }
    }
}

fn data(context: TraceContext, record: Record) -> SpanData {
    let mut attributes = record.attributes;
    let status = match record.failure {
        Some(kind) => {
            attributes.push(KeyValue::new("error.type", kind.clone()));
            Status::error(kind)
        }
        None => Status::Unset,
    };
    SpanData {
        span_context: SpanContext::new(
            TraceId::from(context.trace_number()),
            SpanId::from(context.span_number()),
            TraceFlags::SAMPLED,
            false,
            TraceState::NONE,
        ),
        parent_span_id: record.parent.map_or(SpanId::INVALID, SpanId::from),
        parent_span_is_remote: record.parent_is_remote,
        span_kind: match record.kind {
            SpanKind::Internal => OtelKind::Internal,
            SpanKind::Server => OtelKind::Server,
            SpanKind::Client => OtelKind::Client,
        },
        name: record.name,
        start_time: record.start,
        end_time: SystemTime::now(),
        attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status,
        instrumentation_scope: InstrumentationScope::builder("maestro").build(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_span_is_a_child_of_the_current_one() {
        let outer = Span::begin(SpanKind::Internal, "outer");
        let context = outer.context();
        let inner = outer
            .scope(async { Span::begin(SpanKind::Client, "inner").context() })
            .await;
        assert_eq!(inner.trace_id(), context.trace_id());
        assert_ne!(inner.span_id(), context.span_id());
    }

    #[test]
    fn what_is_exported_has_the_ids_of_the_context() {
        let parent: TraceContext = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
            .parse()
            .unwrap();
        let context = parent.child();
        let record = Record {
            parent: Some(parent.span_number()),
            parent_is_remote: true,
            kind: SpanKind::Server,
            name: "serve".into(),
            start: SystemTime::now(),
            attributes: vec![],
            failure: Some("timeout".into()),
        };
        let exported = data(context, record);
        assert_eq!(
            exported.span_context.trace_id().to_string(),
            "0af7651916cd43dd8448eb211c80319c"
        );
        assert_eq!(exported.parent_span_id.to_string(), "b7ad6b7169203331");
        assert_eq!(
            exported.span_context.span_id().to_string(),
            context.span_id().to_string()
        );
        assert!(matches!(exported.status, Status::Error { .. }));
    }

    #[test]
    fn bad_settings_are_named() {
        let read = |yaml: &str| serde_json::from_str::<OtlpConfig>(yaml);
        let good = read(r#"{"endpoint": "http://c:4317"}"#).unwrap();
        good.validate().unwrap();
        assert!(read(r#"{"endpoint": "http://c:4317", "ratio": 1}"#).is_err());
        let bad = OtlpConfig {
            sample_ratio: 1.5,
            ..good
        };
        let error = bad.validate().unwrap_err().to_string();
        assert!(error.contains("otlp.sample_ratio"), "{error}");
    }
}
