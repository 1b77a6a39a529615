//! Blobs, policies and trajectories on an object store: in memory, in a directory, or in
//! a bucket. The only crate that knows `object_store`, and Parquet.
//!
//! ```text
//! blobs/sha256/ab/abcdef…    content, under its own SHA-256
//! policies/<digest>.json     manifest of a policy, also a blob under the same digest
//! trajectories/date=…/hour=… finished episodes as Parquet files, by the hour of their acceptance
//! uploads/<uuid>             an upload that is still coming in; left behind only by a crash
//! ```
//!
//! Blobs never change and are never removed here, so they can be cached and written twice without
//! coordination. What is read is checked against its digest: a damaged blob is an error, never an
//! answer.

mod blobs;
mod config;
mod error;
mod layout;
mod policies;
mod trajectories;
mod upload;

pub use blobs::ObjectBlobs;
pub use config::StoreConfig;
pub use error::StoreError;
pub use policies::ObjectPolicies;
pub use trajectories::{ObjectTrajectories, TrajectoryConfig};
pub use upload::StoredBlob;
