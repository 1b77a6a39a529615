//! Whether anything was lost, doubled, contradicted or overspent in a run. Pure.

mod calls;
mod clients;
mod leases;
mod records;
mod watches;

use std::fmt;

use maestro_proto::v1;

use super::evidence::{Evidence, JournalEpisode};

/// Kinds of violation, each with a test that plants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An accepted durable episode is not in the journal.
    Lost,
    /// An episode has not ended.
    StillRunning,
    /// A watcher was told an end twice.
    EndedTwice,
    /// One request made several episodes, or one episode stands for several requests.
    NotOnePerRequest,
    /// An episode that was never asked for.
    Unasked,
    /// Two views of an episode differ.
    ViewsDiffer,
    /// An answer that the expert did not give.
    WrongAnswer,
    /// Steps are missing or doubled.
    StepsBroken,
    /// A watcher was not told what happened, or twice, or in another order.
    EventsBroken,
    /// More steps, calls or money than the budget allows, or accounts that do not add up.
    BudgetExceeded,
    /// The model was called for a step more often than owners were lost.
    CallsRepeated,
    /// What a client asked for never came.
    Unanswered,
    /// Keys of an index are left behind.
    LeftBehind,
    /// A key of a process stands without it, or without a lease.
    LeaseOutlived,
    /// A process has no key.
    LeaseMissing,
    /// A value in etcd cannot be read.
    Unreadable,
    /// A process panicked.
    Panicked,
}

/// Something that must not happen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// What kind of thing.
    pub kind: Kind,
    /// Where, and what exactly.
    pub what: String,
}

impl Violation {
    fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self {
            kind,
            what: what.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.what)
    }
}

/// Everything in the evidence that must not be.
pub fn check(evidence: &Evidence) -> Vec<Violation> {
    let mut found = clients::check(evidence);
    found.extend(records::check(evidence));
    found.extend(watches::check(evidence));
    found.extend(calls::check(evidence));
    found.extend(leases::check(evidence));
    found.sort();
    found.dedup();
    found
}

/// What is wrong with the leases alone.
pub(super) fn leases(evidence: &Evidence) -> Vec<Violation> {
    leases::check(evidence)
}

/// An episode as its head, steps and outcome tell it together; none where the head is missing or a
/// step is a blob.
fn assembled(episode: &JournalEpisode) -> Option<v1::Episode> {
    if !episode.blobs.is_empty() {
        return None;
    }
    let mut record = episode.head.as_ref()?.episode.clone()?;
    record.steps = episode.steps.values().cloned().collect();
    record.outcome.clone_from(&episode.outcome);
    Some(record)
}

/// How an episode ended.
pub(super) fn termination(episode: &v1::Episode) -> Option<&v1::termination::Termination> {
    let conclusion = episode.conclusion.as_ref()?;
    conclusion.termination.as_ref()?.termination.as_ref()
}

fn is_answered(episode: &v1::Episode) -> bool {
    matches!(
        termination(episode),
        Some(v1::termination::Termination::Answered(_))
    )
}

#[cfg(test)]
mod tests;
