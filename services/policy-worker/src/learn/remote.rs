use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use maestro_core::{
    CoreError, Digest, Timestamp,
    episode::{EpisodeRecord, Outcome},
    ports::Blobs,
    task::Task,
};
use maestro_proto::v1::{
    self, episode_service_client::EpisodeServiceClient,
    policy_admin_service_client::PolicyAdminServiceClient,
};
use maestro_rpc::{
    BlobClientConfig, ChannelPool, MAX_MESSAGE_BYTES, PoolConfig, RemoteBlobs, from_status,
};
use maestro_wire::{EpisodeEvent, FromProto, ToProto};
use tonic::{Request, transport::Channel};
use url::Url;

/// Longest time of a request that is answered at once.
const REQUEST: Duration = Duration::from_secs(30);
/// What an episode may take beyond its own deadline.
const MARGIN: Duration = Duration::from_secs(10);
/// Where the reported outcomes come from.
const SOURCE: &str = "learner";

/// A coordinator as the learner uses it.
#[derive(Clone)]
pub(super) struct Coordinator {
    channel: Channel,
    blobs: Arc<dyn Blobs>,
}

impl Coordinator {
    /// Connects at the first call. Must run inside a tokio runtime.
    pub(super) fn new(endpoint: &Url) -> Result<Self, maestro_rpc::RpcError> {
        let channel = ChannelPool::new(PoolConfig::default()).channel(endpoint)?;
        let blobs = RemoteBlobs::new(std::slice::from_ref(endpoint), BlobClientConfig::default())?;
        Ok(Self {
            channel,
            blobs: Arc::new(blobs),
        })
    }

    pub(super) fn blobs(&self) -> &Arc<dyn Blobs> {
        &self.blobs
    }

    /// Makes a policy the active one of a slot.
    pub(super) async fn activate(
        &self,
        manifest: &maestro_core::ports::PolicyManifest,
        weights: Vec<u8>,
        slot: &str,
    ) -> Result<Digest, CoreError> {
        self.blobs.put(weights.into()).await?;
        let mut admin = PolicyAdminServiceClient::new(self.channel.clone());
        let pushed = admin
            .push_policy(quick(v1::PushPolicyRequest {
                manifest: Some(manifest.to_proto()),
            }))
            .await
            .map_err(|status| from_status(&status))?
            .into_inner();
        let digest = pushed.policy.unwrap_or_default().digest;
        admin
            .activate_policy(quick(v1::ActivatePolicyRequest {
                digest: digest.clone(),
                slot: slot.to_owned(),
                shadow: false,
            }))
            .await
            .map_err(|status| from_status(&status))?;
        digest.parse()
    }

    /// Runs one sampled episode to its end.
    pub(super) async fn run(
        &self,
        task: Task,
        slot: &str,
        seed: u64,
        timeout: Duration,
    ) -> Result<EpisodeRecord, CoreError> {
        let mut request = Request::new(v1::RunEpisodeRequest {
            task: Some(task.to_proto()),
            options: Some(v1::EpisodeOptions {
                mode: v1::ServingMode::Sampled.into(),
                durability: v1::Durability::Ephemeral.into(),
                slot: slot.to_owned(),
                seed,
                ..v1::EpisodeOptions::default()
            }),
        });
        request.set_timeout(timeout + MARGIN);
        let mut events = EpisodeServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .run_episode(request)
            .await
            .map_err(|status| from_status(&status))?
            .into_inner();
        while let Some(message) = events.message().await.map_err(|s| from_status(&s))? {
            let Some(event) = message.event else { continue };
            if let EpisodeEvent::Ended(record) = EpisodeEvent::from_proto(event)? {
                return Ok(EpisodeRecord::clone(&record));
            }
        }
        Err(CoreError::Unavailable {
            what: "coordinator",
            reason: "the stream ended before the episode did".to_owned(),
        })
    }

    /// Adds the outcome to the trajectory.
    pub(super) async fn report(&self, episode: &str, score: f64) -> Result<(), CoreError> {
        let outcome = Outcome {
            score: score as f32,
            source: SOURCE.to_owned(),
            reported_at: Timestamp::now(),
        };
        EpisodeServiceClient::new(self.channel.clone())
            .report_outcome(quick(v1::ReportOutcomeRequest {
                id: episode.to_owned(),
                outcome: Some(outcome.to_proto()),
            }))
            .await
            .map_err(|status| from_status(&status))?;
        Ok(())
    }

    pub(super) async fn fetch(&self, digest: &Digest) -> Result<Bytes, CoreError> {
        self.blobs.get(digest).await
    }
}

fn quick<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(REQUEST);
    request
}
