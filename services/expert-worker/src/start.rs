//! Joins the parts and serves them.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use maestro_core::{
    ExpertName,
    ports::{Blobs, PutMode, Registry},
    registry::Snapshot,
};
use maestro_rpc::{DrainReport, Drainable, Readiness, RpcError, Running, Server, ServiceStatus};
use tokio::sync::watch;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::{
    config::ExpertWorkerConfig,
    error::ExpertWorkerError,
    service::expert_service,
    supervisor::{Assignment, Context, supervise},
    worker::{ExpertState, Worker},
};

/// A serving expert worker. Dropping it cuts every call off and takes every registration back.
pub struct ExpertWorker {
    running: Running,
    worker: Arc<Worker>,
    hosted: Vec<ExpertName>,
    _stop: DropGuard,
}

/// Starts a worker: it serves at once, and its experts join one by one as they are ready.
///
/// # Errors
/// A setting that cannot be used, or an address that is taken. An expert that cannot be brought
/// into service is no error here: it is logged, shown in the status and tried again.
pub async fn start(
    config: ExpertWorkerConfig,
    registry: Arc<dyn Registry>,
    blobs: Arc<dyn Blobs>,
) -> Result<ExpertWorker, ExpertWorkerError> {
    config.validate()?;
    let listener = config.serve.bind().await?;
    let address = listener.local_addr().map_err(|source| RpcError::Listen {
        address: config.serve.listen,
        source,
    })?;
    let worker = Arc::new(Worker::new(&config, blobs));
    let hosted: Vec<ExpertName> = config
        .experts
        .iter()
        .map(|expert| expert.descriptor().name.clone())
        .collect();
    let context = Arc::new(Context {
        worker: Arc::clone(&worker),
        endpoint: config.endpoint(address)?,
        warm_up_timeout: Duration::from_millis(config.warm_up_timeout_ms),
        tracker: TaskTracker::new(),
        stop: CancellationToken::new(),
        registry,
    });
    let drainable = Arc::new(DrainExperts {
        worker: Arc::clone(&worker),
        snapshots: context.registry.snapshots(),
        tasks: context.tracker.clone(),
        stop: context.stop.clone(),
    });
    let service = expert_service(Arc::clone(&worker), config.serve.max_message_bytes);
    let mut server = Server::new(config.serve, drainable).add_service(service);
    if !config.experts.is_empty() {
        // A rollout must not end the old worker while the new one's models warm up.
        server = server.not_ready_yet();
    }
    let running = server.serve(listener).await?;
    // Only now, so that no instance is registered before it can be reached.
    let stop = context.stop.clone().drop_guard();
    let assignment = Assignment {
        hosted: config.experts,
        mode: if config.replace {
            PutMode::Replace
        } else {
            PutMode::Create
        },
        adopted: config.adopt.into_iter().collect(),
    };
    let tracker = context.tracker.clone();
    let ready = when_serving(worker.states(), hosted.clone(), running.readiness());
    tracker.spawn(context.stop.clone().run_until_cancelled_owned(ready));
    tracker.spawn(supervise(context, assignment));
    Ok(ExpertWorker {
        running,
        worker,
        hosted,
        _stop: stop,
    })
}

/// Has the worker say that it is ready once every hosted expert serves.
async fn when_serving(
    mut states: watch::Receiver<BTreeMap<ExpertName, ExpertState>>,
    hosted: Vec<ExpertName>,
    readiness: Readiness,
) {
    let serving = states.wait_for(|states| {
        hosted
            .iter()
            .all(|name| states.get(name) == Some(&ExpertState::Serving))
    });
    if serving.await.is_ok() {
        readiness.ready().await;
    }
}

impl ExpertWorker {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.running.address()
    }

    /// The worker itself, for callers in the same process.
    pub fn worker(&self) -> Arc<Worker> {
        Arc::clone(&self.worker)
    }

    /// Waits until each hosted expert serves or has failed for the first time, at most `limit`
    /// long; returns how far each expert is then.
    pub async fn settled(&self, limit: Duration) -> BTreeMap<ExpertName, ExpertState> {
        let mut states = self.worker.states();
        let settled = states.wait_for(|states| {
            let settled = |state: &ExpertState| *state != ExpertState::Starting;
            self.hosted
                .iter()
                .all(|name| states.get(name).is_some_and(settled))
        });
        // Whether it was reached shows in the states.
        let _ = tokio::time::timeout(limit, settled).await;
        let states = self.worker.states();
        let states = states.borrow();
        states.clone()
    }

    /// Resolves when the server has failed.
    ///
    /// # Errors
    /// Why it failed.
    pub async fn wait(&mut self) -> Result<(), ExpertWorkerError> {
        Ok(self.running.wait().await?)
    }

    /// Takes every registration back, finishes the calls under way within `grace`, and closes.
    pub async fn drain(self, grace: Duration) -> DrainReport {
        self.running.drain(grace).await
    }
}

/// How the worker drains: registrations go first, so that callers stop choosing it; then the
/// calls under way end.
struct DrainExperts {
    worker: Arc<Worker>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

#[async_trait]
impl Drainable for DrainExperts {
    fn status(&self) -> ServiceStatus {
        let capacities = self.worker.list();
        let capacity = capacities
            .iter()
            .fold(0u32, |sum, (_, _, load)| sum.saturating_add(load.capacity));
        ServiceStatus {
            service: "expert-worker",
            in_flight: self.worker.in_flight(),
            capacity,
            revision: self.snapshots.borrow().revision,
            details: self.worker.described_states(),
        }
    }

    async fn drain(&self, grace: Duration) -> u32 {
        self.stop.cancel();
        self.tasks.close();
        let ended = async {
            self.tasks.wait().await;
            self.worker.idle().await;
        };
        if tokio::time::timeout(grace, ended).await.is_ok() {
            0
        } else {
            self.worker.in_flight()
        }
    }
}
