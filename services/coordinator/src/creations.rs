//! How many durable episodes may wait for a journal that is away.
//!
//! Each of them holds a permit meanwhile. Without a bound they would take them all, and ephemeral
//! episodes, which need no journal, would find none.

use std::time::Duration;

use maestro_core::CoreError;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time,
};

/// One in so many permits.
const SHARE: usize = 4;
/// Longest wait for a place while the journal is there.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Bounds of when a refused client may try again.
const RETRY_AFTER: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));

/// See the module.
#[derive(Debug)]
pub(crate) struct Creations {
    places: Semaphore,
    limit: usize,
}

impl Creations {
    /// For a coordinator that runs at most so many episodes.
    pub(crate) fn new(max_running: usize) -> Self {
        let limit = (max_running / SHARE).clamp(1, Semaphore::MAX_PERMITS);
        Self {
            places: Semaphore::new(limit),
            limit,
        }
    }

    /// A place among those that are being written, which ends with the result. `away` says for how
    /// long the journal has been away, if it is: then nobody waits for a place.
    ///
    /// # Errors
    /// [`CoreError::Exhausted`] where none is free, or becomes so soon.
    pub(crate) async fn enter(
        &self,
        away: Option<Duration>,
    ) -> Result<SemaphorePermit<'_>, CoreError> {
        let place = match away {
            Some(_) => self.places.try_acquire().ok(),
            None => {
                let waiting = time::timeout(LONGEST_WAIT, self.places.acquire());
                waiting.await.ok().and_then(Result::ok)
            }
        };
        place.ok_or_else(|| {
            let spread = rand::random_range(0.5..=1.0);
            let retry_after = retry_after(away.unwrap_or_default()).mul_f64(spread);
            CoreError::Exhausted {
                what: "durable episodes that wait for the journal",
                limit: self.limit as u64,
                retry_after_ms: u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX),
            }
        })
    }
}

/// How long the journal stays away nobody knows: as long as it has, at a guess. So those who were
/// refused come back over a time that grows with their number.
fn retry_after(away: Duration) -> Duration {
    let (least, most) = RETRY_AFTER;
    away.clamp(least, most)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn while_the_journal_is_away_only_a_share_of_the_permits_waits_for_it() {
        let creations = Creations::new(8);
        let away = Some(Duration::from_secs(20));
        let first = creations.enter(away).await.unwrap();
        let _second = creations.enter(away).await.unwrap();
        let refused = creations.enter(away).await.unwrap_err();
        assert!(
            matches!(
                refused,
                CoreError::Exhausted {
                    limit: 2,
                    retry_after_ms: 10_000..=20_000,
                    ..
                }
            ),
            "{refused:?}"
        );
        drop(first);
        let _third = creations.enter(away).await.unwrap();
    }

    #[tokio::test]
    async fn while_it_is_there_all_find_a_place_in_time() {
        let creations = Creations::new(1);
        let first = creations.enter(None).await.unwrap();
        let mut second = Box::pin(creations.enter(None));
        assert!((&mut second).now_or_never().is_none());
        drop(first);
        let second = second.await.unwrap();
        let began = time::Instant::now();
        let refused = creations.enter(None).await.unwrap_err();
        assert!(
            matches!(
                refused,
                CoreError::Exhausted {
                    retry_after_ms: 1_000..=2_000,
                    ..
                }
            ),
            "{refused:?}"
        );
        assert!(began.elapsed() >= LONGEST_WAIT);
        drop(second);
    }

    #[test]
    fn clients_stay_away_as_long_as_the_journal_has_within_bounds() {
        for (away, expected) in [(0, 2), (7, 7), (3600, 30)] {
            let away = Duration::from_secs(away);
            assert_eq!(retry_after(away), Duration::from_secs(expected));
        }
    }
}
