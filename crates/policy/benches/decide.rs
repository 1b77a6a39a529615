//! Time of a decision by the number of pairs, and of a batch.
#![expect(clippy::unwrap_used, reason = "a bench may panic")]

use std::{hint::black_box, sync::Arc, time::Duration};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use maestro_core::{
    Digest, EpisodeId, InstanceId, Timestamp,
    answer::AnswerKind,
    episode::{Remaining, ServingMode},
    ports::DecideRequest,
    registry::{
        CallBounds, Catalogue, Descriptor, ImageNeed, Instance, Limits, Modality, SkillHeader,
        Snapshot, SolverHeader,
    },
    task::TaskDraft,
};
use maestro_models::{DeviceSetting, StaticTable};
use maestro_policy::{
    EmbeddingCache, Prepared, Runtime, ScorerConfig, ScorerPolicy, ServingConfig,
};

/// `experts` × `skills` pairs, each skill with four solvers.
fn snapshot(experts: usize, skills: usize) -> Snapshot {
    let mut catalogue = Catalogue::default();
    for i in 0..experts {
        let entry = Descriptor {
            name: format!("e{i}").parse().unwrap(),
            description: format!("Expert number {i}, good at matters of kind {i}"),
            capabilities: ["chat".parse().unwrap()].into(),
            modalities: [Modality::Text].into(),
            price: None,
            limits: Limits::default(),
            typical_latency_ms: Some(100),
            backend: None,
        };
        catalogue.experts.insert(entry.name.clone(), entry);
    }
    for i in 0..skills {
        let solver = |j: usize| SolverHeader {
            name: format!("s{j}"),
            description: format!("Solves case {j} of {i}"),
        };
        let header = SkillHeader {
            hedge: false,
            name: format!("s{i}").parse().unwrap(),
            description: format!("Skill number {i}, for questions about {i}"),
            bundle: Digest::of(&[]),
            requires: ["chat".parse().unwrap()].into(),
            helpers: [].into(),
            optional_helpers: [].into(),
            images: ImageNeed::Optional,
            expert_reads_images: true,
            answer_kinds: [].into(),
            direct: false,
            bounds: CallBounds::default(),
            solvers: (0..4).map(solver).collect(),
        };
        catalogue.skills.insert(header.name.clone(), header);
    }
    let names: Vec<_> = catalogue.experts.keys().cloned().collect();
    let mut snapshot = Snapshot::new(1, catalogue);
    for expert in names {
        let instance = Instance {
            expert: expert.clone(),
            id: InstanceId::generate(),
            endpoint: "http://127.0.0.1:1".parse().unwrap(),
            capacity: 1,
            written_at: Timestamp::UNIX_EPOCH,
        };
        snapshot.instances.insert(expert, vec![instance]);
    }
    snapshot
}

fn request(i: usize) -> DecideRequest {
    let draft = TaskDraft {
        question: format!(
            "A tram carries {i} passengers, 12 leave and 8 get on. How many ride on?"
        ),
        answer_kind: AnswerKind::Number,
        ..TaskDraft::default()
    };
    DecideRequest {
        episode: EpisodeId::generate(),
        step: 0,
        task: Arc::new(draft.validate(Timestamp::UNIX_EPOCH).unwrap()),
        history: vec![],
        remaining: Remaining {
            steps: 5,
            time: Duration::from_secs(60),
            cost: None,
        },
        mode: ServingMode::Greedy,
        slot: "default".into(),
        seed: 0,
        min_revision: 0,
    }
}

fn world(experts: usize, skills: usize) -> (ScorerPolicy, Prepared) {
    let table = Arc::new(StaticTable::bundled().unwrap());
    let runtime = Runtime::open(DeviceSetting::Cpu, table, ServingConfig::default()).unwrap();
    let snapshot = snapshot(experts, skills);
    let mut cache = EmbeddingCache::new(runtime.embedder().clone());
    let embeddings = cache.embed(&snapshot.catalogue).unwrap();
    let prepared = runtime.prepare(Arc::new(snapshot), embeddings);
    let config = ScorerConfig::new(runtime.embedder().dim());
    (ScorerPolicy::untrained(config, runtime).unwrap(), prepared)
}

fn decide(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decide");
    for (experts, skills) in [(2, 2), (5, 2), (5, 10)] {
        let (policy, prepared) = world(experts, skills);
        let pairs = experts * skills;
        let requests: Vec<_> = (0..4096).map(request).collect();
        let mut next = requests.iter().cycle();
        group.bench_function(BenchmarkId::new("pairs", pairs), |bencher| {
            bencher.iter(|| policy.decide(&prepared, black_box(next.next().unwrap())));
        });
        let mut batches = requests.chunks(16).cycle();
        group.bench_function(BenchmarkId::new("batch_of_16_pairs", pairs), |bencher| {
            bencher.iter(|| {
                let batch: Vec<_> = batches.next().unwrap().iter().collect();
                policy.decide_batch(&prepared, black_box(&batch))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decide);
criterion_main!(benches);
