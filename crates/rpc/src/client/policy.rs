use std::time::Duration;

use async_trait::async_trait;
use maestro_core::{
    episode::{Decision, Failure, FailureKind},
    ports::{DecideRequest, Policy, Undecided},
};
use maestro_proto::v1::{
    self, decide_response::Result as Decided, policy_service_client::PolicyServiceClient,
};
use maestro_wire::{FromProto, ToProto};
use tonic::transport::Channel;
use url::Url;

use super::{ClientConfig, Endpoints, Repeat};
use crate::{
    MAX_MESSAGE_BYTES,
    call::request,
    error::RpcError,
    status::{Blame, failure_from_status, from_status},
};

const DECIDE: &str = "maestro.v1.PolicyService/Decide";
const GET_POLICY: &str = "maestro.v1.PolicyService/GetPolicy";
/// Longest time of a decision where the configuration says nothing.
const DECIDE_TIMEOUT: Duration = Duration::from_secs(30);

/// The port [`Policy`] over one or more policy workers. They are asked in turn; a decision
/// changes nothing, so it is asked again elsewhere whenever a worker is unavailable or full.
pub struct PolicyClient {
    endpoints: Endpoints<PolicyServiceClient<Channel>>,
    timeout: Duration,
}

impl PolicyClient {
    /// A client of the workers at `endpoints`. Connects at the first call. Must run inside a
    /// tokio runtime.
    ///
    /// # Errors
    /// [`RpcError::NoEndpoint`], [`RpcError::Endpoint`].
    pub fn new(endpoints: &[Url], config: ClientConfig) -> Result<Self, RpcError> {
        let endpoints = Endpoints::new("the policy client", endpoints, &config, |channel| {
            PolicyServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES)
        })?;
        let timeout = config
            .timeout_ms
            .map_or(DECIDE_TIMEOUT, Duration::from_millis);
        Ok(Self { endpoints, timeout })
    }

    /// What serves in `slot` (empty for the default one) at one of the workers.
    ///
    /// # Errors
    /// The worker's own, or that none can be reached.
    pub async fn get_policy(
        &self,
        slot: &str,
    ) -> Result<v1::GetPolicyResponse, maestro_core::CoreError> {
        let message = v1::GetPolicyRequest {
            slot: slot.to_owned(),
        };
        self.endpoints
            .call(
                GET_POLICY,
                self.timeout,
                Repeat::Safe,
                |mut client, left| {
                    let request = request(message.clone(), left);
                    async move { client.get_policy(request).await }
                },
            )
            .await
            .map_err(|status| from_status(&status))
    }
}

#[async_trait]
impl Policy for PolicyClient {
    async fn decide(&self, decide: DecideRequest) -> Result<Decision, Undecided> {
        let timeout = self.timeout.min(decide.remaining.time);
        let message = decide.to_proto();
        let response = self
            .endpoints
            .call(DECIDE, timeout, Repeat::Safe, |mut client, left| {
                let request = request(message.clone(), left);
                async move { client.decide(request).await }
            })
            .await
            .map_err(|status| Undecided::Away(failure_from_status(&status, Blame::Policy)))?;
        read_decision(response)
    }
}

/// A reply that cannot be read comes from a worker that does not speak this version: no decision
/// can be had from it.
fn read_decision(response: v1::DecideResponse) -> Result<Decision, Undecided> {
    let unreadable = |reason: String| {
        Undecided::Away(Failure::new(
            FailureKind::Unavailable,
            format!("unreadable decision: {reason}"),
        ))
    };
    match response.result {
        Some(Decided::Decision(decision)) => {
            Decision::from_proto(decision).map_err(|error| unreadable(error.to_string()))
        }
        Some(Decided::Failure(failure)) => Err(Failure::from_proto(failure)
            .map_or_else(|error| unreadable(error.to_string()), Undecided::Impossible)),
        None => Err(unreadable("it is empty".to_owned())),
    }
}
