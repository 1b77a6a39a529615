//! A campaign of runs under faults: `cargo run --example faults -- FIRST LAST SECONDS`, as root.
//! Prints a line for each seed, and every violation. Ends in failure if there was one.
#![expect(clippy::print_stdout, reason = "it reports to whoever runs it")]

use std::{process::ExitCode, time::Duration};

use maestro_tests::faults::{Report, run};

fn main() -> ExitCode {
    let numbers: Vec<u64> = std::env::args()
        .skip(1)
        .filter_map(|argument| argument.parse().ok())
        .collect();
    let [first, last, seconds] = numbers[..] else {
        println!("usage: faults FIRST LAST SECONDS");
        return ExitCode::from(2);
    };
    let mut bad = 0;
    for seed in first..=last {
        match run(seed, Duration::from_secs(seconds)) {
            Ok(report) => {
                tell(&report);
                bad += usize::from(!report.violations.is_empty());
            }
            Err(error) => {
                println!("seed {seed}: the sandbox failed: {error}");
                bad += 1;
            }
        }
    }
    println!(
        "{bad} of {} seeds went wrong",
        (last + 1).saturating_sub(first)
    );
    if bad == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn tell(report: &Report) {
    let evidence = &report.evidence;
    let (adopted, repeated) = report.adopted();
    println!(
        "seed {}: {} violations; {} faults, {} left out; {} clients, {:?}, {adopted} adopted, \
         {repeated} calls repeated, {} calls; ended alone {:?}; leases {:?}",
        report.plan.seed,
        report.violations.len(),
        report.plan.faults.len() - report.left_out.len(),
        report.left_out.len(),
        evidence.clients.len(),
        report.terminations(),
        evidence.calls.len(),
        report.ended_alone,
        evidence
            .leases
            .iter()
            .map(|end| end.gone_after)
            .collect::<Vec<_>>(),
    );
    for (reason, count) in report.failures() {
        println!("  {count} failed: {reason}");
    }
    for reason in &report.left_out {
        println!("  left out: {reason}");
    }
    for violation in &report.violations {
        println!("  {violation}");
    }
    if let Some(logs) = &report.logs {
        for planned in &report.plan.faults {
            println!(
                "  {:?} to {:?}: {:?}",
                planned.from, planned.to, planned.fault
            );
        }
        println!("  logs: {}", logs.display());
    }
}
