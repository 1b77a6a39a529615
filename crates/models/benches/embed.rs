//! Time of one static embedding, of a short question and of a long text.

#![expect(
    clippy::expect_used,
    reason = "without the table there is nothing to measure"
)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use maestro_models::StaticTable;

fn embed(criterion: &mut Criterion) {
    let table = StaticTable::bundled().expect("the bundled table is sound");
    let question = "How many times do the two coloured lines in this drawing cross?";
    let long = question.repeat(20);
    let mut group = criterion.benchmark_group("static_table");
    group.bench_function("question", |b| b.iter(|| table.embed(black_box(question))));
    group.bench_function("long_text", |b| b.iter(|| table.embed(black_box(&long))));
    group.finish();
}

criterion_group!(benches, embed);
criterion_main!(benches);
