use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use maestro_core::{
    recording::{CATALOGUE_FILE, RecordedTask, Recording, TASKS_FILE},
    registry::Catalogue,
};

use crate::error::CliError;

/// A recording that is being written, task by task.
pub(crate) struct Output {
    path: PathBuf,
    file: File,
    done: BTreeSet<String>,
}

impl Output {
    /// Begins a recording, or goes on with the one that is in the folder: a half line at its end,
    /// which a killed run leaves, is dropped.
    ///
    /// # Errors
    /// [`CliError::Content`] where the folder's recording is of another catalogue or damaged.
    pub(crate) fn open(folder: &Path, catalogue: &Catalogue) -> Result<Self, CliError> {
        fs::create_dir_all(folder).map_err(CliError::file(folder))?;
        let content = catalogue.content();
        let catalogue_path = folder.join(CATALOGUE_FILE);
        match fs::read(&catalogue_path) {
            Ok(found) if found == content => {}
            Ok(_) => {
                return Err(CliError::Content {
                    path: catalogue_path,
                    reason: "is of another pool: the experts or skills have changed since; record \
                             into another folder"
                        .to_owned(),
                });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                write_whole(&catalogue_path, &content)?;
            }
            Err(error) => return Err(CliError::file(catalogue_path)(error)),
        }
        let path = folder.join(TASKS_FILE);
        let written = read_if_there(&path)?;
        let whole = written.rfind('\n').map_or(0, |end| end + 1);
        let written = written.get(..whole).unwrap_or_default();
        let recording = Recording::parse(&content, written).map_err(|error| CliError::Content {
            path: folder.to_owned(),
            reason: error.to_string(),
        })?;
        let done = recording.tasks.into_iter().map(|task| task.task.id);
        let done = done.collect();
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(CliError::file(&path))?;
        file.set_len(whole as u64).map_err(CliError::file(&path))?;
        Ok(Self { path, file, done })
    }

    /// Whether a task is recorded.
    pub(crate) fn has(&self, task: &str) -> bool {
        self.done.contains(task)
    }

    /// How many tasks are recorded.
    pub(crate) fn len(&self) -> usize {
        self.done.len()
    }

    /// Writes a task down.
    pub(crate) fn append(&mut self, task: &RecordedTask) -> Result<(), CliError> {
        let mut line = serde_json::to_vec(task)?;
        line.push(b'\n');
        self.file
            .write_all(&line)
            .map_err(CliError::file(&self.path))?;
        self.done.insert(task.task.id.clone());
        Ok(())
    }
}

/// Writes a file so that it is there whole or not at all.
fn write_whole(path: &Path, content: &[u8]) -> Result<(), CliError> {
    let half = path.with_extension("half");
    fs::write(&half, content).map_err(CliError::file(&half))?;
    fs::rename(&half, path).map_err(CliError::file(path))
}

fn read_if_there(path: &Path) -> Result<String, CliError> {
    match fs::read(path) {
        // A cut within a character leaves no text, but it is in the half line.
        Ok(content) => Ok(String::from_utf8_lossy(&content).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(CliError::file(path)(error)),
    }
}
