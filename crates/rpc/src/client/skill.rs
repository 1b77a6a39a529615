use std::time::Duration;

use async_trait::async_trait;
use maestro_core::{
    episode::{Failure, FailureKind, Observation},
    ports::Skills,
    skill_run::SkillRun,
};
use maestro_proto::v1::skill_service_client::SkillServiceClient;
use maestro_wire::{FromProto, ToProto};
use tonic::transport::Channel;
use url::Url;

use super::{ClientConfig, Endpoints, Repeat};
use crate::{
    MAX_MESSAGE_BYTES,
    call::{request, time_left},
    error::RpcError,
    status::{Blame, failure_from_status},
};

const RUN: &str = "maestro.v1.SkillService/Run";

/// The port [`Skills`] over one or more skill runners. They are asked in turn. A run spends money,
/// so it is sent to another runner only where it surely has not begun.
pub struct SkillClient {
    endpoints: Endpoints<SkillServiceClient<Channel>>,
    timeout: Option<Duration>,
}

impl SkillClient {
    /// A client of the runners at `endpoints`. Connects at the first call. Must run inside a
    /// tokio runtime.
    ///
    /// # Errors
    /// [`RpcError::NoEndpoint`], [`RpcError::Endpoint`].
    pub fn new(endpoints: &[Url], config: ClientConfig) -> Result<Self, RpcError> {
        let endpoints = Endpoints::new("the skill client", endpoints, &config, |channel| {
            SkillServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES)
        })?;
        Ok(Self {
            endpoints,
            timeout: config.timeout_ms.map(Duration::from_millis),
        })
    }
}

#[async_trait]
impl Skills for SkillClient {
    async fn run(&self, run: SkillRun) -> Result<Observation, Failure> {
        let left = time_left(run.deadline)
            .ok_or_else(|| Failure::new(FailureKind::Timeout, "the step's time is up"))?;
        let timeout = self.timeout.map_or(left, |timeout| timeout.min(left));
        let message = run.to_proto();
        let response = self
            .endpoints
            .call(RUN, timeout, Repeat::IfUnprocessed, |mut client, left| {
                let request = request(message.clone(), left);
                async move { client.run(request).await }
            })
            .await
            .map_err(|status| failure_from_status(&status, Blame::Skill))?;
        let observation = response
            .observation
            .ok_or_else(|| Failure::new(FailureKind::SkillFailed, "the runner's reply is empty"))?;
        Observation::from_proto(observation).map_err(|error| {
            Failure::new(
                FailureKind::SkillFailed,
                format!("unreadable observation: {error}"),
            )
        })
    }
}
