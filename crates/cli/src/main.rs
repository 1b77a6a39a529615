//! The `maestro` command.
#![expect(clippy::print_stderr, reason = "a command line prints")]

use std::process::ExitCode;

use clap::Parser;
use maestro_cli::Arguments;

#[tokio::main]
async fn main() -> ExitCode {
    match maestro_cli::run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("maestro: {error}");
            ExitCode::FAILURE
        }
    }
}
