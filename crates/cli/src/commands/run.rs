use std::{io, net::SocketAddr};

use futures::StreamExt;
use maestro_core::{CoreError, episode::EpisodeRecord};
use maestro_proto::v1;
use maestro_wire::{EpisodeEvent, FromProto};
use url::Url;

use super::print_json;
use crate::{
    arguments::Run,
    connection::Connection,
    error::CliError,
    local,
    render::{Live, episode_json},
    task,
};

/// Asks one question and shows the steps as they happen.
pub(super) async fn run(run: Run) -> Result<(), CliError> {
    match &run.endpoint {
        Some(endpoint) => ask(&run, endpoint).await,
        None => {
            let free_port = SocketAddr::from(([127, 0, 0, 1], 0));
            maestro_telemetry::install_metrics(None)
                .map_err(|error| CliError::start("metrics")(error.to_string()))?;
            let installation = local::start(free_port, &run.installation).await?;
            let endpoint = installation.endpoint()?;
            let asked = ask(&run, &endpoint).await;
            installation.drain().await;
            asked
        }
    }
}

async fn ask(run: &Run, endpoint: &Url) -> Result<(), CliError> {
    let connection = Connection::open(endpoint)?;
    let request = v1::RunEpisodeRequest {
        task: Some(task::task(&connection, &run.task).await?),
        options: Some(task::options(&run.task)),
    };
    let events = connection
        .episodes()
        .run_episode(request)
        .await?
        .into_inner();
    let events = events.map(|message| message.map(|message| message.event));
    if run.json {
        let record = follow(events, Live(io::stderr())).await?;
        print_json(&episode_json(&record))
    } else {
        follow(events, Live(io::stdout())).await.map(drop)
    }
}

/// Shows events until the episode's end and returns its record.
pub(super) async fn follow<W: io::Write>(
    events: impl futures::Stream<Item = Result<Option<v1::EpisodeEvent>, tonic::Status>>,
    mut live: Live<W>,
) -> Result<EpisodeRecord, CliError> {
    let output = CliError::file("standard output");
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        let event = event?.ok_or_else(|| CoreError::DataLoss("an empty event".to_owned()))?;
        let written = match EpisodeEvent::from_proto(event)? {
            EpisodeEvent::Accepted(_) => Ok(()),
            EpisodeEvent::Decided(step) => live.decided(&step),
            EpisodeEvent::Finished(step) => live.finished(&step),
            EpisodeEvent::Ended(record) => {
                live.ended(&record).map_err(output)?;
                return Ok((*record).clone());
            }
        };
        written.map_err(CliError::file("standard output"))?;
    }
    let reason = "the stream ended before the episode did".to_owned();
    Err(CoreError::Unavailable {
        what: "coordinator",
        reason,
    }
    .into())
}
