//! The coordinator process: configuration → build → serve → drain.

use std::{process::ExitCode, sync::Arc};

use clap::Parser;
use maestro_coordinator::{CoordinatorError, MemoryJournal, Ports, config::Arguments, start};
use maestro_registry::EtcdRegistry;
use maestro_rpc::shutdown_signal;
use maestro_store::{ObjectBlobs, ObjectPolicies};

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the coordinator ends");
            eprint_error(&error);
            ExitCode::FAILURE
        }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the error may come before logging is set up"
)]
fn eprint_error(error: &CoordinatorError) {
    eprintln!("maestro-coordinator: {error}");
}

#[expect(
    clippy::print_stdout,
    reason = "whoever started the process reads where it serves"
)]
fn announce(address: std::net::SocketAddr) {
    println!("ready http://{address}");
}

async fn run(arguments: Arguments) -> Result<(), CoordinatorError> {
    let config = arguments.load()?;
    maestro_telemetry::init_tracing(&config.log)?;
    let _metrics = maestro_telemetry::install_metrics(config.metrics)?;
    let registry = EtcdRegistry::connect(config.etcd).await?;
    let blobs = ObjectBlobs::open(config.store)?;
    let ports = Ports {
        registry: Arc::new(registry),
        policies: Arc::new(ObjectPolicies::new(blobs.clone())),
        blobs: Arc::new(blobs),
        journal: Arc::new(MemoryJournal::new(config.service.episodes.max_finished)),
    };
    let grace = config.service.serve.drain_grace();
    let mut coordinator = start(config.service, ports).await?;
    announce(coordinator.address());
    tokio::select! {
        ended = coordinator.wait() => return ended,
        signal = shutdown_signal() => signal?,
    }
    coordinator.drain(grace).await;
    Ok(())
}
