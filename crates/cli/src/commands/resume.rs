//! Watching an episode past the end of the coordinator that is asked.

use std::time::Duration;

use futures::Stream;
use maestro_proto::v1;
use maestro_rpc::from_status;
use tonic::{Status, Streaming};

use crate::connection::Connection;

/// Attempts in a row before a watch is given up: about a minute.
const ATTEMPTS: u32 = 60;
const PAUSE: Duration = Duration::from_secs(1);

struct Watcher {
    connection: Connection,
    id: String,
    /// Where the last event left it.
    token: String,
    failures: u32,
    events: Option<Streaming<v1::WatchEpisodeResponse>>,
}

/// The events of an episode. Where the stream breaks, it is opened anew after the last event: at
/// another coordinator, if there are several behind the endpoint.
pub(super) fn watch(
    connection: Connection,
    id: String,
) -> impl Stream<Item = Result<Option<v1::EpisodeEvent>, Status>> {
    let watcher = Watcher {
        connection,
        id,
        token: String::new(),
        failures: 0,
        events: None,
    };
    futures::stream::try_unfold(watcher, |mut watcher| async move {
        let event = watcher.next().await?;
        Ok(event.map(|event| (event, watcher)))
    })
}

impl Watcher {
    async fn next(&mut self) -> Result<Option<Option<v1::EpisodeEvent>>, Status> {
        loop {
            let broken = match self.message().await {
                Ok(Some(message)) => {
                    self.token = message.resume_token;
                    self.failures = 0;
                    return Ok(Some(message.event));
                }
                Ok(None) => return Ok(None),
                Err(status) => status,
            };
            self.events = None;
            self.failures += 1;
            if !from_status(&broken).is_transient() || self.failures >= ATTEMPTS {
                return Err(broken);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn message(&mut self) -> Result<Option<v1::WatchEpisodeResponse>, Status> {
        let events = match &mut self.events {
            Some(events) => events,
            None => {
                let request = v1::WatchEpisodeRequest {
                    id: self.id.clone(),
                    resume_token: self.token.clone(),
                };
                let opened = self.connection.episodes().watch_episode(request).await?;
                self.events.insert(opened.into_inner())
            }
        };
        events.message().await
    }
}
