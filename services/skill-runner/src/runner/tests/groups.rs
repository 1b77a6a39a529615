//! Branches, repetitions, labels, votes and the choice of a solver by asking.

use maestro_core::{
    answer::AnswerKind,
    episode::{FailureKind, Observation},
};
use maestro_skills::Skill;

use super::{failure_kind, testing::*};

const BRANCHES: &str = r#"
description: goes one of two ways
steps:
  kind: {classify: {labels: {bar: {"bar*": 1}, pie: {"pie*": 1}}, otherwise: other}}
  work:
    branch:
      - when: kind.value == "bar"
        steps:
          bars: {ask: {prompt: "bars", max_output_tokens: 9}}
          sum: {ask: {prompt: "sum {{ bars.text }}", max_output_tokens: 9}}
        value: "{{ sum.text }}"
      - when: kind.value == "pie"
        steps: {slices: {ask: {prompt: "slices", max_output_tokens: 9}}}
        value: "{{ slices.text }}"
answer: {text: "{{ work.value or 'neither' }}; {{ bars.text or 'no bars' }}; {{ kind.confidence }}"}
"#;

fn paths(bench: &Bench) -> Vec<String> {
    let calls = bench.calls();
    calls.iter().map(|call| call.key.to_string()).collect()
}

fn evidence<'a>(observation: &'a Observation, label: &str) -> Vec<&'a str> {
    let all = observation.evidence.iter();
    all.filter(|evidence| evidence.label == label)
        .map(|evidence| evidence.text.as_str())
        .collect()
}

#[tokio::test]
async fn the_first_case_that_applies_runs_and_no_other() {
    let echo = |bench: &str| said(&format!("<{bench}>"));
    for (question, text, calls) in [
        (
            "Which bar is longest?",
            "<sum <bars>>; <bars>; 1.0",
            vec![
                "episode-1/2/main/work/0/bars#0",
                "episode-1/2/main/work/0/sum#0",
            ],
        ),
        (
            "How large is the pie?",
            "<slices>; no bars; 1.0",
            vec!["episode-1/2/main/work/1/slices#0"],
        ),
        ("What is it?", "neither; no bars; 0.0", vec![]),
    ] {
        let bench = Bench::new(skill(BRANCHES), move |call| echo(&call.messages[0].text));
        let request = bench.request("chat", question, AnswerKind::FreeText);
        let observation = bench.run(request).await;
        assert_eq!(observation.text, text, "{question}");
        assert_eq!(paths(&bench), calls, "{question}");
        assert_eq!(evidence(&observation, "branch").len(), 1);
    }
}

const ROUNDS: &str = r#"
description: tries until it is right
steps:
  tries:
    repeat:
      times: 3
      until: guess.value == "7"
      steps:
        guess:
          ask:
            prompt: "{% if previous %}not {{ previous.guess.value }}{% else %}begin{% endif %} ({{ round }})"
            max_output_tokens: 9
            expect: '\d+'
answer: {text: "{{ guess.value }} {{ tries.rounds }} {{ tries.done }}"}
"#;

#[tokio::test]
async fn rounds_see_the_one_before_and_end_when_it_is_good() {
    for (right, text, prompts) in [
        ("not 1 (2)", "7 2 True", vec!["begin (1)", "not 1 (2)"]),
        (
            "never",
            "3 3 False",
            vec!["begin (1)", "not 1 (2)", "not 2 (3)"],
        ),
    ] {
        let bench = Bench::new(skill(ROUNDS), move |call| {
            let prompt = &call.messages[0].text;
            let round = prompt.as_bytes()[prompt.len() - 2] as char;
            said(&if prompt == right {
                "7".to_owned()
            } else {
                round.to_string()
            })
        });
        let observation = bench
            .run(bench.request("chat", "q", AnswerKind::FreeText))
            .await;
        assert_eq!(observation.text, text);
        let calls = bench.calls();
        let asked: Vec<&str> = calls.iter().map(|c| c.messages[0].text.as_str()).collect();
        assert_eq!(asked, prompts);
        assert_eq!(paths(&bench)[1], "episode-1/2/main/tries/2/guess#0");
        assert_eq!(evidence(&observation, "repeat").len(), 1);
    }
}

#[tokio::test]
async fn a_failure_inside_of_a_group_is_that_of_its_step() {
    let optional = ROUNDS
        .replace("  tries:\n", "  tries:\n    optional: true\n")
        .replace(
            "{{ guess.value }} {{ tries.rounds }} {{ tries.done }}",
            "{{ tries.done or 'nothing' }}",
        );
    for (text, failed) in [(ROUNDS, true), (optional.as_str(), false)] {
        let bench = Bench::new(skill(text), |_| said("no number"));
        let observation = bench
            .run(bench.request("chat", "q", AnswerKind::FreeText))
            .await;
        if failed {
            assert_eq!(failure_kind(&observation), Some(FailureKind::SkillFailed));
            assert!(observation.text.contains("guess"), "{}", observation.text);
        } else {
            assert_eq!(observation.failure, None);
            assert!(
                observation.text.ends_with("nothing"),
                "{}",
                observation.text
            );
        }
    }
}

#[tokio::test]
async fn the_expert_is_asked_for_a_label_only_where_words_do_not_decide() {
    let text = r#"
description: tells what it is
steps:
  kind:
    classify:
      labels: {bar: {"bar*": 1}, pie: {}}
      ask: {prompt: "What is it?", max_output_tokens: 9, samples: 3, temperature: 0.7}
answer: {text: "{{ kind.value }} {{ kind.confidence | round(2) }}"}
"#;
    let bench = Bench::new(skill(text), |call| {
        let names = ["a pie", "Pie.", "bar or pie"];
        said(names[call.key.sample as usize])
    });
    let by_words = bench.request("chat", "Which bars?", AnswerKind::FreeText);
    assert_eq!(bench.run(by_words).await.text, "bar 1.0");
    assert_eq!(bench.calls().len(), 0);
    let by_asking = bench.request("chat", "Which?", AnswerKind::FreeText);
    assert_eq!(bench.run(by_asking).await.text, "pie 0.67");
    let calls = bench.calls();
    assert_eq!(calls.len(), 3);
    let prompt = &calls[0].messages[0].text;
    assert!(prompt.contains("bar") && prompt.contains("pie"), "{prompt}");
}

#[tokio::test]
async fn a_question_about_the_label_that_fails_leaves_the_other_value() {
    let text = r#"
description: tells what it is
steps:
  kind:
    classify: {labels: [bar, pie], ask: {prompt: "What?", max_output_tokens: 9}, otherwise: bar}
answer: {text: "{{ kind.value }} {{ kind.confidence }}"}
"#;
    let fails = |_: &maestro_core::expert_call::ExpertCall| {
        Err(maestro_core::episode::Failure::new(
            FailureKind::ExpertFailed,
            "broken",
        ))
    };
    let bench = Bench::new(skill(text), fails);
    let request = bench.request("chat", "q", AnswerKind::FreeText);
    assert_eq!(bench.run(request).await.text, "bar 0.0");
    let strict = text.replace(", otherwise: bar", "");
    let bench = Bench::new(skill(&strict), fails);
    let request = bench.request("chat", "q", AnswerKind::FreeText);
    let observation = bench.run(request).await;
    assert_eq!(failure_kind(&observation), Some(FailureKind::ExpertFailed));
}

#[tokio::test]
async fn samples_vote_and_say_how_many_agree() {
    let text = r#"
description: votes
steps:
  solve: {ask: {prompt: "{{ query }}", max_output_tokens: 9, samples: 4, temperature: 0.7}}
  vote: {extract: {from: "{{ solve.texts }}", kind: integer}}
answer: {text: "{{ vote.value }}", confidence: "{{ vote.agreement }}"}
"#;
    let bench = Bench::new(skill(text), |call| {
        said(["12", "It is 12.", "7", "no idea"][call.key.sample as usize])
    });
    let observation = bench
        .run(bench.request("chat", "q", AnswerKind::Integer))
        .await;
    let answer = observation.answer.unwrap();
    assert_eq!((answer.value.as_str(), answer.confidence), ("12", 0.5));
}

/// A skill of two solvers that no word tells apart.
fn asking() -> Skill {
    let files = [
        (
            "SKILL.md",
            "---\nname: a-skill\ndescription: A skill for tests.\n---\nBe exact.\n",
        ),
        (
            "skill.yaml",
            "dispatch:\n  default: left\n  rules:\n    - {solver: left, keywords: {port: 2}}\n  \
             ask: {prompt: 'Which side is {{ query }}?', max_output_tokens: 9}\n",
        ),
        (
            "solvers/left.yaml",
            "description: the left side\nsteps: {}\nanswer: {text: 'went left'}\n",
        ),
        (
            "solvers/right.yaml",
            "description: the right side\nsteps: {}\nanswer: {text: 'went right'}\n",
        ),
    ];
    Skill::from_content(files.map(|(path, text)| (path, text.as_bytes()))).unwrap()
}

#[tokio::test]
async fn an_expert_chooses_the_solver_where_words_do_not() {
    for (question, reply, text, calls) in [
        ("starboard", "right", "went right", 1),
        ("port", "right", "went left", 0),
        ("starboard", "left or right", "went left", 1),
    ] {
        let bench = Bench::new(asking(), move |_| said(reply));
        let request = bench.request("chat", question, AnswerKind::FreeText);
        let observation = bench.run(request).await;
        assert_eq!(observation.text, text, "{question}: {reply}");
        let made = bench.calls();
        assert_eq!(made.len(), calls, "{question}: {reply}");
        assert_eq!(evidence(&observation, "dispatch").len(), 1);
        if let Some(call) = made.first() {
            let prompt = &call.messages[0].text;
            assert!(prompt.contains("right: the right side"), "{prompt}");
            assert_eq!(call.key.to_string(), "episode-1/2/dispatch-question#0");
        }
    }
}

#[tokio::test]
async fn a_question_about_the_solver_that_fails_leaves_the_default() {
    let bench = Bench::new(asking(), |_| {
        Err(maestro_core::episode::Failure::new(
            FailureKind::ExpertFailed,
            "broken",
        ))
    });
    let request = bench.request("chat", "starboard", AnswerKind::FreeText);
    assert_eq!(bench.run(request).await.text, "went left");
}
