use std::time::{Duration, Instant};

use ractor::ActorRef;
use tokio_util::task::AbortOnDropHandle;

use super::episode::{EpisodeMessage, tell};

/// Tells an episode of its deadline. It can be stopped and go on later, with what was left.
#[derive(Default)]
pub(super) struct Timer {
    number: u64,
    left: Duration,
    started: Option<Instant>,
    sleep: Option<AbortOnDropHandle<()>>,
}

impl Timer {
    /// Has the episode told in `left` from now.
    pub(super) fn start(&mut self, left: Duration, actor: &ActorRef<EpisodeMessage>) {
        self.number += 1;
        self.left = left;
        self.started = Some(Instant::now());
        let (timer, actor) = (self.number, actor.clone());
        self.sleep = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            tokio::time::sleep(left).await;
            tell(&actor, EpisodeMessage::Deadline { timer });
        })));
    }

    /// Stops it, whatever is under way.
    pub(super) fn stop(&mut self) {
        self.sleep = None;
        self.number += 1;
        if let Some(started) = self.started.take() {
            self.left = self.left.saturating_sub(started.elapsed());
        }
    }

    /// Goes on with what was left, where it was stopped.
    pub(super) fn go_on(&mut self, actor: &ActorRef<EpisodeMessage>) {
        if self.started.is_none() {
            self.start(self.left, actor);
        }
    }

    /// Whether this timer is the one that runs.
    pub(super) fn is(&self, timer: u64) -> bool {
        self.number == timer
    }
}
