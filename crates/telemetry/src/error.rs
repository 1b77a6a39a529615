use std::{io, net::SocketAddr};

/// What can go wrong when telemetry is set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// The address of the metrics endpoint cannot be bound.
    #[error("cannot serve metrics on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The exporter refused its configuration.
    #[error("cannot build the metrics exporter: {0}")]
    Exporter(String),
    /// Another metrics recorder was installed first.
    #[error("another metrics recorder is installed in this process")]
    ForeignRecorder,
    /// Called outside a tokio runtime.
    #[error("telemetry must be set up inside a tokio runtime")]
    NoRuntime,
    /// The log filter cannot be read.
    #[error("log filter {filter:?}: {reason}")]
    Filter {
        /// The filter as configured.
        filter: String,
        /// Why it cannot be read.
        reason: String,
    },
    /// Spans cannot be exported with these settings.
    #[error("setting {setting} {reason}")]
    Otlp {
        /// The setting.
        setting: &'static str,
        /// The rule, or why it cannot be used.
        reason: String,
    },
    /// Another subscriber was installed first.
    #[error("another tracing subscriber is installed in this process")]
    ForeignSubscriber,
}
