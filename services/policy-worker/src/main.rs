//! The policy worker process.

use std::{net::SocketAddr, process::ExitCode, time::Duration};

use clap::Subcommand;
use maestro_policy_worker::{
    Config, Running,
    learn::{Learn, learn},
    start,
};
use maestro_process::{ProcessError, Program, Resources};
use maestro_rpc::{DrainReport, ServeConfig};

struct PolicyWorker(Running);

impl Program for PolicyWorker {
    const NAME: &'static str = "maestro-policy-worker";
    const ABOUT: &'static str = "Decides the next action of episodes on behalf of coordinators.";
    type Config = Config;

    fn serve(config: &mut Config) -> &mut ServeConfig {
        &mut config.serve
    }

    fn validate(config: &Config) -> Result<(), ProcessError> {
        config.validate().map_err(ProcessError::service)
    }

    async fn start(config: Config, resources: Resources) -> Result<Self, ProcessError> {
        let running = start(config, resources.registry(), resources.blobs()?).await;
        running.map(Self).map_err(ProcessError::service)
    }

    fn address(&self) -> SocketAddr {
        self.0.address()
    }

    async fn wait(&mut self) -> Result<(), ProcessError> {
        self.0.wait().await.map_err(ProcessError::service)
    }

    async fn drain(self, grace: Duration) -> DrainReport {
        self.0.drain(grace).await
    }
}

/// What it does beside serving.
#[derive(Debug, Subcommand)]
enum Command {
    /// Train a policy on episodes of the cluster, in a slot of its own.
    Learn(Learn),
}

fn main() -> ExitCode {
    maestro_process::main_with::<PolicyWorker, Command>(async |Command::Learn(arguments)| {
        let version = learn(arguments).await.map_err(ProcessError::service)?;
        tracing::info!(%version, "the policy is trained");
        Ok(())
    })
}
