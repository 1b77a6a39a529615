//! Which calls the solvers that measure, read and calculate make, and what comes of them. The
//! experts answer by rule; measuring them is another matter. Solvers that ask an expert in words
//! have their contracts in the package `maestro-tests`.

use maestro_core::{
    answer::AnswerKind,
    episode::{Failure, Observation},
    expert_call::{ExpertCall, ExpertReply},
    registry::ImageNeed,
};

use super::named;
use crate::runner::testing::{Bench, found, lines, said};

pub(super) async fn run(
    skill: &str,
    expert: &str,
    question: &str,
    kind: AnswerKind,
    answer: impl Fn(&ExpertCall) -> Result<ExpertReply, Failure> + Send + Sync + 'static,
) -> (Bench, Observation) {
    let bench = Bench::new(named(skill), answer);
    let mut request = bench.request(expert, question, kind);
    if named(skill).header().images == ImageNeed::Required {
        request = bench.with_image(request).await;
    }
    let observation = bench.run(request).await;
    (bench, observation)
}

pub(super) fn value(observation: &Observation) -> &str {
    assert_eq!(observation.failure, None);
    observation.answer_text()
}

fn receipt(_: &ExpertCall) -> Result<ExpertReply, Failure> {
    lines(&[
        "CORNER BAKERY LTD",
        "12 Mill Road",
        "Date: 14/02/2024",
        "Rye bread 4.50",
        "Butter 3.25",
        "TOTAL 7.75",
        "CASH 10.00",
        "CHANGE 2.25",
    ])
}

#[tokio::test]
async fn receipts_are_read_by_the_pairs_reader() {
    for (question, kind, solver, answer) in [
        (
            "What is the total?",
            AnswerKind::Number,
            "receipt-total",
            "7.75",
        ),
        (
            "Which company is it from?",
            AnswerKind::ShortText,
            "receipt-company",
            "CORNER BAKERY LTD",
        ),
    ] {
        let (bench, observation) = run("ocr-problem", "reader", question, kind, receipt).await;
        assert_eq!(observation.solver.as_deref(), Some(solver));
        assert_eq!(value(&observation), answer);
        let labels: Vec<&str> = observation
            .evidence
            .iter()
            .map(|e| e.label.as_str())
            .collect();
        assert_eq!(labels, ["dispatch", "ocr", "receipt"]);
        let calls = bench.calls();
        assert_eq!(calls.len(), 1);
        assert_eq!(
            (calls[0].capability.as_str(), calls[0].images.len()),
            ("ocr", 1)
        );
    }
    let (_, observation) = run(
        "ocr-problem",
        "reader",
        "Which day was it?",
        AnswerKind::Date,
        receipt,
    )
    .await;
    assert_eq!(observation.solver.as_deref(), Some("receipt-date"));
    assert!(value(&observation).contains("2024"), "{observation:?}");
    let (_, observation) = run(
        "ocr-problem",
        "reader",
        "Transcribe it.",
        AnswerKind::FreeText,
        receipt,
    )
    .await;
    assert_eq!(observation.solver.as_deref(), Some("plain-text"));
    assert!(value(&observation).contains("Rye bread 4.50\nButter 3.25"));
}

#[tokio::test]
async fn diagrams_are_measured_by_the_pairs_expert() {
    use AnswerKind::{Integer, ShortText, YesNo};
    for (question, kind, shown, operation, measured, answer) in [
        (
            "How often do the lines cross?",
            Integer,
            "line-paths",
            "line-intersections",
            "2",
            "2",
        ),
        (
            "How many squares?",
            Integer,
            "nested-squares",
            "nested-squares",
            "4",
            "4",
        ),
        (
            "How many circles?",
            Integer,
            "circles",
            "count-circles",
            "9",
            "9",
        ),
        (
            "How many pentagons?",
            Integer,
            "pentagons",
            "count-pentagons",
            "6",
            "6",
        ),
        (
            "Rows and columns?",
            ShortText,
            "grid",
            "grid-size",
            "4,5",
            "4,5",
        ),
        ("How many rows?", Integer, "grid", "grid-size", "4,5", "4"),
        (
            "How many columns?",
            Integer,
            "grid",
            "grid-size",
            "4,5",
            "5",
        ),
        (
            "How many cells are there?",
            Integer,
            "grid",
            "grid-size",
            "4,5",
            "20",
        ),
        (
            "Do the circles touch?",
            YesNo,
            "circle-pair",
            "circle-contact",
            "-3.5",
            "yes",
        ),
        (
            "Do the circles touch?",
            YesNo,
            "circle-pair",
            "circle-contact",
            "0",
            "yes",
        ),
        (
            "Do the circles touch?",
            YesNo,
            "circle-pair",
            "circle-contact",
            "2.25",
            "no",
        ),
        (
            "Do the circles overlap?",
            YesNo,
            "circle-pair",
            "circle-contact",
            "-3.5",
            "yes",
        ),
        (
            "Do the circles overlap?",
            YesNo,
            "circle-pair",
            "circle-contact",
            "0",
            "no",
        ),
        (
            "Do the circles overlap?",
            YesNo,
            "circle-pair",
            "circle-contact",
            "2.25",
            "no",
        ),
    ] {
        let (bench, observation) = run(
            "diagram-reasoning",
            "looker",
            question,
            kind,
            move |call| match call.operation.as_str() {
                "classify" => found(shown, 0.9),
                _ => found(measured, 0.8),
            },
        )
        .await;
        assert_eq!(
            value(&observation).to_lowercase(),
            answer,
            "{question} {measured}"
        );
        assert!(observation.confidence() > 0.5 && observation.confidence() <= 0.8);
        let operations: Vec<String> = bench
            .calls()
            .iter()
            .map(|call| call.operation.clone())
            .collect();
        assert!(
            operations.iter().any(|made| made == operation),
            "{operations:?}"
        );
        assert!(operations.len() <= 2);
    }
}

#[tokio::test]
async fn a_drawing_of_something_else_is_left_to_others() {
    let (_, observation) = run(
        "diagram-reasoning",
        "looker",
        "How many cats?",
        AnswerKind::Integer,
        |_| found("photograph", 0.9),
    )
    .await;
    assert!(observation.failure.is_some() && !observation.is_answerable());
}

#[tokio::test]
async fn word_problems_are_calculated() {
    let question = "A farmer has 12 hens and buys 5 more. How many hens are there?";
    let (bench, observation) = run("word-problem", "chat", question, AnswerKind::Number, |_| {
        said(" 12 + 5\n")
    })
    .await;
    assert_eq!(value(&observation), "17");
    assert!(
        observation
            .evidence
            .iter()
            .any(|e| e.label == "calculation")
    );
    let calls = bench.calls();
    assert_eq!(calls.len(), 1);
    assert!(calls[0].images.is_empty());
    insta::assert_yaml_snapshot!(
        "word_problem_prompt",
        (&calls[0].messages, &calls[0].generation)
    );
    let (_, observation) = run("word-problem", "chat", question, AnswerKind::Number, |_| {
        said("hens")
    })
    .await;
    assert!(observation.failure.is_some());
}
