//! Branches, repetitions, tiles and labels in solvers' files.

use proptest::prelude::*;

use super::*;
use crate::step::Group;

fn parse(text: &str) -> Result<Solver, Vec<SkillError>> {
    Solver::parse("solvers/s.yaml", "s", text)
}

fn first(text: &str) -> SkillError {
    parse(text).unwrap_err().remove(0)
}

const GOOD: &str = r#"
description: Looks at what it is, then does it; repairs what it wrote.
steps:
  kind:
    classify:
      labels: {chart: {"chart*": 2}, table: {"table*": 2}}
      ask: {prompt: "{{ query }}", max_output_tokens: 8, samples: 3}
      otherwise: chart
  parts:
    tile: {of: 0, most: 6}
  found:
    helper: {capability: detect, images: [0, parts], each: true}
    timeout_ms: 5000
  work:
    branch:
      - when: kind.value == "chart"
        steps:
          look: {ask: {prompt: "{{ found.text }}", images: [parts], max_output_tokens: 9}}
          again: {ask: {prompt: "{{ look.text }}", max_output_tokens: 90}}
        value: "{{ again.text }}"
      - steps:
          read: {helper: {capability: ocr}}
          repair:
            repeat:
              times: 3
              until: test.ok
              steps:
                write: {ask: {prompt: "{{ read.text }} {{ previous.test.stderr if previous }}", max_output_tokens: 9, samples: 2}}
                test: {run: {code: "{{ write.text }} # {{ round }}"}}
answer:
  text: "{{ work.value or test.stdout }} {{ repair.rounds }}"
"#;

#[test]
fn a_branch_counts_its_dearest_case_and_a_repetition_every_round() {
    let solver = parse(GOOD).unwrap();
    let order: Vec<_> = solver.steps.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(order, ["kind", "parts", "found", "work"]);
    let calls = |name: &str| {
        let step = solver.steps.step(name).unwrap();
        (step.expert_calls(), step.helper_calls())
    };
    assert_eq!(calls("kind"), (3, 0));
    assert_eq!(calls("found"), (0, 7), "the image and six tiles");
    // Two questions, or one helper and three rounds of two samples.
    assert_eq!(calls("work"), (6, 1));
    let work = solver.steps.step("work").unwrap();
    assert_eq!(
        work.needs,
        BTreeSet::from(["found", "kind", "parts"].map(str::to_owned))
    );
    assert_eq!(
        work.inner_names(),
        BTreeSet::from(["again", "look", "read", "repair", "test", "write"])
    );
    // One helper and six steps of half a minute one after another.
    assert_eq!(work.timeout, Duration::from_secs(30 + 6 * 30));
    assert_eq!(solver.steps.all().count(), 10);
    assert_eq!(solver.unread_steps().count(), 0);
}

/// A file whose steps are `steps`, indented by two.
fn with(steps: &str) -> String {
    format!("description: d\nsteps:\n{steps}\nanswer: {{text: x}}\n")
}

const X: &str = "{extract: {from: x}}";

#[test]
fn results_are_read_only_where_they_are_there() {
    let reads = |from: &str| format!("{{extract: {{from: '{{{{ {from} }}}}'}}}}");
    let refused = |steps: String, reference: &str| {
        let error = first(&with(&steps));
        assert!(
            matches!(&error, SkillError::UnknownReference { reference: r, .. } if r == reference),
            "{steps}: {error}"
        );
    };
    let other_case = reads("a.value");
    refused(
        format!(
            "  w: {{branch: [{{when: query, steps: {{a: {X}}}}}, {{steps: {{b: {other_case}}}}}]}}"
        ),
        "a",
    );
    refused(
        format!("  w: {{branch: [{{when: a.value, steps: {{a: {X}}}}}]}}"),
        "a",
    );
    // Both are read before the branch runs.
    for before in ["when: a.value", "after: [a]"] {
        refused(
            format!("  w: {{branch: [{{steps: {{a: {X}}}}}], {before}}}"),
            "a",
        );
    }
    let own = reads("w.value");
    refused(format!("  w: {{branch: [{{steps: {{a: {own}}}}}]}}"), "w");
    let round = reads("round");
    refused(format!("  a: {round}"), "round");
    let member = reads("previous.z.value");
    refused(
        format!("  w: {{repeat: {{times: 2, until: a.value, steps: {{a: {member}}}}}}}"),
        "previous.z",
    );
    let inner = reads("b.value");
    let error = first(&with(&format!(
        "  c: {inner}\n  w: {{branch: [{{steps: {{a: {}, b: {X}}}}}]}}",
        reads("c.value")
    )));
    assert!(
        matches!(&error, SkillError::Cycle { steps, .. } if steps == &["c", "w", "c"]),
        "{error}"
    );
    let sibling = format!("{}, b: {X}", reads("b.value"));
    parse(&with(&format!(
        "  c: {inner}\n  w: {{repeat: {{times: 8, until: b.value, steps: {{a: {sibling}}}}}}}"
    )))
    .unwrap();
}

#[test]
fn mistakes_inside_of_steps_are_typed_and_placed() {
    for (bad, field, line) in [
        (format!("  w:\n    branch:\n      - steps: {{a: {X}}}\n      - steps: {{b: {X}}}"), "steps.w.branch[0]", 5),
        ("  w: {branch: []}".to_owned(), "steps.w.branch", 3),
        (format!("  w:\n    repeat:\n      times: 9\n      until: a.value\n      steps: {{a: {X}}}"), "steps.w.repeat.times", 4),
        ("  w: {repeat: {times: 2, until: query, steps: {}}}".to_owned(), "steps.w.repeat.steps", 3),
        (format!("  w:\n    repeat:\n      times: 2\n      until: 'a.'\n      steps:\n        a: {X}"), "steps.w.repeat.until", 4),
        ("  w:\n    branch:\n      - steps:\n          a:\n            image: {of: 0, zoom: 99}".to_owned(), "steps.w.branch[0].steps.a.image.zoom", 7),
        (format!("  a: {X}\n  w: {{branch: [{{steps: {{a: {X}}}}}]}}"), "steps.a", 4),
        ("  a: {tile: {of: 0, size: 1}}".to_owned(), "steps.a.tile.size", 3),
        ("  a: {tile: {of: 0, overlap: 0.9}}".to_owned(), "steps.a.tile.overlap", 3),
        ("  a: {tile: {of: 0, most: 999999999}}".to_owned(), "steps.a.tile.most", 3),
        ("  t: {tile: {of: 0}}\n  a: {image: {of: t}}".to_owned(), "steps.a.image.of", 4),
        (format!("  t: {X}\n  a: {{helper: {{capability: ocr, images: [t]}}}}"), "steps.a.helper.images", 4),
        ("  a: {helper: {capability: ocr, images: all, each: true}}".to_owned(), "steps.a.helper.each", 3),
        ("  t: {tile: {of: 0, most: 16}}\n  a: {expert: {capability: ocr, images: [0, t], each: true}}".to_owned(), "steps.a.expert.each", 4),
        ("  a: {classify: {labels: [one]}}".to_owned(), "steps.a.classify.labels", 3),
        ("  a: {classify: {labels: [one, two]}}".to_owned(), "steps.a.classify.labels", 3),
        ("  a: {classify: {labels: {one: {x: 1}, ONE: {y: 1}}}}".to_owned(), "steps.a.classify.labels", 3),
        ("  a: {classify: {labels: {one: {x: .nan}, two: {}}}}".to_owned(), "steps.a.classify.labels", 3),
        ("  a: {classify: {labels: [a, b], ask: {prompt: x, max_output_tokens: 0}}}".to_owned(), "steps.a.classify.ask.max_output_tokens", 3),
        ("  a: {classify: {labels: [a, b], ask: {prompt: x, max_output_tokens: 1, expect: y}}}".to_owned(), "steps.a.classify.ask.expect", 3),
    ] {
        let error = first(&with(&bad));
        assert!(
            matches!(&error, SkillError::Invalid { field: f, line: l, .. } if f == field && *l == line),
            "{bad}: {error}"
        );
    }
}

#[test]
fn every_bad_step_is_reported() {
    let errors = parse(&with(&format!(
        "  a: {{image: {{of: 0, zoom: 99}}}}\n  w: {{branch: [{{steps: {{b: {{extract: {{from: x, kind: poem}}}}, c: {X}}}}}]}}\n  d: {{extract: {{from: '{{{{ nobody }}}}'}}}}"
    )))
    .unwrap_err();
    let lines: Vec<_> = errors.iter().map(SkillError::line).collect();
    assert_eq!(lines, [Some(3), Some(5), Some(4)], "{errors:?}");
}

#[test]
fn steps_are_bounded_in_number_depth_and_calls() {
    let deep = |levels: usize| {
        let mut step = X.to_owned();
        for level in 0..levels {
            step = format!("{{branch: [{{steps: {{s{level}: {step}}}}}]}}");
        }
        with(&format!("  top: {step}"))
    };
    parse(&deep(3)).unwrap();
    assert!(first(&deep(4)).to_string().contains("deep"));
    let many = |count: usize| {
        with(
            &(0..count)
                .map(|i| format!("  s{i}: {X}\n"))
                .collect::<String>(),
        )
    };
    parse(&many(64)).unwrap();
    assert!(first(&many(65)).to_string().contains("65 steps"));
    let error = first(&with(
        "  w: {repeat: {times: 8, until: x.value, steps: {v: {repeat: {times: 8, until: x.value, steps: {x: {ask: {prompt: x, max_output_tokens: 1, samples: 5}}}}}}}}",
    ));
    assert!(error.to_string().contains("320 calls"), "{error}");
}

/// A random nest of steps as YAML, its calls counted by hand.
fn nest() -> impl Strategy<Value = (String, u32)> {
    let ask = (1u32..4).prop_map(|samples| {
        let ask = format!("{{ask: {{prompt: x, max_output_tokens: 1, samples: {samples}}}}}");
        (ask, samples)
    });
    let leaf = prop_oneof![Just((X.to_owned(), 0)), ask];
    leaf.prop_recursive(2, 12, 3, |inner| {
        let cases = prop::collection::vec((inner.clone(), inner.clone()), 1..4);
        prop_oneof![
            cases.prop_map(|cases| {
                let calls = cases.iter().map(|((_, a), (_, b))| a + b).max().unwrap();
                let case = |((a, _), (b, _)): &((String, u32), (String, u32))| {
                    format!("{{when: query, steps: {{NAME: {a}, NAME: {b}}}}}")
                };
                let cases: Vec<_> = cases.iter().map(case).collect();
                (format!("{{branch: [{}]}}", cases.join(", ")), calls)
            }),
            ((1u32..=3), inner).prop_map(|(times, (step, calls))| {
                let step = format!(
                    "{{repeat: {{times: {times}, until: query, steps: {{NAME: {step}}}}}}}"
                );
                (step, calls * times)
            }),
        ]
    })
}

/// Names the steps one after another.
fn named(nest: &str) -> String {
    let parts: Vec<&str> = nest.split("NAME").collect();
    let mut text = parts[0].to_owned();
    for (index, part) in parts[1..].iter().enumerate() {
        text.push_str(&format!("n{index}{part}"));
    }
    text
}

fn longest_path(group: &Group) -> u32 {
    let inside = |step: &Step| match &step.action {
        Action::Ask(ask) => ask.samples,
        Action::Repeat(repeat) => (0..repeat.times).map(|_| longest_path(&repeat.steps)).sum(),
        Action::Branch(branch) => branch
            .cases
            .iter()
            .map(|c| longest_path(&c.steps))
            .max()
            .unwrap(),
        _ => 0,
    };
    group.iter().map(inside).sum()
}

proptest! {
    #[test]
    fn bounds_are_those_of_the_dearest_way_through((nest, calls) in nest()) {
        let solver = parse(&with(&format!("  top: {}", named(&nest)))).unwrap();
        prop_assert_eq!(solver.steps.expert_calls(), calls);
        prop_assert_eq!(longest_path(&solver.steps), calls);
    }

    #[test]
    fn any_text_is_a_solver_or_errors(text in "\\PC{0,120}") {
        if let Err(errors) = parse(&text) {
            prop_assert!(!errors.is_empty());
        }
    }
}
