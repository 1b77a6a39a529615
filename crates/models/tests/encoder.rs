//! The encoder against `transformers`, on a tiny random BERT that stands in the repository
//! (`reference/make_reference.py` writes both).

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests fail by panicking, too"
)]

use std::fs;
use std::path::{Path, PathBuf};

use maestro_models::{DeviceSetting, ModelError, SentenceEncoder, TextEmbedder};

mod common;

use common::{Reference, assert_close};

fn tiny() -> PathBuf {
    common::reference().join("tiny")
}

fn load(folder: &Path) -> Result<SentenceEncoder, ModelError> {
    SentenceEncoder::load(folder, &DeviceSetting::Cpu.open()?)
}

/// The tiny model in a folder of its own, to be damaged.
fn copy() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        fs::copy(tiny().join(name), folder.path().join(name)).unwrap();
    }
    folder
}

fn edit_config(folder: &Path, from: &str, to: &str) {
    let path = folder.join("config.json");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from}");
    fs::write(path, text.replace(from, to)).unwrap();
}

#[test]
fn embeddings_equal_those_of_transformers() {
    let reference = Reference::read("tiny.json");
    let encoder = load(&tiny()).unwrap();
    assert_eq!(encoder.dim(), 24);
    // All at once, so that short texts are padded beside long ones.
    assert_close(
        &encoder.embed(&reference.texts()).unwrap(),
        &reference.embeddings(),
        1e-4,
    );
}

#[test]
fn a_text_s_embedding_does_not_depend_on_its_batch() {
    let reference = Reference::read("tiny.json");
    let texts = reference.texts();
    let encoder = load(&tiny()).unwrap();
    let many: Vec<&str> = texts.iter().copied().cycle().take(70).collect();
    let together = encoder.embed(&many).unwrap();
    for (text, vector) in many.iter().zip(&together).take(texts.len()) {
        let alone = encoder.embed(&[text]).unwrap();
        assert_close(&alone, std::slice::from_ref(vector), 1e-5);
    }
    for (first, later) in together.iter().zip(&together[texts.len()..]) {
        assert_close(
            std::slice::from_ref(later),
            std::slice::from_ref(first),
            1e-5,
        );
    }
}

#[test]
fn no_texts_give_no_vectors() {
    assert!(load(&tiny()).unwrap().embed(&[]).unwrap().is_empty());
}

#[test]
fn the_digest_follows_the_files() {
    let original = load(&tiny()).unwrap();
    let folder = copy();
    assert_eq!(load(folder.path()).unwrap().digest(), original.digest());
    edit_config(
        folder.path(),
        "\"layer_norm_eps\": 1e-05",
        "\"layer_norm_eps\": 1e-06",
    );
    assert_ne!(load(folder.path()).unwrap().digest(), original.digest());
}

#[test]
fn a_missing_file_is_named() {
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        let folder = copy();
        fs::remove_file(folder.path().join(name)).unwrap();
        let error = load(folder.path()).unwrap_err();
        assert!(
            matches!(&error, ModelError::Read { path, .. } if path.ends_with(name)),
            "{name}: {error}"
        );
    }
}

#[test]
fn weights_of_another_network_are_refused() {
    for (from, to, expected) in [
        (
            "\"num_hidden_layers\": 3",
            "\"num_hidden_layers\": 4",
            "missing",
        ),
        (
            "\"num_hidden_layers\": 3",
            "\"num_hidden_layers\": 2",
            "no place for tensor",
        ),
        (
            "\"intermediate_size\": 40",
            "\"intermediate_size\": 48",
            "intermediate",
        ),
    ] {
        let folder = copy();
        edit_config(folder.path(), from, to);
        let error = load(folder.path()).unwrap_err();
        assert!(matches!(error, ModelError::Weights { .. }), "{to}: {error}");
        let text = error.to_string();
        assert!(
            text.contains(expected) || text.contains("up"),
            "{to}: {text}"
        );
    }
}

#[test]
fn damaged_files_are_refused() {
    let folder = copy();
    fs::write(folder.path().join("model.safetensors"), b"nothing").unwrap();
    assert!(matches!(
        load(folder.path()),
        Err(ModelError::Weights { .. })
    ));

    let folder = copy();
    fs::write(folder.path().join("tokenizer.json"), b"{}").unwrap();
    assert!(matches!(
        load(folder.path()),
        Err(ModelError::Tokenizer { .. })
    ));

    let folder = copy();
    edit_config(folder.path(), "\"vocab_size\": 92", "\"vocab_size\": 50");
    assert!(matches!(
        load(folder.path()),
        Err(ModelError::Tokenizer { .. })
    ));
}
