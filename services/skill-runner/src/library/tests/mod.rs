//! The library as a whole: valid, complete, in its own words.

mod counting;
mod dispatch;
mod drawing;
mod workflows;

use std::collections::BTreeSet;

use maestro_core::registry::ImageNeed;
use maestro_skills::Severity;

use super::*;

fn named(name: &str) -> Skill {
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
        ("code-problem", "chat", Optional, false, 4),
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
