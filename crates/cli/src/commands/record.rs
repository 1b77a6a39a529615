use std::{io::IsTerminal, path::PathBuf};

use futures::{StreamExt, TryStreamExt};
use indicatif::{ProgressBar, ProgressStyle};
use maestro_core::{
    CoreError,
    recording::{KnownTask, RecordedTask},
    task::{Constraints, Pair},
};
use maestro_proto::v1;
use maestro_wire::FromProto;

use crate::{
    arguments::Record,
    connection::Connection,
    data::DataSet,
    error::CliError,
    record::{Output, Pool, call},
    task::{patterns, upload_image},
};

/// Asks every pair that suits a task, task by task, and writes down what came of it.
pub(super) async fn record(record: Record) -> Result<(), CliError> {
    let mut data = DataSet::read(&record.tasks)?;
    data.keep_splits(&record.splits);
    if let Some(most) = record.limit {
        data.limit_per_domain(most, record.seed);
    }
    let constraints = Constraints::from_proto(v1::Constraints {
        allowed: patterns("--allow", &record.allow)?,
        denied: patterns("--deny", &record.deny)?,
        pinned: Vec::new(),
    })?;
    let connection = Connection::open(&record.endpoint.endpoint)?;
    let pool = Pool::list(&connection).await?;
    let mut output = Output::open(&record.out, pool.catalogue())?;

    let DataSet { recording, images } = data;
    let tasks = recording.tasks.into_iter().map(|recorded| recorded.task);
    let (known, unknown): (Vec<_>, Vec<_>) = tasks.partition(|task| task.reference.is_some());
    if !unknown.is_empty() {
        eprintln!("{} tasks have no reference and are left out", unknown.len());
    }
    let left: Vec<KnownTask> = known
        .into_iter()
        .filter(|task| !output.has(&task.id))
        .collect();
    let bar = progress(left.len() as u64);
    let (connection, pool, constraints) = (&connection, &pool, &constraints);
    let mut recorded = futures::stream::iter(left)
        .map(|task| {
            let files = images.get(&task.id).map(Vec::as_slice).unwrap_or_default();
            async move {
                let pairs = pool.pairs(&task, constraints);
                ask_all(connection, task, files, pairs).await
            }
        })
        .buffer_unordered(record.parallel.get());
    let (mut calls, mut failures) = (0_usize, 0_usize);
    while let Some(task) = recorded.try_next().await? {
        output.append(&task)?;
        calls += task.calls.len();
        failures += task.calls.iter().filter(|call| call::failed(call)).count();
        bar.inc(1);
        bar.set_message(format!("{calls} calls, {failures} failed"));
    }
    bar.finish_and_clear();
    eprintln!(
        "{}: {} tasks, {calls} calls now, {failures} of them failed",
        record.out.display(),
        output.len()
    );
    Ok(())
}

/// Calls the pairs one after the other; the images are uploaded once.
async fn ask_all(
    connection: &Connection,
    task: KnownTask,
    files: &[PathBuf],
    pairs: Vec<Pair>,
) -> Result<RecordedTask, CliError> {
    if files.len() != task.images.len() {
        let reason = format!("{} has {} image files", task.id, files.len());
        return Err(CoreError::invalid("images", reason).into());
    }
    let mut images = Vec::with_capacity(files.len());
    for file in files {
        images.push(upload_image(connection, file).await?);
    }
    let mut calls = Vec::with_capacity(pairs.len());
    for pair in pairs {
        calls.push(call::make(connection, &task, &images, pair).await?);
    }
    Ok(RecordedTask { task, calls })
}

fn progress(tasks: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} tasks, {msg}, {eta} left");
    ProgressBar::new(tasks).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
