//! W3C trace context (<https://www.w3.org/TR/trace-context/>): parsing, formatting and carrying it
//! along a task. `tracestate` is not carried: no part of Maestro writes vendor state.

use std::{
    fmt,
    future::Future,
    str::FromStr,
    sync::atomic::{AtomicU64, Ordering},
};

use rand::Rng;
use tokio::task_local;

/// Name of the gRPC metadata key and HTTP header.
pub const TRACEPARENT: &str = "traceparent";

/// Bits of the share of new traces that are sampled.
static SAMPLE_RATIO: AtomicU64 = AtomicU64::new(1.0_f64.to_bits());

/// Sets the share of new traces that are sampled, 0 to 1.
pub(crate) fn set_sample_ratio(ratio: f64) {
    SAMPLE_RATIO.store(ratio.clamp(0.0, 1.0).to_bits(), Ordering::Relaxed);
}

task_local! {
    static CURRENT: TraceContext;
}

/// Which trace and which span of it something happens in. Neither id is zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace: u128,
    span: u64,
    flags: u8,
}

/// The text is no `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a W3C traceparent")]
pub struct InvalidTraceparent;

impl TraceContext {
    const SAMPLED: u8 = 1;

    /// A new trace, sampled in the share of cases that the configuration says (all by default).
    pub fn generate() -> Self {
        let mut random = rand::rng();
        let ratio = f64::from_bits(SAMPLE_RATIO.load(Ordering::Relaxed));
        Self {
            trace: random.random_range(1..=u128::MAX),
            span: random.random_range(1..=u64::MAX),
            flags: if random.random_bool(ratio) {
                Self::SAMPLED
            } else {
                0
            },
        }
    }

    pub(crate) fn trace_number(self) -> u128 {
        self.trace
    }

    pub(crate) fn span_number(self) -> u64 {
        self.span
    }

    /// Another span of the same trace.
    #[must_use]
    pub fn child(self) -> Self {
        Self {
            span: rand::rng().random_range(1..=u64::MAX),
            ..self
        }
    }

    /// Whether the caller records the trace.
    pub fn is_sampled(self) -> bool {
        self.flags & Self::SAMPLED != 0
    }

    /// The trace id, 32 hexadecimal digits.
    pub fn trace_id(self) -> TraceId {
        TraceId(self.trace)
    }

    /// The span id, 16 hexadecimal digits.
    pub fn span_id(self) -> SpanId {
        SpanId(self.span)
    }

    /// The context of the running task, if it has one.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|context| *context).ok()
    }

    /// Runs `future` within this context. Tasks that it spawns do not inherit it; wrap them too.
    pub fn scope<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, future)
    }

    /// Runs `work` within this context.
    pub fn sync_scope<T>(self, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self, work)
    }
}

/// Displays a trace id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Displays a span id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanId(u64);

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "00-{:032x}-{:016x}-{:02x}",
            self.trace, self.span, self.flags
        )
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TraceContext {
    type Err = InvalidTraceparent;

    /// Reads version 00, and of later versions the part that version 00 defines, as the
    /// specification asks. Version ff, upper case and zero ids are refused.
    fn from_str(text: &str) -> Result<Self, InvalidTraceparent> {
        let bytes = text.as_bytes();
        let version = hex(bytes.get(0..2)).ok_or(InvalidTraceparent)?;
        let length_fits = match version {
            0 => bytes.len() == 55,
            0xff => false,
            _ => bytes.len() == 55 || bytes.get(55) == Some(&b'-'),
        };
        let dashes = [2, 35, 52].iter().all(|&at| bytes.get(at) == Some(&b'-'));
        if !length_fits || !dashes {
            return Err(InvalidTraceparent);
        }
        let trace = hex(bytes.get(3..35))
            .filter(|id| *id != 0)
            .ok_or(InvalidTraceparent)?;
        let span = hex(bytes.get(36..52))
            .filter(|id| *id != 0)
            .ok_or(InvalidTraceparent)?;
        let flags = hex(bytes.get(53..55)).ok_or(InvalidTraceparent)?;
        // The slices have 16 and 2 digits, so neither cast cuts anything off.
        Ok(Self {
            trace,
            span: span as u64,
            flags: flags as u8,
        })
    }
}

/// The value of up to 32 lower-case hexadecimal digits.
fn hex(digits: Option<&[u8]>) -> Option<u128> {
    digits?.iter().try_fold(0_u128, |value, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some((value << 4) | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_example_of_the_specification_is_read() {
        let context: TraceContext = GOOD.parse().unwrap();
        assert_eq!(
            context.trace_id().to_string(),
            "4bf92f3577b34da6a3ce929d0e0e4736"
        );
        assert_eq!(context.span_id().to_string(), "00f067aa0ba902b7");
        assert!(context.is_sampled());
        assert_eq!(context.to_string(), GOOD);
    }

    #[test]
    fn later_versions_may_be_longer_and_the_first_may_not() {
        assert!(
            format!("cc{}-extra", &GOOD[2..])
                .parse::<TraceContext>()
                .is_ok()
        );
        for bad in [
            format!("{GOOD}-extra"),
            format!("ff{}", &GOOD[2..]),
            format!("cc{}extra", &GOOD[2..]),
            GOOD.to_uppercase(),
            GOOD.replace("00f067aa0ba902b7", "0000000000000000"),
            GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            GOOD.replace('-', "_"),
            GOOD[..54].to_owned(),
        ] {
            assert_eq!(
                bad.parse::<TraceContext>(),
                Err(InvalidTraceparent),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_child_stays_in_its_trace() {
        let parent = TraceContext::generate();
        let child = parent.child();
        assert_eq!(child.trace_id(), parent.trace_id());
        assert_ne!(child.span_id(), parent.span_id());
    }

    #[tokio::test]
    async fn a_scope_ends_with_its_future() {
        let context = TraceContext::generate();
        let seen = context.scope(async { TraceContext::current() }).await;
        assert_eq!(seen, Some(context));
        assert_eq!(TraceContext::current(), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,80}") {
            if let Ok(context) = text.parse::<TraceContext>() {
                prop_assert_eq!(&context.to_string()[2..], &text[2..55]);
            }
        }

        #[test]
        fn generated_contexts_survive_the_wire(_seed in any::<u8>()) {
            let context = TraceContext::generate().child();
            prop_assert_eq!(context.to_string().parse(), Ok(context));
        }
    }
}
