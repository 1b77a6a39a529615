//! A scorer as files: safetensors weights and a JSON manifest.

use std::{collections::BTreeMap, fs, path::Path};

use burn_store::{ModuleSnapshot, SafetensorsStore};
use maestro_core::{Digest, Timestamp, ports::PolicyManifest};

use crate::{
    error::PolicyError,
    runtime::Runtime,
    scorer::{Scorer, ScorerConfig},
    trace,
};

/// The family that [`PolicyManifest::kind`] names.
pub const KIND: &str = "scorer";
/// Notes of a manifest that a scorer needs: its [`ScorerConfig`] as JSON, the digest of the
/// embedder that it was made for, and the layout of its inputs.
pub(crate) const NOTE_CONFIG: &str = "config";
pub(crate) const NOTE_EMBEDDER: &str = "embedder";
pub(crate) const NOTE_LAYOUT: &str = "layout";
/// Digests of the descriptions of experts and skills that a policy met in training, separated by
/// commas. What is not among them is new to it.
pub const NOTE_DESCRIPTIONS: &str = "descriptions";
/// Notes that say nothing to people.
pub const INTERNAL_NOTES: &[&str] = &[NOTE_CONFIG, NOTE_EMBEDDER, NOTE_LAYOUT, NOTE_DESCRIPTIONS];

/// File of a policy's folder with its manifest; the digest of its bytes is the version.
pub const MANIFEST_FILE: &str = "policy.json";
/// File of a policy's folder with its weights.
pub const WEIGHTS_FILE: &str = "policy.safetensors";

/// Writes a network as a policy's folder; gives the version.
///
/// # Errors
/// [`PolicyError::Weights`], [`PolicyError::Manifest`], or [`PolicyError::Folder`].
pub fn write_folder(
    folder: &Path,
    scorer: &Scorer,
    config: &ScorerConfig,
    runtime: &Runtime,
    notes: BTreeMap<String, String>,
) -> Result<Digest, PolicyError> {
    let made = manifest(scorer, config, runtime, Timestamp::now(), notes)?;
    let content = manifest_content(&made)?;
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, bytes).map_err(|error| PolicyError::Folder {
            folder: path,
            reason: error.to_string(),
        })
    };
    write(WEIGHTS_FILE, &weights(scorer)?)?;
    write(MANIFEST_FILE, &content)?;
    Ok(Digest::of(&content))
}

pub(crate) fn check_dim(config: &ScorerConfig, runtime: &Runtime) -> Result<(), PolicyError> {
    let dim = runtime.embedder.dim();
    if config.dim == dim {
        return Ok(());
    }
    Err(PolicyError::Config {
        field: "dim",
        reason: format!(
            "is {}, but the embedder's vectors have length {dim}",
            config.dim
        ),
    })
}

/// The manifest of a network.
///
/// # Errors
/// [`PolicyError::Weights`] where the weights cannot be serialised.
pub fn manifest(
    scorer: &Scorer,
    config: &ScorerConfig,
    runtime: &Runtime,
    created_at: Timestamp,
    mut notes: BTreeMap<String, String>,
) -> Result<PolicyManifest, PolicyError> {
    let json =
        serde_json::to_string(config).map_err(|error| PolicyError::Manifest(error.to_string()))?;
    notes.insert(NOTE_CONFIG.into(), json);
    notes.insert(NOTE_EMBEDDER.into(), runtime.embedder.digest().into());
    notes.insert(NOTE_LAYOUT.into(), trace::FORMAT.into());
    Ok(PolicyManifest {
        kind: KIND.into(),
        weights: Digest::of(&weights(scorer)?),
        created_at,
        notes,
    })
}

/// The weights of a network as safetensors.
///
/// # Errors
/// [`PolicyError::Weights`] where they cannot be serialised.
pub fn weights(scorer: &Scorer) -> Result<Vec<u8>, PolicyError> {
    // Without metadata, whose order would change from run to run and with it the digest.
    let mut store = SafetensorsStore::from_bytes(None).clear_metadata();
    scorer
        .save_into(&mut store)
        .and_then(|()| store.get_bytes())
        .map_err(|error| PolicyError::Weights(error.to_string()))
}

/// The bytes of a manifest, as the policy store keeps them; their digest is the version.
///
/// # Errors
/// [`PolicyError::Manifest`] where they cannot be made.
pub fn manifest_content(manifest: &PolicyManifest) -> Result<Vec<u8>, PolicyError> {
    serde_json::to_vec(manifest).map_err(|error| PolicyError::Manifest(error.to_string()))
}

/// Reads the bytes of a manifest.
///
/// # Errors
/// [`PolicyError::Manifest`] with what is wrong.
pub fn parse_manifest(json: &[u8]) -> Result<PolicyManifest, PolicyError> {
    serde_json::from_slice(json).map_err(|error| PolicyError::Manifest(error.to_string()))
}

/// Whether a policy was made for the text encoder of a runtime.
///
/// # Errors
/// [`PolicyError::Manifest`] where the manifest cannot be read.
pub fn suits(manifest: &[u8], runtime: &Runtime) -> Result<bool, PolicyError> {
    let manifest = parse_manifest(manifest)?;
    let embedder = manifest.notes.get(NOTE_EMBEDDER);
    Ok(embedder.is_some_and(|digest| digest == runtime.embedder.digest()))
}

pub(crate) fn check_manifest(
    manifest: &PolicyManifest,
    runtime: &Runtime,
) -> Result<ScorerConfig, PolicyError> {
    let refuse = |reason: String| Err(PolicyError::Manifest(reason));
    if manifest.kind != KIND {
        return refuse(format!("its kind is {:?}, not {KIND:?}", manifest.kind));
    }
    let note = |name: &str| {
        manifest
            .notes
            .get(name)
            .ok_or_else(|| PolicyError::Manifest(format!("it has no note {name:?}")))
    };
    let layout = note(NOTE_LAYOUT)?;
    if layout != trace::FORMAT {
        return refuse(format!("its layout is {layout:?}, not {:?}", trace::FORMAT));
    }
    let embedder = note(NOTE_EMBEDDER)?;
    if embedder != runtime.embedder.digest() {
        let own = runtime.embedder.digest();
        return refuse(format!(
            "it was made for the embedder {embedder}, not {own}"
        ));
    }
    let config: ScorerConfig = serde_json::from_str(note(NOTE_CONFIG)?)
        .map_err(|error| PolicyError::Manifest(format!("note config: {error}")))?;
    config.validate()?;
    check_dim(&config, runtime)?;
    Ok(config)
}

/// A network from its weights.
///
/// # Errors
/// [`PolicyError::Weights`] where they are damaged or of another shape.
pub(crate) fn read_weights(
    config: &ScorerConfig,
    weights: &[u8],
    runtime: &Runtime,
) -> Result<Scorer, PolicyError> {
    let mut scorer = config.init(&runtime.device);
    let mut store = SafetensorsStore::from_bytes(Some(weights.to_vec()));
    let result = scorer
        .load_from(&mut store)
        .map_err(|error| PolicyError::Weights(error.to_string()))?;
    match result.unused.first() {
        Some(name) => Err(PolicyError::Weights(format!("no place for tensor {name}"))),
        None => Ok(scorer),
    }
}
