//! How quickly permits come back.

use std::time::Duration;

/// Weight of what was seen last, in both averages.
const NEWEST: f64 = 0.1;
/// By how much the quickest time is taken to grow with each one that was slower, so that what was
/// quick once is forgotten.
const FORGETTING: f64 = 1.02;
/// A pause longer than this says that there was nothing to do, not that work was slow.
const IDLE: Duration = Duration::from_secs(10);

/// Averages over the permits that came back.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    last: Option<Duration>,
    /// Seconds between two.
    interval: Option<f64>,
    /// Seconds of the quickest holder of late.
    quickest: Option<f64>,
}

impl Pace {
    /// Notes a permit that came back at `now` after `time`.
    pub(super) fn finished(&mut self, time: Duration, now: Duration) {
        let time = time.as_secs_f64();
        self.quickest = Some(match self.quickest {
            Some(quickest) => time.min(quickest * FORGETTING),
            None => time,
        });
        if let Some(last) = self.last.replace(now) {
            let passed = now.saturating_sub(last).min(IDLE).as_secs_f64();
            self.interval = Some(match self.interval {
                Some(interval) => interval + NEWEST * (passed - interval),
                None => passed,
            });
        }
    }

    /// Expected time until `count` permits have come back; nothing is known at first.
    pub(super) fn wait(&self, count: usize) -> Option<Duration> {
        let seconds = self.interval? * count as f64;
        Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
    }

    /// Least time that a holder needs.
    pub(super) fn quickest(&self) -> Duration {
        let seconds = self.quickest.unwrap_or_default();
        Duration::try_from_secs_f64(seconds).unwrap_or_default()
    }
}
