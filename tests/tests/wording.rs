//! No shortcut from wording: what the policy and the dispatch read shares no run of five words
//! with the prompts of recorded task collections. The prompts are here as hashes only
//! (`scripts/hash_prompts.py`).
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

const RUN: usize = 5;
const HASH_BYTES: usize = 8;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn known() -> BTreeSet<[u8; HASH_BYTES]> {
    let bytes = fs::read(root().join("tests/assets/prompt_5grams.bin")).unwrap();
    assert!(bytes.len() > 10_000 * HASH_BYTES && bytes.len().is_multiple_of(HASH_BYTES));
    bytes
        .chunks_exact(HASH_BYTES)
        .map(|hash| hash.try_into().unwrap())
        .collect()
}

fn runs(text: &str) -> Vec<String> {
    let words: Vec<String> = text
        .to_ascii_lowercase()
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    words.windows(RUN).map(|window| window.join(" ")).collect()
}

fn hash(run: &str) -> [u8; HASH_BYTES] {
    Sha256::digest(run.as_bytes())[..HASH_BYTES]
        .try_into()
        .unwrap()
}

fn shared(text: &str, known: &BTreeSet<[u8; HASH_BYTES]>) -> Vec<String> {
    runs(text)
        .into_iter()
        .filter(|run| known.contains(&hash(run)))
        .collect()
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path
            .extension()
            .is_some_and(|e| ["md", "yaml", "jsonl", "py"].iter().any(|x| e == *x))
        {
            found.push(path);
        }
    }
}

#[test]
fn descriptions_rules_and_paraphrases_share_no_run_with_recorded_prompts() {
    let known = known();
    let mut texts = vec![];
    for folder in [
        "services/skill-runner/skills",
        "services/expert-worker/experts",
        "tests/paraphrases",
        "demo",
        "training",
        "scripts/generation",
    ] {
        files(&root().join(folder), &mut texts);
    }
    assert!(texts.len() > 10, "{texts:?}");
    for path in texts {
        let shared = shared(&fs::read_to_string(&path).unwrap(), &known);
        assert!(shared.is_empty(), "{}: {shared:?}", path.display());
    }
}

#[test]
fn the_check_finds_a_run_that_is_shared() {
    // Any run of the collection would do; this one is invented and added to the hashes.
    let mut known = known();
    let run = "one two three four five";
    known.insert(
        Sha256::digest(run.as_bytes())[..HASH_BYTES]
            .try_into()
            .unwrap(),
    );
    assert_eq!(shared("Zero ONE two, three-four five six", &known), [run]);
}
