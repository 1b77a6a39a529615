//! Log lines on stderr, each with the trace id of the task that wrote it.

use std::{fmt, io};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter, Layer,
    fmt::{
        FmtContext, FormatEvent, FormatFields, format,
        time::{FormatTime, SystemTime},
    },
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};

use crate::{error::TelemetryError, trace_context::TraceContext};

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One JSON object a line: `timestamp`, `level`, `target`, `message`, `trace_id`, `span_id`,
    /// `span`, then the fields of the event.
    #[default]
    Json,
    /// For people at a terminal.
    Text,
}

/// What is logged and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TracingConfig {
    /// How a line looks.
    pub format: LogFormat,
    /// Which events are logged, in `tracing`'s filter language: `info,maestro_rpc=debug`.
    pub filter: String,
}

impl Default for TracingConfig {
    fn default() -> Self {
        Self {
            format: LogFormat::Json,
            filter: "info".to_owned(),
        }
    }
}

/// Sends events to stderr. Called once in a process.
///
/// # Errors
/// [`TelemetryError::Filter`] for a filter that cannot be read,
/// [`TelemetryError::ForeignSubscriber`] where one is installed already.
pub fn init_tracing(config: &TracingConfig) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(&config.filter).map_err(|error| TelemetryError::Filter {
        filter: config.filter.clone(),
        reason: error.to_string(),
    })?;
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let layer = match config.format {
        LogFormat::Json => layer.event_format(JsonLines).boxed(),
        LogFormat::Text => layer.event_format(TextLines::default()).boxed(),
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .try_init()
        .map_err(|_| TelemetryError::ForeignSubscriber)
}

/// Text lines, with the trace id in front where there is one.
#[derive(Default)]
struct TextLines(format::Format<format::Full, SystemTime>);

impl<S, N> FormatEvent<S, N> for TextLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: format::Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if let Some(trace) = TraceContext::current() {
            write!(writer, "{} ", trace.trace_id())?;
        }
        self.0.format_event(context, writer, event)
    }
}

/// JSON lines with the trace id on top.
struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: format::Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut timestamp = String::with_capacity(32);
        SystemTime.format_time(&mut format::Writer::new(&mut timestamp))?;
        let mut line = Map::new();
        event.record(&mut Fields(&mut line));
        line.insert("timestamp".into(), timestamp.into());
        line.insert("level".into(), event.metadata().level().as_str().into());
        line.insert("target".into(), event.metadata().target().into());
        if let Some(trace) = TraceContext::current() {
            line.insert("trace_id".into(), trace.trace_id().to_string().into());
            line.insert("span_id".into(), trace.span_id().to_string().into());
        }
        if let Some(span) = context.lookup_current() {
            line.insert("span".into(), span.name().into());
        }
        // Every key is a string, so a failure to serialise can only come from the writer.
        let line = serde_json::to_string(&line).map_err(|_| fmt::Error)?;
        writeln!(writer, "{line}")
    }
}

/// Collects an event's fields.
struct Fields<'a>(&'a mut Map<String, Value>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0
            .insert(field.name().into(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.0.insert(field.name().into(), value.to_string().into());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Lines {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn a_json_line_carries_the_trace_id_and_the_fields() {
        let lines = Lines::default();
        let subscriber = tracing_subscriber::registry().with(
            tracing_subscriber::fmt::layer()
                .event_format(JsonLines)
                .with_writer(lines.clone()),
        );
        let trace = TraceContext::generate();
        tracing::subscriber::with_default(subscriber, || {
            trace.sync_scope(|| {
                tracing::info_span!("step").in_scope(|| {
                    tracing::info!(attempt = 2, expert = "a\"b", "called");
                });
            });
            tracing::info!("outside");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let parsed: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(parsed[0]["message"], "called");
        assert_eq!(parsed[0]["attempt"], 2);
        assert_eq!(parsed[0]["expert"], "a\"b");
        assert_eq!(parsed[0]["span"], "step");
        assert_eq!(parsed[0]["trace_id"], trace.trace_id().to_string());
        assert_eq!(parsed[1].get("trace_id"), None);
    }

    #[test]
    fn a_bad_filter_is_named() {
        let config = TracingConfig {
            filter: "maestro=loud".into(),
            ..TracingConfig::default()
        };
        let error = init_tracing(&config).unwrap_err();
        assert!(error.to_string().contains("maestro=loud"), "{error}");
    }
}
