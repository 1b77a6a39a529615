//! Writes to the journal on behalf of an episode.

use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use maestro_core::{
    CoreError,
    episode::{Conclusion, EpisodeSpec, Failure, FailureKind, PendingCall, Step},
};
use maestro_telemetry::{Counter, Histogram, Label};

use super::effects::World;

/// First wait before a write is tried again; it doubles up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

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
    /// Writes a call before it is made.
    pub(super) async fn begin(&self, spec: &EpisodeSpec, call: &PendingCall) -> Written {
        let journal = self.journals.of(spec);
        self.write(spec, "begin", || journal.begin(&spec.id, call))
            .await
    }

    /// Writes a step.
    pub(super) async fn append(&self, spec: &EpisodeSpec, step: &Step) -> Written {
        let journal = self.journals.of(spec);
        self.write(spec, "append", || journal.append(&spec.id, step))
            .await
    }

    /// Writes the end of an episode, with the steps that are not written yet.
    pub(crate) async fn finish(
        &self,
        spec: &EpisodeSpec,
        rest: &[Step],
        conclusion: &Conclusion,
    ) -> Written {
        let journal = self.journals.of(spec);
        let finish = || journal.finish(&spec.id, rest, conclusion);
        let written = self.write(spec, "finish", finish).await;
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
        attempt: impl Fn() -> BoxFuture<'a, Result<(), CoreError>>,
    ) -> Written {
        let began = Instant::now();
        let mut wait = FIRST_WAIT;
        loop {
            let started = Instant::now();
            let written = attempt().await;
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
