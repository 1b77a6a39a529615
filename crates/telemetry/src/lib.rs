//! Metrics, logs and trace context of every Maestro process.
//!
//! - [`metrics`]: every metric is a variant of [`Counter`], [`Gauge`] or [`Histogram`], with its
//!   unit in its name and its labels typed ([`Label`]). The macros of the `metrics` crate are
//!   banned elsewhere. [`install_metrics`] exposes them on `/metrics`.
//! - [`logs`]: [`init_tracing`] writes JSON or text lines to stderr, each with its trace id.
//! - [`spans`]: parts of a trace, sent to a collector over OTLP.
//! - [`trace_context`]: W3C trace context, carried by a task-local ([`TraceContext::scope`]).

pub mod exporter;
pub mod logs;
pub mod metrics;
pub mod spans;
pub mod trace_context;

mod error;

pub use error::TelemetryError;
pub use exporter::{MetricsHandle, install_metrics};
pub use logs::{LogFormat, TracingConfig, init_tracing};
pub use metrics::{Counter, Gauge, GaugeHandle, Held, Histogram, HistogramHandle, Label};
pub use spans::{OtlpConfig, Span, SpanKind, SpansHandle, install_spans};
pub use trace_context::TraceContext;
