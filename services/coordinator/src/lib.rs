//! `maestro-coordinator`.
