//! Which waiting requests go into the next forward pass, and when. No clock and no thread: the
//! caller says what time it is.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::config::BatchingConfig;

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<T> {
    /// Compute these, each with the time it waited.
    Batch(Vec<(T, Duration)>),
    /// Come back after this time, or when something is pushed.
    Wait(Duration),
    /// Nothing waits.
    Idle,
}

/// A bounded queue that gives batches.
#[derive(Debug)]
pub struct Batcher<T> {
    max_batch: usize,
    max_wait: Duration,
    capacity: usize,
    waiting: VecDeque<(T, Instant)>,
}

impl<T> Batcher<T> {
    /// An empty queue.
    pub fn new(config: &BatchingConfig) -> Self {
        Self {
            max_batch: config.max_batch,
            max_wait: config.max_wait(),
            capacity: config.queue,
            waiting: VecDeque::new(),
        }
    }

    /// Items that wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Lets an item wait.
    ///
    /// # Errors
    /// The item itself where the queue is full.
    pub fn push(&mut self, item: T, now: Instant) -> Result<(), T> {
        if self.waiting.len() >= self.capacity {
            return Err(item);
        }
        self.waiting.push_back((item, now));
        Ok(())
    }

    /// A batch once it is full or its first item has waited long enough; in the order of arrival.
    pub fn next(&mut self, now: Instant) -> Next<T> {
        let Some((_, first)) = self.waiting.front() else {
            return Next::Idle;
        };
        let waited = now.saturating_duration_since(*first);
        if self.waiting.len() < self.max_batch && waited < self.max_wait {
            return Next::Wait(self.max_wait - waited);
        }
        let count = self.max_batch.min(self.waiting.len());
        let batch = self
            .waiting
            .drain(..count)
            .map(|(item, since)| (item, now.saturating_duration_since(since)))
            .collect();
        Next::Batch(batch)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn batcher(max_batch: usize, max_wait_us: u64, queue: usize) -> Batcher<u32> {
        Batcher::new(&BatchingConfig {
            max_batch,
            max_wait_us,
            queue,
        })
    }

    fn items(next: Next<u32>) -> Vec<u32> {
        match next {
            Next::Batch(batch) => batch.into_iter().map(|(item, _)| item).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn without_a_wait_what_is_there_is_taken() {
        let mut batcher = batcher(4, 0, 8);
        let now = Instant::now();
        assert_eq!(batcher.next(now), Next::Idle);
        for item in 0..6 {
            batcher.push(item, now).unwrap();
        }
        assert_eq!(items(batcher.next(now)), [0, 1, 2, 3]);
        assert_eq!(items(batcher.next(now)), [4, 5]);
        assert_eq!(batcher.next(now), Next::Idle);
    }

    #[test]
    fn the_first_waits_for_others_until_its_time_is_up() {
        let mut batcher = batcher(2, 100, 8);
        let start = Instant::now();
        let at = |us| start + Duration::from_micros(us);
        batcher.push(1, at(0)).unwrap();
        assert_eq!(batcher.next(at(30)), Next::Wait(Duration::from_micros(70)));
        batcher.push(2, at(40)).unwrap();
        assert_eq!(items(batcher.next(at(40))), [1, 2], "full");
        batcher.push(3, at(50)).unwrap();
        assert_eq!(items(batcher.next(at(150))), [3], "its time is up");
    }

    proptest! {
        #[test]
        fn every_accepted_item_comes_once_in_order_and_in_time(
            max_batch in 1usize..6, max_wait in 0u64..50, queue in 1usize..10,
            pushes in prop::collection::vec((0u64..20, any::<bool>()), 0..60),
        ) {
            let mut batcher = batcher(max_batch, max_wait, queue);
            let mut now = Instant::now();
            let (mut accepted, mut taken) = (vec![], vec![]);
            for (item, (pause, take)) in (0u32..).zip(pushes) {
                now += Duration::from_micros(pause);
                let full = batcher.len() == queue;
                match batcher.push(item, now) {
                    Ok(()) => accepted.push(item),
                    Err(_) => prop_assert!(full),
                }
                if take && let Next::Batch(batch) = batcher.next(now) {
                    prop_assert!(!batch.is_empty() && batch.len() <= max_batch);
                    taken.extend(batch.into_iter().map(|(item, _)| item));
                }
            }
            now += Duration::from_micros(max_wait);
            while let Next::Batch(batch) = batcher.next(now) {
                taken.extend(batch.into_iter().map(|(item, _)| item));
            }
            prop_assert!(batcher.is_empty());
            prop_assert_eq!(taken, accepted);
        }
    }
}
