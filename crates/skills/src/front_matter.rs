//! `SKILL.md`: front matter after the Agent Skills standard, and the instructions below it.
//!
//! The standard asks readers to be lenient, so that skills written for other programs work here:
//! unknown keys are kept out of the way, an over-long name is a warning of [`crate::lint`], and a
//! value with an unquoted colon is read as it was meant. Only a missing description or a name
//! that cannot stand in the registry refuses a skill.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{error::SkillError, yaml};

/// The file that makes a folder a skill.
pub(crate) const SKILL_FILE: &str = "SKILL.md";

/// The front matter of a skill.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FrontMatter {
    /// Its name; the folder's name where absent.
    #[serde(default)]
    pub name: String,
    /// What it is for and when to use it.
    #[serde(default)]
    pub description: String,
    /// Its licence.
    #[serde(default)]
    pub license: Option<String>,
    /// What it needs of its surroundings, in words.
    #[serde(default)]
    pub compatibility: Option<String>,
    /// Whatever its author noted.
    #[serde(default)]
    pub metadata: BTreeMap<String, serde_json::Value>,
    /// Tools that its author expected to be there. Nothing is granted by it.
    #[serde(default)]
    pub allowed_tools: Option<serde_json::Value>,
    /// Keys that the standard does not have.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, serde_json::Value>,
}

/// Splits `SKILL.md` into front matter and instructions.
pub(crate) fn parse(text: &str) -> Result<(FrontMatter, String), SkillError> {
    let syntax = |line, message: &str| SkillError::Syntax {
        file: SKILL_FILE.to_owned(),
        line,
        message: message.to_owned(),
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text.split_inclusive('\n');
    let first = lines.next().unwrap_or_default();
    if first.trim_end() != "---" {
        return Err(syntax(
            1,
            "the file must begin with front matter between two lines of ---",
        ));
    }
    let rest = &text[first.len()..];
    let mut length = 0;
    for line in lines {
        if line.trim_end() == "---" {
            let body = rest[length + line.len()..].trim().to_owned();
            return Ok((parse_yaml(&rest[..length])?, body));
        }
        length += line.len();
    }
    Err(syntax(
        1,
        "the front matter has no end: a second line of --- is missing",
    ))
}

fn parse_yaml(text: &str) -> Result<FrontMatter, SkillError> {
    let text = if text.trim().is_empty() { "{}" } else { text };
    yaml::read(SKILL_FILE, text, 1).or_else(|error| {
        // Authors forget to quote `description: Use for this: and that`.
        yaml::read(SKILL_FILE, &quote_colons(text), 1).map_err(|_: SkillError| error)
    })
}

/// Quotes plain one-line values that hold `: ` or ` #`.
fn quote_colons(text: &str) -> String {
    text.lines()
        .map(|line| match line.split_once(": ") {
            Some((key, value))
                if !line.starts_with(char::is_whitespace)
                    && value.contains(": ")
                    && !value
                        .trim_start()
                        .starts_with(['"', '\'', '|', '>', '[', '{']) =>
            {
                format!("{key}: '{}'\n", value.trim().replace('\'', "''"))
            }
            _ => format!("{line}\n"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_standard_leniently() {
        let text = "---\nname: pdf\ndescription: Use for two things: this and that\nlicense: MIT\n\
                    allowed-tools: Read Write\nmetadata:\n  version: 1.0\nmodel: x\n---\n# Title\nDo it.\n";
        let (front, body) = parse(text).unwrap();
        assert_eq!(front.description, "Use for two things: this and that");
        assert_eq!(front.license.as_deref(), Some("MIT"));
        assert_eq!(front.unknown.keys().collect::<Vec<_>>(), ["model"]);
        assert_eq!(body, "# Title\nDo it.");
    }

    #[test]
    fn skills_written_elsewhere_are_read() {
        let quoted =
            "\u{feff}---\r\nname: \"pdf\"\r\ndescription: 'It''s for PDFs.'\r\n---\r\nBody\r\n";
        let (front, body) = parse(quoted).unwrap();
        assert_eq!((front.name.as_str(), body.as_str()), ("pdf", "Body"));
        assert_eq!(front.description, "It's for PDFs.");
        let folded = "---\ndescription: >-\n  Two\n  lines: of it.\nallowed-tools: [Read, 'Bash(git:*)']\n---\n";
        let (front, body) = parse(folded).unwrap();
        assert_eq!(front.description, "Two lines: of it.");
        assert_eq!(
            (front.name.as_str(), body.as_str()),
            ("", ""),
            "the folder names it"
        );
        let rule = "---\nname: a\ndescription: d\n---\nAbove\n\n---\n\nbelow\n";
        assert_eq!(parse(rule).unwrap().1, "Above\n\n---\n\nbelow");
    }

    #[test]
    fn a_broken_front_matter_names_its_line() {
        let error = parse("---\nname: x\ndescription: [a\n---\n").unwrap_err();
        assert!(
            error.line().is_some_and(|line| (2..=4).contains(&line)),
            "{error}"
        );
        assert!(
            parse("name: x")
                .unwrap_err()
                .to_string()
                .contains("front matter")
        );
        assert!(
            parse("---\nname: x\n")
                .unwrap_err()
                .to_string()
                .contains("no end")
        );
    }
}
