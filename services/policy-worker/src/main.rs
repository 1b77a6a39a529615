//! The `maestro-policy-worker` binary.

fn main() {}
