//! Asks a server whether it serves.

use std::time::Duration;

use tonic::transport::Endpoint;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::error::RpcError;

/// Whether the server at `url` takes new work, by `grpc.health.v1`. It is false while the
/// server drains.
///
/// # Errors
/// [`RpcError::Health`] where no answer comes within `timeout`.
pub async fn check_health(url: &str, timeout: Duration) -> Result<bool, RpcError> {
    let failed = |reason: String| RpcError::Health {
        server: url.to_owned(),
        reason,
    };
    let endpoint = Endpoint::from_shared(url.to_owned())
        .map_err(|error| failed(error.to_string()))?
        .connect_timeout(timeout)
        .timeout(timeout);
    let ask = async {
        let channel = endpoint
            .connect()
            .await
            .map_err(|error| failed(error.to_string()))?;
        let answer = HealthClient::new(channel)
            .check(HealthCheckRequest::default())
            .await
            .map_err(|status| failed(status.message().to_owned()))?;
        Ok(answer.into_inner().status() == ServingStatus::Serving)
    };
    tokio::time::timeout(timeout, ask)
        .await
        .unwrap_or_else(|_| {
            Err(failed(format!(
                "no answer within {} ms",
                timeout.as_millis()
            )))
        })
}
