//! `maestro-policy-worker`.
