//! Several files as one, each episode once. Pure.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::Schema;
use arrow_select::filter::filter_record_batch;
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::file::{FileError, Keys, key_columns, write};

/// Rows that are looked at together.
const BATCH_ROWS: usize = 1024;

/// Which copy of each episode counts: the one of the highest version, of equal ones the first seen.
#[derive(Debug, Default)]
pub(super) struct Winners(HashMap<(String, String), Copy>);

#[derive(Debug)]
struct Copy {
    version: i64,
    file: usize,
    row: usize,
}

impl Winners {
    /// Takes in the keys of a batch that begins at row `start` of the file of this number.
    pub(super) fn take(
        &mut self,
        file: usize,
        start: usize,
        batch: &RecordBatch,
    ) -> Result<(), FileError> {
        let keys = Keys::of(batch)?;
        for index in 0..batch.num_rows() {
            let copy = Copy {
                version: keys.versions.value(index),
                file,
                row: start + index,
            };
            match self.0.entry(key(&keys, index)) {
                Entry::Vacant(entry) => {
                    entry.insert(copy);
                }
                Entry::Occupied(mut entry) if entry.get().version < copy.version => {
                    entry.insert(copy);
                }
                Entry::Occupied(_) => {}
            }
        }
        Ok(())
    }

    /// The rows of a batch that count.
    pub(super) fn select(
        &self,
        file: usize,
        start: usize,
        batch: &RecordBatch,
    ) -> Result<RecordBatch, FileError> {
        let keys = Keys::of(batch)?;
        let wins = |index: usize| {
            let winner = self.0.get(&key(&keys, index));
            winner.is_some_and(|winner| (winner.file, winner.row) == (file, start + index))
        };
        let wins: BooleanArray = (0..batch.num_rows())
            .map(|index| Some(wins(index)))
            .collect();
        Ok(filter_record_batch(batch, &wins)?)
    }

    /// Episodes there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

fn key(keys: &Keys<'_>, index: usize) -> (String, String) {
    let tenant = keys.tenants.value(index).to_owned();
    (tenant, keys.episodes.value(index).to_owned())
}

/// What became of files that were to be merged.
pub(super) struct Merged {
    /// The file in place of the others.
    pub(super) content: Bytes,
    /// The files that it stands for, by their places.
    pub(super) replaces: Vec<usize>,
    /// First and last episode in it.
    pub(super) range: (String, String),
    /// Rows in it.
    pub(super) rows: usize,
}

/// Merges files. Only those of one set of columns go together: a column that this version does not
/// know is kept as it is. A file that is damaged, or has no other of its columns, is left alone.
pub(super) fn merge(files: &[Bytes]) -> Result<Vec<Merged>, FileError> {
    let mut groups: Vec<(Arc<Schema>, Vec<usize>)> = vec![];
    for (place, content) in files.iter().enumerate() {
        match ParquetRecordBatchReaderBuilder::try_new(content.clone()) {
            Ok(file) => {
                let schema = file.schema();
                match groups.iter_mut().find(|(known, _)| known == schema) {
                    Some((_, places)) => places.push(place),
                    None => groups.push((Arc::clone(schema), vec![place])),
                }
            }
            Err(error) => tracing::error!(%error, "a damaged file of episodes is left alone"),
        }
    }
    groups
        .into_iter()
        .filter(|(_, places)| places.len() > 1)
        .map(|(schema, places)| merge_alike(files, &schema, places))
        .collect()
}

fn merge_alike(
    files: &[Bytes],
    schema: &Arc<Schema>,
    places: Vec<usize>,
) -> Result<Merged, FileError> {
    let mut winners = Winners::default();
    let mut range: Option<(String, String)> = None;
    for &place in &places {
        for batch in batches(files, place, true)? {
            let (start, batch) = batch?;
            winners.take(place, start, &batch)?;
            for episode in Keys::of(&batch)?.episodes.iter().flatten() {
                range = Some(widened(range, episode));
            }
        }
    }
    let winners = &winners;
    let chosen = places.iter().flat_map(move |&place| {
        let select = move |batch: Result<(usize, RecordBatch), FileError>| {
            let (start, batch) = batch?;
            winners.select(place, start, &batch)
        };
        // A file that cannot be opened is one batch that cannot be read.
        let (opened, failed) = match batches(files, place, false) {
            Ok(batches) => (Some(batches.map(select)), None),
            Err(error) => (None, Some(Err(error))),
        };
        opened.into_iter().flatten().chain(failed)
    });
    Ok(Merged {
        content: write(schema, chosen)?,
        range: range.unwrap_or_default(),
        rows: winners.len(),
        replaces: places,
    })
}

fn widened(range: Option<(String, String)>, episode: &str) -> (String, String) {
    let Some((first, last)) = range else {
        return (episode.to_owned(), episode.to_owned());
    };
    let first = if episode < first.as_str() {
        episode.to_owned()
    } else {
        first
    };
    let last = if episode > last.as_str() {
        episode.to_owned()
    } else {
        last
    };
    (first, last)
}

/// The batches of a file, with the row that each begins at.
fn batches(
    files: &[Bytes],
    place: usize,
    only_keys: bool,
) -> Result<impl Iterator<Item = Result<(usize, RecordBatch), FileError>>, FileError> {
    let content = files.get(place).cloned().unwrap_or_default();
    let mut builder = ParquetRecordBatchReaderBuilder::try_new(content)?;
    if only_keys {
        let keys = key_columns(builder.parquet_schema());
        builder = builder.with_projection(keys);
    }
    let reader: ParquetRecordBatchReader = builder.with_batch_size(BATCH_ROWS).build()?;
    let mut start = 0;
    Ok(reader.map(move |batch| {
        let batch = batch?;
        let begins = start;
        start += batch.num_rows();
        Ok((begins, batch))
    }))
}
