//! One HTTP/2 connection per endpoint.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tonic::transport::{Channel, Endpoint};
use url::Url;

use crate::error::RpcError;

/// How connections are made and kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PoolConfig {
    /// Longest time of one attempt to connect, in milliseconds.
    pub connect_timeout_ms: u64,
    /// How often an open connection is checked, in milliseconds.
    pub keep_alive_interval_ms: u64,
    /// How long a check may take before the connection counts as dead, in milliseconds.
    pub keep_alive_timeout_ms: u64,
    /// How often the names of servers are resolved anew, in milliseconds; a name with several
    /// addresses stands for as many servers. 0: only by the system when it connects.
    pub resolve_interval_ms: u64,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            connect_timeout_ms: 1_000,
            keep_alive_interval_ms: 10_000,
            keep_alive_timeout_ms: 5_000,
            resolve_interval_ms: 2_000,
        }
    }
}

/// Connections by endpoint. A channel is made on first use, connects on its first call,
/// reconnects by itself, and is closed when it is evicted and its last user is gone. Callers keep
/// the channels that they use: the pool is asked when endpoints change, not at each call.
#[derive(Debug, Default)]
pub struct ChannelPool {
    config: PoolConfig,
    channels: RwLock<HashMap<Url, Channel>>,
}

impl ChannelPool {
    /// An empty pool.
    pub fn new(config: PoolConfig) -> Self {
        Self {
            config,
            channels: RwLock::default(),
        }
    }

    /// The channel of an endpoint. Does not wait: connecting happens at the first call. Must run
    /// inside a tokio runtime.
    ///
    /// # Errors
    /// [`RpcError::Endpoint`] for a URL that is no gRPC endpoint.
    pub fn channel(&self, endpoint: &Url) -> Result<Channel, RpcError> {
        let known = self.channels.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = known.get(endpoint) {
            return Ok(channel.clone());
        }
        drop(known);
        let made = connect(endpoint, &self.config)?;
        let mut known = self
            .channels
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        Ok(known.entry(endpoint.clone()).or_insert(made).clone())
    }

    /// Forgets an endpoint. Calls under way keep its connection until they end.
    pub fn evict(&self, endpoint: &Url) {
        self.channels
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(endpoint);
    }

    /// How many endpoints it knows.
    pub fn len(&self) -> usize {
        self.channels
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// Whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A channel of its own to `endpoint`.
fn connect(endpoint: &Url, config: &PoolConfig) -> Result<Channel, RpcError> {
    let refused = |reason: String| RpcError::Endpoint {
        endpoint: endpoint.to_string(),
        reason,
    };
    if endpoint.scheme() != "http" || endpoint.host().is_none() {
        return Err(refused("must be http://host:port".to_owned()));
    }
    let channel = Endpoint::from_shared(endpoint.to_string())
        .map_err(|error| refused(error.to_string()))?
        .connect_timeout(Duration::from_millis(config.connect_timeout_ms))
        .http2_keep_alive_interval(Duration::from_millis(config.keep_alive_interval_ms))
        .keep_alive_timeout(Duration::from_millis(config.keep_alive_timeout_ms))
        .keep_alive_while_idle(true)
        .tcp_nodelay(true)
        .connect_lazy();
    Ok(channel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_endpoint_has_one_channel_until_it_leaves() {
        let pool = ChannelPool::default();
        let [a, b]: [Url; 2] =
            ["http://127.0.0.1:1", "http://127.0.0.1:2"].map(|url| url.parse().unwrap());
        pool.channel(&a).unwrap();
        pool.channel(&a).unwrap();
        pool.channel(&b).unwrap();
        assert_eq!(pool.len(), 2);
        pool.evict(&a);
        assert_eq!(pool.len(), 1);
    }

    #[tokio::test]
    async fn only_http_urls_are_endpoints() {
        for bad in ["ftp://host:1", "unix:/tmp/socket", "https://host:1"] {
            let error = ChannelPool::default()
                .channel(&bad.parse().unwrap())
                .unwrap_err();
            assert!(error.to_string().contains("http://host:port"), "{error}");
        }
    }
}
