//! One contract test per solver of the library: which calls are made and what comes of them. The
//! experts answer by rule; measuring them is another matter.

use std::collections::BTreeSet;

use maestro_core::{
    answer::AnswerKind,
    episode::Failure,
    episode::Observation,
    expert_call::{ExpertCall, ExpertReply},
    registry::ImageNeed,
};
use maestro_skills::Severity;

use super::*;
use crate::runner::testing::{Bench, found, lines, said};

pub(super) fn named(name: &str) -> Skill {
    library()
        .unwrap()
        .into_iter()
        .find(|skill| skill.name().as_str() == name)
        .unwrap()
}

#[test]
fn every_skill_is_valid_and_says_what_it_needs() {
    let skills = library().unwrap();
    let names: Vec<&str> = skills.iter().map(|skill| skill.name().as_str()).collect();
    assert_eq!(
        names,
        [
            "chart-problem",
            "code-problem",
            "counting-problem",
            "diagram-reasoning",
            "direct",
            "embodied-scene",
            "geometry-problem",
            "multiple-choice",
            "ocr-problem",
            "perception-problem",
            "science-problem",
            "text-in-image",
            "word-problem",
        ]
    );
    for (skill, (folder, _)) in skills.iter().zip(FOLDERS) {
        skill.header().validate().unwrap();
        assert_eq!(skill.name().as_str(), *folder);
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("skills")
            .join(folder);
        let findings = maestro_skills::lint(&dir);
        assert!(
            findings.iter().all(|f| f.severity < Severity::Warning),
            "{findings:#?}"
        );
        assert_eq!(
            Skill::load(&dir).unwrap().digest(),
            skill.digest(),
            "disk and program agree"
        );
    }
    let needs = |name: &str| {
        let header = named(name).header();
        let requires: Vec<String> = header.requires.iter().map(ToString::to_string).collect();
        (
            requires.join(","),
            header.images,
            header.direct,
            header.bounds.expert_calls,
        )
    };
    use ImageNeed::{None, Optional, Required};
    for (skill, requires, images, direct, calls) in [
        ("chart-problem", "chat", Required, false, 2),
        ("code-problem", "chat", Optional, false, 3),
        ("diagram-reasoning", "analyze", Required, false, 2),
        ("direct", "chat", Optional, true, 1),
        ("embodied-scene", "chat", Required, false, 1),
        ("geometry-problem", "chat", Required, false, 4),
        ("multiple-choice", "chat", Optional, false, 3),
        ("ocr-problem", "ocr", Required, false, 1),
        ("perception-problem", "chat", Required, false, 3),
        ("science-problem", "chat", Required, false, 3),
        ("text-in-image", "chat", Required, false, 2),
        ("word-problem", "chat", None, false, 1),
    ] {
        assert_eq!(
            needs(skill),
            (requires.into(), images, direct, calls),
            "{skill}"
        );
        assert!(
            named(skill).header().helpers.is_empty(),
            "{skill} lives without helpers"
        );
    }
}

/// Runs of five words, as `scripts/hash_prompts.py` defines them.
fn runs(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|w| !w.is_empty())
        .collect();
    words.windows(5).map(|run| run.join(" ")).collect()
}

#[test]
fn no_wording_is_taken_from_recorded_prompts() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/assets/prompt_5grams.bin"
    );
    let known: BTreeSet<Vec<u8>> = std::fs::read(path)
        .unwrap()
        .chunks(8)
        .map(<[u8]>::to_vec)
        .collect();
    assert!(known.len() > 1000);
    for (skill, files) in FOLDERS {
        for (file, content) in *files {
            for run in runs(std::str::from_utf8(content).unwrap()) {
                let digest = maestro_core::Digest::of(run.as_bytes());
                let fingerprint = digest.as_bytes()[..8].to_vec();
                assert!(!known.contains(&fingerprint), "{skill}/{file}: {run:?}");
            }
        }
    }
}

/// The solver that a question gets where the image shows `kind`.
fn solver(skill: &str, question: &str, kind: &AnswerKind, image: Option<&str>) -> String {
    let evidence = image.map(|kind| maestro_skills::Evidence {
        kind: kind.into(),
        confidence: 0.9,
    });
    let chosen = named(skill)
        .dispatch()
        .choose(question, kind, evidence.as_ref());
    chosen.solver.unwrap_or_else(|| "none".to_owned())
}

#[test]
fn diagram_questions_find_their_solver() {
    let integer = AnswerKind::Integer;
    for (question, kind, image, expected) in [
        (
            "How often do the red and blue lines cross?",
            &integer,
            Some("line-paths"),
            "line-intersections",
        ),
        (
            "Tell me how frequently these paths run into each other.",
            &integer,
            Some("LinePaths"),
            "line-intersections",
        ),
        (
            "Intersections of the two curves?",
            &integer,
            None,
            "line-intersections",
        ),
        (
            "What is the size of this?",
            &AnswerKind::ShortText,
            Some("grid"),
            "grid-size",
        ),
        (
            "Count rows and columns",
            &AnswerKind::ShortText,
            None,
            "grid-size",
        ),
        (
            "Into how many rows and columns is the square cut?",
            &AnswerKind::ShortText,
            Some("grid"),
            "grid-size",
        ),
        (
            "How many boxes lie in each other?",
            &integer,
            Some("nested-squares"),
            "nested-squares",
        ),
        ("Number of squares", &integer, None, "nested-squares"),
        (
            "Are the two discs in contact?",
            &AnswerKind::YesNo,
            Some("circle-pair"),
            "circle-touch",
        ),
        (
            "Does one circle cover part of the other?",
            &AnswerKind::YesNo,
            Some("circle-pair"),
            "circle-overlap",
        ),
        (
            "Do these circles intersect in a common area?",
            &AnswerKind::YesNo,
            None,
            "circle-overlap",
        ),
        (
            "Do they overlap?",
            &AnswerKind::YesNo,
            Some("circle-pair"),
            "circle-overlap",
        ),
        (
            "How many circles?",
            &integer,
            Some("circle-pair"),
            "count-circles",
        ),
        (
            "How many shapes are here?",
            &integer,
            Some("circles"),
            "count-circles",
        ),
        (
            "How many shapes are here?",
            &integer,
            Some("pentagons"),
            "count-pentagons",
        ),
        (
            "Count the pentagons",
            &integer,
            Some("circles"),
            "count-pentagons",
        ),
        (
            "How many dogs are there?",
            &integer,
            Some("photograph"),
            "none",
        ),
        ("Who wrote Faust?", &AnswerKind::FreeText, None, "none"),
    ] {
        assert_eq!(
            solver("diagram-reasoning", question, kind, image),
            expected,
            "{question}"
        );
    }
}

#[test]
fn receipt_questions_find_their_solver() {
    for (question, kind, expected) in [
        (
            "How much did the customer have to pay in the end?",
            AnswerKind::Number,
            "receipt-total",
        ),
        (
            "Sum of everything on the bill",
            AnswerKind::FreeText,
            "receipt-total",
        ),
        (
            "What does it come to altogether, how much?",
            AnswerKind::Number,
            "receipt-total",
        ),
        (
            "On which day was this receipt issued?",
            AnswerKind::Date,
            "receipt-date",
        ),
        (
            "When was this bought?",
            AnswerKind::FreeText,
            "receipt-date",
        ),
        (
            "Which company issued this receipt?",
            AnswerKind::ShortText,
            "receipt-company",
        ),
        ("Name the shop.", AnswerKind::ShortText, "receipt-company"),
        ("Transcribe the page.", AnswerKind::FreeText, "plain-text"),
        (
            "What does the sign say?",
            AnswerKind::FreeText,
            "plain-text",
        ),
    ] {
        assert_eq!(
            solver("ocr-problem", question, &kind, None),
            expected,
            "{question}"
        );
    }
}

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

#[derive(serde::Deserialize)]
struct Paraphrase {
    kind: String,
    text: String,
}

#[test]
fn paraphrases_find_the_solver_of_the_original() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/paraphrases/paraphrases.jsonl"
    );
    let content = std::fs::read_to_string(path).unwrap();
    let paraphrases: Vec<Paraphrase> = content
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(paraphrases.len(), 280);
    let mut missed_by_words = 0;
    for Paraphrase { kind, text } in &paraphrases {
        let (skill, image, wanted, expected) = match kind.as_str() {
            "LineIntersection" => (
                "diagram-reasoning",
                "line-paths",
                AnswerKind::Integer,
                "line-intersections",
            ),
            "CountingRowsAndColumns" => (
                "diagram-reasoning",
                "grid",
                AnswerKind::ShortText,
                "grid-size",
            ),
            "NestedSquares" => (
                "diagram-reasoning",
                "nested-squares",
                AnswerKind::Integer,
                "nested-squares",
            ),
            "TouchingCircle.touching" => (
                "diagram-reasoning",
                "circle-pair",
                AnswerKind::YesNo,
                "circle-touch",
            ),
            "TouchingCircle.overlapping" => (
                "diagram-reasoning",
                "circle-pair",
                AnswerKind::YesNo,
                "circle-overlap",
            ),
            "ReceiptTotal" => (
                "ocr-problem",
                "document",
                AnswerKind::Number,
                "receipt-total",
            ),
            "CircledWord" => (
                "diagram-reasoning",
                "marked-text",
                AnswerKind::ShortText,
                "highlighted-character",
            ),
            "SubwayMap" => (
                "diagram-reasoning",
                "route-map",
                AnswerKind::Integer,
                "subway-routes",
            ),
            other => panic!("{other}"),
        };
        // Stations are named by the question.
        let text = &text.replace("{from}", "A").replace("{to}", "D");
        assert_eq!(
            solver(skill, text, &wanted, Some(image)),
            expected,
            "{text}"
        );
        missed_by_words += usize::from(solver(skill, text, &wanted, None) != expected);
    }
    assert!(
        missed_by_words <= 4,
        "{missed_by_words} of 200 by words alone"
    );
}
