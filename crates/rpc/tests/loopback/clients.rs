use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use maestro_core::{
    Digest, Timestamp,
    answer::AnswerKind,
    episode::{Failure, FailureKind, Observation, Remaining, ServingMode},
    ports::{DecideRequest, Policy, Skills, Undecided},
    skill_run::SkillRun,
    task::{Pair, TaskDraft},
};
use maestro_proto::v1::{
    self, DecideResponse, GetPolicyRequest, GetPolicyResponse, RunRequest, RunResponse,
    decide_response::Result as Decided,
    policy_service_server::{PolicyService, PolicyServiceServer},
    skill_service_server::{SkillService, SkillServiceServer},
};
use maestro_rpc::{
    ClientConfig, PolicyClient, RpcError, Running, ServeConfig, Server, SkillClient,
};
use maestro_wire::{FromProto, ToProto};
use tonic::{Request, Response, Status};
use url::Url;

use crate::world::{Idle, nobody, url};

/// Answers, fails with a status, or counts only.
#[derive(Default)]
struct Worker {
    calls: AtomicU32,
    fails: Option<Status>,
}

struct PolicyWorker(Arc<Worker>);

#[async_trait]
impl PolicyService for PolicyWorker {
    async fn decide(
        &self,
        _: Request<v1::DecideRequest>,
    ) -> Result<Response<DecideResponse>, Status> {
        self.0.calls.fetch_add(1, Ordering::SeqCst);
        if let Some(status) = &self.0.fails {
            return Err(status.clone());
        }
        let failure = Failure::new(FailureKind::NotInActionSet, "no candidate").to_proto();
        Ok(Response::new(DecideResponse {
            result: Some(Decided::Failure(failure)),
        }))
    }

    async fn get_policy(
        &self,
        _: Request<GetPolicyRequest>,
    ) -> Result<Response<GetPolicyResponse>, Status> {
        Ok(Response::new(GetPolicyResponse {
            kind: "scorer".into(),
            ..Default::default()
        }))
    }
}

struct Runner(Arc<Worker>);

#[async_trait]
impl SkillService for Runner {
    async fn run(&self, request: Request<RunRequest>) -> Result<Response<RunResponse>, Status> {
        self.0.calls.fetch_add(1, Ordering::SeqCst);
        if let Some(status) = &self.0.fails {
            return Err(status.clone());
        }
        let run = SkillRun::from_proto(request.into_inner()).unwrap();
        let observation = Observation {
            text: run.question,
            ..Observation::default()
        };
        Ok(Response::new(RunResponse {
            observation: Some(observation.to_proto()),
        }))
    }
}

async fn serve(worker: &Arc<Worker>) -> Running {
    let config = ServeConfig::default();
    let listener = config.bind().await.unwrap();
    Server::new(config, Arc::new(Idle))
        .add_service(PolicyServiceServer::new(PolicyWorker(Arc::clone(worker))))
        .add_service(SkillServiceServer::new(Runner(Arc::clone(worker))))
        .serve(listener)
        .await
        .unwrap()
}

fn decide() -> DecideRequest {
    let task = TaskDraft {
        question: "How many?".into(),
        ..TaskDraft::default()
    };
    DecideRequest {
        episode: "e-1".parse().unwrap(),
        step: 0,
        task: Arc::new(task.validate(Timestamp::now()).unwrap()),
        history: vec![],
        remaining: Remaining {
            steps: 5,
            time: Duration::from_secs(5),
            cost: None,
        },
        mode: ServingMode::Greedy,
        slot: String::new(),
        seed: 0,
        min_revision: 0,
    }
}

fn run() -> SkillRun {
    SkillRun {
        instance: None,
        episode: "e-1".parse().unwrap(),
        step: 0,
        pair: Pair {
            expert: "reader".parse().unwrap(),
            skill: "plain".parse().unwrap(),
        },
        skill_digest: Digest::of(b"bundle"),
        question: "How many?".into(),
        query: String::new(),
        images: vec![],
        answer_kind: AnswerKind::default(),
        max_cost: None,
        deadline: Timestamp::now()
            .checked_add(Duration::from_secs(5))
            .unwrap(),
    }
}

#[tokio::test]
async fn a_decision_is_asked_of_whoever_answers() {
    let worker = Arc::new(Worker::default());
    let broken = Arc::new(Worker {
        fails: Some(Status::unavailable("x")),
        ..Worker::default()
    });
    let (alive, down) = (serve(&worker).await, serve(&broken).await);
    let endpoints = [nobody().await, url(&down), url(&alive)];
    let client = PolicyClient::new(&endpoints, ClientConfig::default()).unwrap();
    for _ in 0..12 {
        let failure = client.decide(decide()).await.unwrap_err();
        assert!(
            matches!(&failure, Undecided::Impossible(it) if it.kind == FailureKind::NotInActionSet)
        );
    }
    assert_eq!(worker.calls.load(Ordering::SeqCst), 12);
    assert!(
        broken.calls.load(Ordering::SeqCst) < 12,
        "a failing worker is passed over"
    );
}

#[tokio::test]
async fn a_decision_that_nobody_makes_is_a_failure_in_time() {
    let client = PolicyClient::new(&[nobody().await], ClientConfig::default()).unwrap();
    let failure = client.decide(decide()).await.unwrap_err();
    assert!(matches!(&failure, Undecided::Away(it) if it.kind == FailureKind::Unavailable));
}

#[tokio::test]
async fn a_silent_policy_worker_is_passed_over() {
    // Takes connections and says nothing, as a host that was cut off does to open ones.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_url: Url = format!("http://{}", silent.local_addr().unwrap())
        .parse()
        .unwrap();
    let worker = Arc::new(Worker::default());
    let server = serve(&worker).await;
    let config = ClientConfig {
        attempt_timeout_ms: Some(200),
        ..ClientConfig::default()
    };
    let client = PolicyClient::new(&[silent_url, url(&server)], config).unwrap();
    for _ in 0..4 {
        let failure = client.decide(decide()).await.unwrap_err();
        assert_eq!(
            failure.failure().kind,
            FailureKind::NotInActionSet,
            "the worker's answer"
        );
    }
    assert_eq!(worker.calls.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn a_policy_can_be_asked_what_serves() {
    let server = serve(&Arc::new(Worker::default())).await;
    let client = PolicyClient::new(&[url(&server)], ClientConfig::default()).unwrap();
    assert_eq!(client.get_policy("").await.unwrap().kind, "scorer");
}

#[tokio::test]
async fn a_run_is_sent_elsewhere_only_if_it_has_not_begun() {
    let worker = Arc::new(Worker::default());
    let server = serve(&worker).await;
    let endpoints = [nobody().await, url(&server)];
    let client = SkillClient::new(&endpoints, ClientConfig::default()).unwrap();
    for _ in 0..4 {
        assert_eq!(client.run(run()).await.unwrap().text, "How many?");
    }

    let broken = Arc::new(Worker {
        fails: Some(Status::unavailable("x")),
        ..Worker::default()
    });
    let (first, second) = (serve(&broken).await, serve(&broken).await);
    let client = SkillClient::new(&[url(&first), url(&second)], ClientConfig::default()).unwrap();
    assert_eq!(
        client.run(run()).await.unwrap_err().kind,
        FailureKind::Unavailable
    );
    assert_eq!(broken.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_client_needs_an_endpoint() {
    let error = PolicyClient::new(&[], ClientConfig::default())
        .err()
        .unwrap();
    assert!(matches!(error, RpcError::NoEndpoint { .. }), "{error}");
}
