//! `maestro bench journal`: durable episodes beside ephemeral ones, on one and on three members of
//! etcd.

use std::time::Duration;

use maestro_proto::v1::Durability;
use serde::Serialize;

use super::{
    AFTER_WARM_UP,
    cluster::Cluster,
    load::{self, Pace},
};
use crate::{arguments::Journal, error::CliError};

/// Sizes of the etcd cluster.
const MEMBERS: [usize; 2] = [1, 3];
const WARM_UP: Duration = Duration::from_secs(3);

/// One kind of episode on one cluster; the medians of its rounds.
#[derive(Debug, Serialize)]
struct Row {
    etcd_members: usize,
    durable: bool,
    /// Time per step, median, in milliseconds.
    p50_ms: f64,
    /// Time per step, 99th percentile, in milliseconds.
    p99_ms: f64,
    /// Episodes answered a second where so many are under way at once.
    episodes_per_s: f64,
    /// Episodes that failed, of all rounds.
    failed: u64,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
struct Report {
    offered_per_s: u32,
    at_once: u32,
    rows: Vec<Row>,
}

/// `maestro bench journal`.
pub(crate) async fn journal(settings: Journal) -> Result<(), CliError> {
    let mut rows = Vec::new();
    for members in MEMBERS {
        let mut cluster = Cluster::start(members).await?;
        let measured = measure(&settings, &cluster, members).await;
        cluster.stop();
        rows.extend(measured?);
    }
    let report = Report {
        offered_per_s: settings.rate,
        at_once: settings.at_once,
        rows,
    };
    if settings.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print(&report);
    }
    Ok(())
}

/// What the rounds of one kind measured.
#[derive(Default)]
struct Rounds {
    p50_ms: Vec<f64>,
    p99_ms: Vec<f64>,
    per_second: Vec<f64>,
    failed: u64,
}

async fn measure(
    settings: &Journal,
    cluster: &Cluster,
    members: usize,
) -> Result<Vec<Row>, CliError> {
    cluster.ready().await?;
    let time = Duration::from_secs(u64::from(settings.seconds.max(1)));
    let steps = Pace::PerSecond(settings.rate);
    let all = Pace::AtOnce(settings.at_once.max(1));
    let kinds = [Durability::Ephemeral, Durability::Durable];
    let mut rounds = [Rounds::default(), Rounds::default()];
    let mut first = 0;
    for kind in kinds {
        load::offer(&cluster.endpoint, steps, WARM_UP, first, kind).await?;
        first += AFTER_WARM_UP;
    }
    // In turn, so that what else the machine does meets both.
    for _ in 0..settings.rounds.max(1) {
        for (kind, rounds) in kinds.into_iter().zip(&mut rounds) {
            let sample = load::offer(&cluster.endpoint, steps, time, first, kind).await?;
            first += AFTER_WARM_UP;
            rounds.p50_ms.push(sample.step_ms(0.5));
            rounds.p99_ms.push(sample.step_ms(0.99));
            rounds.failed += sample.failed + sample.refused;
            let sample = load::offer(&cluster.endpoint, all, time, first, kind).await?;
            first += AFTER_WARM_UP;
            rounds.per_second.push(sample.per_second());
            rounds.failed += sample.failed + sample.refused;
        }
    }
    let rows = kinds.into_iter().zip(rounds).map(|(kind, rounds)| Row {
        etcd_members: members,
        durable: kind == Durability::Durable,
        p50_ms: median(rounds.p50_ms),
        p99_ms: median(rounds.p99_ms),
        episodes_per_s: median(rounds.per_second),
        failed: rounds.failed,
    });
    Ok(rows.collect())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

fn print(report: &Report) {
    println!(
        "time per step at {}/s, throughput at {} episodes at once",
        report.offered_per_s, report.at_once
    );
    println!("etcd   episodes      p50 ms   p99 ms   episodes/s   failed");
    for row in &report.rows {
        println!(
            "{:<6} {:<10} {:>9.2} {:>8.2} {:>12.1} {:>8}",
            row.etcd_members,
            if row.durable { "durable" } else { "ephemeral" },
            row.p50_ms,
            row.p99_ms,
            row.episodes_per_s,
            row.failed,
        );
    }
    for pair in report.rows.chunks(2) {
        if let [ephemeral, durable] = pair {
            println!(
                "etcd of {}: journalling adds {:.2} ms at the median and {:.2} ms at p99 to a step, \
                 and leaves {:.0} % of the throughput",
                durable.etcd_members,
                durable.p50_ms - ephemeral.p50_ms,
                durable.p99_ms - ephemeral.p99_ms,
                100.0 * durable.episodes_per_s / ephemeral.episodes_per_s.max(f64::MIN_POSITIVE),
            );
        }
    }
}
