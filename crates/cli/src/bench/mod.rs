//! Measurements. Each prints what it measured, whatever it is.

mod cluster;
mod expert;
mod journal;
mod load;
mod overload;
mod report;

pub(crate) use expert::instant_expert;
pub(crate) use journal::journal;
pub(crate) use overload::overload;

use std::time::Duration;

use maestro_proto::v1::Durability;

use self::load::Pace;
use crate::{arguments::Overhead, error::CliError};

/// Questions of a warm-up must not come again: every one is distinct.
const AFTER_WARM_UP: u64 = u32::MAX as u64;

/// `maestro bench overhead`.
pub(crate) async fn overhead(overhead: Overhead) -> Result<(), CliError> {
    let mut cluster = cluster::Cluster::start(1).await?;
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
    let pace = Pace::PerSecond(overhead.rate);
    let warm_up = Duration::from_secs(u64::from(overhead.warm_up));
    if !warm_up.is_zero() {
        load::offer(&cluster.endpoint, pace, warm_up, 0, durability).await?;
    }
    let before = cluster.cpu_seconds()?;
    let time = Duration::from_secs(u64::from(overhead.seconds.max(1)));
    let sample = load::offer(&cluster.endpoint, pace, time, AFTER_WARM_UP, durability).await?;
    let cluster_cpu = cluster.cpu_seconds()? - before;
    Ok(report::Report::of(&sample, overhead.rate, cluster_cpu))
}
