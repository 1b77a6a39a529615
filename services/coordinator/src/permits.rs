//! Permits for episodes and the line before them: [`Line`] behind a lock, with somebody to tell for
//! every place in it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use maestro_core::{
    CoreError, TenantId,
    admission::{Claimant, Entered, Line, Place, Reason, Refused},
};
use maestro_telemetry::{Gauge, Histogram, Label};
use tokio::sync::oneshot;

use crate::config::EpisodeConfig;

/// Its name in metrics.
const QUEUE: Label<'static> = Label::Queue("episodes");

/// Permits of one coordinator.
pub(crate) struct Permits {
    state: Mutex<State>,
    epoch: Instant,
    limit: u64,
    least_retry: Duration,
}

struct State {
    line: Line,
    waiting: HashMap<Place, oneshot::Sender<Result<(), Refused>>>,
}

/// The right to run one episode, or the wait for it. Dropping it gives either up.
pub(crate) struct Permit {
    permits: Arc<Permits>,
    place: Place,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.permits.lock();
        state.waiting.remove(&self.place);
        let next = state.line.leave(self.place, self.permits.now());
        // Whoever is told too late gives the permit back by dropping its own.
        if let Some(told) = next.and_then(|next| state.waiting.remove(&next)) {
            told.send(Ok(())).ok();
        }
        state.export();
    }
}

impl Permits {
    pub(crate) fn new(config: &EpisodeConfig) -> Arc<Self> {
        Gauge::PermitsLimit.set(config.max_running as f64, &[Label::Resource("episodes")]);
        Arc::new(Self {
            state: Mutex::new(State {
                line: Line::new(config.line()),
                waiting: HashMap::new(),
            }),
            epoch: Instant::now(),
            limit: config.max_running as u64,
            least_retry: Duration::from_millis(config.retry_after_ms),
        })
    }

    /// A permit for a new episode of `tenant` that has `left` until its deadline, at once or after a
    /// wait within the bounds of the settings.
    ///
    /// # Errors
    /// [`Refused`].
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        tenant: TenantId,
        left: Duration,
    ) -> Result<Permit, Refused> {
        let began = Instant::now();
        let result = self
            .enter(Claimant::New { tenant, left }, Duration::MAX)
            .await;
        Histogram::QueueWait.record_duration(began.elapsed(), &[QUEUE]);
        result
    }

    /// A permit for an episode that was accepted before; `None` where there is none within `wait`.
    pub(crate) async fn acquire_for_accepted(self: &Arc<Self>, wait: Duration) -> Option<Permit> {
        self.enter(Claimant::Accepted, wait).await.ok()
    }

    async fn enter(
        self: &Arc<Self>,
        claimant: Claimant,
        longest: Duration,
    ) -> Result<Permit, Refused> {
        let (permit, told, until, overdue) = {
            let mut state = self.lock();
            let now = self.now();
            let (place, until, overdue) = match state.line.enter(claimant, now)? {
                Entered::Admitted(place) => return Ok(self.permit(place)),
                Entered::Waiting {
                    place,
                    until,
                    overdue,
                    displaced,
                } => {
                    if let Some(told) = displaced.and_then(|it| state.waiting.remove(&it)) {
                        told.send(Err(state.line.refused(Reason::LineFull))).ok();
                    }
                    (place, until, overdue)
                }
            };
            let (teller, told) = oneshot::channel();
            state.waiting.insert(place, teller);
            state.export();
            let wait = until.saturating_sub(now).min(longest);
            (self.permit(place), told, wait, overdue)
        };
        match tokio::time::timeout(until, told).await {
            Ok(Ok(Ok(()))) => Ok(permit),
            Ok(Ok(Err(refused))) => Err(refused),
            // Nobody is left to tell, or the time is up.
            Ok(Err(_)) | Err(_) => match self.lock().line.expired(permit.place, overdue) {
                None => Ok(permit),
                Some(refused) => Err(refused),
            },
        }
    }

    /// What a client is told that was turned away.
    pub(crate) fn exhausted(&self, refused: Refused) -> CoreError {
        let retry_after = refused.retry_after.max(self.least_retry);
        CoreError::Exhausted {
            what: match refused.reason {
                Reason::LineFull => "concurrent episodes",
                Reason::Age => "concurrent episodes: the wait for one of them",
                Reason::Deadline => "concurrent episodes: the time left",
            },
            limit: self.limit,
            retry_after_ms: u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn permit(self: &Arc<Self>, place: Place) -> Permit {
        Permit {
            permits: Arc::clone(self),
            place,
        }
    }

    fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn export(&self) {
        Gauge::QueueDepth.set(self.line.waiting() as f64, &[QUEUE]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::QueueConfig;

    fn permits(max_running: usize, max_waiting: usize, max_wait_ms: u64) -> Arc<Permits> {
        Permits::new(&EpisodeConfig {
            max_running,
            queue: QueueConfig {
                max_waiting,
                max_wait_ms,
                ..QueueConfig::default()
            },
            ..EpisodeConfig::default()
        })
    }

    async fn acquire(permits: &Arc<Permits>, tenant: &str) -> Result<Permit, Refused> {
        let tenant = tenant.parse().unwrap();
        permits.acquire(tenant, Duration::from_secs(60)).await
    }

    #[tokio::test]
    async fn a_permit_that_is_dropped_goes_to_who_waits() {
        let permits = permits(1, 4, 60_000);
        let held = acquire(&permits, "a").await.unwrap();
        let waiting = tokio::spawn({
            let permits = Arc::clone(&permits);
            async move { acquire(&permits, "b").await.map(drop) }
        });
        tokio::task::yield_now().await;
        assert_eq!(permits.lock().line.waiting(), 1);
        drop(held);
        waiting.await.unwrap().unwrap();
        assert_eq!(permits.lock().line.in_use(), 0);
    }

    #[tokio::test]
    async fn who_waits_too_long_or_is_displaced_is_told_so() {
        let permits = permits(1, 1, 50);
        let _held = acquire(&permits, "a").await.unwrap();
        let refused = acquire(&permits, "a").await.err().unwrap();
        assert_eq!(refused.reason, Reason::Age);
        let error = permits.exhausted(refused).to_string();
        assert!(error.contains("concurrent episodes"), "{error}");
        let (first, second) = tokio::join!(acquire(&permits, "a"), acquire(&permits, "a"));
        assert_eq!(first.err().unwrap().reason, Reason::Age);
        assert_eq!(second.err().unwrap().reason, Reason::LineFull);
        assert!(permits.lock().waiting.is_empty());
    }

    #[tokio::test]
    async fn a_client_that_leaves_gives_its_place_up() {
        let permits = permits(1, 4, 60_000);
        let held = acquire(&permits, "a").await.unwrap();
        let short = Duration::from_millis(10);
        assert!(
            tokio::time::timeout(short, acquire(&permits, "b"))
                .await
                .is_err()
        );
        assert_eq!(permits.lock().line.waiting(), 0);
        assert!(permits.acquire_for_accepted(short).await.is_none());
        drop(held);
        assert!(permits.acquire_for_accepted(short).await.is_some());
        assert_eq!(permits.lock().line.in_use(), 0);
    }
}
