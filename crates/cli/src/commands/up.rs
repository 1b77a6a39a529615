use maestro_telemetry::{LogFormat, TracingConfig};

use crate::{arguments::Up, error::CliError, local};

/// Runs everything until a signal comes or somebody drains it.
pub(super) async fn up(up: Up) -> Result<(), CliError> {
    let tracing = TracingConfig {
        format: LogFormat::Text,
        filter: up.log,
    };
    maestro_telemetry::init_tracing(&tracing)
        .map_err(|error| CliError::start("logs")(error.to_string()))?;
    let metrics = maestro_telemetry::install_metrics(up.metrics)
        .map_err(|error| CliError::start("metrics")(error.to_string()))?;
    let mut installation = local::start(up.addr, &up.installation).await?;
    if let Some(address) = metrics.address() {
        eprintln!("metrics http://{address}/metrics");
    }
    println!("ready http://{}", installation.address());
    tokio::select! {
        ended = installation.wait() => ended?,
        signal = maestro_rpc::shutdown_signal() => signal?,
    }
    installation.drain().await;
    Ok(())
}
