//! Deterministic tools that solvers call: pure functions from text to values.

pub mod calculator;
pub mod dates;
pub mod extract;
pub mod receipt;
mod thinking;

pub use thinking::visible;
