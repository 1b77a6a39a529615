//! Sentence encoders of the MiniLM kind: BERT, mean pooling, unit vectors.
//!
//! [`SentenceEncoder`] is what others use; [`EncoderConfig`] and [`Encoder`] are the network
//! behind it.

mod config;
mod network;
mod weights;

use std::fs::File;
use std::io;
use std::path::Path;

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use sha2::{Digest, Sha256};
use tokenizers::{Tokenizer, TruncationParams};

pub use config::EncoderConfig;
pub use network::Encoder;

use crate::error::read_file;
use crate::{ModelError, TextEmbedder};

/// Tokens of a text that are read, special ones included; the rest is cut off.
pub const MAX_TOKENS: usize = 256;

/// Most texts that go through the network together: bounds the memory of one call.
const MAX_BATCH: usize = 32;

/// The files of a checkpoint folder.
const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const WEIGHTS: &str = "model.safetensors";

/// A sentence encoder with its tokenizer, on one device.
#[derive(Debug)]
pub struct SentenceEncoder {
    network: Encoder,
    tokenizer: Tokenizer,
    device: Device,
    dim: usize,
    digest: String,
}

impl SentenceEncoder {
    /// Loads `config.json`, `tokenizer.json` and `model.safetensors` from a folder.
    ///
    /// Truncation and padding that `tokenizer.json` may ask for are replaced: texts are cut at
    /// [`MAX_TOKENS`] and padded to the longest of their batch.
    ///
    /// # Errors
    /// [`ModelError::Read`] for a missing file, [`ModelError::Config`], [`ModelError::Tokenizer`]
    /// or [`ModelError::Weights`] for one that does not fit.
    pub fn load(folder: &Path, device: &Device) -> Result<Self, ModelError> {
        let config = EncoderConfig::from_json(&read_file(&folder.join(CONFIG))?)?;
        let tokenizer = load_tokenizer(&folder.join(TOKENIZER), &config)?;
        let digest = digest(folder)?;
        let mut network = config.init(device);
        weights::load(&mut network, &folder.join(WEIGHTS))?;
        Ok(Self {
            network,
            tokenizer,
            device: device.clone(),
            dim: config.hidden_size,
            digest,
        })
    }

    fn tokenise(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        let encoding = self
            .tokenizer
            .encode_fast(text, true)
            .map_err(|error| ModelError::tokenizer(&error))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Embeds one padded batch; at least one text, each of at least one token.
    fn embed_batch(&self, batch: &[&[u32]]) -> Result<Vec<f32>, ModelError> {
        let (ids, mask, width) = pad(batch);
        let shape = [batch.len(), width];
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, shape), &self.device);
        let mask = Tensor::<2, Bool>::from_data(TensorData::new(mask, shape), &self.device);
        self.network
            .embed(ids, mask)
            .try_to_vec_as::<f32>()
            .map_err(|error| ModelError::Execution {
                reason: error.to_string(),
            })
    }
}

impl TextEmbedder for SentenceEncoder {
    fn dim(&self) -> usize {
        self.dim
    }

    fn digest(&self) -> &str {
        &self.digest
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, ModelError> {
        let tokens = texts
            .iter()
            .map(|text| self.tokenise(text))
            .collect::<Result<Vec<_>, _>>()?;
        // Texts of like length share a batch, so that little is spent on padding. A tokenizer
        // without special tokens gives an empty text no token at all: its vector stays zero.
        let mut order: Vec<usize> = (0..texts.len())
            .filter(|&i| !tokens[i].is_empty())
            .collect();
        order.sort_by_key(|&i| tokens[i].len());

        let mut vectors = vec![vec![0.0; self.dim]; texts.len()];
        for part in order.chunks(MAX_BATCH) {
            let batch: Vec<&[u32]> = part.iter().map(|&i| tokens[i].as_slice()).collect();
            let flat = self.embed_batch(&batch)?;
            for (&i, vector) in part.iter().zip(flat.chunks_exact(self.dim)) {
                vectors[i].copy_from_slice(vector);
            }
        }
        Ok(vectors)
    }
}

/// Token ids and mask of a batch, row by row, padded with 0 to the longest row; and that width.
fn pad(batch: &[&[u32]]) -> (Vec<i32>, Vec<bool>, usize) {
    let width = batch.iter().map(|row| row.len()).max().unwrap_or(0);
    let mut ids = Vec::with_capacity(batch.len() * width);
    let mut mask = Vec::with_capacity(batch.len() * width);
    for row in batch {
        let padding = width - row.len();
        ids.extend(row.iter().map(|&id| id.cast_signed()));
        ids.extend(std::iter::repeat_n(0, padding));
        mask.extend(std::iter::repeat_n(true, row.len()));
        mask.extend(std::iter::repeat_n(false, padding));
    }
    (ids, mask, width)
}

fn load_tokenizer(path: &Path, config: &EncoderConfig) -> Result<Tokenizer, ModelError> {
    let mut tokenizer =
        Tokenizer::from_bytes(read_file(path)?).map_err(|error| ModelError::tokenizer(&error))?;
    let truncation = TruncationParams {
        max_length: MAX_TOKENS.min(config.max_position_embeddings),
        ..TruncationParams::default()
    };
    tokenizer
        .with_truncation(Some(truncation))
        .map_err(|error| ModelError::tokenizer(&error))?;
    tokenizer.with_padding(None);
    // An id past the embedding would be an out-of-bounds read on some devices.
    let largest = tokenizer.get_vocab(true).into_values().max().unwrap_or(0);
    if largest as usize >= config.vocab_size {
        return Err(ModelError::tokenizer(&format!(
            "token id {largest} is outside the vocabulary of {} tokens",
            config.vocab_size
        )));
    }
    Ok(tokenizer)
}

/// SHA-256 over the SHA-256 of each of the folder's three files.
fn digest(folder: &Path) -> Result<String, ModelError> {
    let mut whole = Sha256::new();
    for name in [CONFIG, TOKENIZER, WEIGHTS] {
        let path = folder.join(name);
        let mut part = Sha256::new();
        File::open(&path)
            .and_then(|mut file| io::copy(&mut file, &mut part))
            .map_err(|source| ModelError::Read { path, source })?;
        whole.update(part.finalize());
    }
    Ok(hex::encode(whole.finalize()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn padding_keeps_every_token_and_masks_the_rest(
            rows in proptest::collection::vec(proptest::collection::vec(1_u32..1000, 1..20), 1..8)
        ) {
            let batch: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
            let (ids, mask, width) = pad(&batch);
            prop_assert_eq!(ids.len(), rows.len() * width);
            for ((row, ids), mask) in rows.iter().zip(ids.chunks(width)).zip(mask.chunks(width)) {
                let kept: Vec<u32> = ids
                    .iter()
                    .zip(mask)
                    .filter(|(_, real)| **real)
                    .map(|(id, _)| id.cast_unsigned())
                    .collect();
                prop_assert_eq!(&kept, row);
                prop_assert!(ids[row.len()..].iter().all(|&id| id == 0));
            }
        }
    }
}
