//! The worker over real gRPC, with a real HTTP endpoint behind its `openai` backend.

mod calls;
mod endpoint;
mod harness;
mod hosted;
mod local;
mod service;
