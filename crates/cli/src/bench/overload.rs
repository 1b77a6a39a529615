//! `maestro bench overload`: what is answered when more is offered than can be.

use std::time::Duration;

use maestro_proto::v1::Durability;
use serde::Serialize;

use super::{
    AFTER_WARM_UP,
    cluster::Cluster,
    load::{self, Pace, Sample},
};
use crate::{arguments::Overload, error::CliError};

/// Episodes at once while the peak is sought.
const AT_ONCE: [u32; 4] = [32, 64, 128, 256];
/// What is offered then, in hundredths of the peak.
const OFFERED_PERCENT: [u32; 5] = [70, 100, 150, 200, 300];
const WARM_UP: Duration = Duration::from_secs(3);

/// What came of one load.
#[derive(Debug, Serialize)]
struct Row {
    offered_per_s: u32,
    /// Episodes answered a second.
    answered_per_s: f64,
    /// That, as a share of the peak.
    of_peak: f64,
    refused: u64,
    failed: u64,
    first_failure: Option<String>,
    /// Time per step of what was answered, in milliseconds.
    p50_ms: f64,
    p99_ms: f64,
    /// Processors that the load generator used, on average: it runs beside what it measures.
    generator_cpus: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    durable: bool,
    /// Most episodes answered a second, with any of the numbers at once.
    peak_per_s: f64,
    rows: Vec<Row>,
}

/// `maestro bench overload`.
pub(crate) async fn overload(settings: Overload) -> Result<(), CliError> {
    let mut cluster = Cluster::start(1).await?;
    let measured = measure(&settings, &cluster).await;
    cluster.stop();
    let report = measured?;
    if settings.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print(&report);
    }
    Ok(())
}

async fn measure(settings: &Overload, cluster: &Cluster) -> Result<Report, CliError> {
    cluster.ready().await?;
    let time = Duration::from_secs(u64::from(settings.seconds.max(1)));
    let kind = if settings.durable {
        Durability::Durable
    } else {
        Durability::Ephemeral
    };
    let mut first = 0;
    let mut offer = async |pace, time| -> Result<Sample, CliError> {
        let sample = load::offer(&cluster.endpoint, pace, time, first, kind).await?;
        first += AFTER_WARM_UP;
        Ok(sample)
    };
    offer(Pace::AtOnce(AT_ONCE[0]), WARM_UP).await?;
    let mut peak = 0.0_f64;
    for count in AT_ONCE {
        peak = peak.max(offer(Pace::AtOnce(count), time).await?.per_second());
    }
    let mut rows = Vec::new();
    for percent in OFFERED_PERCENT {
        let rate = (peak * f64::from(percent) / 100.0) as u32;
        let sample = offer(Pace::PerSecond(rate), time).await?;
        rows.push(Row {
            offered_per_s: rate,
            answered_per_s: sample.per_second(),
            of_peak: sample.per_second() / peak.max(f64::MIN_POSITIVE),
            refused: sample.refused,
            failed: sample.failed,
            p50_ms: sample.step_ms(0.5),
            p99_ms: sample.step_ms(0.99),
            generator_cpus: sample.generator_cpu / sample.time.as_secs_f64(),
            first_failure: sample.first_failure,
        });
    }
    Ok(Report {
        durable: settings.durable,
        peak_per_s: peak,
        rows,
    })
}

fn print(report: &Report) {
    println!("peak {:.0} episodes/s", report.peak_per_s);
    println!("offered/s  answered/s  of peak   refused   failed    p50 ms    p99 ms  generator");
    for row in &report.rows {
        println!(
            "{:>9} {:>11.0} {:>7.0} % {:>9} {:>8} {:>9.1} {:>9.1} {:>10.2}",
            row.offered_per_s,
            row.answered_per_s,
            row.of_peak * 100.0,
            row.refused,
            row.failed,
            row.p50_ms,
            row.p99_ms,
            row.generator_cpus,
        );
        if let Some(reason) = &row.first_failure {
            println!("          first failure: {reason}");
        }
    }
}
