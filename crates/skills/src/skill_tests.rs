use std::collections::BTreeSet;

use maestro_core::{Capability, registry::CallBounds};

use super::*;

const FRONT: &str =
    "---\nname: a-skill\ndescription: Does something for somebody.\n---\nThink hard.\n";

fn skill(files: &[(&str, &str)]) -> Result<Skill, SkillError> {
    let files = files.iter().chain(&[("SKILL.md", FRONT)]);
    Skill::from_content(files.map(|(path, text)| (*path, text.as_bytes())))
}

const ONE: &str = "description: one\nsteps:\n  a:\n    ask: {prompt: x, max_output_tokens: 64, samples: 3}\n  b:\n    helper: {capability: ocr}\nanswer: {text: '{{ a.text }}{{ b.text }}'}\n";
const TWO: &str = "description: two\nsteps:\n  a:\n    expert: {capability: analyze, operation: x}\nanswer: {text: '{{ a.value }}'}\n";

#[test]
fn a_plain_agent_skill_asks_with_its_instructions() {
    let skill = skill(&[]).unwrap();
    let header = skill.header();
    assert_eq!(skill.instructions(), "Think hard.");
    assert_eq!(header.requires, [Capability::new("chat").unwrap()].into());
    assert_eq!(
        (header.bounds.expert_calls, header.bounds.output_tokens),
        (1, 1024)
    );
    assert!(header.solvers.is_empty() && !header.direct);
    assert_eq!(skill.solvers()[0].name, "instructions");
    header.validate().unwrap();
}

#[test]
fn needs_and_bounds_follow_from_the_steps() {
    let yaml = "images: required\nlimits: {input_tokens: 500}\ndispatch:\n  default: one\n  rules:\n    - {solver: two, keywords: {grid: 2}}\n  image: {capability: analyze, operation: kind, weight: 1, decisive: 3, kinds: {grid: [two]}}\n";
    let skill = skill(&[
        ("skill.yaml", yaml),
        ("solvers/one.yaml", ONE),
        ("solvers/two.yaml", TWO),
    ])
    .unwrap();
    let header = skill.header();
    let names =
        |set: &BTreeSet<Capability>| set.iter().map(Capability::to_string).collect::<Vec<_>>();
    assert_eq!(names(&header.requires), ["analyze", "chat"]);
    assert_eq!(names(&header.helpers), ["ocr"]);
    let bounds = CallBounds {
        expert_calls: 4,
        helper_calls: 1,
        input_tokens: 500,
        output_tokens: 64,
    };
    assert_eq!(header.bounds, bounds);
    assert_eq!(header.solvers.len(), 2);
}

#[test]
fn helpers_of_optional_steps_alone_are_not_needed() {
    let optional = "description: o\nsteps:\n  a:\n    helper: {capability: ocr}\n    optional: true\n  b:\n    helper: {capability: caption}\n    optional: true\n  c:\n    helper: {capability: caption}\nanswer: {text: '{{ a.text }}{{ b.text }}{{ c.text }}'}\n";
    let header = skill(&[("solvers/one.yaml", optional)]).unwrap().header();
    let set = |name: &str| BTreeSet::from([Capability::new(name).unwrap()]);
    assert_eq!(
        (header.helpers, header.optional_helpers),
        (set("caption"), set("ocr"))
    );
    assert_eq!(header.bounds.helper_calls, 3);
}

#[test]
fn bad_headers_are_refused() {
    let files = |yaml: &'static str| {
        skill(&[
            ("skill.yaml", yaml),
            ("solvers/one.yaml", ONE),
            ("solvers/two.yaml", TWO),
        ])
        .unwrap_err()
    };
    let error = files("images: none\n");
    assert!(
        matches!(&error, SkillError::Invalid { field, .. } if field == "dispatch"),
        "{error}"
    );
    let error = files("dispatch:\n  rules:\n    - {solver: three}\n");
    assert!(
        matches!(&error, SkillError::UnknownSolver { solver, line: 3, .. } if solver == "three"),
        "{error}"
    );
    let error = files("colour: red\n");
    assert!(
        matches!(&error, SkillError::UnknownField { field, .. } if field == "colour"),
        "{error}"
    );
    let error = files("dispatch: {default: one}\nanswer_kinds: [poem]\n");
    assert!(error.to_string().contains("poem"), "{error}");
    let error = files("direct: true\n");
    assert!(error.to_string().contains("direct"), "{error}");
    let error = files("dispatch:\n  rules:\n    - {solver: one, keywords: {x: .inf}}\n");
    assert!(error.to_string().contains("weights"), "{error}");
    let missing = Skill::from_content([("notes.md", b"x".as_slice())]).unwrap_err();
    assert!(matches!(missing, SkillError::MissingFile { .. }));
}
