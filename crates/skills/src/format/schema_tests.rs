use std::path::{Path, PathBuf};

use jsonschema::Validator;

use super::*;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schema")
}

/// With `UPDATE_SCHEMA=1` it writes the files instead.
#[test]
fn the_files_of_the_schemas_are_current() {
    for (file, schema) in json_schema() {
        let path = folder().join(file);
        let text = format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            kept,
            text,
            "{} is not current: UPDATE_SCHEMA=1 cargo test -p maestro-skills schema",
            path.display()
        );
    }
}

fn validator(file: &str) -> Validator {
    jsonschema::draft202012::new(&json_schema()[file]).unwrap()
}

fn value(yaml: &str) -> Json {
    serde_saphyr::from_str(yaml).unwrap()
}

#[test]
fn every_file_of_the_library_has_the_form_of_its_schema() {
    let skills = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../services/skill-runner/skills");
    let (skill, solver) = (validator("skill.json"), validator("solver.json"));
    let mut checked = 0;
    for entry in walkdir::WalkDir::new(skills) {
        let path = entry.unwrap().into_path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let file = value(&std::fs::read_to_string(&path).unwrap());
        let schema = if path.ends_with("skill.yaml") {
            &skill
        } else {
            &solver
        };
        let errors: Vec<String> = schema.iter_errors(&file).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{}: {errors:?}", path.display());
        checked += 1;
    }
    assert!(checked > 10);
}

#[test]
fn what_has_not_the_form_is_refused() {
    let solver = validator("solver.json");
    let file = |step: &str| {
        value(&format!(
            "description: d\nsteps: {{a: {step}}}\nanswer: {{text: x}}\n"
        ))
    };
    for good in [
        "{extract: {from: x}, when: query, optional: true}",
        "{ask: {prompt: x, max_output_tokens: 1, images: [0, cut]}}",
        "{ask: {prompt: x, max_output_tokens: 1, images: none}}",
        "{classify: {labels: [a, b], ask: {prompt: x, max_output_tokens: 1}}}",
        "{classify: {labels: {a: {x: 1.5}, b: }}}",
        "{branch: [{when: query, steps: {b: {extract: {from: x}}}, value: x}]}",
        "{repeat: {times: 2, until: 'true', steps: {b: {tile: {of: 0}}}}}",
        "{image: {of: 0, draw: {boxes: x, numbered: true}}}",
    ] {
        let errors: Vec<String> = solver
            .iter_errors(&file(good))
            .map(|e| e.to_string())
            .collect();
        assert!(errors.is_empty(), "{good}: {errors:?}");
    }
    for bad in [
        "{}",
        "{extract: {from: x}, run: {code: x}}",
        "{shell: {command: ls}}",
        "{ask: {prompt: x}}",
        "{image: {of: [0]}}",
        "{branch: [{steps: {b: {}}}]}",
    ] {
        assert!(!solver.is_valid(&file(bad)), "{bad}");
    }
}

/// The blocks of YAML in a text of Markdown.
fn blocks(markdown: &str) -> Vec<&str> {
    let mut rest = markdown;
    let mut blocks = Vec::new();
    while let Some((_, after)) = rest.split_once("```yaml\n") {
        let (block, after) = after.split_once("```").unwrap();
        blocks.push(block);
        rest = after;
    }
    blocks
}

/// They are whole solvers, parts of `skill.yaml`, and steps.
#[test]
fn the_examples_of_the_documentation_have_the_form_of_the_schemas() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/skills.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (skill, solver) = (validator("skill.json"), validator("solver.json"));
    let mut checked = 0;
    for block in blocks(&text).into_iter().filter(|b| !b.starts_with('#')) {
        let (schema, file) = if block.starts_with("dispatch:") {
            (&skill, block.to_owned())
        } else if block.starts_with("description:") {
            (&solver, block.to_owned())
        } else {
            let steps: String = block.lines().map(|line| format!("  {line}\n")).collect();
            let around = format!("description: d\nsteps:\n{steps}answer: {{text: x}}\n");
            (&solver, around)
        };
        let file = value(&file);
        let errors: Vec<String> = schema.iter_errors(&file).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{block}: {errors:?}");
        checked += 1;
    }
    assert!(checked > 10, "{checked} examples");
}
