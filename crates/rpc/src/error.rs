use std::{io, net::SocketAddr};

/// What can go wrong when a server or a client is set up. Errors of single calls are
/// [`maestro_core::CoreError`] and [`maestro_core::episode::Failure`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RpcError {
    /// An endpoint is not `http://host:port`.
    #[error("endpoint {endpoint:?}: {reason}")]
    Endpoint {
        /// The endpoint as configured.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A client was given no endpoint.
    #[error("{client} needs at least one endpoint")]
    NoEndpoint {
        /// Which client.
        client: &'static str,
    },
    /// The address cannot be bound.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A server does not say how it is.
    #[error("health of {server}: {reason}")]
    Health {
        /// The server.
        server: String,
        /// Why.
        reason: String,
    },
    /// The server ended by itself.
    #[error("server failed: {0}")]
    Server(String),
    /// The protocol's descriptors cannot be read.
    #[error("reflection: {0}")]
    Reflection(String),
    /// The process's signals cannot be watched.
    #[error("signals: {0}")]
    Signals(io::Error),
}
