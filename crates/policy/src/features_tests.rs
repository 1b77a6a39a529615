use std::sync::{Arc, OnceLock};

use maestro_core::{
    Digest, InstanceId, SkillName, Timestamp,
    answer::ExtractedAnswer,
    episode::{Failure, Remaining, ServingMode},
    registry::{
        CallBounds, Catalogue, Descriptor, ImageNeed, Instance, Limits, Price, SkillHeader,
        Snapshot, SolverHeader,
    },
    task::{ImageRef, TaskDraft},
};
use maestro_models::StaticTable;
use proptest::prelude::*;

use super::*;
use crate::{actions::possible_actions, embeddings::EmbeddingCache};

pub(crate) fn expert(name: &str, description: &str, capabilities: &[&str]) -> Descriptor {
    Descriptor {
        name: name.parse().unwrap(),
        description: description.into(),
        capabilities: capabilities.iter().map(|c| c.parse().unwrap()).collect(),
        modalities: [Modality::Image].into(),
        price: Some(Price {
            per_call: MicroUsd(100),
            ..Price::default()
        }),
        limits: Limits::default(),
        typical_latency_ms: Some(500),
        backend: None,
    }
}

pub(crate) fn skill(
    name: &str,
    description: &str,
    requires: &[&str],
    solvers: &[&str],
) -> SkillHeader {
    SkillHeader {
        hedge: false,
        name: SkillName::new(name).unwrap(),
        description: description.into(),
        bundle: Digest::of(name.as_bytes()),
        requires: requires.iter().map(|c| c.parse().unwrap()).collect(),
        helpers: [].into(),
        optional_helpers: [].into(),
        images: ImageNeed::Required,
        expert_reads_images: true,
        answer_kinds: [].into(),
        direct: false,
        bounds: CallBounds {
            expert_calls: 1,
            ..CallBounds::default()
        },
        solvers: solvers
            .iter()
            .map(|description| SolverHeader {
                name: description.split(' ').next().unwrap().to_lowercase(),
                description: (*description).into(),
            })
            .collect(),
    }
}

pub(crate) fn serve(snapshot: &mut Snapshot) {
    let experts: Vec<_> = snapshot.catalogue.experts.keys().cloned().collect();
    for expert in experts {
        let instance = Instance {
            expert: expert.clone(),
            id: InstanceId::generate(),
            endpoint: "http://127.0.0.1:1".parse().unwrap(),
            capacity: 1,
            written_at: Timestamp::UNIX_EPOCH,
        };
        snapshot.instances.entry(expert).or_default().push(instance);
    }
}

/// Two readers and one skill.
pub(crate) fn snapshot() -> Snapshot {
    let mut catalogue = Catalogue::default();
    for (name, ms) in [("fast", 300), ("good", 3000)] {
        let description = format!("A {name} reader of printed text");
        let entry = Descriptor {
            typical_latency_ms: Some(ms),
            ..expert(name, &description, &["ocr"])
        };
        catalogue.experts.insert(entry.name.clone(), entry);
    }
    let solvers = ["Find the total of a receipt", "Find the date of a document"];
    let read = skill(
        "read",
        "Read what is written in an image",
        &["ocr"],
        &solvers,
    );
    catalogue.skills.insert(read.name.clone(), read);
    let mut snapshot = Snapshot::new(1, catalogue);
    serve(&mut snapshot);
    snapshot
}

/// Indexing the table takes tens of milliseconds.
pub(crate) fn table() -> Arc<StaticTable> {
    static TABLE: OnceLock<Arc<StaticTable>> = OnceLock::new();
    Arc::clone(TABLE.get_or_init(|| Arc::new(StaticTable::bundled().unwrap())))
}

pub(crate) fn prepared(snapshot: Snapshot) -> Prepared {
    let embeddings = EmbeddingCache::new(table())
        .embed(&snapshot.catalogue)
        .unwrap();
    Prepared::new(
        Arc::new(snapshot),
        embeddings,
        &burn::tensor::Device::flex(),
    )
}

pub(crate) fn request(question: &str, kind: AnswerKind, images: usize) -> DecideRequest {
    let image = ImageRef {
        digest: Digest::of(b"image"),
        media_type: "image/png".into(),
        width: 400,
        height: 800,
        bytes: 1000,
    };
    let draft = TaskDraft {
        question: question.into(),
        images: vec![image; images],
        answer_kind: kind,
        ..TaskDraft::default()
    };
    let task = draft.validate(Timestamp::UNIX_EPOCH).unwrap();
    DecideRequest {
        episode: "episode".parse().unwrap(),
        step: 0,
        task: Arc::new(task),
        history: vec![],
        remaining: Remaining {
            steps: 5,
            time: Duration::from_secs(60),
            cost: None,
        },
        mode: ServingMode::Greedy,
        slot: "default".into(),
        seed: 1,
        min_revision: 0,
    }
}

fn past(expert: &str, skill: &str, observation: Observation) -> PastStep {
    let pair = Pair {
        expert: expert.parse().unwrap(),
        skill: skill.parse().unwrap(),
    };
    PastStep {
        index: 0,
        pair: Some(pair),
        query: String::new(),
        observation,
    }
}

pub(crate) fn answered(expert: &str, skill: &str, value: &str, confidence: f32) -> PastStep {
    let answer = ExtractedAnswer {
        value: value.into(),
        confidence,
    };
    let observation = Observation {
        text: format!("It says {value}."),
        answer: Some(answer),
        ..Observation::default()
    };
    past(expert, skill, observation)
}

pub(crate) fn failed_with(expert: &str, skill: &str, kind: FailureKind) -> PastStep {
    past(
        expert,
        skill,
        Observation::failed(Failure::new(kind, "failed")),
    )
}

pub(crate) fn failed(expert: &str, skill: &str) -> PastStep {
    failed_with(expert, skill, FailureKind::Timeout)
}

fn compute(request: &DecideRequest) -> Features {
    let prepared = prepared(snapshot());
    let actions = possible_actions(request, prepared.snapshot()).unwrap();
    let question = table().embed(&request.task.question);
    features(request, &actions, &prepared, &question)
}

fn value(row: &Row, column: Column) -> f32 {
    row.columns[column as usize]
}

#[test]
fn column_names_are_distinct_and_state_comes_first() {
    let names: std::collections::BTreeSet<_> = Column::ALL.iter().map(|c| c.name()).collect();
    assert_eq!(names.len(), COLUMNS);
    assert_eq!(Column::ALL[STATE_COLUMNS], Column::IsPair);
}

#[test]
fn the_nearest_solver_stands_for_the_skill() {
    let features = compute(&request(
        "Tell me the receipt's total",
        AnswerKind::Number,
        1,
    ));
    let [skill, solver, expert] = features.rows[0].entries;
    assert_eq!(solver, skill + 1, "the solver for totals");
    assert_ne!(expert, NO_ENTRY);
    let features = compute(&request(
        "What date does the document bear?",
        AnswerKind::Date,
        1,
    ));
    assert_eq!(
        features.rows[0].entries[1],
        skill + 2,
        "the solver for dates"
    );
}

#[test]
fn history_is_seen_by_pair() {
    let mut request = request("Tell me the receipt's total", AnswerKind::Number, 1);
    request.history = vec![
        answered("good", "read", "$ 3.50", 0.6),
        failed("fast", "read"),
        answered("fast", "read", "3.5", 0.7),
        answered("fast", "read", "9", 0.1),
    ];
    for (index, past) in (0..).zip(&mut request.history) {
        past.index = index;
    }
    let features = compute(&request);
    let [fast, good, first, second, third] = &features.rows[..] else {
        panic!("{} rows", features.rows.len());
    };
    assert_eq!(value(fast, Column::PairAnswered), 1.0);
    assert_eq!(value(fast, Column::PairMissed), 1.0);
    assert_eq!(value(good, Column::PairMissed), 0.0);
    assert_eq!(value(good, Column::SkillAsked), 1.0);
    assert_eq!(value(good, Column::SomeAgree), 1.0);
    assert_eq!(value(first, Column::Agreed), 1.0);
    assert_eq!(value(first, Column::Disputed), 1.0);
    assert!((value(first, Column::AgreedConfidence) - 0.88).abs() < 1e-6);
    assert_eq!(value(second, Column::Agreed), 1.0);
    assert_eq!(
        value(second, Column::Disputed),
        0.0,
        "its own pair does not count"
    );
    assert_eq!(value(third, Column::Agreed), 0.0);
    assert_eq!(value(third, Column::Latest), 1.0);
}

#[test]
fn names_are_no_input() {
    let mut renamed = Catalogue::default();
    let original = snapshot();
    for (i, entry) in original.catalogue.experts.values().enumerate() {
        let name: maestro_core::ExpertName = format!("e{i}").parse().unwrap();
        let entry = Descriptor {
            name: name.clone(),
            ..entry.clone()
        };
        renamed.experts.insert(name, entry);
    }
    let skill = original.catalogue.skills["read"].clone();
    let name: SkillName = "s".parse().unwrap();
    let skill = SkillHeader {
        hedge: false,
        name: name.clone(),
        ..skill
    };
    renamed.skills.insert(name, skill);
    let mut renamed = Snapshot::new(1, renamed);
    serve(&mut renamed);
    let request = request("Tell me the receipt's total", AnswerKind::Number, 1);
    let question = table().embed(&request.task.question);
    let columns = |snapshot: Snapshot| {
        let prepared = prepared(snapshot);
        let actions = possible_actions(&request, prepared.snapshot()).unwrap();
        let features = features(&request, &actions, &prepared, &question);
        features
            .rows
            .into_iter()
            .map(|row| row.columns)
            .collect::<Vec<_>>()
    };
    assert_eq!(columns(original), columns(renamed));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn every_value_is_small_and_finite(
        question in "\\PC{1,200}", images in 1usize..8, steps in 1u32..33, millis in 0u64..4_000_000,
        cost in proptest::option::of(0u64..u64::MAX),
        weights in (0.0f32..1e6, 0.0f32..1e6, 0.0f32..1e6),
        confidence in 0.0f32..1.0,
    ) {
        prop_assume!(!question.trim().is_empty());
        let mut request = request(&question, AnswerKind::Number, images);
        let mut task = (*request.task).clone();
        task.weights = Weights { accuracy: weights.0, cost: weights.1, latency: weights.2 };
        request.task = Arc::new(task);
        request.remaining = Remaining {
            steps, time: Duration::from_millis(millis), cost: cost.map(MicroUsd),
        };
        request.history = vec![answered("good", "read", "3", confidence)];
        for row in compute(&request).rows {
            for (column, value) in Column::ALL.iter().zip(row.columns) {
                prop_assert!(value.is_finite() && value.abs() <= 1.5, "{}: {value}", column.name());
            }
        }
    }
}
