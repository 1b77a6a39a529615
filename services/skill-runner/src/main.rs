//! The skill runner process.

use std::{net::SocketAddr, process::ExitCode, time::Duration};

use maestro_process::{ProcessError, Program, Resources};
use maestro_rpc::{DrainReport, ServeConfig};
use maestro_skill_runner::{Config, Running, start};

struct SkillRunner(Running);

impl Program for SkillRunner {
    const NAME: &'static str = "maestro-skill-runner";
    const ABOUT: &'static str = "Runs skills on behalf of coordinators.";
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

fn main() -> ExitCode {
    maestro_skill_runner::sandbox::enter(std::env::args_os())
        .unwrap_or_else(maestro_process::main::<SkillRunner>)
}
