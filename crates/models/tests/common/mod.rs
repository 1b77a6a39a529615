//! What the tests of this crate share: the stored references and how to compare with them.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The folder of the stored references.
pub(crate) fn reference() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference")
}

/// Texts with the embeddings that `make_reference.py` stored for them.
pub(crate) struct Reference(Vec<Row>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    text: String,
    embedding: Vec<f32>,
}

impl Reference {
    pub(crate) fn read(name: &str) -> Self {
        let json = fs::read(reference().join(name)).expect("the reference is in the repository");
        let rows: Vec<Row> = serde_json::from_slice(&json).expect("the reference is well formed");
        assert!(!rows.is_empty());
        Self(rows)
    }

    pub(crate) fn texts(&self) -> Vec<&str> {
        self.0.iter().map(|row| row.text.as_str()).collect()
    }

    pub(crate) fn embeddings(&self) -> Vec<Vec<f32>> {
        self.0.iter().map(|row| row.embedding.clone()).collect()
    }
}

/// Fails unless every component differs by at most `tolerance`.
pub(crate) fn assert_close(actual: &[Vec<f32>], expected: &[Vec<f32>], tolerance: f32) {
    assert_eq!(actual.len(), expected.len());
    for (row, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        assert_eq!(actual.len(), expected.len());
        let worst = actual
            .iter()
            .zip(expected)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0_f32, f32::max);
        assert!(worst <= tolerance, "text {row}: off by {worst}");
    }
}
