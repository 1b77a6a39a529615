//! Rows, files and merges without a store.

use std::slice::from_ref;

use arrow_array::{Int32Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::prelude::*;

use super::{
    file::{decode, encode, may_hold, write},
    merge::merge,
    samples::{answered, graded, record},
    *,
};

fn row(record: &EpisodeRecord) -> Row {
    Row::try_from(record).unwrap()
}

fn file_of(records: &[EpisodeRecord]) -> Bytes {
    let rows: Vec<Row> = records.iter().map(row).collect();
    encode(&rows).unwrap()
}

fn batches(content: &Bytes) -> Vec<RecordBatch> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(content.clone()).unwrap();
    builder.build().unwrap().map(Result::unwrap).collect()
}

fn records(content: &Bytes) -> Vec<EpisodeRecord> {
    let rows = batches(content)
        .iter()
        .flat_map(|batch| decode(batch).unwrap())
        .collect::<Vec<_>>();
    rows.into_iter()
        .map(|row| EpisodeRecord::try_from(row).unwrap())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Nothing of any episode is lost in a file.
    #[test]
    fn an_episode_comes_back_as_it_was(records in prop::collection::vec(record(), 1..5)) {
        prop_assert_eq!(self::records(&file_of(&records)), records);
    }
}

#[test]
fn an_episode_that_runs_is_no_trajectory() {
    let mut running = answered("4");
    running.conclusion = None;
    let refused = Row::try_from(&running).unwrap_err();
    assert!(
        matches!(refused, CoreError::FailedPrecondition(_)),
        "{refused}"
    );
}

#[test]
fn a_row_that_no_episode_has_is_damage_rather_than_another_episode() {
    let good = file_of(&[answered("4")]);
    let batch = &batches(&good)[0];
    let replace = |name: &str, value: &str| {
        let (place, field) = batch
            .schema()
            .column_with_name(name)
            .map(|(p, f)| (p, f.clone()))
            .unwrap();
        assert_eq!(field.data_type(), &DataType::Utf8);
        let mut columns = batch.columns().to_vec();
        columns[place] = Arc::new(arrow_array::StringArray::from(vec![value]));
        let changed = RecordBatch::try_new(batch.schema(), columns).unwrap();
        let row = decode(&changed).unwrap().remove(0);
        EpisodeRecord::try_from(row).unwrap_err()
    };
    for (column, value) in [
        ("termination", "exploded"),
        ("termination", "failed"),
        ("answer_kind", "song"),
    ] {
        let error = replace(column, value);
        assert!(
            matches!(error, CoreError::DataLoss(_)),
            "{column} {value}: {error}"
        );
    }
}

#[test]
fn the_same_episodes_are_the_same_bytes() {
    let all = [answered("4"), answered("5")];
    assert_eq!(file_of(&all), file_of(&all));
}

#[test]
fn statistics_say_which_groups_may_hold_an_episode() {
    let mut all = [answered("4"), answered("5"), answered("6")];
    all.sort_by(|a, b| a.spec.id.cmp(&b.spec.id));
    let content = file_of(&all[..2]);
    let builder = ParquetRecordBatchReaderBuilder::try_new(content).unwrap();
    let group = builder.metadata().row_group(0);
    assert!(may_hold(group, all[0].spec.id.as_str()));
    assert!(may_hold(group, all[1].spec.id.as_str()));
    assert!(!may_hold(group, all[2].spec.id.as_str()));
}

#[test]
fn a_merge_keeps_the_latest_copy_of_each_episode() {
    let (first, second) = (answered("4"), answered("5"));
    let better = graded(&first, 1.0);
    let mut elsewhere = second.clone();
    elsewhere.spec.tenant = TenantId::new("other").unwrap();
    let files = [
        file_of(&[first.clone(), second.clone()]),
        file_of(&[better.clone(), second.clone(), elsewhere.clone()]),
        file_of(&[first]),
    ];
    let merged = merge(&files).unwrap();
    assert_eq!(merged.len(), 1);
    assert_eq!(
        (merged[0].replaces.as_slice(), merged[0].rows),
        (&[0, 1, 2][..], 3)
    );
    let mut kept = records(&merged[0].content);
    let mut expected = vec![better, second, elsewhere];
    let order = |record: &EpisodeRecord| (record.spec.id.clone(), record.spec.tenant.clone());
    kept.sort_by_key(order);
    expected.sort_by_key(order);
    assert_eq!(kept, expected);
    let ids = [&kept[0].spec.id, &kept[2].spec.id].map(ToString::to_string);
    assert_eq!([merged[0].range.0.clone(), merged[0].range.1.clone()], ids);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever stands in the files, how often and in which order: a merge holds of each episode
    /// exactly what a reader of all files would have taken.
    #[test]
    fn a_merge_is_what_a_reader_takes(
        files in prop::collection::vec(prop::collection::vec((0_usize..6, 0_u8..4), 1..12), 2..6),
    ) {
        let base: Vec<EpisodeRecord> = (0..6).map(|n| answered(&n.to_string())).collect();
        let copy = |&(episode, version): &(usize, u8)| {
            let mut record = base[episode].clone();
            if version > 0 {
                record.outcome = Some(Outcome {
                    score: 0.5,
                    source: version.to_string(),
                    reported_at: Timestamp::from_second(version.into()).unwrap(),
                });
            }
            record
        };
        let contents: Vec<Bytes> = files
            .iter()
            .map(|file| file_of(&file.iter().map(copy).collect::<Vec<_>>()))
            .collect();
        let merged = merge(&contents).unwrap();
        let mut expected: BTreeMap<EpisodeId, EpisodeRecord> = BTreeMap::new();
        for record in files.iter().flatten().map(copy) {
            let latest = expected.entry(record.spec.id.clone()).or_insert_with(|| record.clone());
            if latest.version() < record.version() {
                *latest = record;
            }
        }
        let mut kept = records(&merged[0].content);
        kept.sort_by(|a, b| a.spec.id.cmp(&b.spec.id));
        prop_assert_eq!(kept, expected.into_values().collect::<Vec<_>>());
    }
}

/// A file of the same rows with a column that this version does not know.
fn with_a_column_of_the_future(content: &Bytes) -> Bytes {
    let batch = &batches(content)[0];
    let mut fields: Vec<_> = batch.schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new("tomorrow", DataType::Int32, false)));
    let mut columns = batch.columns().to_vec();
    columns.push(Arc::new(Int32Array::from(vec![7; batch.num_rows()])));
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
    write(&schema, [Ok(batch)]).unwrap()
}

#[test]
fn a_column_of_a_later_version_is_read_over_and_kept() {
    let (first, second) = (answered("4"), answered("5"));
    let old = file_of(from_ref(&first));
    let new = [&first, &second].map(|one| with_a_column_of_the_future(&file_of(from_ref(one))));
    assert_eq!(records(&new[1]), [second]);
    let merged = merge(&[old, new[0].clone(), new[1].clone()]).unwrap();
    // The old file has no other of its columns.
    assert_eq!(merged.len(), 1);
    assert_eq!(merged[0].replaces, [1, 2]);
    let batch = &batches(&merged[0].content)[0];
    assert_eq!(batch.num_rows(), 2);
    assert!(batch.column_by_name("tomorrow").is_some());
}

#[test]
fn a_damaged_file_is_left_alone() {
    let good = [answered("4"), answered("5")].map(|one| file_of(&[one]));
    let files = [
        good[0].clone(),
        Bytes::from_static(b"PAR1 no"),
        good[1].clone(),
    ];
    let merged = merge(&files).unwrap();
    assert_eq!(merged.len(), 1);
    assert_eq!(merged[0].replaces, [0, 2]);
}
