//! What an operator and a careful client rely on: health, reflection, drain, idempotency, watching.

use std::time::{Duration, Instant};

use futures::StreamExt;
use maestro_proto::v1::{
    self, admin_service_client::AdminServiceClient, episode_event::Event,
    episode_service_client::EpisodeServiceClient, termination::Termination,
};
use maestro_tests::Process;
use tonic::{Code, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};
use tonic_types::StatusExt;

use crate::client::{Installation, answer, client, installation, request};

const PATIENCE: Duration = Duration::from_secs(30);

async fn channel(process: &Process) -> Channel {
    let address = process.address.clone().unwrap().to_string();
    Channel::from_shared(address)
        .unwrap()
        .connect()
        .await
        .unwrap()
}

async fn health(channel: &Channel, service: &str) -> Result<ServingStatus, Code> {
    let request = HealthCheckRequest {
        service: service.into(),
    };
    let mut client = HealthClient::new(channel.clone());
    match client.check(request).await {
        Ok(answer) => Ok(answer.into_inner().status()),
        Err(status) => Err(status.code()),
    }
}

async fn create(
    client: &mut EpisodeServiceClient<Channel>,
    question: &str,
    request_id: &str,
) -> Result<v1::Episode, tonic::Status> {
    let mut task = request(question).task.unwrap();
    // One call and its answer, whatever the question sounds like.
    task.constraints = Some(v1::Constraints {
        allowed: vec![v1::PairPattern {
            expert: "only".into(),
            skill: "direct".into(),
        }],
        ..v1::Constraints::default()
    });
    let create = v1::CreateEpisodeRequest {
        task: Some(task),
        options: Some(v1::EpisodeOptions {
            request_id: request_id.into(),
            ..v1::EpisodeOptions::default()
        }),
    };
    let created = client.create_episode(create).await?;
    Ok(created.into_inner().episode.unwrap())
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < end, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_process_says_what_it_serves_and_how_it_is() {
    let installation = installation().await;
    let Installation {
        cluster, worker, ..
    } = &installation;
    let expected = [
        (
            &cluster.coordinator,
            "coordinator",
            "maestro.v1.EpisodeService",
        ),
        (&cluster.policy, "policy-worker", "maestro.v1.PolicyService"),
        (&cluster.skills, "skill-runner", "maestro.v1.SkillService"),
        (worker, "expert-worker", "maestro.v1.ExpertService"),
    ];
    for (process, name, service) in expected {
        let channel = channel(process).await;
        for asked in ["", service, "maestro.v1.AdminService"] {
            let status = health(&channel, asked).await;
            assert_eq!(status, Ok(ServingStatus::Serving), "{name} {asked}");
        }
        assert_eq!(
            health(&channel, "maestro.v1.None").await,
            Err(Code::NotFound)
        );

        let ask = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let mut answers = ServerReflectionClient::new(channel.clone())
            .server_reflection_info(futures::stream::iter([ask]))
            .await
            .unwrap()
            .into_inner();
        let listed = match answers.next().await.unwrap().unwrap().message_response {
            Some(MessageResponse::ListServicesResponse(list)) => list.service,
            other => panic!("{other:?}"),
        };
        let names: Vec<&str> = listed.iter().map(|s| s.name.as_str()).collect();
        assert!(names.contains(&service), "{name}: {names:?}");

        let status = AdminServiceClient::new(channel)
            .get_status(v1::GetStatusRequest {})
            .await
            .unwrap()
            .into_inner();
        assert_eq!(status.service, name);
        assert!(!status.draining && status.revision > 0, "{status:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_coordinator_finishes_what_it_accepted_and_takes_nothing_new() {
    let mut installation = installation().await;
    installation.chat.set_delay(Duration::from_secs(3));
    let coordinator = channel(&installation.cluster.coordinator).await;
    let mut client = EpisodeServiceClient::new(coordinator.clone());
    let accepted = create(&mut client, "Slowly?", "").await.unwrap();
    let watch = v1::WatchEpisodeRequest {
        id: accepted.id.clone(),
        ..v1::WatchEpisodeRequest::default()
    };
    let mut events = client.watch_episode(watch).await.unwrap().into_inner();
    until("the call", async || installation.chat.calls() > 0).await;

    let process = &installation.cluster.coordinator;
    process.signal(maestro_tests::Signal::SIGTERM).unwrap();
    // The open connection gets GOAWAY; who comes anew is answered until the end.
    until("the drain", async || {
        health(&channel(process).await, "").await == Ok(ServingStatus::NotServing)
    })
    .await;
    // Those before may have come just before the drain, and then got GOAWAY as well; until its notice
    // is over, it takes new ones.
    let mut client = EpisodeServiceClient::new(channel(process).await);
    let mut refused = None;
    until("a refusal", async || {
        refused = create(&mut client, "Too late?", "").await.err();
        refused.is_some()
    })
    .await;
    let refused = refused.unwrap();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert!(refused.message().contains("draining"), "{refused:?}");
    let retry = refused.get_details_retry_info().unwrap();
    assert!(retry.retry_delay.is_some(), "{refused:?}");
    let mut ended = None;
    while let Some(Ok(message)) = events.next().await {
        if let Some(Event::Ended(episode)) = message.event.unwrap().event {
            ended = Some(episode);
        }
    }
    assert_eq!(answer(&ended.unwrap()).as_deref(), Some("yes"));
    let coordinator = &mut installation.cluster.coordinator;
    assert!(coordinator.terminate(PATIENCE).unwrap(), "it ended well");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_other_process_drains_too() {
    let mut installation = installation().await;
    installation.chat.set_delay(Duration::from_secs(2));
    let mut client = client(&installation.cluster.endpoint()).await;
    let accepted = create(&mut client, "Slowly?", "").await.unwrap();
    until("the call", async || installation.chat.calls() > 0).await;
    // The call under way is finished, and its answer is used; nothing is asked twice.
    assert!(installation.worker.terminate(PATIENCE).unwrap());
    assert_eq!(
        installation.cluster.instances("only"),
        0,
        "its registration is gone"
    );
    let mut episode = None;
    until("the end", async || {
        let get = v1::GetEpisodeRequest {
            id: accepted.id.clone(),
        };
        let found = client.get_episode(get).await.unwrap().into_inner().episode;
        episode = found.filter(|episode| episode.conclusion.is_some());
        episode.is_some()
    })
    .await;
    let episode = episode.unwrap();
    assert_eq!(answer(&episode).as_deref(), Some("yes"), "{episode:?}");
    assert_eq!(installation.chat.calls(), 1);
    assert!(installation.cluster.skills.terminate(PATIENCE).unwrap());
    assert!(installation.cluster.policy.terminate(PATIENCE).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_makes_creation_idempotent() {
    let installation = installation().await;
    let mut client = client(&installation.cluster.endpoint()).await;
    let first = create(&mut client, "Once?", "order-1").await.unwrap();
    let again = create(&mut client, "Once?", "order-1").await.unwrap();
    assert_eq!(first.id, again.id);
    let other = create(&mut client, "Twice?", "order-2").await.unwrap();
    assert_ne!(first.id, other.id);
    let conflict = create(&mut client, "Something else?", "order-1")
        .await
        .unwrap_err();
    assert_eq!(conflict.code(), Code::AlreadyExists, "{conflict:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_episode_can_be_watched_listed_and_judged() {
    let installation = installation().await;
    let mut client = client(&installation.cluster.endpoint()).await;
    let created = create(&mut client, "Ready?", "").await.unwrap();
    let watch = || v1::WatchEpisodeRequest {
        id: created.id.clone(),
        ..v1::WatchEpisodeRequest::default()
    };
    let mut kinds = Vec::new();
    // The first watcher follows it live, the second reads what has been.
    for _ in 0..2 {
        let mut events = client.watch_episode(watch()).await.unwrap().into_inner();
        let mut seen = Vec::new();
        while let Some(message) = events.next().await {
            seen.push(match message.unwrap().event.unwrap().event.unwrap() {
                Event::Accepted(_) => "accepted",
                Event::Decided(_) => "decided",
                Event::Finished(_) => "finished",
                Event::Ended(_) => "ended",
            });
        }
        kinds.push(seen);
    }
    for seen in &kinds {
        assert_eq!(seen.first(), Some(&"accepted"), "{kinds:?}");
        assert_eq!(seen.last(), Some(&"ended"), "{kinds:?}");
        assert!(seen.contains(&"finished"), "{kinds:?}");
    }
    let listed = client
        .list_episodes(v1::ListEpisodesRequest {
            page_size: 10,
            ..v1::ListEpisodesRequest::default()
        })
        .await
        .unwrap()
        .into_inner();
    assert!(
        listed
            .episodes
            .iter()
            .any(|episode| episode.id == created.id)
    );
    let report = |score| v1::ReportOutcomeRequest {
        id: created.id.clone(),
        outcome: Some(v1::Outcome {
            score,
            source: "user".into(),
            ..v1::Outcome::default()
        }),
    };
    let bad = client.report_outcome(report(1.5)).await.unwrap_err();
    assert_eq!(bad.code(), Code::InvalidArgument, "{bad:?}");
    let judged = client.report_outcome(report(1.0)).await.unwrap();
    let judged = judged.into_inner().episode.unwrap();
    assert!((judged.outcome.unwrap().score - 1.0).abs() < 1e-6);
    let termination = judged.conclusion.unwrap().termination.unwrap().termination;
    assert!(matches!(termination, Some(Termination::Answered(_))));
}
