//! The skill runner as a process: settings, build, serve, drain.

use std::{process::ExitCode, sync::Arc};

use clap::Parser;
use maestro_registry::EtcdRegistry;
use maestro_rpc::{RemoteBlobs, shutdown_signal};
use maestro_skill_runner::{Arguments, ProcessConfig, RunnerError, start};
use maestro_telemetry::{init_tracing, install_metrics};

#[tokio::main]
async fn main() -> ExitCode {
    match Arguments::parse().load() {
        Ok(config) => match run(config).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tracing::error!(%error, "the skill runner ends");
                ExitCode::FAILURE
            }
        },
        Err(error) => {
            clap::Error::raw(clap::error::ErrorKind::Io, format!("{error}\n")).exit();
        }
    }
}

async fn run(config: ProcessConfig) -> Result<(), RunnerError> {
    init_tracing(&config.log)?;
    let _metrics = install_metrics(config.metrics)?;
    let registry = Arc::new(EtcdRegistry::connect(config.etcd).await?);
    let blobs = Arc::new(RemoteBlobs::new(
        &config.blobs.endpoints,
        config.blobs.client,
    )?);
    let grace = config.service.serve.drain_grace();
    let mut running = start(config.service, registry, blobs).await?;
    announce(running.address());
    tokio::select! {
        signal = shutdown_signal() => signal?,
        ended = running.wait() => return ended,
    }
    let report = running.drain(grace).await;
    tracing::info!(unfinished = report.unfinished, "drained");
    Ok(())
}

#[expect(
    clippy::print_stdout,
    reason = "whoever started the process reads where it serves"
)]
fn announce(address: std::net::SocketAddr) {
    println!("ready http://{address}");
}
