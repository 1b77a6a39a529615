//! `maestro-cli`.
