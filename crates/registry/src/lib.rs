//! The live registry ([`maestro_core::ports::Registry`]) twice: over etcd ([`EtcdRegistry`]), and
//! inside one process ([`MemoryRegistry`]). One conformance suite runs against both. And the durable
//! journal of episodes ([`EtcdJournal`]). The only crate that knows `etcd-client`.
//!
//! What is decided is pure and stands apart from what moves bytes:
//! - `keys`, `codec`, `unknown`: which entry stands under which key and in which bytes,
//! - `decide`: whether a write may happen, given what stands there,
//! - `fold`: a snapshot from changes,
//! - `etcd::lease` and `etcd::follower`: the shells around them, each on a thread of its own.

mod backoff;
mod codec;
mod config;
mod decide;
mod error;
mod etcd;
mod fold;
mod health;
mod journal;
mod keys;
mod memory;
mod unknown;

pub use codec::Stored;
pub use config::{Credentials, EtcdConfig, EtcdTls};
pub use error::RegistryError;
pub use etcd::EtcdRegistry;
pub use fold::{Change, SnapshotBuilder};
pub use health::RegistryHealth;
pub use journal::{EtcdJournal, JournalConfig, JournalTally, Moving};
pub use keys::Key;
pub use memory::MemoryRegistry;
