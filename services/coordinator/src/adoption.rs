//! Takes over the episodes of coordinators that are gone, and passes on who wants what cancelled.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::StreamExt;
use maestro_core::{
    CoordinatorId, CoreError, MicroUsd, Timestamp,
    adoption::{MAX_TERMS, Unfinished, to_adopt},
    episode::{Conclusion, Failure, FailureKind, PendingCall, Termination},
    ports::{Adopted, SharedJournal, Standing},
};
use maestro_telemetry::{Counter, Label, TraceContext};
use ractor::ActorRef;
use tokio::sync::watch;

use crate::{
    actors::{Accepted, Live, SchedulerMessage, submit, total_usage},
    permits::{Permit, Permits},
};

/// How often the journal is searched for episodes that run nowhere while nobody goes.
const SEARCH: Duration = Duration::from_secs(5);
/// The same, where some were left over.
const SEARCH_AGAIN: Duration = Duration::from_secs(1);
/// How long after an outage of the journal nothing is adopted.
const SETTLE: Duration = Duration::from_secs(3);
/// Longest wait for another episode to end, where as many run as may.
const PERMIT: Duration = Duration::from_secs(2);
/// Adoptions under way at once; their writes share transactions.
const AT_ONCE: usize = 64;

/// See the module.
pub(crate) struct Adopter {
    pub(crate) live: Arc<Live>,
    pub(crate) journal: Arc<dyn SharedJournal>,
    pub(crate) permits: Arc<Permits>,
    pub(crate) max_suspend: Duration,
    pub(crate) scheduler: watch::Receiver<Option<ActorRef<SchedulerMessage>>>,
    pub(crate) draining: watch::Receiver<bool>,
}

impl Adopter {
    /// Goes on until the coordinator drains.
    pub(crate) async fn run(self) {
        let mut draining = self.draining.clone();
        // A closed channel is a coordinator that is gone.
        let drained = async move { draining.wait_for(|draining| *draining).await.is_ok() };
        tokio::select! {
            _ = drained => {}
            () = self.adopt_for_ever() => {}
            () = self.pass_on_cancellations() => {}
        }
    }

    async fn adopt_for_ever(&self) {
        let mut members = self.journal.membership();
        loop {
            let (me, living) = {
                let members = members.borrow_and_update();
                (members.me.clone(), Arc::clone(&members.living))
            };
            self.leave_what_is_lost();
            let mut wait = SEARCH;
            let settling = self.settling();
            if !settling.is_zero() {
                wait = settling;
            } else if let Some(me) = me {
                match self.journal.unfinished().await {
                    Ok(unfinished) => {
                        let runs_here =
                            |id: &_| self.journal.owns(id) || self.live.find(id).is_some();
                        let orphans = to_adopt(&unfinished, &living, &me, runs_here);
                        if self.adopt_all(&me, orphans).await {
                            wait = SEARCH_AGAIN;
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "episodes that run nowhere cannot be searched for");
                        wait = SEARCH_AGAIN;
                    }
                }
            }
            // A change or a tick: either way the next look.
            if let Ok(Err(_closed)) = tokio::time::timeout(wait, members.changed()).await {
                return;
            }
        }
    }

    /// Stops the actors of episodes that this coordinator lost with its lease.
    fn leave_what_is_lost(&self) {
        for (id, episode) in self.live.all() {
            if episode.is_shared && !episode.feed.is_over() && !self.journal.owns(&id) {
                episode.leave("lease_lost");
            }
        }
    }

    /// Adopts as many as there are permits; returns whether some were left over.
    async fn adopt_all(&self, me: &CoordinatorId, orphans: Vec<&Unfinished>) -> bool {
        if orphans.is_empty() {
            return false;
        }
        tracing::info!(coordinator = %me, episodes = orphans.len(), "adopting episodes that run nowhere");
        let left_over = AtomicBool::new(false);
        futures::stream::iter(orphans)
            .for_each_concurrent(AT_ONCE, |entry| async {
                if !self.adopt(entry).await {
                    left_over.store(true, Ordering::Relaxed);
                }
            })
            .await;
        left_over.into_inner()
    }

    /// Returns whether the episode is settled: it runs here, or is somebody else's.
    async fn adopt(&self, entry: &Unfinished) -> bool {
        let id = &entry.episode;
        let Some(permit) = self.permits.acquire_for_accepted(PERMIT).await else {
            tracing::warn!(episode = %id, "an episode waits until another ends here");
            return false;
        };
        match self.journal.adopt(entry).await {
            Ok(None) => true,
            Ok(Some(adopted)) => match self.start(adopted, permit).await {
                Ok(()) => true,
                Err(error) => {
                    tracing::warn!(episode = %id, %error, "an adopted episode cannot be started yet");
                    self.journal.release(id);
                    false
                }
            },
            Err(error) => {
                tracing::warn!(episode = %id, %error, "an episode cannot be adopted yet");
                false
            }
        }
    }

    async fn start(&self, adopted: Adopted, permit: Permit) -> Result<(), CoreError> {
        let spec = adopted.standing.record.spec.clone();
        let id = spec.id.clone();
        tracing::info!(
            episode = %id,
            steps = adopted.standing.record.steps.len(),
            terms = adopted.terms,
            "an episode is adopted"
        );
        Counter::EpisodesAdopted.increment(&[]);
        if let Some(conclusion) = outlived(&adopted, Timestamp::now()) {
            self.journal.finish(&id, &[], &conclusion).await?;
            Counter::Episodes.increment(&[Label::Termination(conclusion.termination.name())]);
            return Ok(());
        }
        let accepted = Accepted {
            spec,
            suspended: self.stood_still(&adopted.standing),
            before: Some(adopted.standing),
            permit,
            trace: TraceContext::generate(),
        };
        let scheduler = self.scheduler.borrow().clone();
        let scheduler = scheduler.ok_or_else(|| CoreError::Unavailable {
            what: "episode scheduler",
            reason: "it is restarting".to_owned(),
        })?;
        submit(&scheduler, accepted).await?;
        // The wish may be older than the adoption.
        let wish = self.journal.cancellations().borrow().get(&id).cloned();
        if let (Some(reason), Some(episode)) = (wish, self.live.find(&id)) {
            episode.cancel(&reason);
        }
        Ok(())
    }

    /// How long to wait yet after the journal was away: experts' leases ended meanwhile too, and what
    /// is adopted before they are back finds none.
    fn settling(&self) -> Duration {
        let members = self.journal.membership();
        let members = members.borrow();
        if members.away_since.is_some() {
            return SEARCH_AGAIN;
        }
        let outage = members.outage;
        outage.map_or(Duration::ZERO, |outage| {
            outage.over_for(SETTLE, Timestamp::now()).min(SETTLE)
        })
    }

    /// How long an adopted episode stood still for, because the journal was away.
    fn stood_still(&self, standing: &Standing) -> Duration {
        let members = self.journal.membership();
        let outage = members.borrow().outage_at(Timestamp::now());
        let stood = outage.map(|outage| outage.after(standing.last_progress()));
        stood.unwrap_or_default().min(self.max_suspend)
    }

    async fn pass_on_cancellations(&self) {
        let mut wishes = self.journal.cancellations();
        loop {
            let standing = Arc::clone(&wishes.borrow_and_update());
            for (id, reason) in standing.iter() {
                if let Some(episode) = self.live.find(id) {
                    episode.cancel(reason);
                }
            }
            if wishes.changed().await.is_err() {
                // Adoption goes on without.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// The end of an episode that outlived as many owners as it may: none for another one.
fn outlived(adopted: &Adopted, at: Timestamp) -> Option<Conclusion> {
    let Adopted { standing, terms } = adopted;
    if *terms <= MAX_TERMS {
        return None;
    }
    let message = format!("{MAX_TERMS} coordinators were lost while they ran it");
    let call = standing.call.as_ref();
    Some(Conclusion {
        termination: Termination::Failed(Failure::new(FailureKind::Unavailable, message)),
        answer: None,
        usage: total_usage(&standing.record),
        // It may have been made: it counts with its upper bound.
        unsettled_cost: call.map_or(MicroUsd::ZERO, PendingCall::reserved),
        finished_at: at,
    })
}

#[cfg(test)]
#[path = "adoption_tests.rs"]
mod tests;
