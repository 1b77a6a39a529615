//! Scores along: what a slot's shadow policy would have decided. On a thread of its own and after
//! the reply, so that no decision waits for it; it calls nothing and changes nothing.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
};

use maestro_core::{
    episode::{Choice, Decision},
    ports::DecideRequest,
};
use maestro_policy::{Prepared, ScorerPolicy};
use maestro_telemetry::{Counter, Histogram, Label};

use crate::{engine::decide_unharmed, error::WorkerError, policies::named};

/// Decisions that wait. A further one is not scored, which is counted.
const QUEUE: usize = 256;
/// Most decisions of one pass.
const BATCH: usize = 32;

/// What the active policy decided.
pub(crate) struct Watched {
    /// Its most probable action.
    first: Choice,
    /// The action taken, which is another one where it was sampled.
    taken: Choice,
}

impl Watched {
    /// `None` for a decision without a distribution.
    pub(crate) fn of(decision: &Decision) -> Option<Self> {
        Some(Self {
            first: decision.alternatives.first()?.choice.clone(),
            taken: Choice::from(&decision.action),
        })
    }
}

/// A decision with the state that it was made in.
struct Item {
    shadow: Arc<ScorerPolicy>,
    prepared: Arc<Prepared>,
    request: DecideRequest,
    watched: Watched,
}

/// The thread and its queue. Dropping it scores what still waits and ends the thread.
pub(crate) struct Shadow {
    queue: Option<SyncSender<Item>>,
    thread: Option<JoinHandle<()>>,
}

impl Shadow {
    /// Starts the thread.
    pub(crate) fn start() -> Result<Self, WorkerError> {
        let (queue, waiting) = sync_channel(QUEUE);
        let thread = thread::Builder::new()
            .name("shadow".into())
            .spawn(move || run(&waiting))
            .map_err(WorkerError::Thread)?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// Hands a decision over; never waits.
    pub(crate) fn offer(
        &self,
        shadow: Arc<ScorerPolicy>,
        prepared: &Arc<Prepared>,
        request: DecideRequest,
        watched: Watched,
    ) {
        let item = Item {
            shadow,
            prepared: Arc::clone(prepared),
            request,
            watched,
        };
        let Some(queue) = &self.queue else { return };
        if let Err(TrySendError::Full(item) | TrySendError::Disconnected(item)) =
            queue.try_send(item)
        {
            dropped(&item.request, "full");
        }
    }
}

impl Drop for Shadow {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A panic in it has nobody left to reach.
            let _ = thread.join();
        }
    }
}

fn run(waiting: &Receiver<Item>) {
    while let Ok(first) = waiting.recv() {
        let items: Vec<Item> = std::iter::once(first)
            .chain(waiting.try_iter().take(BATCH - 1))
            .collect();
        // Those of one policy and one registry go together; nearly always all do.
        for group in items.chunk_by(|a, b| {
            Arc::ptr_eq(&a.shadow, &b.shadow) && Arc::ptr_eq(&a.prepared, &b.prepared)
        }) {
            score(group);
        }
    }
}

fn score(group: &[Item]) {
    let [first, ..] = group else { return };
    let requests: Vec<&DecideRequest> = group.iter().map(|item| &item.request).collect();
    let outcomes = decide_unharmed(&first.shadow, &first.prepared, &requests);
    for (item, outcome) in group.iter().zip(outcomes) {
        match outcome {
            Ok(decision) => report(item, &decision),
            Err(_) => dropped(&item.request, "failed"),
        }
    }
}

fn report(item: &Item, decision: &Decision) {
    let slot = Label::Slot(named(&item.request.slot));
    let (agreed, probability) = compare(&item.watched, decision);
    Counter::ShadowDecisions.increment(&[slot, Label::Agreed(agreed)]);
    Histogram::ShadowProbability.record(f64::from(probability), &[slot]);
}

/// Whether the shadow's first choice is the active policy's, and its probability of the action
/// taken.
fn compare(watched: &Watched, shadow: &Decision) -> (bool, f32) {
    let alternatives = &shadow.alternatives;
    let first = alternatives.first().map(|alternative| &alternative.choice);
    let taken = alternatives
        .iter()
        .find(|alternative| alternative.choice == watched.taken);
    (
        first == Some(&watched.first),
        taken.map_or(0.0, |alternative| alternative.probability),
    )
}

fn dropped(request: &DecideRequest, reason: &'static str) {
    Counter::ShadowDropped.increment(&[Label::Slot(named(&request.slot)), Label::Reason(reason)]);
}
