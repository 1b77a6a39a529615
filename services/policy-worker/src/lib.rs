//! Decides the next action of episodes: the policies of `maestro-policy` behind gRPC.
//!
//! ```text
//! registry ──► follower: embeds what is new ──► view ─┐
//!          └─► loader: fetches what is active ─► policies ─┤
//! request ──► worker: waits for a revision ──► queue ──► inference thread ──► decision
//!                                                              └─► shadow thread ──► metrics
//! ```
//!
//! - [`PolicyWorker`] is the port [`maestro_core::ports::Policy`].
//! - [`start`] serves one over gRPC.

pub mod batcher;
pub mod builtin;
pub mod config;
pub mod learn;

mod catalogues;
mod engine;
mod error;
mod follower;
mod policies;
mod service;
mod shadow;
mod worker;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use maestro_core::ports::{Blobs, Policy, Registry};
use maestro_policy::{Runtime, ScorerPolicy};
use maestro_rpc::{DrainReport, Server};
use tokio::task;
use tokio_util::task::AbortOnDropHandle;

use self::{
    catalogues::Catalogues,
    engine::Engine,
    follower::Follower,
    policies::{Loader, Policies},
};
pub use self::{config::Config, error::WorkerError, policies::DEFAULT_SLOT, worker::PolicyWorker};

/// How long the start waits for the policies that are active; after it the built-in one decides
/// until they are there.
const FIRST_LOAD: Duration = Duration::from_secs(5);

/// A worker that serves. Dropping it cuts every decision off; [`Running::drain`] ends it well.
pub struct Running {
    server: maestro_rpc::Running,
    worker: Arc<PolicyWorker>,
    _following: AbortOnDropHandle<()>,
    _loading: AbortOnDropHandle<()>,
    /// Kept so that its snapshots go on.
    _registry: Arc<dyn Registry>,
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The worker itself, for callers in the same process.
    pub fn policy(&self) -> Arc<dyn Policy> {
        Arc::clone(&self.worker) as _
    }

    /// Waits until the server ends by itself, which it does only when it cannot go on.
    ///
    /// # Errors
    /// The reason.
    pub async fn wait(&mut self) -> Result<(), WorkerError> {
        Ok(self.server.wait().await?)
    }

    /// Takes no new requests, answers those under way within `grace`, closes.
    pub async fn drain(self, grace: Duration) -> DrainReport {
        self.server.drain(grace).await
    }
}

/// Starts a worker that follows `registry` and loads policies from `blobs`. It serves once the
/// registry's present snapshot is ready.
///
/// # Errors
/// A setting that cannot be used, an encoder that cannot be loaded, or an address that is taken.
pub async fn start(
    config: Config,
    registry: Arc<dyn Registry>,
    blobs: Arc<dyn Blobs>,
) -> Result<Running, WorkerError> {
    config.validate()?;
    let (runtime, builtin) = build(&config).await?;
    let policies = Arc::new(Policies::new(builtin));

    let mut snapshots = registry.snapshots();
    let first = Arc::clone(&snapshots.borrow_and_update());
    let catalogues = Catalogues::start(Arc::clone(&blobs));
    let follower = Follower::start(runtime.clone(), Arc::clone(&first), catalogues).await?;
    let view = follower.view();
    let loader = Loader {
        policies: Arc::clone(&policies),
        blobs,
        runtime: runtime.clone(),
    };
    let loaded = tokio::time::timeout(FIRST_LOAD, loader.update(&first.policies)).await;
    if loaded.is_err() {
        tracing::warn!("the active policies are not there yet; the built-in one decides");
    }
    let loading = AbortOnDropHandle::new(tokio::spawn(loader.run(snapshots.clone())));
    let following = AbortOnDropHandle::new(tokio::spawn(follower.run(snapshots)));

    let engine = Engine::start(&config.batching, Arc::clone(&view), Arc::clone(&policies))?;
    let worker = Arc::new(PolicyWorker::new(
        view,
        policies,
        engine,
        runtime,
        &config.batching,
    ));
    let listener = config.serve.bind().await?;
    let service = service::policy_service(Arc::clone(&worker), config.serve.max_message_bytes);
    let server = Server::new(config.serve, Arc::clone(&worker) as _)
        .add_service(service)
        .serve(listener)
        .await?;
    Ok(Running {
        server,
        worker,
        _following: following,
        _loading: loading,
        _registry: registry,
    })
}

/// Loads the encoder and makes the built-in policy, on a blocking thread.
async fn build(config: &Config) -> Result<(Runtime, ScorerPolicy), WorkerError> {
    let config = config.clone();
    let build = task::spawn_blocking(move || {
        let device = config.device()?;
        let embedder = config.encoder.load(device)?;
        let runtime = Runtime::open(device, embedder, config.sampling)?;
        let policy = builtin::policy(&config, &runtime)?;
        Ok((runtime, policy))
    });
    build.await.map_err(|_| WorkerError::Stopped)?
}
