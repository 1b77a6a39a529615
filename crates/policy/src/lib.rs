//! `maestro-policy`.
