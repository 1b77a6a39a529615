use std::time::Duration;

use maestro_proto::v1;
use maestro_wire::ToProto;

use crate::{
    arguments::Drain,
    connection::{Connection, quick},
    error::CliError,
};

/// Drains a process and says what became of its work.
pub(super) async fn drain(drain: Drain) -> Result<(), CliError> {
    let grace = drain.grace.map(seconds).transpose()?;
    let connection = Connection::open(&drain.endpoint)?;
    let mut admin = connection.admin();
    let status = admin
        .get_status(quick(v1::GetStatusRequest {}))
        .await?
        .into_inner();
    let request = v1::DrainRequest {
        grace: grace.map(|grace| grace.to_proto()),
    };
    // The process itself ends the wait, when its grace period is over at the latest.
    let unfinished = admin.drain(request).await?.into_inner().unfinished;
    println!(
        "{} at {} has drained: {} under way at first, {unfinished} not ended",
        status.service, drain.endpoint, status.in_flight
    );
    Ok(())
}

fn seconds(seconds: f64) -> Result<Duration, CliError> {
    Duration::try_from_secs_f64(seconds).map_err(|error| CliError::Argument {
        argument: "--grace",
        reason: error.to_string(),
    })
}
