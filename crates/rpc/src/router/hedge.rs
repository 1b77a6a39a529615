//! A second attempt for a call that is slow, at another instance; whichever answers first counts, and
//! the other is cancelled (the hedged request of Dean and Barroso, "The Tail at Scale", CACM 2013).

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use maestro_proto::v1;
use maestro_telemetry::{Counter, Label};

use super::{
    expert::{Expert, Lease},
    lock,
    outcome::Verdict,
    table::Ticket,
};

/// Times that are remembered of one expert.
const REMEMBERED: usize = 128;
/// Times that must be known before any call counts as slow.
const ENOUGH: usize = 20;
/// No call is slow before this.
const LEAST: Duration = Duration::from_millis(20);

/// How long an expert's calls took of late.
#[derive(Debug, Default)]
pub(super) struct Times(Mutex<VecDeque<Duration>>);

impl Times {
    pub(super) fn note(&self, time: Duration) {
        let mut times = lock(&self.0);
        if times.len() >= REMEMBERED {
            times.pop_front();
        }
        times.push_back(time);
    }

    /// The time within which `percent` of the calls ended; `None` while too few are known.
    pub(super) fn percentile(&self, percent: u32) -> Option<Duration> {
        let mut times: Vec<Duration> = lock(&self.0).iter().copied().collect();
        if times.len() < ENOUGH {
            return None;
        }
        times.sort_unstable();
        let rank = (times.len() * usize::try_from(percent.min(100)).ok()?).div_ceil(100);
        times
            .get(rank.saturating_sub(1))
            .map(|time| (*time).max(LEAST))
    }
}

/// Makes a call that may be made twice. `tried` are instances that do not count as another one.
pub(super) async fn call(
    expert: &Arc<Expert>,
    first: Lease,
    tried: &[Ticket],
    message: &v1::InvokeRequest,
    left: Duration,
    percent: u32,
) -> Verdict {
    let Some(slow) = expert
        .times()
        .percentile(percent)
        .filter(|slow| *slow < left)
    else {
        return first.call(message.clone(), left).await;
    };
    let began = Instant::now();
    let elsewhere: Vec<Ticket> = tried.iter().copied().chain([first.ticket()]).collect();
    let mut one = std::pin::pin!(first.call(message.clone(), left));
    if let Ok(verdict) = tokio::time::timeout(slow, &mut one).await {
        return verdict;
    }
    let Some(second) = expert.try_acquire(&elsewhere) else {
        return one.await;
    };
    let left = left.saturating_sub(began.elapsed());
    let mut two = std::pin::pin!(second.call(message.clone(), left));
    let (verdict, by) = tokio::select! {
        verdict = &mut one => (verdict, "first"),
        verdict = &mut two => (verdict, "second"),
    };
    let (verdict, by) = match (verdict, by) {
        (Verdict::Done(Ok(reply)), by) => (Verdict::Done(Ok(reply)), by),
        // It failed; the other may still answer.
        (failed, "first") => match two.await {
            Verdict::Done(Ok(reply)) => (Verdict::Done(Ok(reply)), "second"),
            _ => (failed, "neither"),
        },
        (_, _) => (one.await, "first"),
    };
    let labels = [Label::Expert(expert.name().as_str()), Label::Outcome(by)];
    Counter::HedgedCalls.increment(&labels);
    match verdict {
        Verdict::Done(Ok(mut reply)) => {
            reply.usage.calls = reply.usage.calls.max(1) + 1;
            Verdict::Done(Ok(reply))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_is_what_most_calls_of_late_were_not() {
        let times = Times::default();
        for ms in 1..ENOUGH as u64 {
            times.note(Duration::from_millis(ms * 100));
        }
        assert_eq!(times.percentile(95), None, "too few");
        times.note(Duration::from_millis(2_000));
        assert_eq!(times.percentile(95), Some(Duration::from_millis(1_900)));
        assert_eq!(times.percentile(100), Some(Duration::from_millis(2_000)));
        for _ in 0..REMEMBERED {
            times.note(Duration::from_millis(1));
        }
        assert_eq!(times.percentile(95), Some(LEAST), "old ones are forgotten");
    }
}
