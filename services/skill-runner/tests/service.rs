//! The whole service: a runner over a registry, an expert behind gRPC, blobs; called as a
//! coordinator calls it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use std::sync::Arc;

use async_trait::async_trait;
use maestro_core::{
    Capability, EpisodeId, ExpertName, InstanceId, MicroUsd, Timestamp,
    answer::AnswerKind,
    episode::FailureKind,
    ports::{Blobs, InstanceSpec, PutMode, Registry, Skills},
    registry::{Descriptor, Limits, Modality, Price},
    skill_run::SkillRun,
    task::Pair,
};
use maestro_proto::v1::{
    self, DescribeRequest, DescribeResponse, InvokeRequest, InvokeResponse,
    expert_service_server::{ExpertService, ExpertServiceServer},
    skill_service_client::SkillServiceClient,
};
use maestro_registry::MemoryRegistry;
use maestro_rpc::{ClientConfig, SkillClient};
use maestro_skill_runner::{Config, LibraryMode, RunnerConfig, Running, library, start};
use maestro_skills::Skill;
use maestro_store::{ObjectBlobs, StoreConfig};
use maestro_wire::ToProto;
use tonic::{Code, Request, Response, Status};
use url::Url;

/// An expert that writes the calculation of its last line's question, slowly.
struct Writer;

#[async_trait]
impl ExpertService for Writer {
    async fn invoke(
        &self,
        request: Request<InvokeRequest>,
    ) -> Result<Response<InvokeResponse>, Status> {
        tokio::time::sleep(Duration::from_millis(150)).await;
        let request = request.into_inner();
        assert!(request.messages.last().unwrap().text.contains("21 pears"));
        let usage = v1::Usage {
            cost_micro_usd: 7,
            calls: 1,
            ..v1::Usage::default()
        };
        Ok(Response::new(InvokeResponse {
            text: "21 / 3".to_owned(),
            finish_reason: "stop".to_owned(),
            usage: Some(usage),
            instance: "one".to_owned(),
            ..InvokeResponse::default()
        }))
    }

    async fn describe(
        &self,
        _: Request<DescribeRequest>,
    ) -> Result<Response<DescribeResponse>, Status> {
        Ok(Response::new(DescribeResponse::default()))
    }
}

struct Service {
    running: Running,
    client: SkillClient,
    skill: Skill,
    blobs: Arc<ObjectBlobs>,
    _instance: Box<dyn maestro_core::ports::Registration>,
    _expert: tokio_util::task::AbortOnDropHandle<()>,
}

async fn service(runner: RunnerConfig) -> Service {
    let registry = MemoryRegistry::new();
    let skill = library()
        .unwrap()
        .into_iter()
        .find(|s| s.name().as_str() == "word-problem")
        .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let serving = tonic::transport::Server::builder()
        .add_service(ExpertServiceServer::new(Writer))
        .serve_with_incoming(tonic::transport::server::TcpIncoming::from(listener));
    let expert = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move {
        serving.await.unwrap();
    }));
    let name = ExpertName::new("writer").unwrap();
    let descriptor = Descriptor {
        name: name.clone(),
        description: "writes".into(),
        capabilities: [Capability::new("chat").unwrap()].into(),
        modalities: [Modality::Text].into(),
        price: Some(Price {
            per_call: MicroUsd(10),
            ..Price::default()
        }),
        limits: Limits::default(),
        typical_latency_ms: None,
        backend: None,
    };
    registry
        .put_expert(&descriptor, PutMode::Create)
        .await
        .unwrap();
    registry
        .put_skill(&skill.header(), PutMode::Create)
        .await
        .unwrap();
    let spec = InstanceSpec {
        expert: name,
        id: InstanceId::new("one").unwrap(),
        endpoint: endpoint.parse().unwrap(),
        capacity: 4,
    };
    let instance = registry.register(spec).await.unwrap();
    let blobs =
        Arc::new(ObjectBlobs::open(StoreConfig::new("memory:///".parse().unwrap())).unwrap());
    let config = Config {
        runner,
        library: LibraryMode::Off,
        ..Config::default()
    };
    let running = start(config, Arc::new(registry), Arc::clone(&blobs) as _)
        .await
        .unwrap();
    let url: Url = format!("http://{}", running.address()).parse().unwrap();
    let client = SkillClient::new(&[url], ClientConfig::default()).unwrap();
    Service {
        running,
        client,
        skill,
        blobs,
        _instance: instance,
        _expert: expert,
    }
}

fn request(skill: &Skill) -> SkillRun {
    SkillRun {
        instance: None,
        episode: EpisodeId::new("episode-1").unwrap(),
        step: 0,
        pair: Pair {
            expert: ExpertName::new("writer").unwrap(),
            skill: skill.name().clone(),
        },
        skill_digest: skill.digest(),
        question: "Three children share 21 pears. How many does each get?".into(),
        query: String::new(),
        images: Vec::new(),
        answer_kind: AnswerKind::Number,
        max_cost: Some(MicroUsd(50)),
        deadline: Timestamp::now()
            .checked_add(Duration::from_secs(10))
            .unwrap(),
    }
}

#[tokio::test]
async fn a_run_goes_through_the_wire_to_an_expert_and_back() {
    let service = service(RunnerConfig::default()).await;
    let observation = service.client.run(request(&service.skill)).await.unwrap();
    assert_eq!(observation.failure, None);
    assert_eq!(observation.answer.unwrap().value, "7");
    assert_eq!(observation.usage.cost, MicroUsd(7));
    assert_eq!(observation.skill_digest, Some(service.skill.digest()));
    assert_eq!(observation.instance.unwrap().as_str(), "one");

    let mut poor = request(&service.skill);
    poor.max_cost = Some(MicroUsd(3));
    let observation = service.client.run(poor).await.unwrap();
    assert_eq!(
        observation.failure.unwrap().kind,
        FailureKind::BudgetExceeded
    );
    assert_eq!(
        service
            .running
            .drain(Duration::from_secs(5))
            .await
            .unfinished,
        0
    );
}

#[tokio::test]
async fn a_skill_that_was_added_later_comes_from_the_blobs() {
    let service = service(RunnerConfig::default()).await;
    let front = "---\nname: added\ndescription: Added while it runs.\n---\nWrite a calculation.\n";
    let added = Skill::from_content([("SKILL.md", front.as_bytes())]).unwrap();
    let unknown = service.client.run(request(&added)).await.unwrap();
    assert_eq!(unknown.failure.unwrap().kind, FailureKind::SkillFailed);
    service.blobs.put(added.bundle().clone()).await.unwrap();
    let observation = service.client.run(request(&added)).await.unwrap();
    assert_eq!(
        (observation.failure, observation.text.as_str()),
        (None, "21 / 3")
    );
}

#[tokio::test]
async fn a_full_runner_says_so() {
    let config = RunnerConfig {
        max_concurrent_runs: 1,
        ..RunnerConfig::default()
    };
    let service = service(config).await;
    // The port's client would try again; what the runner says is seen below it.
    let client = SkillServiceClient::connect(format!("http://{}", service.running.address()))
        .await
        .unwrap();
    let (mut one, mut other) = (client.clone(), client);
    let (first, second) = tokio::join!(
        one.run(request(&service.skill).to_proto()),
        other.run(request(&service.skill).to_proto())
    );
    let refused: Vec<Code> = [first, second]
        .into_iter()
        .filter_map(|run| run.err())
        .map(|status| status.code())
        .collect();
    assert_eq!(refused, [Code::ResourceExhausted]);
}
