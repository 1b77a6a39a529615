//! Measurements. Each prints what it measured, whatever it is.

mod cluster;
mod expert;
mod load;
mod report;

pub(crate) use expert::instant_expert;

use std::time::Duration;

use maestro_proto::v1::Durability;

use crate::{arguments::Overhead, error::CliError};

/// `maestro bench overhead`.
pub(crate) async fn overhead(overhead: Overhead) -> Result<(), CliError> {
    let mut cluster = cluster::Cluster::start().await?;
    let measured = measure(&overhead, &cluster).await;
    cluster.stop();
    report::print(&measured?, overhead.json)
}

async fn measure(
    overhead: &Overhead,
    cluster: &cluster::Cluster,
) -> Result<report::Report, CliError> {
    cluster.ready().await?;
    let durability = if overhead.durable {
        Durability::Durable
    } else {
        Durability::Ephemeral
    };
    let warm_up = Duration::from_secs(u64::from(overhead.warm_up));
    if !warm_up.is_zero() {
        load::offer(&cluster.endpoint, overhead.rate, warm_up, 0, durability).await?;
    }
    let before = cluster.cpu_seconds()?;
    let time = Duration::from_secs(u64::from(overhead.seconds.max(1)));
    // Questions of the warm-up must not come again: every one is distinct.
    let first = u64::from(u32::MAX);
    let sample = load::offer(&cluster.endpoint, overhead.rate, time, first, durability).await?;
    let cluster_cpu = cluster.cpu_seconds()? - before;
    Ok(report::Report::of(&sample, overhead.rate, cluster_cpu))
}
