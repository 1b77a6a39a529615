//! The `maestro-coordinator` binary.

fn main() {}
