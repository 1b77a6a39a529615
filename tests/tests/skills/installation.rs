//! What every contract runs on.

use std::{io::Cursor, sync::Arc, time::Duration};

use async_trait::async_trait;
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use maestro_core::{
    MicroUsd, Timestamp,
    answer::AnswerKind,
    episode::Observation,
    ports::{Blobs, InstanceSpec, PutMode, Registration, Registry, Skills},
    registry::{BackendSpec, Descriptor, Limits, Modality, Price},
    skill_run::SkillRun,
    task::{ImageRef, Pair},
};
use maestro_expert_worker::{ExpertWorker, ExpertWorkerConfig, backend::BackendKind};
use maestro_proto::v1::{
    self, DescribeRequest, DescribeResponse, InvokeRequest, InvokeResponse,
    expert_service_server::{ExpertService, ExpertServiceServer},
};
use maestro_registry::MemoryRegistry;
use maestro_skill_runner::{Config, LibraryMode, Running, sandbox::SandboxConfig};
use maestro_skills::Skill;
use maestro_store::{ObjectBlobs, StoreConfig};
use maestro_tests::ChatServer;
use serde_json::{Value, json};
use tonic::{Request, Response, Status};

/// Size of the images of tasks.
pub(crate) const SIZE: [u32; 2] = [100, 60];
/// What one call to the chat expert and one to a helper cost.
pub(crate) const CHAT_COST: u64 = 10;
pub(crate) const HELPER_COST: u64 = 3;

/// A helper that reads, describes and detects the same in every image.
struct Helper;

#[async_trait]
impl ExpertService for Helper {
    async fn invoke(
        &self,
        request: Request<InvokeRequest>,
    ) -> Result<Response<InvokeResponse>, Status> {
        let request = request.into_inner();
        assert_eq!(request.images.len(), 1, "a helper looks at one image");
        let usage = v1::Usage {
            cost_micro_usd: HELPER_COST,
            calls: 1,
            ..v1::Usage::default()
        };
        let mut reply = InvokeResponse {
            usage: Some(usage),
            instance: "one".to_owned(),
            ..InvokeResponse::default()
        };
        match request.capability.as_str() {
            "ocr" => reply.text = "PLATE 77".to_owned(),
            "caption" => reply.text = "A grey ramp of light.".to_owned(),
            _ => reply.detections.push(v1::Detection {
                label: "cup".to_owned(),
                confidence: 0.9,
                left: 20.0,
                top: 10.0,
                right: 40.0,
                bottom: 30.0,
            }),
        }
        Ok(Response::new(reply))
    }

    async fn describe(
        &self,
        _: Request<DescribeRequest>,
    ) -> Result<Response<DescribeResponse>, Status> {
        Ok(Response::new(DescribeResponse::default()))
    }
}

/// A runner, a worker and a chat server; helpers where a test wants them.
pub(crate) struct Installation {
    pub(crate) server: ChatServer,
    running: Running,
    blobs: Arc<ObjectBlobs>,
    _worker: ExpertWorker,
    _helper: Option<Box<dyn Registration>>,
}

fn descriptor(name: &str, capabilities: &[&str], cost: u64) -> Descriptor {
    Descriptor {
        name: name.parse().unwrap(),
        description: "an expert of a test".into(),
        capabilities: capabilities.iter().map(|c| c.parse().unwrap()).collect(),
        modalities: [Modality::Text, Modality::Image].into(),
        price: Some(Price {
            per_call: MicroUsd(cost),
            ..Price::default()
        }),
        limits: Limits::default(),
        typical_latency_ms: None,
        backend: None,
    }
}

async fn helper(registry: &MemoryRegistry) -> Box<dyn Registration> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(ExpertServiceServer::new(Helper))
            .serve_with_incoming(tonic::transport::server::TcpIncoming::from(listener)),
    );
    let described = descriptor("helper", &["ocr", "caption", "detect"], HELPER_COST);
    registry
        .put_expert(&described, PutMode::Create)
        .await
        .unwrap();
    let spec = InstanceSpec {
        expert: described.name,
        id: "one".parse().unwrap(),
        endpoint: endpoint.parse().unwrap(),
        capacity: 4,
    };
    registry.register(spec).await.unwrap()
}

impl Installation {
    pub(crate) async fn start(
        helpers: bool,
        answer: impl Fn(&Value) -> String + Send + Sync + 'static,
    ) -> Self {
        let server = ChatServer::answering(answer).await.unwrap();
        let registry = Arc::new(MemoryRegistry::new());
        let blobs =
            Arc::new(ObjectBlobs::open(StoreConfig::new("memory:///".parse().unwrap())).unwrap());
        let config = json!({ "base_url": server.base_url(), "model": "test" });
        let seer = Descriptor {
            backend: Some(BackendSpec {
                kind: "openai".into(),
                config: config.as_object().unwrap().clone(),
            }),
            ..descriptor("seer", &["chat"], CHAT_COST)
        };
        registry.put_expert(&seer, PutMode::Create).await.unwrap();
        let helper = if helpers {
            Some(helper(&registry).await)
        } else {
            None
        };
        let config = ExpertWorkerConfig {
            adopt: [BackendKind::Openai].into(),
            ..ExpertWorkerConfig::default()
        };
        let worker =
            maestro_expert_worker::start(config, registry.clone() as _, blobs.clone() as _)
                .await
                .unwrap();
        let config = Config {
            library: LibraryMode::Off,
            sandbox: SandboxConfig {
                launcher: maestro_tests::binary("maestro-skill-runner").unwrap(),
                ..SandboxConfig::default()
            },
            ..Config::default()
        };
        let running =
            maestro_skill_runner::start(config, registry.clone() as _, blobs.clone() as _)
                .await
                .unwrap();
        let mut snapshots = registry.snapshots();
        let serving = snapshots.wait_for(|snapshot| {
            snapshot.serves(&seer.name) && (!helpers || snapshot.instances.len() == 2)
        });
        tokio::time::timeout(Duration::from_secs(20), serving)
            .await
            .unwrap()
            .unwrap();
        Self {
            server,
            running,
            blobs,
            _worker: worker,
            _helper: helper,
        }
    }

    /// Runs a skill for the expert `seer` on `images` images.
    pub(crate) async fn run(
        &self,
        skill: &Skill,
        question: &str,
        answer_kind: AnswerKind,
        images: usize,
    ) -> Observation {
        self.blobs.put(skill.bundle().clone()).await.unwrap();
        let content = ramp();
        let image = ImageRef {
            digest: self.blobs.put(content.clone()).await.unwrap(),
            media_type: "image/png".to_owned(),
            width: SIZE[0],
            height: SIZE[1],
            bytes: content.len() as u64,
        };
        let run = SkillRun {
            instance: None,
            episode: "episode-1".parse().unwrap(),
            step: 0,
            pair: Pair {
                expert: "seer".parse().unwrap(),
                skill: skill.name().clone(),
            },
            skill_digest: skill.digest(),
            question: question.to_owned(),
            query: String::new(),
            images: vec![image; images],
            answer_kind,
            max_cost: None,
            deadline: Timestamp::now()
                .checked_add(Duration::from_secs(30))
                .unwrap(),
        };
        self.running.runner().run(run).await.unwrap()
    }
}

/// An image whose pixels tell where they are: red is the column, green the row.
fn ramp() -> Bytes {
    let [width, height] = SIZE;
    let pixel = |x: u32, y: u32| image::Rgb([x as u8, y as u8, 0]);
    let mut png = Cursor::new(Vec::new());
    image::RgbImage::from_fn(width, height, pixel)
        .write_to(&mut png, image::ImageFormat::Png)
        .unwrap();
    png.into_inner().into()
}

/// An image that an expert was sent: its size, and the column and row of the task's image that
/// its middle shows.
pub(crate) type Sent = ([u32; 2], [u8; 2]);

/// The images of a request, decoded from their data URLs.
pub(crate) fn images(request: &Value) -> Vec<Sent> {
    parts(request)
        .filter_map(|part| part["image_url"]["url"].as_str())
        .map(|url| {
            let (_, data) = url.split_once(";base64,").unwrap();
            let content = BASE64_STANDARD.decode(data).unwrap();
            let image = image::load_from_memory(&content).unwrap().to_rgb8();
            let [red, green, _] = image.get_pixel(image.width() / 2, image.height() / 2).0;
            ([image.width(), image.height()], [red, green])
        })
        .collect()
}

/// The words of a request, role by role.
pub(crate) fn words(request: &Value) -> String {
    let messages = request["messages"].as_array().unwrap();
    let said = messages.iter().map(|message| {
        let role = message["role"].as_str().unwrap();
        let text = match &message["content"] {
            Value::String(text) => text.clone(),
            content => content
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|part| part["text"].as_str())
                .collect(),
        };
        format!("[{role}]\n{text}")
    });
    said.collect::<Vec<_>>().join("\n")
}

fn parts(request: &Value) -> impl Iterator<Item = &Value> {
    let messages = request["messages"].as_array().unwrap();
    messages
        .iter()
        .filter_map(|message| message["content"].as_array())
        .flatten()
}
