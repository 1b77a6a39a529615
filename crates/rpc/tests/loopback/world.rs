//! Real servers whose behaviour a test sets.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use maestro_core::{
    Timestamp,
    expert_call::{ExpertCall, Generation, Message, Role},
    ids::IdempotencyKey,
    registry::{Catalogue, Descriptor, Instance, Limits, Modality, Snapshot},
};
use maestro_proto::v1::{
    DescribeRequest, DescribeResponse, InvokeRequest, InvokeResponse, Load,
    expert_service_server::{ExpertService, ExpertServiceServer},
};
use maestro_rpc::{Drainable, Running, ServeConfig, Server, ServiceStatus};
use maestro_telemetry::TraceContext;
use tokio::sync::{Notify, Semaphore};
use tonic::{Request, Response, Status};
use url::Url;

/// What an expert does with a call.
#[derive(Clone)]
pub(crate) enum Behaviour {
    /// Answers with the text of the first message.
    Answer,
    /// Answers once the test lets it.
    Hold,
    /// Fails.
    Fail(Status),
    /// Panics.
    Panic,
}

pub(crate) struct Expert {
    behaviour: Mutex<Behaviour>,
    pub(crate) begun: AtomicU32,
    pub(crate) dropped: AtomicU32,
    pub(crate) changed: Notify,
    pub(crate) release: Semaphore,
    pub(crate) trace: Mutex<Option<TraceContext>>,
}

impl Expert {
    pub(crate) fn new(behaviour: Behaviour) -> Arc<Self> {
        Arc::new(Self {
            behaviour: Mutex::new(behaviour),
            begun: AtomicU32::new(0),
            dropped: AtomicU32::new(0),
            changed: Notify::new(),
            release: Semaphore::new(0),
            trace: Mutex::new(None),
        })
    }

    pub(crate) fn begun(&self) -> u32 {
        self.begun.load(Ordering::SeqCst)
    }

    pub(crate) fn set(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    /// Waits until `done` holds, at most five seconds.
    pub(crate) async fn until(&self, done: impl Fn(&Self) -> bool) {
        let wait = async {
            while !done(self) {
                let _ =
                    tokio::time::timeout(Duration::from_millis(20), self.changed.notified()).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), wait)
            .await
            .expect("it never happened");
    }
}

struct Unfinished<'a>(&'a Expert, bool);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if !self.1 {
            self.0.dropped.fetch_add(1, Ordering::SeqCst);
            self.0.changed.notify_waiters();
        }
    }
}

struct Service(Arc<Expert>);

#[async_trait]
impl ExpertService for Service {
    async fn invoke(
        &self,
        request: Request<InvokeRequest>,
    ) -> Result<Response<InvokeResponse>, Status> {
        let expert = &*self.0;
        let mut unfinished = Unfinished(expert, false);
        *expert.trace.lock().unwrap() = TraceContext::current();
        expert.begun.fetch_add(1, Ordering::SeqCst);
        expert.changed.notify_waiters();
        let behaviour = expert.behaviour.lock().unwrap().clone();
        match behaviour {
            Behaviour::Answer => {}
            Behaviour::Hold => expert.release.acquire().await.unwrap().forget(),
            Behaviour::Fail(status) => {
                unfinished.1 = true;
                return Err(status);
            }
            Behaviour::Panic => panic!("as the test asked"),
        }
        unfinished.1 = true;
        Ok(Response::new(InvokeResponse {
            text: request.into_inner().messages.remove(0).text,
            load: Some(Load {
                in_flight: 0,
                capacity: 4,
            }),
            usage: Some(maestro_proto::v1::Usage {
                calls: 1,
                ..Default::default()
            }),
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

/// A service without work of its own beside its requests.
pub(crate) struct Idle;

#[async_trait]
impl Drainable for Idle {
    fn status(&self) -> ServiceStatus {
        ServiceStatus {
            service: "expert-worker",
            capacity: 4,
            ..ServiceStatus::default()
        }
    }

    async fn drain(&self, _: Duration) -> u32 {
        0
    }
}

pub(crate) fn url(running: &Running) -> Url {
    format!("http://{}", running.address()).parse().unwrap()
}

pub(crate) async fn start(expert: &Arc<Expert>) -> Running {
    start_with(ServeConfig::default(), expert).await
}

pub(crate) async fn start_with(config: ServeConfig, expert: &Arc<Expert>) -> Running {
    let listener = config.bind().await.unwrap();
    Server::new(config, Arc::new(Idle))
        .add_service(ExpertServiceServer::new(Service(Arc::clone(expert))))
        .serve(listener)
        .await
        .unwrap()
}

pub(crate) fn descriptor(timeout_ms: u64) -> Descriptor {
    Descriptor {
        name: "reader".parse().unwrap(),
        description: "reads".into(),
        capabilities: ["chat".parse().unwrap()].into(),
        modalities: [Modality::Text].into(),
        price: None,
        limits: Limits {
            timeout_ms,
            ..Limits::default()
        },
        typical_latency_ms: None,
        backend: None,
    }
}

/// A snapshot in which one expert has an instance at each of these endpoints.
pub(crate) fn snapshot(revision: u64, endpoints: &[(&str, &Url, u32)]) -> Arc<Snapshot> {
    let descriptor = descriptor(10_000);
    let name = descriptor.name.clone();
    let experts = BTreeMap::from([(name.clone(), descriptor)]);
    let mut snapshot = Snapshot::new(
        revision,
        Catalogue {
            experts,
            ..Catalogue::default()
        },
    );
    let instances = endpoints
        .iter()
        .map(|(id, endpoint, capacity)| Instance {
            expert: name.clone(),
            id: id.parse().unwrap(),
            endpoint: (*endpoint).clone(),
            capacity: *capacity,
            written_at: Timestamp::now(),
        })
        .collect();
    snapshot.instances.insert(name, instances);
    Arc::new(snapshot)
}

pub(crate) fn call(text: &str, time: Duration) -> ExpertCall {
    ExpertCall {
        instance: None,
        expert: "reader".parse().unwrap(),
        capability: "chat".parse().unwrap(),
        operation: String::new(),
        messages: vec![Message {
            role: Role::User,
            text: text.into(),
        }],
        images: vec![],
        generation: Generation::default(),
        key: IdempotencyKey::step("e-1".parse().unwrap(), 0),
        deadline: Timestamp::now().checked_add(time).unwrap(),
    }
}

/// An endpoint where nobody listens.
pub(crate) async fn nobody() -> Url {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
        .parse()
        .unwrap()
}
