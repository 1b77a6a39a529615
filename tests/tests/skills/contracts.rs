//! One contract per solver that asks an expert: what it is sent, what comes of its replies.

use std::sync::atomic::{AtomicUsize, Ordering};

use maestro_core::{MicroUsd, answer::AnswerKind, episode::Observation};
use maestro_skills::Skill;
use serde_json::Value;

use crate::installation::{CHAT_COST, HELPER_COST, Installation, Sent, images, words};

/// The whole image of the task.
const WHOLE: Sent = ([100, 60], [50, 30]);
/// What [`FRACTIONS`] choose of it with a margin of a tenth, twice as large.
const PART: Sent = ([76, 60], [25, 24]);
const FRACTIONS: &str = "0.1, 0.2, 0.4, 0.6";
const PROGRAM: &str = "Here:\n```python\ndef double(x):\n    return 2 * x\n```";
const ASSERTS: &str = "assert double(2) == 4\nassert double(-1) == -2";

struct Contract {
    skill: &'static str,
    solver: &'static str,
    question: &'static str,
    kind: AnswerKind,
    /// The last line of the expert's replies, unless the step wants another form.
    says: &'static str,
    answer: &'static str,
    /// Images of each call to the expert.
    sent: Vec<Vec<Sent>>,
    /// Calls to helpers.
    helpers: u32,
}

fn skill(name: &str) -> Skill {
    let mut skills = maestro_skill_runner::library().unwrap().into_iter();
    skills.find(|skill| skill.name().as_str() == name).unwrap()
}

/// An expert that thinks aloud, wrongly, before it replies in the form that the step wants.
fn reply(request: &Value, says: &str) -> String {
    let asked = words(request);
    let reply = if asked.contains("four fractions") {
        FRACTIONS.to_owned()
    } else if asked.contains("kind of a chart") {
        "It is a Line chart.".to_owned()
    } else if asked.contains("assert statements only") {
        ASSERTS.to_owned()
    } else if asked.contains("fenced code block") {
        PROGRAM.to_owned()
    } else {
        format!("One step. Then another.\nAnswer: {says}")
    };
    format!("<think>Answer: 99, at 0.9, 0.9, 0.9, 0.9 of a pie</think>\n{reply}")
}

async fn check(contract: Contract) {
    let Contract {
        skill: name,
        solver,
        question,
        kind,
        says,
        answer,
        sent,
        helpers,
    } = contract;
    let skill = skill(name);
    let count = usize::from(!sent[0].is_empty());
    let installation = Installation::start(true, move |request| reply(request, says)).await;
    let observation = installation
        .run(&skill, question, kind.clone(), count)
        .await;
    assert_eq!(observation.failure, None, "{name}/{solver}");
    assert_eq!(observation.answer_text(), answer, "{name}/{solver}");
    assert!(!observation.text.contains("think"), "{}", observation.text);
    if skill.solvers().len() > 1 {
        assert_eq!(
            observation.solver.as_deref(),
            Some(solver),
            "{:?}",
            observation.evidence
        );
    }
    let requests = installation.server.requests();
    let shown: Vec<Vec<Sent>> = requests.iter().map(images).collect();
    assert_eq!(shown, sent, "{name}/{solver}");
    let usage = observation.usage;
    let calls = requests.len() as u64;
    assert_eq!(
        u64::from(usage.calls),
        calls + u64::from(helpers),
        "{name}/{solver}"
    );
    assert_eq!(
        (usage.input_tokens, usage.output_tokens),
        (10 * calls, 2 * calls)
    );
    let cost = CHAT_COST * calls + HELPER_COST * u64::from(helpers);
    assert_eq!(usage.cost, MicroUsd(cost), "{name}/{solver}");
    let mut prompts: Vec<String> = requests.iter().map(words).collect();
    prompts.dedup();
    insta::assert_snapshot!(format!("{name}_{solver}"), prompts.join("\n\n=====\n\n"));

    // Without helpers the skill goes on with what the expert sees.
    let alone = Installation::start(false, move |request| reply(request, says)).await;
    let observation = alone.run(&skill, question, kind, count).await;
    assert_eq!(
        observation.answer_text(),
        answer,
        "{name}/{solver} without helpers"
    );
    assert_eq!(
        u64::from(observation.usage.calls),
        alone.server.requests().len() as u64
    );
}

macro_rules! contracts {
    ($($test:ident: $skill:literal / $solver:literal, $question:literal, $kind:expr, $says:literal => $answer:expr, $sent:expr, $helpers:literal;)*) => {
        $(#[tokio::test]
        async fn $test() {
            check(Contract {
                skill: $skill, solver: $solver, question: $question, kind: $kind, says: $says,
                answer: $answer, sent: $sent, helpers: $helpers,
            })
            .await;
        })*
    };
}

fn whole(calls: usize) -> Vec<Vec<Sent>> {
    vec![vec![WHOLE]; calls]
}

/// The expert chooses a part of the whole, then sees both.
fn closely() -> Vec<Vec<Sent>> {
    vec![vec![WHOLE], vec![WHOLE, PART]]
}

/// A part of the whole, then a part of that part, three times as large.
fn narrowed() -> Vec<Vec<Sent>> {
    let area = ([40, 32], [25, 24]);
    vec![
        vec![WHOLE],
        vec![area],
        vec![WHOLE, area, ([48, 48], [15, 21])],
    ]
}

fn options() -> AnswerKind {
    AnswerKind::Choice {
        options: vec!["red".into(), "blue".into(), "green".into()],
    }
}

contracts! {
    geometry: "geometry-problem" / "figure", "Find x.", AnswerKind::Number, "42" => "42", whole(4), 2;
    bar_chart: "chart-problem" / "bar", "Which bar is tallest?", AnswerKind::ShortText, "Oslo" => "Oslo", whole(1), 1;
    line_chart: "chart-problem" / "line", "Where does the line peak?", AnswerKind::Integer, "2019" => "2019", whole(1), 1;
    pie_chart: "chart-problem" / "pie", "Which slice is blue?", AnswerKind::ShortText, "Tea" => "Tea", whole(1), 1;
    other_chart: "chart-problem" / "other", "What is the value for Norway?", AnswerKind::Number, "12.5" => "12.5", whole(2), 1;
    science: "science-problem" / "figure", "Which organelle is marked?", options(), "B" => "B", closely(), 2;
    zoom: "perception-problem" / "zoom", "Which colour is her scarf?", options(), "A" => "A", closely(), 0;
    high_resolution: "perception-problem" / "high-resolution", "What is the tiny number on the plate?", AnswerKind::Integer, "77" => "77", narrowed(), 0;
    formula: "text-in-image" / "formula", "Transcribe the formula as LaTeX.", AnswerKind::ShortText, "x^2" => "x^2", closely(), 1;
    key_information: "text-in-image" / "key-information", "What is the value of the field ID?", AnswerKind::ShortText, "77" => "77", closely(), 2;
    document: "text-in-image" / "document", "What does the last paragraph of the document propose?", AnswerKind::ShortText, "a bridge" => "a bridge", whole(1), 2;
    scene_text: "text-in-image" / "scene-text", "What does the street sign say?", AnswerKind::ShortText, "STOP" => "STOP", closely(), 3;
    trajectory: "embodied-scene" / "trajectory-outcome", "What happens if the arm follows the trajectory?", options(), "C" => "C", whole(1), 2;
    pointing: "embodied-scene" / "pointing", "Which marked point lies on the cup?", options(), "A" => "A", vec![vec![WHOLE, ([68, 68], [30, 20])]], 2;
    multi_view: "embodied-scene" / "multi-view", "Which object do both camera views show?", options(), "B" => "B", whole(1), 2;
    action: "embodied-scene" / "action-adjustment", "How should the gripper rotate to adjust its grasp?", options(), "B" => "B", whole(1), 2;
    mechanics: "embodied-scene" / "spatial-mechanics", "Will the book fit behind the lamp?", AnswerKind::YesNo, "no" => "No", whole(1), 2;
    multiple_choice: "multiple-choice" / "vote", "Which is the colour of the sea?", options(), "B" => "B", vec![vec![]; 3], 0;
    code: "code-problem" / "program", "Write double(x).", AnswerKind::Program, "-" => "def double(x):\n    return 2 * x", vec![vec![]; 2], 0;
}

#[tokio::test]
async fn an_expert_that_names_no_part_answers_from_the_whole() {
    let installation = Installation::start(true, |request| {
        let choosing = words(request).contains("four fractions");
        if choosing {
            "Left of her."
        } else {
            "Answer: A"
        }
        .to_owned()
    })
    .await;
    let skill = skill("perception-problem");
    let observation = installation.run(&skill, "Whose hat?", options(), 1).await;
    assert_eq!(observation.answer_text(), "A");
    let requests = installation.server.requests();
    assert_eq!(requests.iter().map(images).collect::<Vec<_>>(), whole(2));
    assert!(!words(&requests[1]).contains("the second a part"));
}

#[tokio::test]
async fn a_science_question_shows_all_of_several_images() {
    let installation = Installation::start(true, |request| reply(request, "C")).await;
    let skill = skill("science-problem");
    let observation = installation.run(&skill, "Which grew?", options(), 2).await;
    assert_eq!(observation.answer_text(), "C");
    let requests = installation.server.requests();
    let sent: Vec<_> = requests.iter().map(images).collect();
    assert_eq!(sent, [vec![WHOLE], vec![WHOLE, WHOLE]]);
}

#[tokio::test]
async fn the_letter_of_the_majority_wins() {
    let installation = Installation::start(false, |request| {
        let letter = if request["seed"] == 1 { "A" } else { "B" };
        format!("Answer: {letter}")
    })
    .await;
    let skill = skill("multiple-choice");
    let observation = installation.run(&skill, "Which?", options(), 0).await;
    assert_eq!(observation.answer_text(), "B");
    assert!(observation.confidence() < 0.7, "two of three");
}

/// An expert whose first programs are wrong.
async fn attempts(programs: &'static [&'static str]) -> (Installation, Observation) {
    let attempt = AtomicUsize::new(0);
    let installation = Installation::start(false, move |request| {
        if words(request).contains("assert statements only") {
            return ASSERTS.to_owned();
        }
        let attempt = attempt.fetch_add(1, Ordering::Relaxed);
        format!("```python\n{}\n```", programs[attempt])
    })
    .await;
    let skill = skill("code-problem");
    let observation = installation
        .run(&skill, "Write double(x).", AnswerKind::Program, 0)
        .await;
    (installation, observation)
}

#[tokio::test]
async fn a_program_that_fails_its_asserts_is_repaired() {
    const RIGHT: &str = "def double(x):\n    return x + x";
    let (installation, observation) =
        attempts(&["def double(x):\n    return x ** 2", RIGHT, "unasked"]).await;
    assert_eq!(observation.answer_text(), RIGHT);
    assert!(observation.confidence() > 0.8, "{observation:?}");
    let requests = installation.server.requests();
    assert_eq!(requests.len(), 3, "the tests and two attempts");
    let repair = words(&requests[2]);
    assert!(repair.contains("return x ** 2"), "{repair}");
    // The first assert holds for squares too.
    assert!(repair.contains("assert double(-1) == -2"), "{repair}");
    assert!(repair.contains("AssertionError"), "{repair}");
}

#[tokio::test]
async fn a_program_cannot_end_before_its_asserts() {
    const RIGHT: &str =
        "def double(x):\n    return x + x\nif __name__ == \"__main__\":\n    print(input())";
    let (installation, observation) = attempts(&[
        "def double(x):\n    return 0\nraise SystemExit(0)",
        RIGHT,
        "unasked",
    ])
    .await;
    assert_eq!(observation.answer_text(), RIGHT);
    let requests = installation.server.requests();
    assert_eq!(requests.len(), 3, "the tests and two attempts");
    assert!(words(&requests[2]).contains("before all tests"));
}

#[tokio::test]
async fn repairs_end_after_three_rounds() {
    let (installation, observation) = attempts(&[
        "def double(x):\n    while True: pass",
        "def double(x):\n    return y",
        "def double(x):\n    return x",
        "unasked",
    ])
    .await;
    assert_eq!(observation.answer_text(), "def double(x):\n    return x");
    assert!(observation.confidence() < 0.5, "{observation:?}");
    let requests = installation.server.requests();
    assert_eq!(requests.len(), 4);
    assert!(words(&requests[2]).contains("took too long"));
    assert!(words(&requests[3]).contains("NameError"));
}

#[tokio::test]
async fn tests_that_are_no_program_are_not_run() {
    let installation = Installation::start(false, |request| {
        let testing = words(request).contains("assert statements only");
        if testing {
            "That depends on you."
        } else {
            PROGRAM
        }
        .to_owned()
    })
    .await;
    let skill = skill("code-problem");
    let observation = installation
        .run(&skill, "Write double(x).", AnswerKind::Program, 0)
        .await;
    assert_eq!(
        observation.answer_text(),
        "def double(x):\n    return 2 * x"
    );
    let requests = installation.server.requests();
    assert_eq!(requests.len(), 2, "no repair without tests");
    assert!(!words(&requests[1]).contains("depends on you"));
}
