//! Keeps what the worker serves in step with the registry: carries out [`plan`].
//!
//! Each expert has a task of its own, from building its backend to taking its registration back;
//! whatever goes wrong in it is logged and tried again, and stops nobody else.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use maestro_core::{
    CoreError, ExpertName,
    ids::InstanceId,
    ports::{InstanceSpec, PutMode, Registration, Registry},
    registry::{Descriptor, Snapshot},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;

use crate::{
    backend::{self, Backend, BackendKind},
    config::HostedExpert,
    error::ExpertWorkerError,
    plan::{Action, Scope, plan},
    serving::Serving,
    worker::{ExpertState, Worker},
};

/// First pause after a failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Longest time to take a registration back; after that its lease ends it.
const REVOKE_TIME: Duration = Duration::from_secs(5);

/// What every expert's task needs.
pub(crate) struct Context {
    pub(crate) worker: Arc<Worker>,
    pub(crate) registry: Arc<dyn Registry>,
    pub(crate) endpoint: Url,
    pub(crate) warm_up_timeout: Duration,
    pub(crate) tracker: TaskTracker,
    /// Ends everything: registrations first.
    pub(crate) stop: CancellationToken,
}

/// What is hosted and what is adopted.
pub(crate) struct Assignment {
    pub(crate) hosted: Vec<HostedExpert>,
    pub(crate) mode: PutMode,
    pub(crate) adopted: Vec<BackendKind>,
}

/// One expert's task as the supervisor knows it.
struct Slot {
    descriptor: watch::Sender<Descriptor>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Runs until the context's token is cancelled; every registration is taken back then.
pub(crate) async fn supervise(context: Arc<Context>, assignment: Assignment) {
    let mut snapshots = context.registry.snapshots();
    let mut scope = Scope {
        adopted: assignment.adopted.into_iter().collect(),
        ..Scope::default()
    };
    let (claimed, mut claims) = mpsc::channel(assignment.hosted.len().max(1));
    for expert in assignment.hosted {
        let task = claim(
            Arc::clone(&context),
            expert,
            assignment.mode,
            claimed.clone(),
        );
        context.tracker.spawn(task);
    }
    drop(claimed);
    let mut slots = BTreeMap::new();
    loop {
        let snapshot = Arc::clone(&snapshots.borrow_and_update());
        apply(&context, &snapshot, &scope, &mut slots);
        tokio::select! {
            () = context.stop.cancelled() => return,
            changed = snapshots.changed() => {
                if changed.is_err() {
                    // The registry is gone for good; what is served goes on.
                    context.stop.cancelled().await;
                    return;
                }
            }
            Some(expert) = claims.recv() => {
                scope.hosted.insert(expert.descriptor().name.clone(), expert.backend().clone());
            }
        }
    }
}

/// Puts a hosted expert's descriptor into the registry, however long that takes.
async fn claim(
    context: Arc<Context>,
    expert: HostedExpert,
    mode: PutMode,
    claimed: mpsc::Sender<HostedExpert>,
) {
    let name = &expert.descriptor().name;
    context.worker.set_state(name, ExpertState::Starting);
    let mut attempt = 0;
    loop {
        let put = context.registry.put_expert(expert.descriptor(), mode);
        let error = tokio::select! {
            () = context.stop.cancelled() => return,
            result = put => match result {
                Ok(_) => break,
                Err(error) => error,
            },
        };
        if !pause_after(&context, &context.stop, name, &error.into(), &mut attempt).await {
            return;
        }
    }
    // Nobody listens any more only when the worker ends.
    let _ = claimed.send(expert).await;
}

fn apply(
    context: &Arc<Context>,
    snapshot: &Snapshot,
    scope: &Scope,
    slots: &mut BTreeMap<ExpertName, Slot>,
) {
    let running = slots
        .iter()
        .map(|(name, slot)| (name.clone(), slot.descriptor.borrow().clone()))
        .collect();
    for action in plan(snapshot, &running, scope) {
        match action {
            Action::Start(descriptor) => {
                let name = descriptor.name.clone();
                slots.insert(name, start(context, descriptor, None));
            }
            Action::Update(descriptor) => {
                if let Some(slot) = slots.get(&descriptor.name) {
                    slot.descriptor.send_replace(descriptor);
                }
            }
            Action::Replace(descriptor) => {
                let old = slots.remove(&descriptor.name).map(Slot::stop);
                let name = descriptor.name.clone();
                slots.insert(name, start(context, descriptor, old));
            }
            Action::Stop(name) => {
                if let Some(slot) = slots.remove(&name) {
                    tracing::info!(expert = %name, "expert leaves service");
                    slot.stop();
                }
            }
        }
    }
}

impl Slot {
    /// Tells the task to end; it takes its registration back first.
    fn stop(self) -> JoinHandle<()> {
        self.stop.cancel();
        self.task
    }
}

fn start(
    context: &Arc<Context>,
    descriptor: Descriptor,
    predecessor: Option<JoinHandle<()>>,
) -> Slot {
    let stop = context.stop.child_token();
    let (descriptor, follow) = watch::channel(descriptor);
    let tenure = Tenure {
        context: Arc::clone(context),
        descriptor: follow,
        stop: stop.clone(),
    };
    let task = context.tracker.spawn(async move {
        if let Some(predecessor) = predecessor {
            // Bounded by REVOKE_TIME. One that panicked has ended too.
            let _ = predecessor.await;
        }
        tenure.run().await;
    });
    Slot {
        descriptor,
        stop,
        task,
    }
}

/// An expert's time in service.
struct Tenure {
    context: Arc<Context>,
    descriptor: watch::Receiver<Descriptor>,
    stop: CancellationToken,
}

impl Tenure {
    async fn run(mut self) {
        let name = self.descriptor.borrow().name.clone();
        let worker = Arc::clone(&self.context.worker);
        if let Some((serving, registration)) = self.bring_up(&name).await {
            worker.set_state(&name, ExpertState::Serving);
            tracing::info!(expert = %name, instance = %serving.instance(), "expert in service");
            self.follow(&serving).await;
            // Callers stop choosing the instance before it stops taking calls.
            match timeout(REVOKE_TIME, registration.revoke()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(expert = %name, %error, "the registration ends with its lease");
                }
                Err(_) => {
                    tracing::warn!(expert = %name, "the registration ends with its lease");
                }
            }
            worker.take_away(&name, serving.instance());
        }
        worker.forget_state(&name);
    }

    /// Tries until the expert is in service or the task is told to end.
    async fn bring_up(
        &mut self,
        name: &ExpertName,
    ) -> Option<(Arc<Serving>, Box<dyn Registration>)> {
        let mut attempt = 0;
        loop {
            if attempt == 0 {
                self.context.worker.set_state(name, ExpertState::Starting);
            }
            let descriptor = self.descriptor.borrow_and_update().clone();
            let built = tokio::select! {
                () = self.stop.cancelled() => return None,
                built = warm_backend(&descriptor, self.context.warm_up_timeout) => built,
            };
            let error: ExpertWorkerError = match built {
                Ok(backend) => match self.register(descriptor, backend).await {
                    Ok(up) => return Some(up),
                    Err(error) => error.into(),
                },
                Err(error) => error,
            };
            if !pause_after(&self.context, &self.stop, name, &error, &mut attempt).await {
                return None;
            }
        }
    }

    /// Takes calls and says so. Not interrupted: a registration that is cut off half-way would
    /// last until its lease ends.
    async fn register(
        &self,
        descriptor: Descriptor,
        backend: Arc<dyn Backend>,
    ) -> Result<(Arc<Serving>, Box<dyn Registration>), CoreError> {
        let worker = &self.context.worker;
        let spec = InstanceSpec {
            expert: descriptor.name.clone(),
            id: InstanceId::generate(),
            endpoint: self.context.endpoint.clone(),
            capacity: descriptor.limits.max_concurrency,
        };
        let (name, id) = (spec.expert.clone(), spec.id.clone());
        let serving = Serving::new(id.clone(), descriptor, backend, worker.max_waiting());
        let serving = Arc::new(serving);
        worker.put(Arc::clone(&serving));
        match self.context.registry.register(spec).await {
            Ok(registration) => Ok((serving, registration)),
            Err(error) => {
                worker.take_away(&name, &id);
                Err(error)
            }
        }
    }

    /// Keeps the descriptor up to date until the task is told to end.
    async fn follow(&mut self, serving: &Serving) {
        loop {
            // One that came while the backend was built is taken over at once.
            serving.update(self.descriptor.borrow_and_update().clone());
            tokio::select! {
                () = self.stop.cancelled() => return,
                changed = self.descriptor.changed() => {
                    if changed.is_err() {
                        // The supervisor has ended; the token will say so.
                        self.stop.cancelled().await;
                        return;
                    }
                }
            }
        }
    }
}

/// A backend that is ready for calls.
async fn warm_backend(
    descriptor: &Descriptor,
    limit: Duration,
) -> Result<Arc<dyn Backend>, ExpertWorkerError> {
    let spec = descriptor
        .backend
        .as_ref()
        .ok_or_else(|| CoreError::invalid("backend", "must be set"))?;
    let warm = async {
        let backend = backend::build(spec, &descriptor.limits).await?;
        backend.warm_up().await?;
        Ok(backend)
    };
    timeout(limit, warm).await.unwrap_or_else(|_| {
        let reason = format!("backend not ready within {} ms", limit.as_millis());
        Err(CoreError::DeadlineExceeded(reason).into())
    })
}

/// Reports a failure and waits before the next attempt; `false` where there is to be none.
async fn pause_after(
    context: &Context,
    stop: &CancellationToken,
    name: &ExpertName,
    error: &ExpertWorkerError,
    attempt: &mut u32,
) -> bool {
    let pause = backoff(*attempt);
    *attempt = attempt.saturating_add(1);
    let retry_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
    tracing::warn!(expert = %name, %error, retry_ms, "expert cannot be brought into service");
    let state = ExpertState::Failing(error.to_string());
    context.worker.set_state(name, state);
    tokio::select! {
        () = stop.cancelled() => false,
        () = tokio::time::sleep(pause) => true,
    }
}

fn backoff(attempt: u32) -> Duration {
    FIRST_PAUSE
        .saturating_mul(2u32.saturating_pow(attempt))
        .min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pauses_grow_up_to_their_bound(attempt: u32) {
            let (now, next) = (backoff(attempt), backoff(attempt.saturating_add(1)));
            prop_assert!(FIRST_PAUSE <= now && now <= next && next <= LONGEST_PAUSE);
        }
    }
}
