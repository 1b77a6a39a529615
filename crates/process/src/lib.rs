//! The shell that every service process shares: settings → build → serve → drain.
//!
//! A service is a [`Program`]. Its `main` is [`main`] of that type: the same flags, the same file of
//! settings around the service's own, the same signals, the same line `ready URL` on stdout once it
//! serves, and the same `health` command for probes.

mod config;
mod error;
mod resources;

use std::{future::Future, net::SocketAddr, process::ExitCode, time::Duration};

use clap::{CommandFactory, FromArgMatches, Subcommand};
use maestro_rpc::{DrainReport, ServeConfig, shutdown_signal};
use maestro_telemetry::{Gauge, Label, TracingConfig};
use serde::de::DeserializeOwned;
use url::Url;

pub use self::{
    config::{Arguments, BlobSource, Command, Config},
    error::ProcessError,
    resources::Resources,
};

/// A service that runs as a process of its own.
pub trait Program: Sized + Send {
    /// Name of the executable.
    const NAME: &'static str;
    /// What it does, in one sentence.
    const ABOUT: &'static str;
    /// The service's own settings. Unknown keys are refused by them too.
    type Config: DeserializeOwned + Default + Send;

    /// Where and how the service listens.
    fn serve(config: &mut Self::Config) -> &mut ServeConfig;

    /// Sets where others reach the service, if it tells them.
    ///
    /// # Errors
    /// [`ProcessError::Setting`] of a service that tells nobody.
    fn advertise(_: &mut Self::Config, _: Url) -> Result<(), ProcessError> {
        Err(ProcessError::Setting {
            setting: "advertise",
            reason: "is none of this service's".to_owned(),
        })
    }

    /// Checks what no type rules out.
    ///
    /// # Errors
    /// The setting and its rule.
    fn validate(config: &Self::Config) -> Result<(), ProcessError>;

    /// Builds the service and serves it.
    ///
    /// # Errors
    /// Why it cannot serve.
    fn start(
        config: Self::Config,
        resources: Resources,
    ) -> impl Future<Output = Result<Self, ProcessError>> + Send;

    /// Where it listens.
    fn address(&self) -> SocketAddr;

    /// Resolves when somebody has drained the server through its admin service, or it has failed.
    ///
    /// # Errors
    /// Why it failed.
    fn wait(&mut self) -> impl Future<Output = Result<(), ProcessError>> + Send;

    /// Takes no new work, finishes what is under way within `grace`, closes.
    fn drain(self, grace: Duration) -> impl Future<Output = DrainReport> + Send;
}

/// Runs a program as its command line and its settings say, until SIGTERM, SIGINT or a drain that
/// was asked for.
pub fn main<P: Program>() -> ExitCode {
    let command = Arguments::command().name(P::NAME).about(P::ABOUT);
    let arguments = Arguments::from_arg_matches(&command.get_matches())
        .unwrap_or_else(|error| error.format(&mut Arguments::command()).exit());
    exit(P::NAME, run::<P>(arguments))
}

/// As [`main`], for a program that does further things beside serving: `C` are its own commands,
/// `work` does them.
pub fn main_with<P: Program, C: Subcommand>(
    work: impl AsyncFnOnce(C) -> Result<(), ProcessError>,
) -> ExitCode {
    let command = Arguments::command().name(P::NAME).about(P::ABOUT);
    let matches = C::augment_subcommands(command.clone()).get_matches();
    if !matches.subcommand_name().is_some_and(C::has_subcommand) {
        return main::<P>();
    }
    let own = C::from_arg_matches(&matches)
        .unwrap_or_else(|error| error.format(&mut command.clone()).exit());
    exit(P::NAME, async move {
        maestro_telemetry::init_tracing(&TracingConfig::default())?;
        work(own).await.map(|()| ExitCode::SUCCESS)
    })
}

/// Runs to the end; an error is told and makes the exit status 1.
fn exit(name: &str, work: impl Future<Output = Result<ExitCode, ProcessError>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(ProcessError::Runtime);
    let done = runtime.and_then(|runtime| runtime.block_on(work));
    match done {
        Ok(code) => code,
        Err(error) => {
            tracing::error!(%error, "the process ends");
            complain(name, &error);
            ExitCode::FAILURE
        }
    }
}

async fn run<P: Program>(arguments: Arguments) -> Result<ExitCode, ProcessError> {
    if let Some(Command::Pause { ms }) = arguments.command {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        return Ok(ExitCode::SUCCESS);
    }
    let (command, mut config) = arguments.load::<P>()?;
    if let Some(Command::Health { timeout_ms, target }) = command {
        let own = P::serve(&mut config.service).listen;
        let target = target.map_or_else(|| config::reachable(own), String::from);
        return Ok(health(&target, Duration::from_millis(timeout_ms)).await);
    }
    maestro_telemetry::init_tracing(&config.log)?;
    let _metrics = maestro_telemetry::install_metrics(config.metrics)?;
    let host = std::env::var("HOSTNAME").unwrap_or_default();
    let instance = format!("{host}:{}", std::process::id());
    let _spans = maestro_telemetry::install_spans(config.otlp.as_ref(), P::NAME, &instance)?;
    let service = P::NAME.trim_start_matches("maestro-");
    let version = Label::Version(env!("CARGO_PKG_VERSION"));
    Gauge::BuildInfo.set(1.0, &[Label::Service(service), version]);
    let grace = P::serve(&mut config.service).drain_grace();
    let resources = Resources::connect(config.etcd, config.blobs).await?;
    let _watching = resources.watch_health();
    let mut program = P::start(config.service, resources).await?;
    announce(program.address());
    tokio::select! {
        signal = shutdown_signal() => signal?,
        ended = program.wait() => ended?,
    }
    let report = program.drain(grace).await;
    tracing::info!(unfinished = report.unfinished, "drained");
    Ok(ExitCode::SUCCESS)
}

/// Asks a server whether it serves.
async fn health(target: &str, timeout: Duration) -> ExitCode {
    match maestro_rpc::check_health(target, timeout).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            complain("health", &error);
            ExitCode::FAILURE
        }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the error may come before logging is set up"
)]
fn complain(name: &str, error: &dyn std::fmt::Display) {
    eprintln!("{name}: {error}");
}

#[expect(
    clippy::print_stdout,
    reason = "whoever started the process reads where it serves"
)]
fn announce(address: SocketAddr) {
    println!("ready http://{address}");
}
