//! What happens in an episode, for those who watch it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::Stream;
use maestro_core::episode::{EpisodeRecord, EpisodeSpec, Step};
use maestro_wire::EpisodeEvent;
use tokio::sync::watch;

/// The events of one running episode from its beginning. Bounded by the episode's steps, so that
/// a slow watcher misses nothing and holds nobody up.
pub(crate) struct Feed {
    state: Mutex<State>,
    /// Number of events so far.
    length: watch::Sender<usize>,
}

struct State {
    events: Vec<EpisodeEvent>,
    record: EpisodeRecord,
}

impl Feed {
    pub(crate) fn new(spec: EpisodeSpec) -> Self {
        let record = EpisodeRecord {
            spec,
            steps: Vec::new(),
            conclusion: None,
            outcome: None,
        };
        let events = vec![EpisodeEvent::Accepted(Arc::new(record.clone()))];
        Self {
            state: Mutex::new(State { events, record }),
            length: watch::Sender::new(1),
        }
    }

    /// The record as it stands.
    pub(crate) fn record(&self) -> EpisodeRecord {
        self.lock().record.clone()
    }

    pub(crate) fn decided(&self, step: Arc<Step>) {
        self.push(EpisodeEvent::Decided(step));
    }

    pub(crate) fn finished(&self, step: Step) {
        let step = Arc::new(step);
        self.lock().record.steps.push((*step).clone());
        self.push(EpisodeEvent::Finished(step));
    }

    /// Ends the feed. Only the first end counts.
    pub(crate) fn ended(&self, record: EpisodeRecord) {
        {
            let mut state = self.lock();
            if state.record.conclusion.is_some() {
                return;
            }
            state.record = record.clone();
        }
        self.push(EpisodeEvent::Ended(Arc::new(record)));
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.lock().record.conclusion.is_some()
    }

    /// Every event from the first to the last, waiting for those to come.
    pub(crate) fn watch(self: Arc<Self>) -> impl Stream<Item = EpisodeEvent> + Send {
        let length = self.length.subscribe();
        futures::stream::unfold(
            (self, length, 0, false),
            |(feed, mut length, next, done)| async move {
                if done {
                    return None;
                }
                // The sender lives in the feed, which this stream holds: waiting cannot fail.
                length.wait_for(|length| *length > next).await.ok()?;
                let event = feed.lock().events.get(next).cloned()?;
                let done = matches!(event, EpisodeEvent::Ended(_));
                Some((event, (feed, length, next + 1, done)))
            },
        )
    }

    fn push(&self, event: EpisodeEvent) {
        let length = {
            let mut state = self.lock();
            state.events.push(event);
            state.events.len()
        };
        self.length.send_replace(length);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; were it so, the data would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
