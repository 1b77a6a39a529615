//! Computation away from the threads that serve requests.

use std::sync::Arc;

use maestro_core::episode::Failure;
use tokio::sync::Semaphore;

use super::failed;

/// Runs calls on the blocking pool, a bounded number at once. Computation cannot be interrupted:
/// one whose caller has gone keeps its place until it ends, so that cancelled calls do not pile up
/// behind one another.
pub(super) struct Blocking {
    places: Arc<Semaphore>,
}

impl Blocking {
    pub(super) fn new(concurrency: u32) -> Self {
        let places = usize::try_from(concurrency).unwrap_or(usize::MAX);
        Self {
            places: Arc::new(Semaphore::new(places.clamp(1, Semaphore::MAX_PERMITS))),
        }
    }

    /// Runs `work` once there is a place. The caller's deadline bounds the wait.
    ///
    /// # Errors
    /// What `work` says, or that it panicked.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let place = Arc::clone(&self.places)
            .acquire_owned()
            .await
            .map_err(|_| failed("the backend is closed"))?;
        let computed = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(place);
            result
        });
        computed
            .await
            .unwrap_or_else(|_| Err(failed("the computation ended by a defect")))
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;

    #[tokio::test]
    async fn an_abandoned_computation_keeps_its_place() {
        let pool = Blocking::new(1);
        let (finish, wait) = mpsc::channel::<()>();
        let slow = pool.run(move || {
            let _ = wait.recv();
            Ok(())
        });
        let short = Duration::from_millis(50);
        assert!(tokio::time::timeout(short, slow).await.is_err());
        assert!(
            tokio::time::timeout(short, pool.run(|| Ok(1)))
                .await
                .is_err(),
            "the place is still taken"
        );
        finish.send(()).unwrap();
        assert_eq!(pool.run(|| Ok(2)).await, Ok(2));
    }

    #[tokio::test]
    async fn a_defect_is_a_failure() {
        let pool = Blocking::new(1);
        let failure = pool.run::<()>(|| panic!("on purpose")).await.unwrap_err();
        assert_eq!(
            failure.kind,
            maestro_core::episode::FailureKind::ExpertFailed
        );
        assert_eq!(pool.run(|| Ok(3)).await, Ok(3));
    }
}
