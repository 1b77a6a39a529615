//! Short runs under faults, one for each of a few seeds. A campaign of many is
//! `cargo run --example faults`; docs/faults.md says more.
//!
//! They need root, for network namespaces and small disks, and fail without it.
//! `MAESTRO_FAULTS=off` leaves them out.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it did"
)]

use std::time::Duration;

use maestro_tests::faults::run;

fn nothing_is_violated(seed: u64) {
    if std::env::var("MAESTRO_FAULTS").is_ok_and(|setting| setting == "off") {
        println!("left out, as MAESTRO_FAULTS is off");
        return;
    }
    let report = run(seed, Duration::from_secs(20)).unwrap();
    println!("{:#?}", report.plan);
    println!("left out: {:?}", report.left_out);
    println!(
        "{:?}, adopted and repeated {:?}",
        report.terminations(),
        report.adopted()
    );
    let violations: Vec<String> = report.violations.iter().map(ToString::to_string).collect();
    assert!(
        violations.is_empty(),
        "{violations:#?}; logs: {:?}",
        report.logs
    );
    let terminations = report.terminations();
    assert!(
        terminations
            .get("answered")
            .is_some_and(|count| *count >= 10),
        "{terminations:?}"
    );
    let faults = report.plan.faults.len();
    assert!(report.left_out.len() * 2 < faults, "{:?}", report.left_out);
}

#[test]
fn seed_1() {
    nothing_is_violated(1);
}

#[test]
fn seed_2() {
    nothing_is_violated(2);
}

#[test]
fn seed_3() {
    nothing_is_violated(3);
}

#[test]
fn seed_4() {
    nothing_is_violated(4);
}

#[test]
fn seed_5() {
    nothing_is_violated(5);
}
