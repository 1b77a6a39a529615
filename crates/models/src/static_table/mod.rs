//! A static token table: text embeddings in microseconds, without a network.
//!
//! A text's vector is the normalised mean of its tokens' rows. The rows are distilled from a
//! sentence encoder (after Model2Vec; `scripts/distill_static_table.py` makes the table that
//! ships), so that dot products rank texts much as the encoder's do. Word order is lost.

mod format;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::path::Path;

use sha2::{Digest, Sha256};
use tokenizers::Tokenizer;
// WordPiece's builder takes this map type, which only the neighbouring model exports by name.
use tokenizers::models::bpe::Vocab;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;

use crate::error::read_file;
use crate::text::normalise;
use crate::{ModelError, TextEmbedder};

/// Bytes of a text that are read (cut at the character before): bounds the time of one call.
pub const MAX_BYTES: usize = 8192;

/// The token that stands for words which no tokens spell; every table has it.
const UNKNOWN: &str = "[UNK]";

/// The table that ships with the crate.
static BUNDLED: &[u8] = include_bytes!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/assets/static-table.safetensors"
));

/// A token table with its tokenizer (uncased WordPiece).
pub struct StaticTable {
    bytes: Cow<'static, [u8]>,
    vectors: Range<usize>,
    scales: Vec<f32>,
    dim: usize,
    tokenizer: Tokenizer,
    digest: String,
}

impl StaticTable {
    /// The table that ships with the crate; its rows stay in the binary's read-only data.
    ///
    /// Hashes and indexes the table (tens of milliseconds): call it once and share the result.
    ///
    /// # Errors
    /// [`ModelError::Table`] if the file the crate was built with is damaged.
    pub fn bundled() -> Result<Self, ModelError> {
        Self::parse(Cow::Borrowed(BUNDLED))
    }

    /// A table from a file that the distillation script wrote.
    ///
    /// # Errors
    /// [`ModelError::Read`] or [`ModelError::Table`].
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        Self::parse(Cow::Owned(read_file(path)?))
    }

    fn parse(bytes: Cow<'static, [u8]>) -> Result<Self, ModelError> {
        let digest = hex::encode(Sha256::digest(&bytes));
        let format::Layout {
            vectors,
            dim,
            scales,
            tokens,
        } = format::parse(&bytes)?;
        let tokenizer = tokenizer(tokens)?;
        Ok(Self {
            bytes,
            vectors,
            scales,
            dim,
            tokenizer,
            digest,
        })
    }

    /// Length of every vector.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// SHA-256 of the table's file, in hex: part of the version of whatever is trained on it.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The text's vector, of length 1; **all zeros** if the text is empty or no word of it is
    /// made of known tokens. Past [`MAX_BYTES`] nothing is read.
    #[must_use]
    pub fn embed(&self, text: &str) -> Vec<f32> {
        let mut sum = vec![0.0; self.dim];
        // WordPiece with an unknown token maps every text to ids; an error could only mean that
        // nothing was recognised, which the zero vector says.
        if let Ok(encoding) = self.tokenizer.encode_fast(clip(text), false) {
            for &id in encoding.get_ids() {
                self.add_row(id as usize, &mut sum);
            }
        }
        normalise(&mut sum);
        sum
    }

    fn add_row(&self, row: usize, sum: &mut [f32]) {
        let start = self.vectors.start + row * self.dim;
        if let (Some(&scale), Some(values)) = (
            self.scales.get(row),
            self.bytes.get(start..start + self.dim),
        ) {
            for (sum, &value) in sum.iter_mut().zip(values) {
                *sum += scale * f32::from(value.cast_signed());
            }
        }
    }
}

impl TextEmbedder for StaticTable {
    fn dim(&self) -> usize {
        self.dim()
    }

    fn digest(&self) -> &str {
        self.digest()
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, ModelError> {
        Ok(texts.iter().map(|text| self.embed(text)).collect())
    }
}

impl fmt::Debug for StaticTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticTable")
            .field("tokens", &self.scales.len())
            .field("dim", &self.dim)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

/// The longest prefix of whole characters within [`MAX_BYTES`].
fn clip(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_BYTES)]
}

/// BERT's uncased tokenizer over the table's tokens; ids are row numbers.
fn tokenizer(tokens: Vec<String>) -> Result<Tokenizer, ModelError> {
    let rows = tokens.len();
    let vocab: Vocab = tokens.into_iter().zip(0_u32..).collect();
    if vocab.len() != rows {
        return Err(ModelError::table("a token stands twice in the vocabulary"));
    }
    if !vocab.contains_key(UNKNOWN) {
        return Err(ModelError::table(&format!(
            "the vocabulary lacks {UNKNOWN}"
        )));
    }
    let model = WordPiece::builder()
        .vocab(vocab)
        .unk_token(UNKNOWN.to_owned())
        .build()
        .map_err(|error| ModelError::tokenizer(&error))?;
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_normalizer(Some(BertNormalizer::new(true, true, None, true)));
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    Ok(tokenizer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(rows: &[(&str, Vec<i8>, f32)]) -> Result<StaticTable, ModelError> {
        StaticTable::parse(Cow::Owned(format::tests::file("1", 2, rows)))
    }

    fn small() -> StaticTable {
        table(&[
            ("[UNK]", vec![0, 0], 0.0),
            ("red", vec![127, 0], 0.01),
            ("circle", vec![0, 127], 0.02),
            ("##s", vec![0, 0], 1.0),
        ])
        .unwrap()
    }

    #[test]
    fn a_vector_is_the_normalised_sum_of_scaled_rows() {
        let vector = small().embed("Red CIRCLES");
        let norm = (1.27_f32.powi(2) + 2.54_f32.powi(2)).sqrt();
        assert!((vector[0] - 1.27 / norm).abs() < 1e-6, "{vector:?}");
        assert!((vector[1] - 2.54 / norm).abs() < 1e-6, "{vector:?}");
    }

    #[test]
    fn nothing_known_gives_zeros() {
        let table = small();
        for text in ["", "   ", "zzz", "\u{0}\u{fffd}", "###"] {
            assert_eq!(table.embed(text), [0.0, 0.0], "{text:?}");
        }
    }

    #[test]
    fn text_past_the_limit_is_not_read() {
        let table = small();
        let long = format!("red{}circle", " ".repeat(MAX_BYTES));
        assert_eq!(table.embed(&long), table.embed("red"));
        let wide = "é".repeat(MAX_BYTES);
        assert_eq!(clip(&wide).len(), MAX_BYTES);
        assert_eq!(clip(&format!("a{wide}")).len(), MAX_BYTES - 1);
    }

    #[test]
    fn a_vocabulary_needs_distinct_tokens_and_the_unknown_one() {
        for (rows, expected) in [
            (vec![("red", vec![1, 1], 1.0)], "lacks [UNK]"),
            (
                vec![("[UNK]", vec![0, 0], 0.0), ("[UNK]", vec![0, 0], 0.0)],
                "twice",
            ),
        ] {
            let error = table(&rows).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_bundled_table_is_sound() {
        let table = StaticTable::bundled().unwrap();
        assert_eq!(table.dim(), 256);
        assert_eq!(table.digest().len(), 64);
        assert!(BUNDLED.len() <= 10_000_000, "{} bytes", BUNDLED.len());
        let again = TextEmbedder::embed(&table, &["How many rows?", ""]).unwrap();
        assert_eq!(again[0], table.embed("how many ROWS ?"));
        assert_eq!(again[1], vec![0.0; 256]);
    }

    #[test]
    fn a_table_is_loaded_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.safetensors");
        assert!(matches!(
            StaticTable::load(&path),
            Err(ModelError::Read { .. })
        ));
        std::fs::write(&path, BUNDLED).unwrap();
        let loaded = StaticTable::load(&path).unwrap();
        assert_eq!(loaded.digest(), StaticTable::bundled().unwrap().digest());
    }

    proptest! {
        #[test]
        fn any_text_gives_length_one_or_zero(text in "\\PC{0,80}") {
            let vector = small().embed(&text);
            let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
            prop_assert!(norm == 0.0 || (norm - 1.0).abs() < 1e-4);
        }
    }
}
