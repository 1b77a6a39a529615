//! gRPC in one place: errors, servers, clients.
//!
//! - [`status`]: [`maestro_core::CoreError`] and [`maestro_core::episode::Failure`] as a
//!   `tonic::Status` with `google.rpc` details, and back.
//! - [`serve`]: a server with health, reflection, admin service, metrics, trace context, deadlines
//!   and a drain in written-down phases.
//! - [`client`]: adapters of the ports `Policy` and `Skills` over several endpoints.
//! - [`router`]: the adapter of the port `Experts`: least loaded instance, breaker and permits per
//!   instance.
//! - [`blobs`]: the port `Blobs` over `BlobService`, both sides.

pub mod blobs;
pub mod client;
pub mod pool;
pub mod router;
pub mod serve;
pub mod status;

mod call;
mod error;

pub use blobs::{BlobClientConfig, BlobLimits, RemoteBlobs, blob_service};
pub use client::{
    ClientConfig, PolicyClient, PolicyClientConfig, SkillClient, SkillClientConfig, check_health,
};
pub use error::RpcError;
pub use pool::{ChannelPool, PoolConfig};
pub use router::{ExpertRouter, RouterConfig};
pub use serve::{
    DrainReport, Drainable, NOTICE_TIME, Readiness, Running, ServeConfig, Server, ServiceStatus,
    shutdown_signal,
};
pub use status::{
    Blame, core_error_from_failure, failure_from_status, failure_to_status, from_status, to_status,
};

/// Largest message that a server or a client of Maestro takes: the 4 MiB of images that a request
/// may carry, and room for the text around them.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024 + 256 * 1024;
