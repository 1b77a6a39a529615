//! A worker over real gRPC with a registry and a blob store in memory.

use std::{io::Cursor, sync::Arc, time::Duration};

use bytes::Bytes;
use image::{DynamicImage, ImageFormat};
use maestro_core::{
    Digest, Timestamp,
    episode::Failure,
    expert_call::{ExpertCall, ExpertReply, Generation, Message, Role},
    ids::{EpisodeId, ExpertName, IdempotencyKey},
    ports::{Blobs, PutMode, Registry},
    registry::{Descriptor, Instance, Snapshot},
};
use maestro_expert_worker::{ExpertWorker, ExpertWorkerConfig, backend::BackendKind, start};
use maestro_proto::v1::expert_service_client::ExpertServiceClient;
use maestro_registry::MemoryRegistry;
use maestro_rpc::{Blame, failure_from_status};
use maestro_store::{ObjectBlobs, StoreConfig};
use maestro_wire::{FromProto, ToProto};
use serde_json::{Value, json};
use tonic::transport::Channel;

/// Longest time that anything here may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Sandbox {
    pub(crate) registry: MemoryRegistry,
    pub(crate) blobs: ObjectBlobs,
    pub(crate) worker: ExpertWorker,
    pub(crate) client: Client,
}

impl Sandbox {
    pub(crate) async fn start(config: ExpertWorkerConfig) -> Self {
        Self::join(config, MemoryRegistry::new()).await
    }

    pub(crate) async fn join(config: ExpertWorkerConfig, registry: MemoryRegistry) -> Self {
        let store = StoreConfig::new("memory://".parse().unwrap());
        let blobs = ObjectBlobs::open(store).unwrap();
        let worker = start(config, Arc::new(registry.clone()), Arc::new(blobs.clone()))
            .await
            .unwrap();
        let client = Client::connect(&worker).await;
        Self {
            registry,
            blobs,
            worker,
            client,
        }
    }

    /// Puts a descriptor and waits until an instance serves it.
    pub(crate) async fn add(&self, descriptor: &Descriptor) -> Instance {
        self.registry
            .put_expert(descriptor, PutMode::Replace)
            .await
            .unwrap();
        self.serving(&descriptor.name).await
    }

    pub(crate) async fn serving(&self, name: &ExpertName) -> Instance {
        let snapshot = self.snapshot(|snapshot| snapshot.serves(name)).await;
        snapshot.instances[name][0].clone()
    }

    /// Waits for a snapshot.
    pub(crate) async fn snapshot(&self, wanted: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
        let mut snapshots = self.registry.snapshots();
        let found = snapshots.wait_for(|snapshot| wanted(snapshot));
        let found = tokio::time::timeout(PATIENCE, found).await;
        Arc::clone(&found.expect("the registry gets there").unwrap())
    }

    pub(crate) async fn image(&self, image: DynamicImage) -> Digest {
        let mut content = Cursor::new(Vec::new());
        image.write_to(&mut content, ImageFormat::Png).unwrap();
        self.blobs
            .put(Bytes::from(content.into_inner()))
            .await
            .unwrap()
    }
}

#[derive(Clone)]
pub(crate) struct Client(pub(crate) ExpertServiceClient<Channel>);

impl Client {
    async fn connect(worker: &ExpertWorker) -> Self {
        let endpoint = format!("http://{}", worker.address());
        Self(ExpertServiceClient::connect(endpoint).await.unwrap())
    }

    pub(crate) async fn invoke(&self, call: &ExpertCall) -> Result<ExpertReply, Failure> {
        let reply = self.0.clone().invoke(call.to_proto()).await;
        reply
            .map(|reply| ExpertReply::from_proto(reply.into_inner()).unwrap())
            .map_err(|status| failure_from_status(&status, Blame::Expert))
    }
}

pub(crate) fn adopting() -> ExpertWorkerConfig {
    ExpertWorkerConfig {
        adopt: [BackendKind::Openai].into(),
        ..ExpertWorkerConfig::default()
    }
}

/// A priced model behind `base_url`; `more` replaces keys of the descriptor.
pub(crate) fn descriptor(base_url: &str, more: Value) -> Descriptor {
    let mut all = json!({
        "name": "seer",
        "description": "Looks at pictures and talks.",
        "capabilities": ["chat"],
        "modalities": ["text", "image"],
        "price": { "input_per_mtok": 2_000_000, "output_per_mtok": 8_000_000 },
        "backend": { "kind": "openai", "config": { "base_url": base_url, "model": "m" } },
    });
    for (key, value) in more.as_object().unwrap() {
        all[key] = value.clone();
    }
    serde_json::from_value(all).unwrap()
}

pub(crate) fn call(expert: &str, question: &str) -> ExpertCall {
    ExpertCall {
        instance: None,
        expert: expert.parse().unwrap(),
        capability: "chat".parse().unwrap(),
        operation: String::new(),
        messages: vec![Message {
            role: Role::User,
            text: question.to_owned(),
        }],
        images: vec![],
        generation: Generation::default(),
        key: IdempotencyKey::step(EpisodeId::generate(), 0),
        deadline: Timestamp::now() + PATIENCE,
    }
}
