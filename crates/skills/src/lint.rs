//! Finds everything that can be said about a skill's folder, not only the first error.

use std::{collections::BTreeSet, path::Path};

use crate::{
    bundle::{self, Files},
    error::SkillError,
    front_matter::{self, SKILL_FILE},
    skill::{HEADER_FILE, Skill},
};

/// Shorter descriptions give a policy little to choose by.
const SHORT_DESCRIPTION_CHARS: usize = 40;
/// The Agent Skills standard's limits.
const MAX_NAME_CHARS: usize = 64;
const MAX_COMPATIBILITY_CHARS: usize = 500;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The skill works; it could be better.
    Warning,
    /// The skill is refused.
    Error,
}

/// One thing that is wrong or could be better.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file, relative to the folder.
    pub file: String,
    /// The line from 1, if it is about one.
    pub line: Option<u64>,
    /// What it is about.
    pub message: String,
    /// How bad it is.
    pub severity: Severity,
}

impl Finding {
    fn warning(file: &str, line: Option<u64>, message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line,
            message: message.into(),
            severity: Severity::Warning,
        }
    }

    fn error(error: &SkillError) -> Self {
        Self {
            file: error.file().unwrap_or(SKILL_FILE).to_owned(),
            line: error.line(),
            message: error.to_string(),
            severity: Severity::Error,
        }
    }
}

/// Checks a skill's folder. Errors come first; without one, [`Skill::load`] succeeds.
pub fn lint(dir: &Path) -> Vec<Finding> {
    let files = match bundle::read_folder(dir) {
        Ok(files) => files,
        Err(error) => return vec![Finding::error(&error)],
    };
    let folder = dir.file_name().and_then(|name| name.to_str());
    let mut findings = match Skill::read(&files, folder) {
        Ok(skill) => skill_warnings(&skill, &files),
        Err(errors) => errors.iter().map(Finding::error).collect(),
    };
    findings.extend(front_matter_warnings(&files, folder));
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

fn front_matter_warnings(files: &Files, folder: Option<&str>) -> Vec<Finding> {
    let Some(text) = text_of(files, SKILL_FILE) else {
        return Vec::new();
    };
    let Ok((front, _)) = front_matter::parse(text) else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    let mut warn = |key: &str, message: String| {
        findings.push(Finding::warning(SKILL_FILE, line_of(text, key), message));
    };
    if folder.is_some_and(|folder| !front.name.is_empty() && folder != front.name) {
        let message = format!("name {:?} differs from the folder's name", front.name);
        warn("name", message);
    }
    let shaped = front.name.chars().count() <= MAX_NAME_CHARS
        && !front.name.contains("--")
        && front
            .name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !shaped {
        let message = format!(
            "name {:?} is not 1 to {MAX_NAME_CHARS} lower-case letters, digits and single hyphens",
            front.name
        );
        warn("name", message);
    }
    let length = front.description.chars().count();
    if (1..SHORT_DESCRIPTION_CHARS).contains(&length) {
        let message = "the description is short: say what the skill is for and when";
        warn("description", message.to_owned());
    }
    if front
        .compatibility
        .is_some_and(|text| text.chars().count() > MAX_COMPATIBILITY_CHARS)
    {
        let message = format!("compatibility is longer than {MAX_COMPATIBILITY_CHARS} characters");
        warn("compatibility", message);
    }
    for key in front.unknown.keys() {
        let message = format!("{key:?} is not a key of the Agent Skills standard; it is ignored");
        warn(key, message);
    }
    findings
}

fn text_of<'a>(files: &'a Files, path: &str) -> Option<&'a str> {
    std::str::from_utf8(files.get(path)?).ok()
}

/// The line, from 1, on which a top-level key of a YAML text stands.
fn line_of(text: &str, key: &str) -> Option<u64> {
    let begins = |line: &str| {
        let after = line.trim_start_matches(['"', '\'']).strip_prefix(key);
        after.is_some_and(|rest| rest.trim_start_matches(['"', '\'', ' ']).starts_with(':'))
    };
    (1..)
        .zip(text.lines())
        .find(|(_, line)| begins(line))
        .map(|(number, _)| number)
}

fn skill_warnings(skill: &Skill, files: &Files) -> Vec<Finding> {
    let mut findings = Vec::new();
    let header = skill.header();
    if skill.instructions().is_empty() && header.solvers.is_empty() && !header.direct {
        findings.push(Finding::warning(
            SKILL_FILE,
            None,
            "there are neither instructions nor solvers",
        ));
    }
    let dispatch = skill.dispatch();
    let mut reachable: BTreeSet<&str> = dispatch.default.as_deref().into_iter().collect();
    reachable.extend(dispatch.rules.iter().map(|rule| rule.solver.as_str()));
    reachable.extend(
        dispatch
            .image
            .iter()
            .flat_map(|p| p.kinds.values().flatten())
            .map(String::as_str),
    );
    // An expert that is asked may name any.
    if dispatch.ask.is_some() {
        reachable.extend(skill.solvers().iter().map(|solver| solver.name.as_str()));
    }
    for solver in skill.solvers() {
        if !reachable.contains(solver.name.as_str()) {
            let message = format!("no dispatch rule leads to the solver {:?}", solver.name);
            let line = text_of(files, HEADER_FILE).and_then(|text| line_of(text, "dispatch"));
            findings.push(Finding::warning(HEADER_FILE, line, message));
        }
        for (step, line) in solver.unread_steps() {
            let message = format!("nothing reads the result of the step {step:?}");
            findings.push(Finding::warning(
                &format!("solvers/{}.yaml", solver.name),
                line,
                message,
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("solvers")).unwrap();
        for (path, content) in files {
            std::fs::write(dir.path().join(path), content).unwrap();
        }
        dir
    }

    #[test]
    fn every_bad_file_is_reported_with_its_line() {
        let dir = folder(&[
            (
                "SKILL.md",
                "---\nname: two-bad\ndescription: d\ncolor: red\n---\nBody\n",
            ),
            (
                "solvers/a.yaml",
                "description: a\nsteps:\n  x:\n    aks: {}\nanswer: {text: ''}\n",
            ),
            (
                "solvers/b.yaml",
                "description: b\nsteps: {}\nanswer:\n  text: '{{ nothing.text }}'\n",
            ),
        ]);
        let findings = lint(dir.path());
        let seen: Vec<_> = findings
            .iter()
            .map(|f| (f.file.as_str(), f.line, f.severity))
            .collect();
        assert_eq!(
            seen[..2],
            [
                ("solvers/a.yaml", Some(4), Severity::Error),
                ("solvers/b.yaml", Some(4), Severity::Error),
            ]
        );
        assert!(
            findings[0].message.contains("aks"),
            "{}",
            findings[0].message
        );
        assert!(
            findings[1].message.contains("nothing"),
            "{}",
            findings[1].message
        );
        let line = |word: &str| {
            let warned = findings[2..].iter().find(|f| f.message.contains(word));
            warned.and_then(|finding| finding.line)
        };
        assert_eq!(
            [line("folder's name"), line("short"), line("color")],
            [Some(2), Some(3), Some(4)]
        );
    }

    #[test]
    fn what_could_be_better_is_reported_with_its_line() {
        let solver = |name: &str| {
            format!(
                "description: {name}\nsteps:\n  spare:\n    ask: {{prompt: x, max_output_tokens: 9}}\n\
                 answer: {{text: x}}\n"
            )
        };
        let dir = folder(&[
            ("SKILL.md", "---\nname: spare\ndescription: d\n---\nBody\n"),
            ("skill.yaml", "images: none\ndispatch: {default: a}\n"),
            ("solvers/a.yaml", &solver("a")),
            ("solvers/b.yaml", &solver("b")),
        ]);
        let findings = lint(dir.path());
        let seen: Vec<_> = findings
            .iter()
            .filter(|finding| finding.file != "SKILL.md")
            .map(|f| (f.file.as_str(), f.line, f.severity))
            .collect();
        assert_eq!(
            seen,
            [
                ("solvers/a.yaml", Some(4), Severity::Warning),
                ("skill.yaml", Some(2), Severity::Warning),
                ("solvers/b.yaml", Some(4), Severity::Warning),
            ]
        );
    }
}
