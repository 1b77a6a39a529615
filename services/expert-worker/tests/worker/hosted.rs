//! Experts that a worker hosts itself.

use std::{io::Write, time::Duration};

use image::{DynamicImage, Rgb, RgbImage};
use maestro_core::{
    MicroUsd,
    episode::FailureKind,
    ports::{PutMode, Registry},
    registry::Descriptor,
};
use maestro_expert_worker::{ExpertState, ExpertWorkerConfig, HostedExpert};
use maestro_registry::MemoryRegistry;
use serde_json::{Value, json};

use crate::harness::{PATIENCE, Sandbox, call};

fn hosted(expert: Value) -> HostedExpert {
    serde_json::from_value(expert).unwrap()
}

fn replay(file: &std::path::Path) -> HostedExpert {
    hosted(json!({
        "name": "recorded",
        "description": "Answers as it once did.",
        "capabilities": ["chat"],
        "modalities": ["text", "image"],
        "price": { "per_call": 1 },
        "backend": { "kind": "replay", "config": { "file": file } },
    }))
}

fn records() -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let record = json!({
        "question": "what was it?", "answer": "seven", "confidence": 0.75,
        "latency_ms": 1500, "cost_micro_usd": 42,
    });
    writeln!(file, "{record}").unwrap();
    file
}

fn hosting(experts: Vec<HostedExpert>) -> ExpertWorkerConfig {
    ExpertWorkerConfig {
        experts,
        ..ExpertWorkerConfig::default()
    }
}

#[tokio::test]
async fn recorded_outcomes_come_back_with_their_time_and_cost() {
    let file = records();
    let sandbox = Sandbox::start(hosting(vec![replay(file.path())])).await;
    let states = sandbox.worker.settled(PATIENCE).await;
    assert_eq!(states["recorded"], ExpertState::Serving);
    // Nobody else is to adopt it.
    let snapshot = sandbox.registry.snapshots().borrow().clone();
    assert_eq!(snapshot.catalogue.experts["recorded"].backend, None);
    let reply = sandbox
        .client
        .invoke(&call("recorded", " what was it? "))
        .await
        .unwrap();
    assert_eq!(
        (
            reply.findings[0].value.as_str(),
            reply.findings[0].confidence
        ),
        ("seven", 0.75)
    );
    assert_eq!(reply.usage.cost, MicroUsd(42));
    assert_eq!(reply.usage.expert_time, Duration::from_millis(1500));
    let unknown = sandbox.client.invoke(&call("recorded", "and now?")).await;
    assert_eq!(unknown.unwrap_err().kind, FailureKind::Rejected);
}

#[tokio::test]
async fn an_analysis_measures_a_drawing() {
    let sandbox = Sandbox::start(hosting(vec![hosted(json!({
        "name": "measurer",
        "description": "Measures drawings.",
        "capabilities": ["analyze"],
        "modalities": ["image"],
        "price": {},
        "backend": { "kind": "analysis" },
    }))]))
    .await;
    sandbox.worker.settled(PATIENCE).await;
    let ring = |x: u32, y: u32, cx: f32, cy: f32| {
        let distance = (x as f32 - cx).hypot(y as f32 - cy);
        (distance - 40.0).abs() <= 1.5
    };
    let image = RgbImage::from_fn(320, 160, |x, y| {
        if ring(x, y, 80.0, 80.0) || ring(x, y, 230.0, 80.0) {
            Rgb([0, 0, 0])
        } else {
            Rgb([255, 255, 255])
        }
    });
    let digest = sandbox.image(DynamicImage::ImageRgb8(image)).await;
    let ask = async |operation: &str| {
        let mut asked = call("measurer", "");
        asked.capability = "analyze".parse().unwrap();
        asked.operation = operation.to_owned();
        asked.images = vec![digest];
        sandbox.client.invoke(&asked).await
    };
    assert_eq!(ask("count-circles").await.unwrap().findings[0].value, "2");
    assert_eq!(
        ask("classify").await.unwrap().findings[0].value,
        "circle-pair"
    );
    let gap: f32 = ask("circle-contact").await.unwrap().findings[0]
        .value
        .parse()
        .unwrap();
    // Centres 150 apart, radii of about 40 each, to the outer edges of the strokes or their middle.
    assert!((66.0..=74.0).contains(&gap), "{gap}");
    let unknown = ask("count-hexagons").await.unwrap_err();
    assert_eq!(unknown.kind, FailureKind::Rejected);
    assert!(unknown.message.contains("count-circles"), "{unknown}");
    assert_eq!(
        ask("grid-size").await.unwrap_err().kind,
        FailureKind::Rejected
    );
}

#[tokio::test]
async fn a_name_that_is_taken_is_not_served_until_it_is_free() {
    let file = records();
    let registry = MemoryRegistry::new();
    let other: Descriptor = Descriptor {
        description: "Somebody else's.".into(),
        ..replay(file.path()).descriptor().clone()
    };
    registry.put_expert(&other, PutMode::Create).await.unwrap();
    let sandbox = Sandbox::join(hosting(vec![replay(file.path())]), registry).await;
    let states = sandbox.worker.settled(PATIENCE).await;
    let ExpertState::Failing(reason) = &states["recorded"] else {
        panic!("{states:?}");
    };
    assert!(reason.contains("already registered"), "{reason}");
    assert!(!sandbox.registry.snapshots().borrow().serves(&other.name));
    sandbox.registry.delete_expert(&other.name).await.unwrap();
    sandbox.serving(&other.name).await;
}

#[tokio::test]
async fn a_worker_told_to_replace_takes_the_name_over() {
    let file = records();
    let registry = MemoryRegistry::new();
    let other = Descriptor {
        description: "An older version.".into(),
        ..replay(file.path()).descriptor().clone()
    };
    registry.put_expert(&other, PutMode::Create).await.unwrap();
    let config = ExpertWorkerConfig {
        replace: true,
        ..hosting(vec![replay(file.path())])
    };
    let sandbox = Sandbox::join(config, registry).await;
    sandbox.serving(&other.name).await;
    let snapshot = sandbox.registry.snapshots().borrow().clone();
    assert_eq!(
        snapshot.catalogue.experts["recorded"].description,
        "Answers as it once did."
    );
}

#[tokio::test]
async fn a_model_that_is_not_there_is_named_and_stops_nobody() {
    let file = records();
    let missing = hosted(json!({
        "name": "reader",
        "description": "Reads.",
        "capabilities": ["ocr"],
        "modalities": ["image"],
        "backend": { "kind": "ocr", "config": {
            "detection": "/nowhere/det.onnx", "recognition": "/nowhere/rec.onnx",
        } },
    }));
    let sandbox = Sandbox::start(hosting(vec![missing, replay(file.path())])).await;
    let states = sandbox.worker.settled(PATIENCE).await;
    assert_eq!(states["recorded"], ExpertState::Serving);
    let ExpertState::Failing(reason) = &states["reader"] else {
        panic!("{states:?}");
    };
    assert!(reason.contains("maestro models pull"), "{reason}");
}
