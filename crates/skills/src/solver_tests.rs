use super::*;

fn parse(text: &str) -> Result<Solver, SkillError> {
    Solver::parse("solvers/s.yaml", "s", text).map_err(|mut errors| errors.remove(0))
}

const GOOD: &str = r#"
description: Reads, cuts, asks.
steps:
  answer_it:
    ask:
      prompt: "{{ query }} {{ read.text }}"
      images: [0, cut]
      max_output_tokens: 64
      samples: 3
  read:
    helper: { capability: ocr }
    optional: true
  cut:
    when: read.regions
    image:
      of: 0
      crop: { bounds: "{{ read.regions[0].bounds }}", margin: 0.1 }
      zoom: 2
  total:
    tool:
      name: calculator
      with: { expression: "{{ answer_it.value }}" }
answer:
  text: "{{ total.value }}"
"#;

#[test]
fn steps_are_ordered_by_what_they_read() {
    let solver = parse(GOOD).unwrap();
    let order: Vec<_> = solver.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(order, ["read", "cut", "answer_it", "total"]);
    assert_eq!(solver.steps.step("answer_it").unwrap().expert_calls(), 3);
    assert_eq!(solver.unread_steps().count(), 0);
}

#[test]
fn a_circle_names_its_steps() {
    let error = parse(
        "description: d\nsteps:\n  a:\n    extract: {from: '{{ b.value }}'}\n  b:\n    extract: {from: '{{ a.value }}'}\nanswer: {text: x}\n",
    )
    .unwrap_err();
    match error {
        SkillError::Cycle { steps, line, .. } => {
            assert_eq!(steps, ["a", "b", "a"]);
            assert_eq!(line, 4);
        }
        other => panic!("{other}"),
    }
}

fn with_step(step: &str) -> SkillError {
    parse(&format!(
        "description: d\nsteps:\n  a:\n    {step}\nanswer: {{text: '{{{{ a.text }}}}'}}\n"
    ))
    .unwrap_err()
}

#[test]
fn mistakes_are_typed_and_placed() {
    let error = with_step("shell: {command: ls}");
    assert!(
        matches!(&error, SkillError::UnknownField { field, .. } if field == "shell"),
        "{error}"
    );
    let error = with_step("tool: {name: eval, with: {expression: '1'}}");
    assert!(
        matches!(&error, SkillError::UnknownTool { tool, .. } if tool == "eval"),
        "{error}"
    );
    let error = with_step("extract: {from: '{{ nobody.text }}'}");
    assert!(
        matches!(&error, SkillError::UnknownReference { reference, line: 4, .. } if reference == "nobody"),
        "{error}"
    );
    let error = with_step("image: {of: nobody}");
    assert!(
        matches!(&error, SkillError::UnknownReference { .. }),
        "{error}"
    );
    for (bad, field) in [
        (
            "ask: {prompt: '{{ query', max_output_tokens: 5}",
            "steps.a.ask.prompt",
        ),
        (
            "ask: {prompt: x, max_output_tokens: 0}",
            "steps.a.ask.max_output_tokens",
        ),
        (
            "ask: {prompt: x, max_output_tokens: 1, samples: 99}",
            "steps.a.ask.samples",
        ),
        (
            "ask: {prompt: x, max_output_tokens: 1, temperature: -1}",
            "steps.a.ask.temperature",
        ),
        (
            "ask: {prompt: x, max_output_tokens: 1, expect: '('}",
            "steps.a.ask.expect",
        ),
        ("image: {of: 0, zoom: 1e9}", "steps.a.image.zoom"),
        ("image: {of: 0, zoom: .nan}", "steps.a.image.zoom"),
        ("tool: {name: calculator, with: {}}", "steps.a.tool.with"),
        ("extract: {from: x, kind: poem}", "steps.a.extract.kind"),
        (
            "extract: {from: x}\n    timeout_ms: 0",
            "steps.a.timeout_ms",
        ),
        (
            "extract: {from: x}\n    ask: {prompt: x, max_output_tokens: 1}",
            "steps.a",
        ),
        ("optional: true", "steps.a"),
    ] {
        let error = with_step(bad);
        assert!(
            matches!(&error, SkillError::Invalid { field: f, line: 4, .. } if f == field),
            "{bad}: {error}"
        );
    }
}

#[test]
fn malformed_yaml_names_its_line() {
    let error = parse("description: d\nsteps: [\n").unwrap_err();
    assert!(
        matches!(error, SkillError::Syntax { .. }) && error.line().is_some(),
        "{error}"
    );
    let error = parse("description: d\ndescription: e\nanswer: {text: x}\n").unwrap_err();
    assert!(
        matches!(error, SkillError::Syntax { line: 2, .. }),
        "{error}"
    );
}
