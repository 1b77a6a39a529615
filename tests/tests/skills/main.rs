//! The library's workflows over the wire: a runner in this process, a worker with the `openai`
//! backend, and an HTTP server that keeps what experts are sent.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod contracts;
mod installation;
