//! `maestro-tests`.
