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
        let damaged = |reason: String| CliError::Content {
            path: folder.to_owned(),
            reason,
        };
        let mut written = read_if_there(&path)?;
        let end = written.iter().rposition(|byte| *byte == b'\n');
        written.truncate(end.map_or(0, |end| end + 1));
        let whole = written.len() as u64;
        let written = String::from_utf8(written).map_err(|error| damaged(error.to_string()))?;
        let recording =
            Recording::parse(&content, &written).map_err(|error| damaged(error.to_string()))?;
        let done = recording.tasks.into_iter().map(|task| task.task.id);
        let done = done.collect();
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(CliError::file(&path))?;
        file.set_len(whole).map_err(CliError::file(&path))?;
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

fn read_if_there(path: &Path) -> Result<Vec<u8>, CliError> {
    match fs::read(path) {
        Ok(content) => Ok(content),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(CliError::file(path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use maestro_core::{
        answer::AnswerKind, grading::Reference, recording::KnownTask, registry::Descriptor,
    };

    use super::*;

    fn task(id: &str) -> RecordedTask {
        RecordedTask {
            task: KnownTask {
                id: id.to_owned(),
                split: "val".to_owned(),
                domain: "sums".to_owned(),
                group: None,
                question: "2 + 2?".to_owned(),
                images: Vec::new(),
                answer_kind: AnswerKind::Integer,
                reference: Some(Reference::Integer { value: 4 }),
            },
            calls: Vec::new(),
        }
    }

    #[test]
    fn a_killed_run_is_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::default();
        let open = || Output::open(folder.path(), &catalogue).unwrap();
        let mut first = open();
        first.append(&task("a")).unwrap();
        first.append(&task("b")).unwrap();
        drop(first);
        // The kill came in the middle of a line, and of a character.
        let tasks = folder.path().join(TASKS_FILE);
        let whole = fs::read(&tasks).unwrap();
        let mut half = whole.clone();
        half.extend(br#"{"id":"c","question":"#);
        half.push("é".as_bytes()[0]);
        fs::write(&tasks, half).unwrap();

        let mut second = open();
        assert_eq!(fs::read(&tasks).unwrap(), whole);
        assert!(second.has("a") && second.has("b") && !second.has("c"));
        second.append(&task("c")).unwrap();
        drop(second);
        let catalogue = fs::read(folder.path().join(CATALOGUE_FILE)).unwrap();
        let tasks = fs::read_to_string(tasks).unwrap();
        let recording = Recording::parse(&catalogue, &tasks).unwrap();
        assert_eq!(recording.tasks, [task("a"), task("b"), task("c")]);
    }

    #[test]
    fn another_pool_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut catalogue = Catalogue::default();
        Output::open(folder.path(), &catalogue).unwrap();
        let expert: Descriptor = serde_json::from_str(
            r#"{"name":"a","description":"reads","capabilities":["ocr"],"modalities":["image"]}"#,
        )
        .unwrap();
        catalogue.experts.insert(expert.name.clone(), expert);
        let refused = Output::open(folder.path(), &catalogue).err().unwrap();
        assert!(refused.to_string().contains("another pool"), "{refused}");
    }

    #[test]
    fn a_damaged_line_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::default();
        drop(Output::open(folder.path(), &catalogue).unwrap());
        fs::write(folder.path().join(TASKS_FILE), "{}\n").unwrap();
        let refused = Output::open(folder.path(), &catalogue).err().unwrap();
        assert!(refused.to_string().contains("tasks.jsonl:1"), "{refused}");
    }
}
