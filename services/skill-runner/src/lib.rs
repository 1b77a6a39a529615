//! Runs skills: interprets the workflows of `maestro-skills` over experts and blobs.
//!
//! - [`Runner`] is the port [`maestro_core::ports::Skills`]: it resolves a skill's bundle by
//!   digest, chooses a solver, runs its steps within the run's deadline and cost, and reads the
//!   answer.
//! - [`tools`] are the deterministic tools that steps can use.
//! - [`mod@library`] holds the skills that come with the program.
//! - [`start`] serves a runner over gRPC.

pub mod config;
pub mod library;
pub mod sandbox;
pub mod tools;

mod error;
mod follower;
mod registration;
mod runner;
mod service;
mod toolbox;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use maestro_core::ports::{Blobs, Experts, PutMode, Registry};
use maestro_rpc::{ChannelPool, DrainReport, ExpertRouter, Server};
use tokio_util::task::AbortOnDropHandle;

use self::sandbox::{Sandbox, SandboxConfig, SandboxError};
pub use self::{
    config::Config,
    error::RunnerError,
    library::library,
    registration::LibraryMode,
    runner::{Runner, RunnerConfig},
    service::skill_service,
};

/// A runner that serves. Dropping it cuts every run off; [`Running::drain`] ends it well.
pub struct Running {
    server: maestro_rpc::Running,
    runner: Arc<Runner>,
    _registering: Option<AbortOnDropHandle<()>>,
    _following: AbortOnDropHandle<()>,
    /// Kept so that its snapshots go on.
    _registry: Arc<dyn Registry>,
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The runner itself, for callers in the same process.
    pub fn runner(&self) -> Arc<Runner> {
        Arc::clone(&self.runner)
    }

    /// Waits until the server ends by itself, which it does only when it cannot go on.
    ///
    /// # Errors
    /// The reason.
    pub async fn wait(&mut self) -> Result<(), RunnerError> {
        Ok(self.server.wait().await?)
    }

    /// Takes no new runs, finishes those under way within `grace`, closes.
    pub async fn drain(self, grace: Duration) -> DrainReport {
        self.server.drain(grace).await
    }
}

/// Starts the service: experts are called through the registry's instances, bundles and images
/// come from `blobs`. The library's skills are there without a blob.
///
/// # Errors
/// A setting that cannot be used, or an address that is taken.
pub async fn start(
    config: Config,
    registry: Arc<dyn Registry>,
    blobs: Arc<dyn Blobs>,
) -> Result<Running, RunnerError> {
    config.validate()?;
    let snapshots = registry.snapshots();
    let pool = Arc::new(ChannelPool::new(config.pool));
    let experts: Arc<dyn Experts> =
        Arc::new(ExpertRouter::new(snapshots.clone(), pool, config.router));
    let sandbox = open_sandbox(config.sandbox).await?;
    let runner = Runner::new(
        experts,
        Arc::clone(&blobs),
        snapshots.clone(),
        config.runner,
    );
    let runner = Arc::new(runner.with_sandbox(sandbox));
    for skill in library()? {
        runner.preload(skill).await;
    }
    let following = tokio::spawn(follower::follow(Arc::clone(&runner), snapshots));
    let mode = match config.library {
        LibraryMode::Off => None,
        LibraryMode::Register => Some(PutMode::Create),
        LibraryMode::Replace => Some(PutMode::Replace),
    };
    let registering = match mode {
        Some(mode) => {
            let work = registration::register(library()?, mode, Arc::clone(&registry), blobs);
            Some(AbortOnDropHandle::new(tokio::spawn(work)))
        }
        None => None,
    };
    let listener = config.serve.bind().await?;
    let service = skill_service(Arc::clone(&runner), config.serve.max_message_bytes);
    let server = Server::new(config.serve, Arc::clone(&runner) as _)
        .add_service(service)
        .serve(listener)
        .await?;
    Ok(Running {
        server,
        runner,
        _registering: registering,
        _following: AbortOnDropHandle::new(following),
        _registry: registry,
    })
}

/// Without an interpreter the service still runs every skill that needs none.
async fn open_sandbox(config: SandboxConfig) -> Result<Option<Sandbox>, SandboxError> {
    if !config.enabled {
        return Ok(None);
    }
    match Sandbox::open(config).await {
        Ok(sandbox) => Ok(Some(sandbox)),
        Err(error @ SandboxError::Interpreter { .. }) => {
            tracing::warn!(%error, "steps that run code will fail");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
