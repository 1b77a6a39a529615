//! Clients of a coordinator.

use std::time::Duration;

use maestro_proto::v1::{
    admin_service_client::AdminServiceClient, blob_service_client::BlobServiceClient,
    episode_service_client::EpisodeServiceClient,
    policy_admin_service_client::PolicyAdminServiceClient,
    registry_service_client::RegistryServiceClient,
};
use maestro_rpc::{ChannelPool, MAX_MESSAGE_BYTES, PoolConfig};
use tonic::{Request, transport::Channel};
use url::Url;

use crate::error::CliError;

/// Longest time of a request that is answered at once.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection to one coordinator.
pub(crate) struct Connection(Channel);

impl Connection {
    pub(crate) fn open(endpoint: &Url) -> Result<Self, CliError> {
        Ok(Self(
            ChannelPool::new(PoolConfig::default()).channel(endpoint)?,
        ))
    }

    pub(crate) fn episodes(&self) -> EpisodeServiceClient<Channel> {
        EpisodeServiceClient::new(self.0.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub(crate) fn registry(&self) -> RegistryServiceClient<Channel> {
        RegistryServiceClient::new(self.0.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub(crate) fn policies(&self) -> PolicyAdminServiceClient<Channel> {
        PolicyAdminServiceClient::new(self.0.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub(crate) fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.0.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub(crate) fn blobs(&self) -> BlobServiceClient<Channel> {
        BlobServiceClient::new(self.0.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }
}

/// A request that must be answered soon.
pub(crate) fn quick<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(REQUEST_TIMEOUT);
    request
}
