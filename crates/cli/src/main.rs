//! The `maestro` command.
#![expect(clippy::print_stderr, reason = "a command line prints")]

use std::process::ExitCode;

use clap::Parser;
use maestro_cli::Arguments;

fn main() -> ExitCode {
    // Before there is a second thread: a process that confines itself must have one only.
    maestro_skill_runner::sandbox::enter(std::env::args_os()).unwrap_or_else(run)
}

#[tokio::main]
async fn run() -> ExitCode {
    match maestro_cli::run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("maestro: {error}");
            ExitCode::FAILURE
        }
    }
}
