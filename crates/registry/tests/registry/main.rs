//! Both registries against one suite, and the one over etcd against everything that can happen to
//! it. The etcd is a real one, which each test starts for itself.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests"
)]

mod conformance;
mod faults;
mod journal;
mod journal_faults;
mod journal_moving;
mod support;
