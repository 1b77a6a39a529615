//! A worker over gRPC, with the registry and the blob store of one process.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy knows test functions but not the helpers of integration tests"
)]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use maestro_core::{
    Digest, ExpertName, InstanceId, Timestamp,
    answer::AnswerKind,
    episode::{Action, Decision, Failure, FailureKind, Remaining, ServingMode},
    ports::{
        Blobs, DecideRequest, InstanceSpec, Policy, PolicyManifest, PolicyStore, PutMode,
        Registration, Registry, Undecided,
    },
    registry::{CallBounds, Descriptor, ImageNeed, Limits, Modality, PolicySlot, SkillHeader},
    task::TaskDraft,
};
use maestro_models::{DeviceSetting, StaticTable};
use maestro_policy::{Runtime, ScorerConfig, ScorerPolicy, ServingConfig};
use maestro_policy_worker::{Config, DEFAULT_SLOT, Running, start};
use maestro_registry::MemoryRegistry;
use maestro_rpc::{ClientConfig, PolicyClient};
use maestro_store::{ObjectBlobs, ObjectPolicies, StoreConfig};
use maestro_telemetry::install_metrics;

struct World {
    registry: MemoryRegistry,
    blobs: ObjectBlobs,
    running: Running,
    client: PolicyClient,
    registrations: Vec<Box<dyn Registration>>,
}

async fn world(config: Config) -> World {
    let registry = MemoryRegistry::new();
    let blobs = ObjectBlobs::open(StoreConfig::new("memory://".parse().unwrap())).unwrap();
    let running = start(config, Arc::new(registry.clone()), Arc::new(blobs.clone()))
        .await
        .unwrap();
    let endpoint = format!("http://{}", running.address()).parse().unwrap();
    let once = ClientConfig {
        max_attempts: 1,
        ..ClientConfig::default()
    };
    let client = PolicyClient::new(&[endpoint], once).unwrap();
    World {
        registry,
        blobs,
        running,
        client,
        registrations: Vec::new(),
    }
}

impl World {
    async fn add_expert(&mut self, name: &str, capability: &str, description: &str) {
        let descriptor = Descriptor {
            name: name.parse().unwrap(),
            description: description.into(),
            capabilities: [capability.parse().unwrap()].into(),
            modalities: [Modality::Text].into(),
            price: None,
            limits: Limits::default(),
            typical_latency_ms: Some(100),
            backend: None,
        };
        self.registry
            .put_expert(&descriptor, PutMode::Create)
            .await
            .unwrap();
        let spec = InstanceSpec {
            expert: descriptor.name,
            id: InstanceId::generate(),
            endpoint: "http://127.0.0.1:1".parse().unwrap(),
            capacity: 1,
        };
        self.registrations
            .push(self.registry.register(spec).await.unwrap());
    }

    async fn add_skill(&self, name: &str, capability: &str, description: &str) {
        let header = SkillHeader {
            name: name.parse().unwrap(),
            description: description.into(),
            bundle: Digest::of(&[]),
            requires: [capability.parse().unwrap()].into(),
            helpers: [].into(),
            optional_helpers: [].into(),
            images: ImageNeed::Optional,
            expert_reads_images: false,
            answer_kinds: [].into(),
            direct: false,
            bounds: CallBounds::default(),
            solvers: vec![],
        };
        self.registry
            .put_skill(&header, PutMode::Create)
            .await
            .unwrap();
    }

    async fn talker(&mut self) {
        self.add_skill("talk", "chat", "Answers questions about the world")
            .await;
        self.add_expert("talker", "chat", "A general language model")
            .await;
    }

    fn request(&self, question: &str) -> DecideRequest {
        let draft = TaskDraft {
            question: question.into(),
            answer_kind: AnswerKind::ShortText,
            ..TaskDraft::default()
        };
        DecideRequest {
            episode: "episode".parse().unwrap(),
            step: 0,
            task: Arc::new(draft.validate(Timestamp::now()).unwrap()),
            history: vec![],
            remaining: Remaining {
                steps: 5,
                time: Duration::from_secs(10),
                cost: None,
            },
            mode: ServingMode::Greedy,
            slot: String::new(),
            seed: 1,
            min_revision: self.registry.snapshots().borrow().revision,
        }
    }

    async fn decide(&self, question: &str) -> Result<Decision, Failure> {
        let decided = self.client.decide(self.request(question)).await;
        decided.map_err(Undecided::failure)
    }

    async fn push(&self, policy: &ScorerPolicy) -> Digest {
        let store = ObjectPolicies::new(self.blobs.clone());
        let weights = policy.weights().unwrap().into();
        store
            .push(policy.manifest().clone(), weights)
            .await
            .unwrap()
    }

    /// Waits until the version in the default slot is `version`.
    async fn serves(&self, version: &str) {
        for _ in 0..500 {
            if self.client.get_policy("").await.unwrap().policy_version == version {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{version} does not serve");
    }
}

fn scorer(config: ScorerConfig) -> ScorerPolicy {
    let table = Arc::new(StaticTable::bundled().unwrap());
    let runtime = Runtime::open(DeviceSetting::Cpu, table, ServingConfig::default()).unwrap();
    ScorerPolicy::untrained(config, runtime).unwrap()
}

fn chosen(decision: &Decision) -> &ExpertName {
    match &decision.action {
        Action::Invoke { pair, .. } => &pair.expert,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_client_reads_its_own_registry_writes() {
    let mut world = world(Config::default()).await;
    let nothing = world.decide("Who wrote this?").await.unwrap_err();
    assert_eq!(nothing.kind, FailureKind::Unavailable);
    assert!(nothing.message.contains("no serving pair"), "{nothing}");

    world.talker().await;
    let first = world.decide("What sound is on this tape?").await.unwrap();
    assert_eq!(chosen(&first).as_str(), "talker");
    world
        .add_skill(
            "listen",
            "audio",
            "Says what is heard: sound, speech, music on a tape",
        )
        .await;
    world
        .add_expert("listener", "audio", "Recognises sounds and speech")
        .await;
    let second = world.decide("What sound is on this tape?").await.unwrap();
    assert_eq!(chosen(&second).as_str(), "listener");
    assert!(second.revision > first.revision);

    let policy = world.client.get_policy("").await.unwrap();
    let pairs: Vec<_> = policy
        .action_set
        .iter()
        .map(|pair| pair.expert.as_str())
        .collect();
    assert_eq!(pairs, ["listener", "talker"]);
    assert_eq!(
        (policy.kind.as_str(), policy.device.as_str()),
        ("scorer", "cpu")
    );
    assert_eq!(policy.policy_version, second.policy_version);

    world.registrations.clear();
    let gone = world
        .decide("What sound is on this tape?")
        .await
        .unwrap_err();
    assert_eq!(gone.kind, FailureKind::Unavailable);
    assert_eq!(
        world.running.drain(Duration::from_secs(5)).await.unfinished,
        0
    );
}

#[tokio::test]
async fn a_revision_that_does_not_come_is_waited_for_only_so_long() {
    let mut world = world(Config::default()).await;
    world.talker().await;
    let mut request = world.request("Who wrote this?");
    request.min_revision += 1;
    request.remaining.time = Duration::from_millis(100);
    let started = std::time::Instant::now();
    let failure = world
        .running
        .policy()
        .decide(request.clone())
        .await
        .unwrap_err()
        .failure();
    assert_eq!(failure.kind, FailureKind::Timeout);
    assert!(started.elapsed() < Duration::from_secs(1));
    request.remaining.time = Duration::from_secs(10);
    let failure = world.client.decide(request).await.unwrap_err().failure();
    assert_eq!(failure.kind, FailureKind::Unavailable);
    assert!(failure.message.contains("has not arrived"), "{failure}");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn the_active_policy_is_swapped_without_dropping_a_request() {
    let mut world = world(Config::default()).await;
    world.talker().await;
    let builtin = world.client.get_policy("").await.unwrap().policy_version;
    let other = scorer(ScorerConfig {
        seed: 7,
        ..ScorerConfig::new(256)
    });
    let store = ObjectPolicies::new(world.blobs.clone());
    let pushed = world.push(&other).await;
    assert_eq!(pushed, *other.version());

    let slot = |active| PolicySlot {
        active,
        shadow: None,
        previous: None,
    };
    let new = slot(pushed);
    world
        .registry
        .set_policy(DEFAULT_SLOT, None, &new)
        .await
        .unwrap();
    let mut versions = BTreeMap::new();
    while !versions.contains_key(&pushed.to_string()) {
        let decision = world.decide("Who wrote this?").await.unwrap();
        *versions.entry(decision.policy_version).or_insert(0) += 1;
    }
    assert!(
        versions
            .keys()
            .all(|v| *v == builtin || *v == pushed.to_string())
    );

    // Neither a policy that is not there nor one of another kind takes its place.
    let missing = slot(Digest::of(b"nothing"));
    world
        .registry
        .set_policy(DEFAULT_SLOT, Some(&new), &missing)
        .await
        .unwrap();
    let manifest = PolicyManifest {
        kind: "oracle".into(),
        ..other.manifest().clone()
    };
    let weights = other.weights().unwrap().into();
    let oracle = slot(store.push(manifest, weights).await.unwrap());
    world
        .registry
        .set_policy(DEFAULT_SLOT, Some(&missing), &oracle)
        .await
        .unwrap();
    for _ in 0..20 {
        let decision = world.decide("Who wrote this?").await.unwrap();
        assert_eq!(decision.policy_version, pushed.to_string());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Back to the built-in one by its version, which no store holds.
    assert!(
        !world
            .blobs
            .contains(&builtin.parse().unwrap())
            .await
            .unwrap()
    );
    let back = slot(builtin.parse().unwrap());
    world
        .registry
        .set_policy(DEFAULT_SLOT, Some(&oracle), &back)
        .await
        .unwrap();
    world.serves(&builtin).await;
}

/// The value of a series in the metrics of this process.
fn metric(series: &str) -> f64 {
    let metrics = install_metrics(None).unwrap().render();
    let line = metrics.lines().find(|line| line.starts_with(series));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
        .unwrap_or(0.0)
}

#[tokio::test]
async fn a_shadow_scores_the_same_states_and_changes_nothing() {
    install_metrics(None).unwrap();
    let mut world = world(Config::default()).await;
    world.talker().await;
    world
        .add_skill(
            "sum",
            "chat",
            "Adds up numbers and solves arithmetic problems",
        )
        .await;
    // Descriptions mean nothing to it, so it takes the first skill by name.
    let contrary = scorer(ScorerConfig {
        similarity_scale: 0.0,
        ..ScorerConfig::new(256)
    });
    let alike = scorer(ScorerConfig {
        seed: 7,
        ..ScorerConfig::new(256)
    });
    let (contrary, alike) = (world.push(&contrary).await, world.push(&alike).await);
    let mut request = world.request("Can you answer a question about the world?");
    request.slot = "canary".into();
    let alone = world.client.decide(request.clone()).await.unwrap();

    let mut before = None;
    let decisions = |agreed: bool| {
        metric(&format!(
            "maestro_shadow_decisions_total{{slot=\"canary\",agreed=\"{agreed}\"}}"
        ))
    };
    for (shadow, agrees) in [(alike, true), (contrary, false)] {
        let slot = PolicySlot {
            active: alone.policy_version.parse().unwrap(),
            shadow: Some(shadow),
            previous: None,
        };
        world
            .registry
            .set_policy("canary", before.as_ref(), &slot)
            .await
            .unwrap();
        before = Some(slot);
        let counted = decisions(agrees);
        let end = std::time::Instant::now() + Duration::from_secs(10);
        while decisions(agrees) < counted + 5.0 {
            assert!(std::time::Instant::now() < end, "the shadow scores nothing");
            let mut decision = world.client.decide(request.clone()).await.unwrap();
            // Another slot is another revision of the registry.
            decision.revision = alone.revision;
            assert_eq!(decision, alone);
        }
    }
    assert!(metric("maestro_shadow_probability_ratio_count{slot=\"canary\"}") >= 10.0);

    // A shadow that cannot be loaded is in nobody's way.
    let slot = PolicySlot {
        active: alike,
        shadow: Some(Digest::of(b"nothing")),
        previous: None,
    };
    world
        .registry
        .set_policy("canary", before.as_ref(), &slot)
        .await
        .unwrap();
    let end = std::time::Instant::now() + Duration::from_secs(10);
    loop {
        let decision = world.client.decide(request.clone()).await.unwrap();
        assert_eq!(decision.action, alone.action);
        if decision.policy_version == alike.to_string() {
            break;
        }
        assert!(std::time::Instant::now() < end);
    }
}

#[tokio::test]
async fn a_full_queue_refuses() {
    let mut config = Config::default();
    config.batching.queue = 1;
    config.batching.max_batch = 8;
    config.batching.max_wait_us = 100_000;
    let mut world = world(config).await;
    world.talker().await;
    // The first is still waiting for others when the second comes.
    let (one, other) = tokio::join!(world.decide("Who wrote this?"), world.decide("And this?"));
    let refused = [one, other]
        .into_iter()
        .filter_map(Result::err)
        .collect::<Vec<_>>();
    let [refused] = &refused[..] else {
        panic!("{refused:?}");
    };
    assert_eq!(refused.kind, FailureKind::Overloaded);
}

#[tokio::test]
async fn many_requests_at_once_are_each_answered_as_alone() {
    let mut world = world(Config::default()).await;
    world.talker().await;
    world
        .add_skill(
            "sum",
            "chat",
            "Adds up numbers and solves arithmetic problems",
        )
        .await;
    let world = Arc::new(world);
    let questions: Vec<String> = (0..64)
        .map(|i| format!("What is {i} and {} in sum?", i * 7))
        .collect();
    let mut alone = Vec::new();
    for question in &questions {
        alone.push(world.decide(question).await.unwrap());
    }
    let mut tasks = tokio::task::JoinSet::new();
    for (i, question) in questions.into_iter().enumerate() {
        let world = Arc::clone(&world);
        tasks.spawn(async move { (i, world.decide(&question).await.unwrap()) });
    }
    while let Some(done) = tasks.join_next().await {
        let (i, decision) = done.unwrap();
        assert_eq!(decision.action, alone[i].action);
        assert!((decision.probability - alone[i].probability).abs() < 1e-4);
    }
}
