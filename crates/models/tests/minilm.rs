//! The real MiniLM: parity with `transformers`, and how near the bundled table comes to it.
//!
//! The weights stand in `$MAESTRO_MODELS/minilm` (by default `~/.cache/maestro/models/minilm`);
//! without them these tests fail rather than pass unseen.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests fail by panicking, too"
)]

use std::env;
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use maestro_models::{DeviceSetting, SentenceEncoder, StaticTable, TextEmbedder};
use serde::Deserialize;

mod common;

use common::{Reference, assert_close};

fn minilm() -> &'static SentenceEncoder {
    static ENCODER: OnceLock<SentenceEncoder> = OnceLock::new();
    ENCODER.get_or_init(|| {
        let cache = env::var_os("MAESTRO_MODELS").map_or_else(
            || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache/maestro/models"),
            PathBuf::from,
        );
        let folder = cache.join("minilm");
        assert!(
            folder.join("model.safetensors").is_file(),
            "MiniLM is not in {}: run `maestro models pull` (`make test` does), or set MAESTRO_MODELS",
            folder.display()
        );
        SentenceEncoder::load(&folder, &DeviceSetting::Cpu.open().unwrap()).unwrap()
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Evaluation {
    kinds: Vec<Kind>,
    sentences: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kind {
    name: String,
    description: String,
    questions: Vec<String>,
}

impl Evaluation {
    fn read() -> Self {
        let json = fs::read(common::reference().join("evaluation.json")).unwrap();
        serde_json::from_slice(&json).unwrap()
    }

    /// The number of questions, and those for which another kind's description is nearer than
    /// their own.
    fn recognise(&self, embedder: &dyn TextEmbedder) -> (usize, Vec<String>) {
        let descriptions: Vec<&str> = self.kinds.iter().map(|k| k.description.as_str()).collect();
        let descriptions = embedder.embed(&descriptions).unwrap();
        let mut all = 0;
        let mut missed = Vec::new();
        for (own, kind) in self.kinds.iter().enumerate() {
            let questions: Vec<&str> = kind.questions.iter().map(String::as_str).collect();
            all += questions.len();
            for (question, vector) in questions.iter().zip(embedder.embed(&questions).unwrap()) {
                let similarity = |kind: &usize| dot(&vector, &descriptions[*kind]);
                let nearest = (0..descriptions.len())
                    .max_by(|a, b| similarity(a).total_cmp(&similarity(b)))
                    .unwrap();
                if nearest != own {
                    missed.push(format!(
                        "{} -> {}: {question}",
                        kind.name, self.kinds[nearest].name
                    ));
                }
            }
        }
        (all, missed)
    }

    /// The similarity of every pair of the sentences.
    fn similarities(&self, embedder: &dyn TextEmbedder) -> Vec<f32> {
        let sentences: Vec<&str> = self.sentences.iter().map(String::as_str).collect();
        let vectors = embedder.embed(&sentences).unwrap();
        (0..vectors.len())
            .flat_map(|i| (i + 1..vectors.len()).map(move |j| (i, j)))
            .map(|(i, j)| dot(&vectors[i], &vectors[j]))
            .collect()
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Spearman's rank correlation (ties, which floats of this kind hardly have, in any order).
fn rank_correlation(a: &[f32], b: &[f32]) -> f64 {
    fn ranks(values: &[f32]) -> Vec<f64> {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|&i, &j| values[i].total_cmp(&values[j]));
        let mut ranks = vec![0.0; values.len()];
        for (rank, i) in (0_u32..).zip(order) {
            ranks[i] = f64::from(rank);
        }
        ranks
    }
    let (a, b) = (ranks(a), ranks(b));
    let mean = a.iter().sum::<f64>() / a.len() as f64;
    let covariance: f64 = a.iter().zip(&b).map(|(a, b)| (a - mean) * (b - mean)).sum();
    let variance: f64 = a.iter().map(|a| (a - mean).powi(2)).sum();
    covariance / variance
}

#[test]
fn embeddings_equal_those_of_transformers() {
    let reference = Reference::read("minilm.json");
    let encoder = minilm();
    assert_eq!(encoder.dim(), 384);
    assert_close(
        &encoder.embed(&reference.texts()).unwrap(),
        &reference.embeddings(),
        1e-4,
    );
}

#[test]
fn the_table_ranks_pairs_of_sentences_as_the_encoder_does() {
    let evaluation = Evaluation::read();
    let table = StaticTable::bundled().unwrap();
    let expected = evaluation.similarities(minilm());
    let correlation = rank_correlation(&evaluation.similarities(&table), &expected);
    println!(
        "rank correlation {correlation:.3} on {} pairs",
        expected.len()
    );
    assert!(correlation >= 0.60, "{correlation:.3}");
}

#[test]
fn the_table_finds_a_question_s_kind_among_descriptions() {
    let evaluation = Evaluation::read();
    let (all, missed) = evaluation.recognise(&StaticTable::bundled().unwrap());
    let (_, missed_by_encoder) = evaluation.recognise(minilm());
    println!("of {all} questions the table misses {missed:#?}");
    println!("the encoder misses {missed_by_encoder:#?}");
    assert!(
        missed.len() * 100 <= all * 20,
        "{} of {all} missed",
        missed.len()
    );
}
