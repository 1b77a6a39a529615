//! Decisions: waits for the registry where asked to, queues, answers in time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use maestro_core::{
    CoreError,
    episode::{Decision, Failure, FailureKind},
    ports::{self, DecideRequest, Policy},
};
use maestro_policy::{KIND, Runtime};
use maestro_proto::v1;
use maestro_rpc::{Drainable, ServiceStatus};
use maestro_wire::ToProto;
use tokio::{sync::Notify, time};

use crate::{
    config::BatchingConfig,
    engine::{Engine, Refused},
    follower::View,
    policies::Policies,
};

/// Longest wait for a registry revision.
const MAX_REVISION_WAIT: Duration = Duration::from_secs(1);
/// When a refused request may be sent again.
const RETRY_MS: u64 = 20;

/// Why there is no decision.
#[derive(Debug)]
pub(crate) enum Undecided {
    /// This worker could not; another one may.
    Refused(CoreError),
    /// No worker could: nothing can be chosen.
    Failed(Failure),
}

/// A policy worker. It is the port [`Policy`] for callers in the same process.
pub struct PolicyWorker {
    view: Arc<View>,
    policies: Arc<Policies>,
    engine: Engine,
    runtime: Runtime,
    queue: usize,
    deciding: AtomicU32,
    idle: Notify,
}

impl PolicyWorker {
    pub(crate) fn new(
        view: Arc<View>,
        policies: Arc<Policies>,
        engine: Engine,
        runtime: Runtime,
        batching: &BatchingConfig,
    ) -> Self {
        Self {
            view,
            policies,
            engine,
            runtime,
            queue: batching.queue,
            deciding: AtomicU32::new(0),
            idle: Notify::new(),
        }
    }

    pub(crate) async fn decide_or_refuse(
        &self,
        request: DecideRequest,
    ) -> Result<Decision, Undecided> {
        let _deciding = Deciding::begin(self);
        let time = request.remaining.time;
        let late = || {
            let text = format!("no decision within the {} ms left", time.as_millis());
            Undecided::Refused(CoreError::DeadlineExceeded(text))
        };
        let work = async {
            self.wait_for(request.min_revision).await?;
            let outcome = self
                .engine
                .submit(request, time)
                .map_err(|refused| self.refuse(refused))?;
            match outcome.await {
                Ok(outcome) => outcome.map_err(Undecided::Failed),
                // Dropped unanswered: the engine has ended. (Or its time is up, which the timer
                // around this says as well.)
                Err(_) => Err(self.refuse(Refused::Closed)),
            }
        };
        time::timeout(time, work)
            .await
            .unwrap_or_else(|_| Err(late()))
    }

    async fn wait_for(&self, revision: u64) -> Result<(), Undecided> {
        if self.view.reaches(revision, MAX_REVISION_WAIT).await {
            return Ok(());
        }
        let seen = self.view.current().snapshot().revision;
        Err(Undecided::Refused(CoreError::Unavailable {
            what: "registry",
            reason: format!("revision {revision} has not arrived, {seen} has"),
        }))
    }

    fn refuse(&self, refused: Refused) -> Undecided {
        Undecided::Refused(match refused {
            Refused::Full => CoreError::Exhausted {
                what: "decisions",
                limit: self.queue as u64,
                retry_after_ms: RETRY_MS,
            },
            Refused::Closed => CoreError::Unavailable {
                what: "policy worker",
                reason: "it is ending".into(),
            },
        })
    }

    pub(crate) fn describe(&self, slot: &str) -> v1::GetPolicyResponse {
        let prepared = self.view.current();
        let snapshot = prepared.snapshot();
        let action_set = snapshot.action_set();
        v1::GetPolicyResponse {
            policy_version: self.policies.of(slot).version().to_string(),
            kind: KIND.into(),
            device: self.runtime.device_name().into(),
            revision: snapshot.revision,
            catalogue: snapshot
                .digest
                .map(|digest| digest.to_string())
                .unwrap_or_default(),
            action_set: action_set
                .iter()
                .map(|candidate| candidate.pair().to_proto())
                .collect(),
        }
    }
}

/// Counts a request until it is dropped.
struct Deciding<'a>(&'a PolicyWorker);

impl<'a> Deciding<'a> {
    fn begin(worker: &'a PolicyWorker) -> Self {
        worker.deciding.fetch_add(1, Ordering::AcqRel);
        Self(worker)
    }
}

impl Drop for Deciding<'_> {
    fn drop(&mut self) {
        if self.0.deciding.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

#[async_trait]
impl Policy for PolicyWorker {
    async fn decide(&self, request: DecideRequest) -> Result<Decision, ports::Undecided> {
        self.decide_or_refuse(request)
            .await
            .map_err(|undecided| match undecided {
                Undecided::Failed(failure) => ports::Undecided::Impossible(failure),
                Undecided::Refused(error) => {
                    let kind = match error {
                        CoreError::Exhausted { .. } => FailureKind::Overloaded,
                        CoreError::DeadlineExceeded(_) => FailureKind::Timeout,
                        _ => FailureKind::Unavailable,
                    };
                    ports::Undecided::Away(Failure::new(kind, error.to_string()))
                }
            })
    }
}

#[async_trait]
impl Drainable for PolicyWorker {
    fn status(&self) -> ServiceStatus {
        let mut details = self.policies.versions();
        details.insert("device".into(), self.runtime.device_name().into());
        details.insert(
            "policy_load_failures".into(),
            self.policies.failures().to_string(),
        );
        ServiceStatus {
            service: "policy-worker",
            in_flight: self.deciding.load(Ordering::Acquire),
            capacity: u32::try_from(self.queue).unwrap_or(u32::MAX),
            revision: self.view.current().snapshot().revision,
            details,
        }
    }

    async fn drain(&self, grace: Duration) -> u32 {
        let finished = async {
            loop {
                let mut idle = std::pin::pin!(self.idle.notified());
                idle.as_mut().enable();
                if self.deciding.load(Ordering::Acquire) == 0 {
                    return;
                }
                idle.await;
            }
        };
        match time::timeout(grace, finished).await {
            Ok(()) => 0,
            Err(_) => self.deciding.load(Ordering::Acquire),
        }
    }
}
