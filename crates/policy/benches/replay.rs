//! Episodes a second over recorded calls, on two threads: by a router that picks any action, which
//! costs what the environment itself costs, and under the scorer, as training runs them.
#![expect(clippy::unwrap_used, reason = "a bench may panic")]

use std::{sync::Arc, thread};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use maestro_core::recording::Recording;
use maestro_models::{DeviceSetting, StaticTable, TextEmbedder};
use maestro_policy::{
    Runtime, ScorerConfig, ServingConfig,
    learning::{
        Acting, Environment, GroupRequest, PreparedWorld, ReplayEnvironment, Rewording,
        ScenarioConfig,
    },
    replay::{Absent, ReplayEpisode, Terms, World},
};

const THREADS: usize = 2;
const EPISODES: usize = 20_000;

/// The calls that the shipped policy is trained from.
fn world() -> World {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../training/recorded/");
    let catalogue = std::fs::read(format!("{folder}catalogue.json")).unwrap();
    let tasks = std::fs::read_to_string(format!("{folder}tasks.jsonl")).unwrap();
    let recording = Recording::parse(&catalogue, &tasks).unwrap();
    World::new(recording, &Terms::default()).unwrap()
}

/// Takes the actions in turn.
fn any_actions(world: &World, first: usize, count: usize) -> f64 {
    let all = Absent::default();
    let mut score = 0.0;
    for number in first..first + count {
        let task = &world.tasks()[number % world.tasks().len()];
        let spec = task.weighing(task.task().weights);
        let mut episode = ReplayEpisode::start(world, task, &all, spec);
        let mut pick = number;
        while episode.result().is_none() {
            let actions = episode.actions();
            if actions.is_empty() {
                break;
            }
            let choice = actions[pick % actions.len()].choice();
            episode.take(&choice);
            pick = pick.wrapping_mul(31).wrapping_add(7);
        }
        score += episode.result().map_or(0.0, |result| result.score);
    }
    score
}

fn environment(c: &mut Criterion) {
    let world = world();
    let mut group = c.benchmark_group("replay");
    group.throughput(Throughput::Elements(EPISODES as u64));
    group.sample_size(10);
    group.bench_function("any action", |b| {
        b.iter(|| {
            thread::scope(|scope| {
                let part = EPISODES / THREADS;
                let world = &world;
                let threads: Vec<_> = (0..THREADS)
                    .map(|thread| scope.spawn(move || any_actions(world, thread * part, part)))
                    .collect();
                threads.into_iter().map(|t| t.join().unwrap()).sum::<f64>()
            })
        });
    });
    let table: Arc<dyn TextEmbedder> = Arc::new(StaticTable::bundled().unwrap());
    let runtime = Runtime::open(DeviceSetting::Cpu, table, ServingConfig::default()).unwrap();
    let prepared = PreparedWorld::new(world.clone(), &runtime, &Rewording::none()).unwrap();
    let mut environment =
        ReplayEnvironment::new(vec![prepared], ScenarioConfig::default(), THREADS, &runtime)
            .unwrap();
    let device = DeviceSetting::Cpu.open().unwrap();
    let acting = Acting {
        scorer: ScorerConfig::new(runtime.embedder().dim()).init(&device),
        version: 0,
    };
    let size = 8;
    let requests: Vec<GroupRequest> = (0..EPISODES / size)
        .map(|number| GroupRequest {
            task: number % environment.tasks(),
            seed: number as u64,
        })
        .collect();
    group.bench_function("scorer", |b| {
        b.iter(|| environment.roll_out(&acting, &requests, size).unwrap());
    });
    group.finish();
}

criterion_group!(benches, environment);
criterion_main!(benches);
