//! `maestro-expert-worker`.

pub mod backend;
