use std::{
    sync::{Arc, Mutex, atomic::Ordering},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use maestro_proto::v1::{
    GetStatusRequest, InvokeRequest, Message, admin_service_client::AdminServiceClient,
    expert_service_client::ExpertServiceClient,
};
use maestro_rpc::{Drainable, NOTICE_TIME, ServeConfig, Server, ServiceStatus, from_status};
use tonic::{Code, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::world::{Behaviour, Expert, Idle, start, start_with, url};

async fn channel(running: &maestro_rpc::Running) -> Channel {
    Channel::from_shared(url(running).to_string())
        .unwrap()
        .connect()
        .await
        .unwrap()
}

fn invoke() -> InvokeRequest {
    let message = Message {
        role: 2,
        text: "x".into(),
    };
    InvokeRequest {
        messages: vec![message],
        ..InvokeRequest::default()
    }
}

async fn health(channel: &Channel, service: &str) -> ServingStatus {
    HealthClient::new(channel.clone())
        .check(HealthCheckRequest {
            service: service.into(),
        })
        .await
        .unwrap()
        .into_inner()
        .status()
}

#[tokio::test]
async fn health_reflection_and_status_are_served() {
    let server = start(&Expert::new(Behaviour::Answer)).await;
    let channel = channel(&server).await;
    for service in ["", "maestro.v1.ExpertService", "maestro.v1.AdminService"] {
        assert_eq!(
            health(&channel, service).await,
            ServingStatus::Serving,
            "{service}"
        );
    }
    let unknown = HealthClient::new(channel.clone())
        .check(HealthCheckRequest {
            service: "maestro.v1.Other".into(),
        })
        .await
        .unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);

    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut replies = ServerReflectionClient::new(channel.clone())
        .server_reflection_info(futures::stream::iter([ask]))
        .await
        .unwrap()
        .into_inner();
    let reply = replies
        .message()
        .await
        .unwrap()
        .unwrap()
        .message_response
        .unwrap();
    let MessageResponse::ListServicesResponse(list) = reply else {
        panic!("{reply:?}")
    };
    let names: Vec<String> = list
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    assert!(
        names.contains(&"maestro.v1.ExpertService".to_owned()),
        "{names:?}"
    );
    assert!(
        !names.contains(&"maestro.v1.EpisodeService".to_owned()),
        "{names:?}"
    );

    let status = AdminServiceClient::new(channel)
        .get_status(GetStatusRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (status.service.as_str(), status.draining),
        ("expert-worker", false)
    );
    assert!(status.started_at.is_some());
}

#[tokio::test]
async fn a_request_ends_when_its_time_is_up_with_the_right_code() {
    let expert = Expert::new(Behaviour::Hold);
    // The client sets no deadline, so that no timer of its own answers first.
    let config = ServeConfig {
        request_timeout_ms: 100,
        ..ServeConfig::default()
    };
    let server = start_with(config, &expert).await;
    let error = ExpertServiceClient::new(channel(&server).await)
        .invoke(invoke())
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded, "{error:?}");
    expert
        .until(|expert| expert.dropped.load(Ordering::SeqCst) == 1)
        .await;
}

#[tokio::test]
async fn a_panic_ends_its_own_request_only() {
    let expert = Expert::new(Behaviour::Hold);
    let server = start(&expert).await;
    let channel = channel(&server).await;
    let mut first = ExpertServiceClient::new(channel.clone());
    let other = tokio::spawn(async move { first.invoke(invoke()).await });
    expert.until(|expert| expert.begun() == 1).await;
    expert.set(Behaviour::Panic);
    let error = ExpertServiceClient::new(channel)
        .invoke(invoke())
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::Internal);
    expert.release.add_permits(1);
    other.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_drain_announces_finishes_and_closes() {
    let expert = Expert::new(Behaviour::Hold);
    let server = start(&expert).await;
    let channel = channel(&server).await;
    let mut client = ExpertServiceClient::new(channel.clone());
    let running = tokio::spawn(async move { client.invoke(invoke()).await });
    expert.until(|expert| expert.begun() == 1).await;

    let drain = tokio::spawn(server.drain(Duration::from_secs(5)));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(
        health(&channel, "maestro.v1.ExpertService").await,
        ServingStatus::NotServing
    );
    let refused = ExpertServiceClient::new(channel.clone())
        .invoke(invoke())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(from_status(&refused).is_transient());
    assert_eq!(expert.begun(), 1, "no new work is taken");
    assert!(!drain.is_finished(), "it waits for the request in flight");

    expert.release.add_permits(1);
    assert_eq!(running.await.unwrap().unwrap().into_inner().text, "x");
    assert_eq!(drain.await.unwrap().unfinished, 0);
    assert!(
        HealthClient::new(channel)
            .check(HealthCheckRequest::default())
            .await
            .is_err()
    );
}

/// Notes when its own drain begins.
struct Noting(Mutex<Option<Instant>>);

#[async_trait]
impl Drainable for Noting {
    fn status(&self) -> ServiceStatus {
        Idle.status()
    }

    async fn drain(&self, _: Duration) -> u32 {
        self.0.lock().unwrap().get_or_insert_with(Instant::now);
        0
    }
}

#[tokio::test]
async fn foreign_clients_are_given_notice_before_new_work_is_refused() {
    for (grace, notice) in [
        (Duration::from_secs(25), NOTICE_TIME),
        (Duration::from_secs(2), Duration::from_millis(200)),
    ] {
        let config = ServeConfig::default();
        let listener = config.bind().await.unwrap();
        let service = Arc::new(Noting(Mutex::new(None)));
        let server = Server::new(config, Arc::clone(&service) as _)
            .serve_while_draining()
            .serve(listener)
            .await
            .unwrap();
        let announced = Instant::now();
        assert_eq!(server.drain(grace).await.unfinished, 0);
        let began = service.0.lock().unwrap().unwrap();
        assert!(began - announced >= notice, "{:?}", began - announced);
    }
}

#[tokio::test]
async fn a_drain_gives_up_when_the_grace_period_is_over() {
    let expert = Expert::new(Behaviour::Hold);
    let server = start(&expert).await;
    let mut client = ExpertServiceClient::new(channel(&server).await);
    let running = tokio::spawn(async move { client.invoke(invoke()).await });
    expert.until(|expert| expert.begun() == 1).await;
    let report = server.drain(Duration::from_millis(100)).await;
    assert_eq!(report.unfinished, 1);
    assert!(running.await.unwrap().is_err());
}
