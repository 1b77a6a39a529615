//! Weights of a BERT checkpoint into [`Encoder`].

use std::path::Path;

use burn_store::{KeyRemapper, ModuleSnapshot, PyTorchToBurnAdapter, SafetensorsStore};

use super::network::Encoder;
use crate::ModelError;

/// Checkpoint names (left) to ours (right), applied in order. Checkpoints of a model with a
/// head carry the prefix `bert.`.
const NAMES: [(&str, &str); 12] = [
    (r"^bert\.", ""),
    (r"^embeddings\.word_embeddings\.", "word."),
    (r"^embeddings\.position_embeddings\.", "position."),
    (r"^embeddings\.token_type_embeddings\.", "segment."),
    (r"^embeddings\.LayerNorm\.", "norm."),
    (r"^encoder\.layer\.(\d+)\.", "layers.${1}."),
    (r"\.attention\.self\.", "."),
    (r"\.attention\.output\.dense\.", ".attention_output."),
    (r"\.attention\.output\.LayerNorm\.", ".attention_norm."),
    (r"\.intermediate\.dense\.", ".up."),
    (r"\.output\.dense\.", ".down."),
    (r"\.output\.LayerNorm\.", ".output_norm."),
];

/// Tensors of a checkpoint that the encoder does not use: a buffer that only counts, and the
/// pooler, which mean pooling replaces.
fn is_unused_by_design(name: &str) -> bool {
    name == "embeddings.position_ids" || name.starts_with("pooler.")
}

/// Loads a safetensors checkpoint into the network.
///
/// # Errors
/// [`ModelError::Weights`] unless every parameter of the network is found with its shape and
/// every tensor of the file is used (or known to be of no use here): a checkpoint of another
/// architecture must not load in part.
pub(super) fn load(encoder: &mut Encoder, path: &Path) -> Result<(), ModelError> {
    let names =
        KeyRemapper::from_patterns(NAMES.to_vec()).map_err(|error| ModelError::weights(&error))?;
    let mut store = SafetensorsStore::from_file(path)
        .remap(names)
        .with_from_adapter(PyTorchToBurnAdapter)
        // Both are checked below, with all findings at once.
        .validate(false)
        .allow_partial(true);
    let result = encoder
        .load_from(&mut store)
        .map_err(|error| ModelError::weights(&error))?;

    if let Some(error) = result.errors.first() {
        return Err(ModelError::weights(error));
    }
    if let Some((first, _)) = result.missing.first() {
        let count = result.missing.len();
        return Err(ModelError::weights(&format!(
            "{count} tensors missing, the first is {first}"
        )));
    }
    let mut unused = result
        .unused
        .iter()
        .filter(|name| !is_unused_by_design(name));
    match unused.next() {
        None => Ok(()),
        Some(name) => Err(ModelError::weights(&format!("no place for tensor {name}"))),
    }
}
