//! What a policy is worth, beside routers that everybody knows. Pure: recordings in, figures out.
//!
//! ```text
//! World ──► Matrix ──► baselines ──┐
//!   └─────► policy, greedily ──────┴─► Outcome a task ──► Metrics, intervals, AIQ, …
//! ```

pub mod baselines;
pub mod bootstrap;
pub mod calibration;
pub mod disagreement;
pub mod frontier;
pub mod matrix;
pub mod metrics;
pub mod policy;
pub mod study;

#[cfg(test)]
pub(crate) mod tests;
