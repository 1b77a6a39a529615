//! The `maestro` command: runs everything on one machine, submits tasks, administers a cluster.
//!
//! Results go to standard output, progress and errors to standard error.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line prints"
)]

mod arguments;
mod bench;
mod commands;
mod compare;
mod connection;
mod data;
mod error;
mod local;
mod record;
mod render;
mod report;
mod task;

pub use arguments::{Arguments, Command};
pub use error::CliError;

/// Runs one command.
///
/// # Errors
/// Whatever ended it, for the user to read.
pub async fn run(arguments: Arguments) -> Result<(), CliError> {
    commands::dispatch(arguments.command).await
}
