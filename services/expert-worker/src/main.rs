//! The expert worker process: configuration → build → serve → drain.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use clap::Parser;
use maestro_core::ports::Blobs;
use maestro_expert_worker::{ExpertWorkerError, ProcessConfig, config::BlobSource, start};
use maestro_registry::EtcdRegistry;
use maestro_rpc::{RemoteBlobs, shutdown_signal};
use maestro_store::ObjectBlobs;

/// Puts frozen models behind gRPC and into the registry.
#[derive(Parser)]
#[command(name = "maestro-expert-worker", version)]
struct Arguments {
    /// YAML file with the settings.
    #[arg(long, env = "MAESTRO_EXPERT_WORKER_CONFIG")]
    config: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the expert worker ends");
            eprint_error(&error);
            ExitCode::FAILURE
        }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the error may come before logging is set up"
)]
fn eprint_error(error: &ExpertWorkerError) {
    eprintln!("maestro-expert-worker: {error}");
}

#[expect(
    clippy::print_stdout,
    reason = "whoever started the process reads where it serves"
)]
fn announce(address: std::net::SocketAddr) {
    println!("ready http://{address}");
}

async fn run(arguments: Arguments) -> Result<(), ExpertWorkerError> {
    let config = ProcessConfig::read(&arguments.config)?;
    maestro_telemetry::init_tracing(&config.tracing)?;
    let _metrics = maestro_telemetry::install_metrics(config.metrics)?;
    let registry = Arc::new(EtcdRegistry::connect(config.etcd).await?);
    let blobs: Arc<dyn Blobs> = match config.blobs {
        BlobSource::Remote { endpoints, client } => Arc::new(RemoteBlobs::new(&endpoints, client)?),
        BlobSource::Store(store) => Arc::new(ObjectBlobs::open(store)?),
    };
    let grace = config.service.serve.drain_grace();
    let mut worker = start(config.service, registry, blobs).await?;
    announce(worker.address());
    tokio::select! {
        ended = worker.wait() => return ended,
        signal = shutdown_signal() => signal?,
    }
    let report = worker.drain(grace).await;
    tracing::info!(unfinished = report.unfinished, "drained");
    Ok(())
}
