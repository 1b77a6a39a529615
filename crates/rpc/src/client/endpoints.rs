//! Sends a request to one of several equal servers.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use maestro_core::breaker::{Breaker, BreakerConfig};
use maestro_telemetry::{Counter, Label};
use rand::Rng;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Response, Status, transport::Channel};
use url::Url;

use super::{
    ClientConfig,
    resolve::{self, has_name},
};
use crate::{
    call::send,
    error::RpcError,
    pool::ChannelPool,
    status::{code_name, code_of, is_unprocessed},
};

/// Longest pause between two rounds.
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// When a request may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Doing it twice changes nothing: whenever the server was unavailable.
    Safe,
    /// Only where it was surely not processed.
    IfUnprocessed,
}

/// Clients of equal servers, taken in turn. A server that keeps failing is passed over for a
/// while, unless all do.
pub(crate) struct Endpoints<C> {
    entries: watch::Receiver<Entries<C>>,
    _resolving: Option<AbortOnDropHandle<()>>,
    next: AtomicUsize,
    epoch: Instant,
    max_attempts: u32,
    attempt_timeout: Option<Duration>,
    backoff: Duration,
}

type Entries<C> = Arc<Vec<Arc<Entry<C>>>>;

struct Entry<C> {
    url: Url,
    client: C,
    breaker: Mutex<Breaker>,
}

impl<C: Clone + Send + Sync + 'static> Endpoints<C> {
    pub(crate) fn new(
        name: &'static str,
        urls: &[Url],
        config: &ClientConfig,
        client: impl Fn(Channel) -> C + Send + Sync + 'static,
    ) -> Result<Self, RpcError> {
        if urls.is_empty() {
            return Err(RpcError::NoEndpoint { client: name });
        }
        let pool = ChannelPool::new(config.pool);
        let make = move |url: &Url| {
            Ok::<_, RpcError>(Arc::new(Entry {
                url: url.clone(),
                client: client(pool.channel(url)?),
                breaker: Mutex::new(Breaker::new(BreakerConfig::default())),
            }))
        };
        // Until the names are resolved, and where they cannot be, each name is one server.
        let entries = urls.iter().map(&make).collect::<Result<Vec<_>, _>>()?;
        let (sender, entries) = watch::channel(Arc::new(entries));
        let interval = Duration::from_millis(config.pool.resolve_interval_ms);
        let resolving = (!interval.is_zero() && urls.iter().any(has_name)).then(|| {
            let urls = urls.to_vec();
            AbortOnDropHandle::new(tokio::spawn(async move {
                while !sender.is_closed() {
                    let resolved = resolve::resolve(&urls).await;
                    let now = Arc::clone(&sender.borrow());
                    if let Some(next) = renewed(&now, &resolved, &make) {
                        sender.send_replace(Arc::new(next));
                    }
                    tokio::time::sleep(interval).await;
                }
            }))
        });
        Ok(Self {
            entries,
            _resolving: resolving,
            next: AtomicUsize::new(0),
            epoch: Instant::now(),
            max_attempts: config.max_attempts.max(1),
            attempt_timeout: config.attempt_timeout_ms.map(Duration::from_millis),
            backoff: Duration::from_millis(config.backoff_ms),
        })
    }

    /// Makes a call, repeated as `repeat` allows, all within `timeout`. `call` gets a client and
    /// the time that is left.
    pub(crate) async fn call<T, F>(
        &self,
        method: &'static str,
        timeout: Duration,
        repeat: Repeat,
        call: impl Fn(C, Duration) -> F,
    ) -> Result<T, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let until = Instant::now() + timeout;
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        let mut entries = self.entries();
        let mut tried: Vec<usize> = Vec::new();
        let mut round = 0;
        let mut attempt = 1;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Status::deadline_exceeded("the call's time is up"));
            }
            let index = next_endpoint(entries.len(), start, &tried, |index| {
                self.with_breaker(&entries[index], |breaker, now| breaker.allows(now))
            });
            let entry = &entries[index];
            self.with_breaker(entry, Breaker::on_start);
            let client = entry.client.clone();
            let limit = attempt_limit(left, self.attempt_timeout, repeat);
            let status = match send(method, limit, call(client, limit)).await {
                Ok(reply) => {
                    self.with_breaker(entry, |breaker, _| breaker.on_success());
                    return Ok(reply);
                }
                Err(status) => status,
            };
            self.note_failure(entry, &status);
            let silent = limit < left && code_of(&status) == Code::DeadlineExceeded;
            if attempt >= self.max_attempts || !(silent || may_repeat(&status, repeat)) {
                return Err(status);
            }
            attempt += 1;
            Counter::Retries.increment(&[
                Label::Method(method),
                Label::Reason(code_name(code_of(&status))),
            ]);
            tried.push(index);
            if tried.len() >= entries.len() {
                tried.clear();
                let pause = backoff(self.backoff, round, rand::rng().random_range(0.5..=1.0));
                let left = until.saturating_duration_since(Instant::now());
                tokio::time::sleep(pause.min(left)).await;
                round += 1;
                entries = self.entries();
            }
        }
    }

    /// The servers as they are known now, at least one.
    fn entries(&self) -> Entries<C> {
        Arc::clone(&self.entries.borrow())
    }

    fn note_failure(&self, entry: &Entry<C>, status: &Status) {
        self.with_breaker(entry, |breaker, now| match code_of(status) {
            Code::Unavailable | Code::DeadlineExceeded | Code::Unknown => breaker.on_failure(now),
            Code::ResourceExhausted | Code::Cancelled => breaker.on_neutral(),
            // It answered, so it lives.
            _ => breaker.on_success(),
        });
    }

    fn with_breaker<T>(
        &self,
        entry: &Entry<C>,
        apply: impl FnOnce(&mut Breaker, Duration) -> T,
    ) -> T {
        let now = self.epoch.elapsed();
        let mut breaker = entry.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        apply(&mut breaker, now)
    }
}

/// The entries of `urls`, those that were there before kept with their connections and breakers;
/// `None` where nothing changes or nothing would be left.
fn renewed<C>(
    now: &[Arc<Entry<C>>],
    urls: &BTreeSet<Url>,
    make: impl Fn(&Url) -> Result<Arc<Entry<C>>, RpcError>,
) -> Option<Vec<Arc<Entry<C>>>> {
    let same = now.len() == urls.len() && now.iter().all(|entry| urls.contains(&entry.url));
    if same || urls.is_empty() {
        return None;
    }
    let known = |url: &Url| now.iter().find(|entry| entry.url == *url).cloned();
    let entries: Vec<_> = urls
        .iter()
        .filter_map(|url| known(url).or_else(|| make(url).ok()))
        .collect();
    (!entries.is_empty()).then_some(entries)
}

/// The time of one attempt: shorter than what is left only where it may be repeated.
fn attempt_limit(left: Duration, attempt: Option<Duration>, repeat: Repeat) -> Duration {
    match attempt {
        Some(attempt) if repeat == Repeat::Safe => attempt.min(left),
        _ => left,
    }
}

fn may_repeat(status: &Status, repeat: Repeat) -> bool {
    is_unprocessed(status) || (repeat == Repeat::Safe && code_of(status) == Code::Unavailable)
}

/// The endpoint to try: the first from `start` on that is untried and allowed, else the first
/// untried one (when all are passed over, passing over helps nobody), else `start`.
fn next_endpoint(
    count: usize,
    start: usize,
    tried: &[usize],
    allowed: impl Fn(usize) -> bool,
) -> usize {
    let order = || (0..count).map(|step| start.wrapping_add(step) % count);
    let untried = || order().filter(|index| !tried.contains(index));
    untried()
        .find(|index| allowed(*index))
        .or_else(|| untried().next())
        .unwrap_or(start % count)
}

/// The pause after `round` rounds: doubling, at most [`MAX_BACKOFF`], times `jitter` (0 to 1).
fn backoff(base: Duration, round: u32, jitter: f64) -> Duration {
    base.saturating_mul(1 << round.min(16))
        .min(MAX_BACKOFF)
        .mul_f64(jitter)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn endpoints_take_turns_and_the_open_ones_are_passed_over() {
        assert_eq!(next_endpoint(3, 4, &[], |_| true), 1);
        assert_eq!(next_endpoint(3, 4, &[1], |_| true), 2);
        assert_eq!(next_endpoint(3, 4, &[], |index| index == 0), 0);
        assert_eq!(
            next_endpoint(3, 4, &[], |_| false),
            1,
            "all open: try anyway"
        );
    }

    #[test]
    fn requests_that_may_have_happened_are_repeated_only_if_that_is_safe() {
        let reset = Status::unavailable("connection reset");
        assert!(may_repeat(&reset, Repeat::Safe));
        assert!(!may_repeat(&reset, Repeat::IfUnprocessed));
        assert!(may_repeat(
            &crate::status::draining(),
            Repeat::IfUnprocessed
        ));
        assert!(!may_repeat(&Status::internal("x"), Repeat::Safe));
    }

    #[test]
    fn only_what_changes_nothing_is_given_up_early() {
        let [second, minute] = [1, 60].map(Duration::from_secs);
        assert_eq!(attempt_limit(minute, Some(second), Repeat::Safe), second);
        assert_eq!(attempt_limit(second, Some(minute), Repeat::Safe), second);
        assert_eq!(
            attempt_limit(minute, Some(second), Repeat::IfUnprocessed),
            minute
        );
        assert_eq!(attempt_limit(minute, None, Repeat::Safe), minute);
    }

    #[test]
    fn servers_that_stay_keep_their_state() {
        let entry = |url: &Url| {
            Ok::<_, RpcError>(Arc::new(Entry {
                url: url.clone(),
                client: (),
                breaker: Mutex::new(Breaker::new(BreakerConfig::default())),
            }))
        };
        let [a, b, c]: [Url; 3] = [
            "http://10.0.0.1:1",
            "http://10.0.0.2:1",
            "http://10.0.0.3:1",
        ]
        .map(|u| u.parse().unwrap());
        let now = vec![entry(&a).unwrap(), entry(&b).unwrap()];
        let set = |urls: &[&Url]| {
            urls.iter()
                .map(|url| (*url).clone())
                .collect::<BTreeSet<_>>()
        };
        assert!(renewed(&now, &set(&[&b, &a]), entry).is_none());
        assert!(
            renewed(&now, &set(&[]), entry).is_none(),
            "nothing is forgotten"
        );
        let next = renewed(&now, &set(&[&b, &c]), entry).unwrap();
        assert!(Arc::ptr_eq(&next[0], &now[1]));
        assert_eq!(next[1].url, c);
    }

    proptest! {
        #[test]
        fn an_untried_endpoint_is_found_while_there_is_one(
            count in 1usize..6, start in any::<usize>(),
            tried in prop::collection::vec(0usize..6, 0..6), open in any::<u8>(),
        ) {
            let index = next_endpoint(count, start, &tried, |index| open & (1 << index) != 0);
            prop_assert!(index < count);
            if (0..count).any(|index| !tried.contains(&index)) {
                prop_assert!(!tried.contains(&index));
            }
        }

        #[test]
        fn pauses_grow_and_stay_bounded(round in 0u32..40, jitter in 0.0f64..=1.0) {
            let pause = backoff(Duration::from_millis(20), round, jitter);
            prop_assert!(pause <= MAX_BACKOFF);
            prop_assert!(pause <= backoff(Duration::from_millis(20), round + 1, 1.0));
        }
    }
}
