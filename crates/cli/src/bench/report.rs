use serde::Serialize;

use super::load::Sample;
use crate::error::CliError;

/// What `bench overhead` prints.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Added time per step, median, in milliseconds.
    p50_ms: f64,
    /// Added time per step, 99th percentile, in milliseconds.
    p99_ms: f64,
    /// The longest.
    max_ms: f64,
    /// Episodes answered a second.
    episodes_per_s: f64,
    /// Episodes offered a second.
    offered_per_s: u32,
    /// Episodes answered.
    answered: u64,
    /// Episodes that failed or took too long.
    failed: u64,
    /// What the first of these met.
    first_failure: Option<String>,
    /// Processors that the load generator used, on average.
    generator_cpus: f64,
    /// Processors that Maestro's processes used, on average.
    maestro_cpus: f64,
    /// Processor time of Maestro for one episode, in milliseconds.
    maestro_cpu_ms_per_episode: f64,
}

impl Report {
    pub(super) fn of(sample: &Sample, offered_per_s: u32, maestro_cpu: f64) -> Self {
        let seconds = sample.time.as_secs_f64();
        Self {
            p50_ms: sample.step_ms(0.5),
            p99_ms: sample.step_ms(0.99),
            max_ms: sample.step_us.max() as f64 / 1e3,
            episodes_per_s: sample.per_second(),
            offered_per_s,
            answered: sample.answered,
            failed: sample.failed + sample.refused,
            first_failure: sample.first_failure.clone(),
            generator_cpus: sample.generator_cpu / seconds,
            maestro_cpus: maestro_cpu / seconds,
            maestro_cpu_ms_per_episode: maestro_cpu * 1e3 / (sample.answered.max(1) as f64),
        }
    }
}

pub(super) fn print(report: &Report, json: bool) -> Result<(), CliError> {
    if json {
        println!("{}", serde_json::to_string(report)?);
        return Ok(());
    }
    println!(
        "added time per step   p50 {:.3} ms   p99 {:.3} ms   max {:.3} ms",
        report.p50_ms, report.p99_ms, report.max_ms
    );
    println!(
        "episodes              {:.1}/s of {}/s offered; {} answered, {} failed",
        report.episodes_per_s, report.offered_per_s, report.answered, report.failed
    );
    if let Some(reason) = &report.first_failure {
        println!("first failure         {reason}");
    }
    println!(
        "processors            Maestro {:.2}, load generator {:.2}",
        report.maestro_cpus, report.generator_cpus
    );
    println!(
        "Maestro per episode   {:.3} ms of processor time",
        report.maestro_cpu_ms_per_episode
    );
    Ok(())
}
