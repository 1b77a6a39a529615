//! What happens in an episode, for those who watch it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::Stream;
use maestro_core::episode::{EpisodeRecord, Step};
use maestro_wire::EpisodeEvent;
use tokio::sync::watch;

use crate::cursor::{replay, step_events};

/// The events of one episode that runs here, from its beginning. Bounded by the episode's steps, so
/// that a slow watcher misses nothing and holds nobody up. Each event is told once, however often
/// it is reported.
pub(crate) struct Feed {
    state: Mutex<State>,
    progress: watch::Sender<Progress>,
}

#[derive(Clone, Copy, Default)]
struct Progress {
    /// Number of events so far.
    length: usize,
    /// Another coordinator goes on with the episode: nothing more comes.
    is_left: bool,
}

struct State {
    events: Vec<EpisodeEvent>,
    record: EpisodeRecord,
    /// Steps whose decision was told.
    decided: usize,
}

impl Feed {
    /// The feed of an episode that has got as far as `record`.
    pub(crate) fn new(record: EpisodeRecord) -> Self {
        let events = replay(&record, None);
        let progress = Progress {
            length: events.len(),
            is_left: false,
        };
        let decided = record.steps.len();
        Self {
            state: Mutex::new(State {
                events,
                record,
                decided,
            }),
            progress: watch::Sender::new(progress),
        }
    }

    /// The record as it stands.
    pub(crate) fn record(&self) -> EpisodeRecord {
        self.lock().record.clone()
    }

    /// A call is about to be made.
    pub(crate) fn decided(&self, step: Arc<Step>) {
        self.tell(|state| {
            let index = position(&step);
            if index < state.decided || index < state.record.steps.len() {
                return vec![];
            }
            state.decided = index + 1;
            vec![EpisodeEvent::Decided(step)]
        });
    }

    /// A step is finished, and written where it has to be.
    pub(crate) fn finished(&self, step: Step) {
        self.tell(|state| {
            let index = position(&step);
            if index < state.record.steps.len() {
                return vec![];
            }
            let mut events = step_events(&step);
            // That of a call that was refused was not told yet.
            events.retain(|event| {
                !matches!(event, EpisodeEvent::Decided(_)) || index >= state.decided
            });
            state.decided = index + 1;
            state.record.steps.push(step);
            events
        });
    }

    /// Ends the feed. Only the first end counts.
    pub(crate) fn ended(&self, record: EpisodeRecord) {
        self.tell(|state| {
            if state.record.conclusion.is_some() {
                return vec![];
            }
            state.record = record.clone();
            vec![EpisodeEvent::Ended(Arc::new(record))]
        });
    }

    /// Ends the feed without an end of the episode: another coordinator goes on with it.
    pub(crate) fn left(&self) {
        self.progress
            .send_modify(|progress| progress.is_left = true);
    }

    /// Whether nothing more comes.
    pub(crate) fn is_over(&self) -> bool {
        self.progress.borrow().is_left || self.lock().record.conclusion.is_some()
    }

    /// Every event from the first to the last, waiting for those to come. Without an
    /// [`EpisodeEvent::Ended`] where the episode was left to others.
    pub(crate) fn watch(self: Arc<Self>) -> impl Stream<Item = EpisodeEvent> + Send {
        let progress = self.progress.subscribe();
        futures::stream::unfold(
            (self, progress, 0, false),
            |(feed, mut progress, next, done)| async move {
                if done {
                    return None;
                }
                // The sender lives in the feed, which this stream holds: waiting cannot fail.
                progress
                    .wait_for(|progress| progress.length > next || progress.is_left)
                    .await
                    .ok()?;
                let event = feed.lock().events.get(next).cloned()?;
                let done = matches!(event, EpisodeEvent::Ended(_));
                Some((event, (feed, progress, next + 1, done)))
            },
        )
    }

    fn tell(&self, events: impl FnOnce(&mut State) -> Vec<EpisodeEvent>) {
        let length = {
            let mut state = self.lock();
            let events = events(&mut state);
            state.events.extend(events);
            state.events.len()
        };
        self.progress
            .send_modify(|progress| progress.length = progress.length.max(length));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; were it so, the data would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn position(step: &Step) -> usize {
    usize::try_from(step.index).unwrap_or(usize::MAX)
}
