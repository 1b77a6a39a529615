//! Policies: what decides the next action of an episode.
//!
//! The **scorer** is the default. It embeds the question, scores every candidate action by its
//! *descriptions* and by what has happened so far, and takes one from the distribution. Candidates
//! are the pairs that may be called and the observations that may be answered with; the number of
//! either is free, so entries that no training has seen work at once. No name or identifier is an
//! input.
//!
//! ```text
//! Snapshot ──► EmbeddingCache ──► Prepared            (per registry change, off the hot path)
//! DecideRequest ──► actions ──► features ──► Scorer ──► Distribution ──► Decision
//!                   masks       named        burn       softmax, sample   with its trace
//! ```
//!
//! Everything up to the network and after it is a pure function, used alike for serving and
//! training.

pub mod actions;
pub mod distribution;
pub mod embeddings;
pub mod evaluation;
pub mod features;
pub mod learning;
pub mod prepared;
pub mod reconstruct;
pub mod replay;
pub mod scorer;
pub mod trace;

mod artefact;
mod columns;
mod error;
mod random;
mod runtime;
mod serving;

pub use artefact::{
    INTERNAL_NOTES, KIND, MANIFEST_FILE, NOTE_DESCRIPTIONS, WEIGHTS_FILE, manifest,
    manifest_content, parse_manifest, suits, weights, write_folder,
};
pub use columns::Column;
pub use embeddings::{EmbeddingCache, Embeddings};
pub use error::PolicyError;
pub use features::Features;
pub use prepared::Prepared;
pub use runtime::{ExploreConfig, Runtime, ServingConfig};
pub use scorer::{Scorer, ScorerConfig};
pub use serving::ScorerPolicy;

/// The numbers of a tensor, row by row.
fn values<const D: usize>(tensor: burn::tensor::Tensor<D>) -> Result<Vec<f32>, PolicyError> {
    tensor
        .try_into_vec_as::<f32>()
        .map_err(|error| PolicyError::Execution(error.to_string()))
}
