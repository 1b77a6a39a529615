//! More episodes than may run.

use std::time::Duration;

use futures::future::join_all;
use maestro_proto::v1::{self, episode_service_client::EpisodeServiceClient};
use maestro_wire::ToProto;
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt;

use crate::client::{Installation, answer, client, installation_for, request};

/// Runs an episode to its end, or says why it was refused.
async fn run(
    mut client: EpisodeServiceClient<Channel>,
    request: v1::RunEpisodeRequest,
) -> Result<v1::Episode, Status> {
    let mut events = client.run_episode(request).await?.into_inner();
    while let Some(message) = events.message().await? {
        if let Some(v1::episode_event::Event::Ended(episode)) = message.event.unwrap().event {
            return Ok(episode);
        }
    }
    panic!("the stream ended before the episode");
}

fn within(seconds: u64) -> v1::RunEpisodeRequest {
    let mut request = request("Who is next?");
    request.task.as_mut().unwrap().budget = Some(v1::Budget {
        timeout: Some(Duration::from_secs(seconds).to_proto()),
        ..v1::Budget::default()
    });
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_coordinator_has_some_wait_and_tells_the_others_when_to_come_back() {
    let installation = installation_for(16).await;
    let Installation { cluster, chat, .. } = &installation;
    let full = "  episodes: {max_running: 2, queue: {max_waiting: 2, max_wait_ms: 60000}}\n";
    let small = cluster.another_coordinator_with("small", "", full).unwrap();
    let client = client(&small.address.clone().unwrap()).await;
    chat.set_delay(Duration::from_secs(1));
    let all = join_all((0..6).map(|_| run(client.clone(), within(60)))).await;
    let (ended, refused): (Vec<_>, Vec<_>) = all.into_iter().partition(Result::is_ok);
    assert_eq!((ended.len(), refused.len()), (4, 2));
    for episode in ended {
        assert_eq!(answer(&episode.unwrap()).as_deref(), Some("yes"));
    }
    for refused in refused {
        let status = refused.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        let details = status.get_error_details();
        let delay = details.retry_info().and_then(|retry| retry.retry_delay);
        assert!(delay.is_some_and(|delay| !delay.is_zero()), "{status:?}");
        let info = details.error_info().unwrap();
        assert_eq!(info.metadata["limit"], "2");
    }
    // By now the pace is known: an episode that cannot finish in time is not made to wait.
    let waiting: Vec<_> = (0..3)
        .map(|_| tokio::spawn(run(client.clone(), within(60))))
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let hopeless = run(client.clone(), within(1)).await.unwrap_err();
    assert_eq!(hopeless.code(), Code::ResourceExhausted, "{hopeless:?}");
    assert!(hopeless.message().contains("the time left"), "{hopeless:?}");
    for episode in join_all(waiting).await {
        assert_eq!(answer(&episode.unwrap().unwrap()).as_deref(), Some("yes"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_when_the_coordinator_drains_is_sent_elsewhere() {
    let installation = installation_for(16).await;
    let Installation { cluster, chat, .. } = &installation;
    let full = "  episodes: {max_running: 1, queue: {max_wait_ms: 60000}}\n";
    let mut small = cluster.another_coordinator_with("small", "", full).unwrap();
    let client = client(&small.address.clone().unwrap()).await;
    chat.set_delay(Duration::from_secs(4));
    let running = tokio::spawn(run(client.clone(), within(60)));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let waiting = tokio::spawn(run(client.clone(), within(60)));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let ended = tokio::task::spawn_blocking(move || small.terminate(Duration::from_secs(60)));
    let turned_away = waiting.await.unwrap().unwrap_err();
    assert_eq!(turned_away.code(), Code::Unavailable, "{turned_away:?}");
    let episode = running.await.unwrap().unwrap();
    assert_eq!(answer(&episode).as_deref(), Some("yes"));
    assert!(ended.await.unwrap().unwrap());
}
