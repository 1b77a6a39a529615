//! Deterministic tools that solvers call: pure functions from text to values.

pub mod code;
pub mod count;
pub mod diagram;
pub mod receipt;
