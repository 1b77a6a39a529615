//! Rows as the bytes of a Parquet file, and back. Pure.

use std::sync::Arc;

use arrow_array::{Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{ArrowError, Schema};
use bytes::Bytes;
use parquet::{
    arrow::{ArrowWriter, ProjectionMask},
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::{
        metadata::{KeyValue, RowGroupMetaData},
        properties::WriterProperties,
        statistics::Statistics,
    },
    schema::types::SchemaDescriptor,
};

use super::{
    row::Row,
    schema::{FIELDS, KEY_COLUMNS, SCHEMA_KEY, SCHEMA_VERSION},
};

/// Most rows of a row group: what has to be read for one episode.
const ROWS_OF_A_GROUP: usize = 4096;

/// Why bytes are no file of episodes, or episodes cannot become one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// Parquet.
    #[error(transparent)]
    Parquet(#[from] ParquetError),
    /// Arrow.
    #[error(transparent)]
    Arrow(#[from] ArrowError),
    /// A row does not fit the columns, or the other way round.
    #[error(transparent)]
    Row(#[from] serde_arrow::Error),
    /// A column of the key is missing, or of another type.
    #[error("it has no column {0} of the right type")]
    Column(&'static str),
}

fn properties() -> WriterProperties {
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(ROWS_OF_A_GROUP))
        .set_created_by(format!("maestro {}", env!("CARGO_PKG_VERSION")))
        .set_key_value_metadata(Some(vec![KeyValue::new(
            SCHEMA_KEY.to_owned(),
            SCHEMA_VERSION.to_owned(),
        )]))
        .build()
}

/// The file of some rows. The same rows give the same bytes.
pub(super) fn encode(rows: &[Row]) -> Result<Bytes, FileError> {
    let batch = serde_arrow::to_record_batch(&FIELDS, &rows)?;
    write(&batch.schema(), [Ok(batch)])
}

/// A file of some batches of one schema.
pub(super) fn write(
    schema: &Arc<Schema>,
    batches: impl IntoIterator<Item = Result<RecordBatch, FileError>>,
) -> Result<Bytes, FileError> {
    let mut content = vec![];
    let mut writer = ArrowWriter::try_new(&mut content, Arc::clone(schema), Some(properties()))?;
    for batch in batches {
        writer.write(&batch?)?;
    }
    writer.close()?;
    Ok(content.into())
}

/// The rows of a batch.
pub(super) fn decode(batch: &RecordBatch) -> Result<Vec<Row>, FileError> {
    Ok(serde_arrow::from_record_batch(batch)?)
}

/// The columns of the key.
pub(super) fn key_columns(schema: &SchemaDescriptor) -> ProjectionMask {
    ProjectionMask::columns(schema, KEY_COLUMNS)
}

/// The values of the key's columns.
pub(super) struct Keys<'a> {
    pub(super) tenants: &'a StringArray,
    pub(super) episodes: &'a StringArray,
    pub(super) versions: &'a Int64Array,
}

impl<'a> Keys<'a> {
    pub(super) fn of(batch: &'a RecordBatch) -> Result<Self, FileError> {
        let [tenant, episode, version] = KEY_COLUMNS;
        Ok(Self {
            tenants: column(batch, tenant)?,
            episodes: column(batch, episode)?,
            versions: column(batch, version)?,
        })
    }
}

fn column<'a, T: Array + 'static>(
    batch: &'a RecordBatch,
    name: &'static str,
) -> Result<&'a T, FileError> {
    let column = batch.column_by_name(name);
    let column = column.and_then(|column| column.as_any().downcast_ref());
    column.ok_or(FileError::Column(name))
}

/// Whether a row group may hold the episode, as far as its statistics say.
pub(super) fn may_hold(group: &RowGroupMetaData, episode: &str) -> bool {
    let [_, column, _] = KEY_COLUMNS;
    let mut chunks = group.columns().iter();
    let chunk = chunks.find(|chunk| chunk.column_path().parts() == [column]);
    let Some(Statistics::ByteArray(values)) = chunk.and_then(|chunk| chunk.statistics()) else {
        return true;
    };
    let episode = episode.as_bytes();
    values.min_opt().is_none_or(|min| min.data() <= episode)
        && values.max_opt().is_none_or(|max| episode <= max.data())
}
