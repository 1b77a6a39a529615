//! The expert worker process.

use std::{net::SocketAddr, process::ExitCode, time::Duration};

use maestro_expert_worker::{ExpertWorker, ExpertWorkerConfig, start};
use maestro_process::{ProcessError, Program, Resources};
use maestro_rpc::{DrainReport, ServeConfig};
use url::Url;

struct Process(ExpertWorker);

impl Program for Process {
    const NAME: &'static str = "maestro-expert-worker";
    const ABOUT: &'static str = "Puts frozen models behind gRPC and into the registry.";
    type Config = ExpertWorkerConfig;

    fn serve(config: &mut ExpertWorkerConfig) -> &mut ServeConfig {
        &mut config.serve
    }

    fn advertise(config: &mut ExpertWorkerConfig, url: Url) -> Result<(), ProcessError> {
        config.advertise = Some(url);
        Ok(())
    }

    fn validate(config: &ExpertWorkerConfig) -> Result<(), ProcessError> {
        config.validate().map_err(ProcessError::service)
    }

    async fn start(config: ExpertWorkerConfig, resources: Resources) -> Result<Self, ProcessError> {
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

fn main() -> ExitCode {
    maestro_process::main::<Process>()
}
