//! What the tests share: requests, and reading what comes back.

use futures::StreamExt;
use maestro_core::registry::{BackendSpec, Descriptor, Limits, Modality, Price};
use maestro_proto::v1::{
    self, episode_event::Event, episode_service_client::EpisodeServiceClient,
    termination::Termination,
};
use maestro_tests::{ChatServer, Cluster, Process};
use serde_json::json;
use tonic::transport::Channel;

const CAPABILITY: &str = "chat";

pub(crate) fn descriptor(name: &str, base_url: &str) -> Descriptor {
    let config = json!({ "base_url": base_url, "model": "test" });
    Descriptor {
        name: name.parse().unwrap(),
        description: format!("Answers short questions about everything. Variant {name}."),
        capabilities: [CAPABILITY.parse().unwrap()].into(),
        modalities: [Modality::Text].into(),
        price: Some(Price::default()),
        limits: Limits {
            timeout_ms: 20_000,
            ..Limits::default()
        },
        typical_latency_ms: Some(10),
        backend: Some(BackendSpec {
            kind: "openai".into(),
            config: config.as_object().unwrap().clone(),
        }),
    }
}

pub(crate) async fn with_skills() -> Cluster {
    let cluster = Cluster::start().await.unwrap();
    library_registered(&cluster).await;
    cluster
}

/// Waits until the skill runner has put its library into the registry.
pub(crate) async fn library_registered(cluster: &Cluster) {
    let library = maestro_skill_runner::library().unwrap();
    cluster
        .until("the library's skills", |snapshot| {
            library
                .iter()
                .all(|skill| snapshot.catalogue.skills.contains_key(skill.name()))
        })
        .await
        .unwrap();
}

/// A cluster with one expert, which answers "yes" after a delay that the test sets.
pub(crate) struct Installation {
    pub(crate) cluster: Cluster,
    pub(crate) worker: Process,
    pub(crate) chat: ChatServer,
}

pub(crate) async fn installation() -> Installation {
    installation_for(Limits::default().max_concurrency).await
}

/// The same with an expert that takes so many calls at once.
pub(crate) async fn installation_for(calls: u32) -> Installation {
    installation_at(Cluster::start().await.unwrap(), calls).await
}

/// The same in a cluster that was started before.
pub(crate) async fn installation_at(cluster: Cluster, calls: u32) -> Installation {
    library_registered(&cluster).await;
    let chat = ChatServer::start("yes").await.unwrap();
    let worker = cluster.adopting_worker("worker").unwrap();
    let mut expert = descriptor("only", &chat.base_url());
    expert.limits.max_concurrency = calls;
    cluster.add_expert(&expert).await.unwrap();
    cluster
        .until("the expert", |s| s.serves(&"only".parse().unwrap()))
        .await
        .unwrap();
    Installation {
        cluster,
        worker,
        chat,
    }
}

pub(crate) async fn client(endpoint: &url::Url) -> EpisodeServiceClient<Channel> {
    EpisodeServiceClient::connect(endpoint.to_string())
        .await
        .unwrap()
}

pub(crate) fn request(question: &str) -> v1::RunEpisodeRequest {
    let task = v1::Task {
        question: question.into(),
        ..v1::Task::default()
    };
    v1::RunEpisodeRequest {
        task: Some(task),
        options: None,
    }
}

pub(crate) fn pinned(question: &str, expert: &str) -> v1::RunEpisodeRequest {
    let mut request = request(question);
    request.task.as_mut().unwrap().constraints = Some(v1::Constraints {
        allowed: vec![v1::PairPattern {
            expert: expert.into(),
            skill: String::new(),
        }],
        ..v1::Constraints::default()
    });
    request
}

pub(crate) async fn run(
    client: &mut EpisodeServiceClient<Channel>,
    request: v1::RunEpisodeRequest,
) -> v1::Episode {
    let mut events = client.run_episode(request).await.unwrap().into_inner();
    while let Some(message) = events.next().await {
        if let Some(Event::Ended(episode)) = message.unwrap().event.unwrap().event {
            return episode;
        }
    }
    panic!("the stream ended before the episode");
}

pub(crate) fn answer(episode: &v1::Episode) -> Option<String> {
    let conclusion = episode.conclusion.as_ref()?;
    let termination = conclusion.termination.as_ref()?.termination.as_ref()?;
    matches!(termination, Termination::Answered(_)).then(|| {
        conclusion
            .answer
            .as_ref()
            .map(|answer| answer.value.clone())
    })?
}

pub(crate) fn experts(episode: &v1::Episode) -> Vec<String> {
    let pair = |step: &v1::Step| match step.decision.clone()?.action?.action? {
        v1::action::Action::Invoke(invoke) => Some(invoke.pair?.expert),
        _ => None,
    };
    episode.steps.iter().filter_map(pair).collect()
}
