//! A circuit breaker as a plain value: no clock, no lock. The caller says what time it is.

use std::time::Duration;

/// When a breaker opens and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerConfig {
    /// Failures in a row that open it.
    pub failure_threshold: u32,
    /// How long it stays open the first time; doubles with each failed probe.
    pub open_for: Duration,
    /// Longest time that it stays open.
    pub max_open_for: Duration,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            failure_threshold: 3,
            open_for: Duration::from_secs(1),
            max_open_for: Duration::from_secs(30),
        }
    }
}

/// State of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls pass.
    Closed,
    /// No call passes.
    Open,
    /// One probing call is under way; no other passes.
    HalfOpen,
}

/// A circuit breaker. Times are durations since any fixed moment of the caller's.
#[derive(Clone, Debug)]
pub struct Breaker {
    config: BreakerConfig,
    failures: u32,
    /// Consecutive times that it opened without a success between.
    openings: u32,
    opened_at: Option<Duration>,
    probing_since: Option<Duration>,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(config: BreakerConfig) -> Self {
        Self {
            config,
            failures: 0,
            openings: 0,
            opened_at: None,
            probing_since: None,
        }
    }

    /// The state at `now`.
    pub fn state(&self, now: Duration) -> BreakerState {
        match (self.opened_at, self.probing_since) {
            (None, _) => BreakerState::Closed,
            (Some(_), Some(since)) if now.saturating_sub(since) < self.open_time() => {
                BreakerState::HalfOpen
            }
            (Some(_), _) => BreakerState::Open,
        }
    }

    /// Whether a call could pass at `now`. Changes nothing.
    pub fn allows(&self, now: Duration) -> bool {
        match self.opened_at {
            None => true,
            Some(opened_at) => {
                self.state(now) != BreakerState::HalfOpen
                    && now.saturating_sub(opened_at) >= self.open_time()
            }
        }
    }

    /// Notes that a call begins. Where the breaker is open, that call is the probe. A probe that
    /// never reports back is forgotten after the opening time.
    pub fn on_start(&mut self, now: Duration) {
        if self.opened_at.is_some() {
            self.probing_since = Some(now);
        }
    }

    /// Notes a call that succeeded.
    pub fn on_success(&mut self) {
        *self = Self::new(self.config);
    }

    /// Notes a call that failed for a reason that lies with the instance.
    pub fn on_failure(&mut self, now: Duration) {
        self.failures = self.failures.saturating_add(1);
        let probe_failed = self.probing_since.take().is_some();
        let threshold_met =
            self.opened_at.is_none() && self.failures >= self.config.failure_threshold;
        if probe_failed || threshold_met {
            self.opened_at = Some(now);
            self.openings = self.openings.saturating_add(1);
        }
    }

    /// Notes a call that ended without saying anything of the instance (cancelled, bad request).
    pub fn on_neutral(&mut self) {
        self.probing_since = None;
    }

    fn open_time(&self) -> Duration {
        let doublings = self.openings.saturating_sub(1).min(16);
        self.config
            .open_for
            .saturating_mul(1 << doublings)
            .min(self.config.max_open_for)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn it_opens_probes_and_closes() {
        let mut breaker = Breaker::new(BreakerConfig::default());
        for _ in 0..2 {
            breaker.on_failure(S(0));
            assert!(breaker.allows(S(0)));
        }
        breaker.on_failure(S(0));
        assert!(!breaker.allows(S(0)));
        assert!(breaker.allows(S(1)));
        breaker.on_start(S(1));
        assert_eq!(breaker.state(S(1)), BreakerState::HalfOpen);
        assert!(!breaker.allows(S(1)), "one probe at a time");
        breaker.on_failure(S(1));
        assert!(!breaker.allows(S(2)), "a failed probe doubles the time");
        assert!(breaker.allows(S(3)));
        breaker.on_start(S(3));
        breaker.on_success();
        assert_eq!(breaker.state(S(3)), BreakerState::Closed);
    }

    #[test]
    fn a_lost_probe_does_not_block_for_ever() {
        let mut breaker = Breaker::new(BreakerConfig::default());
        for _ in 0..3 {
            breaker.on_failure(S(0));
        }
        breaker.on_start(S(1));
        assert!(breaker.allows(S(60)));
    }

    proptest! {
        #[test]
        fn it_always_lets_a_call_through_in_the_end(
            events in prop::collection::vec((0u8..4, 0u64..5), 0..60)
        ) {
            let config = BreakerConfig::default();
            let mut breaker = Breaker::new(config);
            let mut now = S(0);
            for (event, wait) in events {
                now += S(wait);
                match event {
                    0 => breaker.on_start(now),
                    1 => breaker.on_success(),
                    2 => breaker.on_failure(now),
                    _ => breaker.on_neutral(),
                }
            }
            prop_assert!(breaker.allows(now + config.max_open_for * 2));
        }
    }
}
