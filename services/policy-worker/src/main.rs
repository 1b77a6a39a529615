//! The policy worker as a process: settings, build, serve, drain.

use std::{process::ExitCode, sync::Arc};

use clap::Parser;
use maestro_core::ports::Blobs;
use maestro_policy_worker::{Arguments, BlobsConfig, ProcessConfig, WorkerError, start};
use maestro_registry::EtcdRegistry;
use maestro_rpc::{RemoteBlobs, shutdown_signal};
use maestro_store::ObjectBlobs;
use maestro_telemetry::{init_tracing, install_metrics};

#[tokio::main]
async fn main() -> ExitCode {
    match Arguments::parse().load() {
        Ok(config) => match run(config).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tracing::error!(%error, "the policy worker ends");
                ExitCode::FAILURE
            }
        },
        Err(error) => {
            clap::Error::raw(clap::error::ErrorKind::Io, format!("{error}\n")).exit();
        }
    }
}

async fn run(config: ProcessConfig) -> Result<(), WorkerError> {
    init_tracing(&config.log)?;
    let _metrics = install_metrics(config.metrics)?;
    let registry = Arc::new(EtcdRegistry::connect(config.etcd).await?);
    let blobs = open_blobs(config.blobs)?;
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

fn open_blobs(config: BlobsConfig) -> Result<Arc<dyn Blobs>, WorkerError> {
    Ok(match config.store {
        Some(store) => Arc::new(ObjectBlobs::open(store)?),
        None => Arc::new(RemoteBlobs::new(&config.endpoints, config.client)?),
    })
}

#[expect(
    clippy::print_stdout,
    reason = "whoever started the process reads where it serves"
)]
fn announce(address: std::net::SocketAddr) {
    println!("ready http://{address}");
}
