//! Writes to the journal on behalf of an episode, which stands still while the journal is away.

use std::time::{Duration, Instant};

use futures::{FutureExt, future::BoxFuture};
use maestro_core::{
    CoreError,
    episode::{Conclusion, EpisodeSpec, Failure, FailureKind, PendingCall, Step},
};
use maestro_telemetry::{Counter, Histogram, Label};

use super::effects::World;

/// First wait before a write is tried again; it doubles up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// A write that takes longer than this finds the journal away: the episode stands still.
const USUAL: Duration = Duration::from_secs(1);

/// What came of a write.
#[derive(Debug)]
pub(crate) enum Written {
    /// It is in the journal.
    Done,
    /// The episode is not this coordinator's any more: its actor stops, and others go on.
    Lost,
    /// The journal refused it for good.
    Failed(CoreError),
}

/// Who is told that an episode stands still, for it waits for the journal.
pub(crate) trait Standstill: Sync {
    /// It waits.
    fn began(&self);
    /// It waits no more, and has waited so long.
    fn ended(&self, waited: Duration);
}

/// For an episode whose deadline does not matter any more.
pub(crate) struct NobodyCares;

impl Standstill for NobodyCares {
    fn began(&self) {}
    fn ended(&self, _: Duration) {}
}

impl Written {
    /// The failure of an episode whose journal refuses a write.
    pub(super) fn failure(what: &str, error: &CoreError) -> Failure {
        Failure::new(
            FailureKind::Unavailable,
            format!("the journal refused {what}: {error}"),
        )
    }
}

impl World {
    /// Writes a call before it is made; returns how long that took beyond [`USUAL`] as well.
    pub(super) async fn begin(
        &self,
        spec: &EpisodeSpec,
        call: &PendingCall,
        standstill: &dyn Standstill,
    ) -> (Written, Duration) {
        let journal = self.journals.of(spec);
        let begin = |waited: Duration| {
            // Whoever goes on with it must know of this wait too.
            let call = PendingCall {
                suspended: call.suspended.saturating_add(waited),
                ..call.clone()
            };
            async move { journal.begin(&spec.id, &call).await }.boxed()
        };
        self.write(spec, "begin", standstill, begin).await
    }

    /// Writes a step.
    pub(super) async fn append(
        &self,
        spec: &EpisodeSpec,
        step: &Step,
        standstill: &dyn Standstill,
    ) -> Written {
        let journal = self.journals.of(spec);
        let append = |_| journal.append(&spec.id, step);
        self.write(spec, "append", standstill, append).await.0
    }

    /// Writes the end of an episode, with the steps that are not written yet.
    pub(crate) async fn finish(
        &self,
        spec: &EpisodeSpec,
        rest: &[Step],
        conclusion: &Conclusion,
    ) -> Written {
        let journal = self.journals.of(spec);
        let finish = |_| journal.finish(&spec.id, rest, conclusion);
        let (written, _) = self.write(spec, "finish", &NobodyCares, finish).await;
        if let Written::Failed(error) = &written {
            tracing::error!(episode = %spec.id, %error, "the end could not be written to the journal");
        }
        if matches!(written, Written::Done) && self.journals.shared(spec).is_none() {
            self.journals.keep(&spec.tenant, &spec.id).await;
        }
        written
    }

    /// Writes; a durable episode waits while the journal is away, for as long as the settings allow.
    /// That also keeps an owner that cannot reach the journal from making calls: the call is
    /// written first.
    async fn write<'a>(
        &self,
        spec: &EpisodeSpec,
        reason: &'static str,
        standstill: &dyn Standstill,
        attempt: impl Fn(Duration) -> BoxFuture<'a, Result<(), CoreError>>,
    ) -> (Written, Duration) {
        let began = Instant::now();
        let attempts = self.attempts(spec, reason, began, attempt);
        let mut attempts = std::pin::pin!(attempts);
        if let Ok(written) = tokio::time::timeout(USUAL, &mut attempts).await {
            return (written, Duration::ZERO);
        }
        standstill.began();
        let written = attempts.await;
        let waited = began.elapsed();
        standstill.ended(waited);
        (written, waited)
    }

    async fn attempts<'a>(
        &self,
        spec: &EpisodeSpec,
        reason: &'static str,
        began: Instant,
        attempt: impl Fn(Duration) -> BoxFuture<'a, Result<(), CoreError>>,
    ) -> Written {
        let mut wait = FIRST_WAIT;
        loop {
            let started = Instant::now();
            let written = attempt(began.elapsed()).await;
            Histogram::JournalWriteDuration.record_duration(started.elapsed(), &[]);
            let error = match written {
                Ok(()) => return Written::Done,
                Err(CoreError::Superseded(reason)) => {
                    tracing::warn!(episode = %spec.id, reason, "the episode is lost to another coordinator");
                    return Written::Lost;
                }
                Err(error) => error,
            };
            Counter::JournalWriteFailures.increment(&[Label::Reason(reason)]);
            if self.journals.shared(spec).is_none() || !error.is_transient() {
                return Written::Failed(error);
            }
            if began.elapsed() >= self.config.max_suspend() {
                tracing::error!(episode = %spec.id, %error, "the journal was away for too long");
                return Written::Lost;
            }
            tracing::warn!(episode = %spec.id, %error, reason, "the episode waits for the journal");
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }
}
