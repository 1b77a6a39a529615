use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use maestro_core::ids::InstanceId;
use maestro_proto::v1::{self, expert_service_client::ExpertServiceClient};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    MAX_MESSAGE_BYTES,
    call::{request, send},
    status::code_of,
};

pub(super) const INVOKE: &str = "maestro.v1.ExpertService/Invoke";
/// How long a departed instance may take to answer, and how often it is asked.
const PROBE: Duration = Duration::from_secs(1);

/// One instance's connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) instance: InstanceId,
    channel: Channel,
    client: ExpertServiceClient<Channel>,
    /// Calls under way, counted here too since a departed instance has left the table.
    active: AtomicU32,
    /// Set once the instance has left the registry and does not answer.
    gone: CancellationToken,
}

/// A call that could not be waited for.
pub(super) enum Ended {
    /// The server's or the transport's status.
    Status(Status),
    /// The instance is gone.
    Gone,
}

impl Connection {
    pub(super) fn new(instance: InstanceId, channel: Channel) -> Self {
        let client =
            ExpertServiceClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
        Self {
            instance,
            channel,
            client,
            active: AtomicU32::new(0),
            gone: CancellationToken::new(),
        }
    }

    pub(super) async fn invoke(
        &self,
        message: v1::InvokeRequest,
        timeout: Duration,
    ) -> Result<v1::InvokeResponse, Ended> {
        self.active.fetch_add(1, Ordering::AcqRel);
        let _active = Active(&self.active);
        let mut client = self.client.clone();
        let call = client.invoke(request(message, timeout));
        tokio::select! {
            biased;
            result = send(INVOKE, timeout, call) => result.map_err(Ended::Status),
            () = self.gone.cancelled() => Err(Ended::Gone),
        }
    }
}

struct Active<'a>(&'a AtomicU32);

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Watches over the calls that an instance had under way when it left the registry.
pub(super) async fn probe(connection: Arc<Connection>) {
    let mut health = HealthClient::new(connection.channel.clone());
    while connection.active.load(Ordering::Acquire) > 0 {
        let check = health.check(request(HealthCheckRequest::default(), PROBE));
        let alive = match tokio::time::timeout(PROBE, check).await {
            Ok(Ok(_)) => true,
            Ok(Err(status)) => is_answer(&status),
            Err(_) => false,
        };
        if !alive {
            tracing::warn!(
                instance = %connection.instance,
                "an instance left the registry and does not answer; its calls fail"
            );
            connection.gone.cancel();
            return;
        }
        tokio::time::sleep(PROBE).await;
    }
}

/// Whether a status was sent by a living server rather than made by the transport.
fn is_answer(status: &Status) -> bool {
    !matches!(
        code_of(status),
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled
    )
}
