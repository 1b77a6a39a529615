//! Reading files of one JSON object a line, and what is known of images without decoding them.

use std::{
    collections::{BTreeSet, HashMap},
    io::Read,
    path::{Path, PathBuf},
};

use flate2::read::GzDecoder;
use maestro_coordinator::admission::{ImageLimits, inspect};
use maestro_core::{CoreError, Digest, task::ImageRef};
use serde::de::DeserializeOwned;

use crate::error::CliError;

/// Reads every line of a file with `read`; errors name the line.
pub(super) fn read_lines<L: DeserializeOwned, T>(
    path: &Path,
    read: impl FnMut(L) -> Result<T, CliError>,
) -> Result<Vec<T>, CliError> {
    let text = std::fs::read_to_string(path).map_err(CliError::file(path))?;
    parse_lines(path, &text, read)
}

/// The same for a compressed file.
pub(super) fn read_gzipped_lines<L: DeserializeOwned, T>(
    path: &Path,
    read: impl FnMut(L) -> Result<T, CliError>,
) -> Result<Vec<T>, CliError> {
    let file = std::fs::File::open(path).map_err(CliError::file(path))?;
    let mut text = String::new();
    GzDecoder::new(file)
        .read_to_string(&mut text)
        .map_err(CliError::file(path))?;
    parse_lines(path, &text, read)
}

fn parse_lines<L: DeserializeOwned, T>(
    path: &Path,
    text: &str,
    mut read: impl FnMut(L) -> Result<T, CliError>,
) -> Result<Vec<T>, CliError> {
    let lines = text.lines().enumerate();
    lines
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(index, line)| {
            let wrong = |reason: String| CliError::Content {
                path: path.to_owned(),
                reason: format!("line {}: {reason}", index + 1),
            };
            let line = serde_json::from_str(line).map_err(|error| wrong(error.to_string()))?;
            read(line).map_err(|error| match error {
                CliError::Remote(error) => wrong(error.to_string()),
                other => other,
            })
        })
        .collect()
}

/// Keys of the object on the first line.
pub(super) fn first_keys(path: &Path) -> Result<BTreeSet<String>, CliError> {
    let text = std::fs::read_to_string(path).map_err(CliError::file(path))?;
    let wrong = |reason: String| CliError::Content {
        path: path.to_owned(),
        reason,
    };
    let line = text.lines().find(|line| !line.trim().is_empty());
    let line = line.ok_or_else(|| wrong("holds no task".to_owned()))?;
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(line).map_err(|error| wrong(format!("line 1: {error}")))?;
    Ok(object.into_iter().map(|(key, _)| key).collect())
}

/// The images of a folder. Each file is read once, however many tasks are about it.
pub(super) struct Images<'a> {
    folder: &'a Path,
    known: HashMap<String, ImageRef>,
    files: HashMap<String, Vec<PathBuf>>,
}

impl<'a> Images<'a> {
    /// The images of a folder, none of them read yet.
    pub(super) fn of(folder: &'a Path) -> Self {
        Self {
            folder,
            known: HashMap::new(),
            files: HashMap::new(),
        }
    }

    /// What is known of a task's images, whose paths are relative to the folder.
    pub(super) fn of_task(
        &mut self,
        task: &str,
        paths: &[String],
    ) -> Result<Vec<ImageRef>, CliError> {
        let images = paths.iter().map(|path| self.image(path));
        let images = images.collect::<Result<_, _>>()?;
        let files = paths.iter().map(|path| self.folder.join(path)).collect();
        self.files.insert(task.to_owned(), files);
        Ok(images)
    }

    fn image(&mut self, path: &str) -> Result<ImageRef, CliError> {
        if let Some(known) = self.known.get(path) {
            return Ok(known.clone());
        }
        let file = self.folder.join(path);
        let content = std::fs::read(&file).map_err(CliError::file(&file))?;
        let image = describe(&content).map_err(|error| CliError::Content {
            path: file,
            reason: error.to_string(),
        })?;
        self.known.insert(path.to_owned(), image.clone());
        Ok(image)
    }

    /// Image files by task.
    pub(super) fn into_files(self) -> HashMap<String, Vec<PathBuf>> {
        self.files
    }
}

fn describe(content: &[u8]) -> Result<ImageRef, CoreError> {
    let found = inspect(content, &ImageLimits::default())
        .map_err(|reason| CoreError::invalid("image", reason))?;
    Ok(ImageRef {
        digest: Digest::of(content),
        media_type: found.media_type.to_owned(),
        width: found.width,
        height: found.height,
        bytes: content.len() as u64,
    })
}
