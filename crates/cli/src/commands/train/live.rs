use maestro_core::recording::KnownTask;
use maestro_policy_worker::learn::{LiveConfig, LiveEnvironment};
use url::Url;

use super::{Training, blocking, facts::Facts, source};
use crate::{connection::Connection, data::DataSet, error::CliError, task::upload_file};

/// Trains on episodes of the Maestro at `endpoint`.
pub(super) async fn train(training: Training, endpoint: &Url) -> Result<(), CliError> {
    let connection = Connection::open(endpoint)?;
    let mut tasks = Vec::new();
    for folder in &training.arguments.data {
        let set = source::read(folder, &training.arguments)?;
        upload(&connection, &set).await?;
        tasks.extend(set.recording.tasks.into_iter().map(|task| task.task));
    }
    let mut facts = Facts::default();
    facts.add_asked(&tasks)?;
    let mut environment = environment(&training, endpoint, tasks).await?;
    blocking(move || training.run(&mut environment, &[], facts)).await
}

async fn environment(
    training: &Training,
    endpoint: &Url,
    tasks: Vec<KnownTask>,
) -> Result<LiveEnvironment, CliError> {
    let config = LiveConfig {
        slot: training.arguments.slot.clone(),
        concurrency: training.arguments.concurrency,
        max_steps: training.config.max_steps,
        ..LiveConfig::default()
    };
    LiveEnvironment::new(
        endpoint,
        tasks,
        config,
        training.config.scenario,
        training.scorer.clone(),
        training.runtime.clone(),
    )
    .await
    .map_err(|error| CliError::start("live environment")(error.to_string()))
}

/// Uploads the images that the blob store does not have yet.
async fn upload(connection: &Connection, set: &DataSet) -> Result<(), CliError> {
    for file in set.images.values().flatten() {
        upload_file(connection, file).await?;
    }
    Ok(())
}
