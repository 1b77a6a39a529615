//! Contract tests of the solvers that join a measurement with what a reader of text reads.

use maestro_core::{
    answer::AnswerKind,
    episode::Failure,
    expert_call::{Detection, ExpertCall, ExpertReply, Finding, TextRegion},
};

use super::workflows::{run, value};
use crate::runner::testing::found;

fn finding(value: &str) -> Finding {
    Finding {
        value: value.into(),
        confidence: 0.9,
        evidence: "measured".into(),
    }
}

fn boxes(label: &str, bounds: &[[f32; 4]]) -> Vec<Detection> {
    let of = |bounds: &[f32; 4]| Detection {
        label: label.into(),
        confidence: 0.9,
        bounds: *bounds,
    };
    bounds.iter().map(of).collect()
}

fn regions(texts: &[(&str, [f32; 4])]) -> ExpertReply {
    let region = |(text, [l, t, r, b]): &(&str, [f32; 4])| TextRegion {
        text: (*text).into(),
        confidence: 0.95,
        quad: [[*l, *t], [*r, *t], [*r, *b], [*l, *b]],
        word_confidences: Vec::new(),
    };
    ExpertReply {
        regions: texts.iter().map(region).collect(),
        ..ExpertReply::default()
    }
}

/// A word of five letters whose fourth is marked in red.
fn word(call: &ExpertCall) -> Result<ExpertReply, Failure> {
    match (call.capability.as_str(), call.operation.as_str()) {
        ("ocr", _) => Ok(regions(&[("Zebra", [10.0, 10.0, 60.0, 30.0])])),
        (_, "classify") => found("marked-text", 0.9),
        _ => {
            let letters: Vec<[f32; 4]> = (0..5)
                .map(|k| [10.0 + 10.0 * k as f32, 20.0, 18.0 + 10.0 * k as f32, 34.0])
                .collect();
            let mut drawn = boxes("mark", &[[38.0, 15.0, 50.0, 39.0]]);
            drawn.extend(boxes("line", &[[10.0, 20.0, 58.0, 34.0]]));
            drawn.extend(boxes("character", &letters));
            Ok(ExpertReply {
                findings: vec![finding("4,5"), finding("#ff0000")],
                detections: drawn,
                ..ExpertReply::default()
            })
        }
    }
}

#[tokio::test]
async fn a_marked_letter_is_read_without_its_mark() {
    let question = "Which letter is circled?";
    let (bench, observation) = run(
        "diagram-reasoning",
        "looker",
        question,
        AnswerKind::ShortText,
        word,
    )
    .await;
    assert_eq!(observation.solver.as_deref(), Some("highlighted-character"));
    assert_eq!(value(&observation), "r");
    assert!((0.8..=0.9).contains(&observation.confidence()));
    let calls = bench.calls();
    let read = calls
        .iter()
        .find(|call| call.capability.as_str() == "ocr")
        .unwrap();
    let look = calls
        .iter()
        .find(|call| call.operation == "highlighted-character")
        .unwrap();
    assert_eq!((read.expert.as_str(), read.images.len()), ("reader", 1));
    assert_ne!(read.images, look.images, "the reader gets the line alone");
    assert_eq!(observation.usage.calls as usize, calls.len());
    let crop = observation
        .evidence
        .iter()
        .find(|e| e.label == "crop")
        .unwrap();
    assert!(crop.text.starts_with("72x42 at 0,6"), "{}", crop.text);
}

/// Three stations; two lines join the first and the third.
fn map(call: &ExpertCall) -> Result<ExpertReply, Failure> {
    let places = [
        [40.0, 0.0, 50.0, 10.0],
        [80.0, 25.0, 90.0, 35.0],
        [40.0, 48.0, 50.0, 58.0],
    ];
    match (call.capability.as_str(), call.operation.as_str()) {
        ("ocr", _) => Ok(regions(&[
            ("A", places[0]),
            ("B", places[1]),
            ("C", places[2]),
        ])),
        (_, "classify") => found("route-map", 0.9),
        _ => Ok(ExpertReply {
            findings: vec![finding("1-3 1-3 2-3"), finding("#1f77b4 #ff7f0e #2ca02c")],
            detections: boxes("station", &places),
            ..ExpertReply::default()
        }),
    }
}

#[tokio::test]
async fn routes_are_counted_between_the_stations_that_are_asked_for() {
    for (question, expected) in [
        ("How many one-coloured routes join A and C?", "2"),
        ("Routes leading from station C to station B?", "1"),
        ("Lines on this subway map from A to B?", "0"),
    ] {
        let (bench, observation) = run(
            "diagram-reasoning",
            "looker",
            question,
            AnswerKind::Integer,
            map,
        )
        .await;
        assert_eq!(
            observation.solver.as_deref(),
            Some("subway-routes"),
            "{question}"
        );
        assert_eq!(value(&observation), expected, "{question}");
        let calls = bench.calls();
        let capabilities: Vec<&str> = calls.iter().map(|c| c.capability.as_str()).collect();
        assert_eq!(capabilities.iter().filter(|c| **c == "ocr").count(), 1);
        // The reader gets a picture of its own, from which the lines were erased.
        assert!(
            observation
                .evidence
                .iter()
                .any(|e| e.label == "crop" && e.image.is_some())
        );
    }
}

#[tokio::test]
async fn a_station_that_is_not_on_the_map_is_no_answer() {
    let question = "How many routes lead from A to station Q?";
    let (_, observation) = run(
        "diagram-reasoning",
        "looker",
        question,
        AnswerKind::Integer,
        map,
    )
    .await;
    assert!(observation.failure.is_some() && !observation.is_answerable());
}
