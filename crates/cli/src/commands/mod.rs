//! The commands.

mod drain;
mod episodes;
mod eval;
mod experts;
mod models;
mod policies;
mod record;
mod resume;
mod run;
mod skills;
mod train;
mod up;

use clap::CommandFactory;

pub(crate) use self::{
    policies::{Stored, blobs},
    train::runtime,
};
use crate::{
    arguments::{Arguments, Bench, Command},
    bench,
    error::CliError,
};

/// Runs one command.
pub(crate) async fn dispatch(command: Command) -> Result<(), CliError> {
    match command {
        Command::Up(up) => up::up(up).await,
        Command::Run(run) => run::run(run).await,
        Command::Submit(submit) => episodes::submit(submit).await,
        Command::Get(get) => episodes::get(get).await,
        Command::Watch(watch) => episodes::watch(watch).await,
        Command::Cancel(cancel) => episodes::cancel(cancel).await,
        Command::List(list) => episodes::list(list).await,
        Command::Report(report) => episodes::report(report).await,
        Command::Record(record) => record::record(record).await,
        Command::Experts(command) => experts::run(command).await,
        Command::Skills(command) => skills::run(command).await,
        Command::Policy(command) => policies::run(command).await,
        Command::Models(command) => models::run(command).await,
        Command::Train(train) => train::train(train).await,
        Command::Eval(eval) => tokio::task::spawn_blocking(move || eval::eval(&eval))
            .await
            .map_err(|error| CliError::start("evaluation")(error.to_string()))?,
        Command::Drain(drain) => drain::drain(drain).await,
        Command::Bench(Bench::Overhead(overhead)) => bench::overhead(overhead).await,
        Command::Bench(Bench::Journal(settings)) => bench::journal(settings).await,
        Command::Bench(Bench::Overload(settings)) => bench::overload(settings).await,
        Command::Bench(Bench::InstantExpert { etcd }) => bench::instant_expert(etcd).await,
        Command::Completions { shell } => {
            let mut command = Arguments::command();
            clap_complete::generate(shell, &mut command, "maestro", &mut std::io::stdout());
            Ok(())
        }
    }
}

/// Prints a value as one line of JSON.
pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<(), CliError> {
    println!("{}", serde_json::to_string(value)?);
    Ok(())
}
