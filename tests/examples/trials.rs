//! Trials of operations under load, as root; docs/operations.md says what each does.
//! Prints what came of it. Ends in failure where a request failed that must not.
#![expect(clippy::print_stdout, reason = "it reports to whoever runs it")]

use std::{process::ExitCode, time::Duration};

use maestro_tests::{
    SandboxError,
    faults::trials::{Counts, Offer, Operation, Report, Sizes, Trial, peak, quantile, run},
};

const USAGE: &str = "usage: trials kill-coordinator|kill-leader|rolling-restart|etcd-away|steady \
                     RATE DURABLE_PERCENT SECONDS\n       \
                     trials peak FROM TO STEP DURABLE_PERCENT SECONDS";
/// The model's answers take so many milliseconds.
const ANSWER_MS: (u64, u64) = (200, 600);

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let numbers: Vec<u32> = arguments
        .filter_map(|argument| argument.parse().ok())
        .collect();
    let operation = match name.as_str() {
        "kill-coordinator" => Operation::KillCoordinator,
        "kill-leader" => Operation::KillLeader,
        "rolling-restart" => Operation::RollingRestart,
        "etcd-away" => Operation::EtcdAway,
        _ => Operation::None,
    };
    let came = match (name.as_str(), &numbers[..]) {
        ("peak", [from, to, step, durable, seconds]) => {
            find_peak((*from, *to, *step), *durable, *seconds)
        }
        (_, [per_second, durable_percent, seconds])
            if operation != Operation::None || name == "steady" =>
        {
            let trial = Trial {
                operation,
                offer: Offer {
                    per_second: *per_second,
                    durable_percent: *durable_percent,
                },
                margin: Duration::from_secs(u64::from(*seconds)),
                answer_ms: ANSWER_MS,
            };
            println!("{name}: {:?}", trial.offer);
            run(&trial).map(|report| tell(&report, operation == Operation::KillCoordinator))
        }
        _ => {
            println!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match came {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("the sandbox failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn find_peak(
    (from, to, step): (u32, u32, u32),
    durable: u32,
    seconds: u32,
) -> Result<bool, SandboxError> {
    let rates = (from..=to).step_by(step.max(1) as usize);
    let time = Duration::from_secs(u64::from(seconds));
    peak(rates, durable, ANSWER_MS, time, |rate, report| {
        // The first seconds are the way up, and what ends after the load is the way down.
        let pace = report.pace();
        let whole = pace.get(3..seconds as usize).unwrap_or_default();
        let answered = whole.iter().sum::<usize>() as f64 / whole.len().max(1) as f64;
        println!("{rate}/s offered: {answered:.0}/s answered");
        for durable in [true, false] {
            tell_counts(durable, &report.counts(durable));
        }
    })?;
    Ok(true)
}

/// Whether nothing failed. Where a coordinator was killed its ephemeral episodes may.
fn tell(report: &Report, loses_ephemeral: bool) -> bool {
    for (at, mark) in &report.marks {
        println!("  {:6.1} s: {mark}", at.as_secs_f64());
    }
    let mut is_good = report.running == 0 && report.ended_alone.is_empty();
    for durable in [true, false] {
        let counts = report.counts(durable);
        tell_counts(durable, &counts);
        let is_whole = counts.right == counts.asked && counts.disordered == 0;
        is_good &= is_whole || (!durable && loses_ephemeral);
    }
    if let (Some((_, killed)), Some(ended)) = (report.killed, report.lease_ended) {
        let resumed = report.resumed();
        println!(
            "  the lease ended {:.2} s after the death; {} episodes went on, their clients heard of \
             them {:.2} s after that at the median, {:.2} s at p90, {:.2} s at most",
            (ended - killed).as_secs_f64(),
            resumed.len(),
            quantile(&resumed, 0.5).as_secs_f64(),
            quantile(&resumed, 0.9).as_secs_f64(),
            quantile(&resumed, 1.0).as_secs_f64(),
        );
    }
    if !report.snapshot_ages.is_empty() {
        println!("  ages of snapshots: {:?} s", report.snapshot_ages);
    }
    println!("  answered in each second: {:?}", report.pace());
    println!("  still running in the journal: {}", report.running);
    println!("  ended by themselves: {:?}", report.ended_alone);
    report.sizes.iter().for_each(tell_sizes);
    for (component, first, last, handles) in report.growth() {
        println!("  {component}: {first} to {last} KiB, at most {handles} handles");
    }
    is_good
}

fn tell_counts(durable: bool, counts: &Counts) {
    if counts.asked == 0 {
        return;
    }
    let ms = |q: f64| quantile(&counts.times, q).as_millis();
    println!(
        "  {}: {} asked, {} right, {} out of order; {} asked again, {} streams broken, {} by the \
         rule; p50 {} ms, p99 {} ms, at most {} ms",
        if durable { "durable" } else { "ephemeral" },
        counts.asked,
        counts.right,
        counts.disordered,
        counts.refused,
        counts.broken,
        counts.by_rule,
        ms(0.5),
        ms(0.99),
        ms(1.0),
    );
    for (reason, count) in &counts.bad {
        println!("    {count} failed: {reason}");
    }
    for (reason, count) in &counts.refusals {
        println!("    {count} asked again after: {reason}");
    }
}

fn tell_sizes(sizes: &Sizes) {
    let memory: u64 = sizes.processes.iter().map(|(_, memory, _)| memory).sum();
    let handles: usize = sizes.processes.iter().map(|(_, _, handles)| handles).sum();
    println!(
        "  {:5.0} s: {:.1} MiB, {handles} handles; etcd {:.1} MiB, {:.1} in use, {} keys",
        sizes.at.as_secs_f64(),
        memory as f64 / 1024.0,
        sizes.etcd.0 as f64 / f64::from(1 << 20),
        sizes.etcd.1 as f64 / f64::from(1 << 20),
        sizes.keys,
    );
}
