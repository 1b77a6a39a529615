use std::{collections::HashMap, sync::Arc, thread};

use burn::tensor::{Device, Tensor};
use maestro_core::{
    episode::{Choice, EpisodeSpec, ServingMode},
    reward::{Reward, RewardWeights},
};

use super::{
    environment::{Acting, Decided, Environment, Group, GroupRequest, Rollout, Rollouts},
    rewording::Rewording,
    scenario::ScenarioConfig,
};
use crate::{
    distribution::Distribution,
    embeddings::{EmbeddingCache, NO_ENTRY},
    error::PolicyError,
    features::{Features, features},
    prepared::Prepared,
    random::SplitMix,
    replay::{Absent, ReplayEpisode, ReplayTask, World},
    runtime::Runtime,
    scorer::{Batch, Scorer},
    values,
};

/// States that are scored in one pass.
const PASS: usize = 256;

/// A world with the vectors of its texts, each in several wordings. Wording 0 is the original.
pub struct PreparedWorld {
    world: World,
    /// The catalogue's wordings, each with its first row in the table of all.
    catalogues: Vec<(Prepared, u32)>,
    /// By task, then by wording.
    questions: Vec<Vec<Arc<[f32]>>>,
    matrix: Vec<f32>,
}

impl PreparedWorld {
    /// Embeds every text of a world.
    ///
    /// # Errors
    /// [`PolicyError::Model`] where a text cannot be embedded.
    pub fn new(
        world: World,
        runtime: &Runtime,
        rewording: &Rewording,
    ) -> Result<Self, PolicyError> {
        let mut cache = EmbeddingCache::new(Arc::clone(&runtime.embedder));
        let mut catalogues = Vec::with_capacity(rewording.catalogues());
        let mut matrix = Vec::new();
        for variant in 0..rewording.catalogues() {
            let reworded = rewording.catalogue(&world.snapshot().catalogue, variant);
            let embeddings = cache.embed(&reworded)?;
            let first = matrix.len() / embeddings.dim().max(1);
            matrix.extend_from_slice(embeddings.matrix());
            let prepared = runtime.prepare(Arc::clone(world.snapshot()), embeddings);
            catalogues.push((prepared, u32::try_from(first).unwrap_or(u32::MAX)));
        }
        let questions = embed_questions(&world, runtime, rewording)?;
        Ok(Self {
            world,
            catalogues,
            questions,
            matrix,
        })
    }

    /// The world.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The vector of a task's question as it is.
    pub fn question(&self, task: usize) -> &[f32] {
        let wordings = self.questions.get(task);
        wordings
            .and_then(|w| w.first())
            .map_or(&[], |vector| vector)
    }

    /// The catalogue as it is, with its vectors.
    pub fn prepared(&self) -> Option<&Prepared> {
        self.catalogues.first().map(|(prepared, _)| prepared)
    }
}

/// Texts that are embedded in one call.
const EMBEDDED_AT_ONCE: usize = 512;

fn embed_questions(
    world: &World,
    runtime: &Runtime,
    rewording: &Rewording,
) -> Result<Vec<Vec<Arc<[f32]>>>, PolicyError> {
    let texts: Vec<String> = world
        .tasks()
        .iter()
        .flat_map(|task| {
            let question = &task.known.question;
            (0..rewording.questions()).map(|variant| rewording.question(question, variant))
        })
        .collect();
    let mut vectors: Vec<Arc<[f32]>> = Vec::with_capacity(texts.len());
    for part in texts.chunks(EMBEDDED_AT_ONCE) {
        let part: Vec<&str> = part.iter().map(String::as_str).collect();
        vectors.extend(runtime.embedder.embed(&part)?.into_iter().map(Arc::from));
    }
    let by_task = vectors.chunks(rewording.questions().max(1));
    Ok(by_task.map(<[_]>::to_vec).collect())
}

/// Episodes over recordings, on a fixed number of threads: the same requests give the same
/// episodes, whatever the machine.
pub struct ReplayEnvironment {
    worlds: Vec<PreparedWorld>,
    /// World and place of each task.
    tasks: Vec<(usize, usize)>,
    entries: Tensor<2>,
    scenario: ScenarioConfig,
    threads: usize,
    device: Device,
}

impl ReplayEnvironment {
    /// Joins worlds.
    ///
    /// # Errors
    /// [`PolicyError::Config`] where there is no task.
    pub fn new(
        mut worlds: Vec<PreparedWorld>,
        scenario: ScenarioConfig,
        threads: usize,
        runtime: &Runtime,
    ) -> Result<Self, PolicyError> {
        let dim = runtime.embedder.dim();
        let mut matrix: Vec<f32> = Vec::new();
        let mut tasks = Vec::new();
        for (place, world) in worlds.iter_mut().enumerate() {
            let before = u32::try_from(matrix.len() / dim.max(1)).unwrap_or(u32::MAX);
            for (_, first) in &mut world.catalogues {
                *first += before;
            }
            matrix.append(&mut world.matrix);
            tasks.extend((0..world.world.tasks().len()).map(|task| (place, task)));
        }
        if tasks.is_empty() {
            return Err(PolicyError::Config {
                field: "data",
                reason: "holds no task that a pair of its pool suits".to_owned(),
            });
        }
        Ok(Self {
            worlds,
            tasks,
            entries: runtime.table(matrix),
            scenario,
            threads: threads.max(1),
            device: runtime.device.clone(),
        })
    }

    fn scene(&self, request: &GroupRequest) -> Option<Scene<'_>> {
        let (world, task) = *self.tasks.get(request.task)?;
        let world = self.worlds.get(world)?;
        let recorded = world.world.tasks().get(task)?;
        let mut random = SplitMix::keyed(&[request.seed, 0]);
        let weights = self.scenario.draw_weights(&mut random);
        let absent = self.scenario.draw_absent(recorded, &mut random);
        let (catalogue, first_row) = world.catalogues.get(random.below(world.catalogues.len()))?;
        let wordings = world.questions.get(task)?;
        Some(Scene {
            world: &world.world,
            task: recorded,
            absent,
            spec: recorded.weighing(weights),
            reward: self.scenario.reward_of(&weights),
            catalogue,
            first_row: *first_row,
            question: wordings.get(random.below(wordings.len()))?,
        })
    }

    /// Runs some of the groups, in lockstep.
    fn run(
        &self,
        acting: &Acting,
        requests: &[GroupRequest],
        size: usize,
    ) -> Result<Vec<Group>, PolicyError> {
        let scenes: Vec<Scene<'_>> = requests.iter().filter_map(|r| self.scene(r)).collect();
        let mut runs: Vec<GroupRun<'_>> = scenes
            .iter()
            .zip(requests)
            .map(|(scene, request)| GroupRun::start(scene, request.seed, size))
            .collect();
        loop {
            let due: Vec<(usize, Features)> = runs
                .iter_mut()
                .enumerate()
                .flat_map(|(place, run)| {
                    let states = run.new_states().into_iter();
                    states.map(move |state| (place, state))
                })
                .collect();
            if due.is_empty() {
                break;
            }
            let (places, states): (Vec<usize>, Vec<Features>) = due.into_iter().unzip();
            let logits = self.score(&acting.scorer, &states)?;
            for ((place, state), logits) in places.into_iter().zip(states).zip(logits) {
                runs[place].add_state(state, &logits)?;
            }
            for run in &mut runs {
                run.step();
            }
        }
        let finished = runs.into_iter().zip(requests);
        Ok(finished
            .map(|(run, request)| run.finish(request.task, acting.version))
            .collect())
    }

    /// Logits of each state's rows.
    fn score(&self, scorer: &Scorer, states: &[Features]) -> Result<Vec<Vec<f32>>, PolicyError> {
        let mut all = Vec::with_capacity(states.len());
        for part in states.chunks(PASS) {
            let batch = Batch::collate(part, self.entries.clone(), &self.device);
            let [_, actions] = batch.present.dims();
            let logits = values(scorer.forward(batch).logits)?;
            let rows = part.iter().zip(logits.chunks_exact(actions));
            all.extend(rows.map(|(state, logits)| logits[..state.rows.len()].to_vec()));
        }
        Ok(all)
    }
}

impl Environment for ReplayEnvironment {
    fn tasks(&self) -> usize {
        self.tasks.len()
    }

    fn roll_out(
        &mut self,
        acting: &Acting,
        requests: &[GroupRequest],
        size: usize,
    ) -> Result<Rollouts, PolicyError> {
        let share = requests.len().div_ceil(self.threads).max(1);
        let this = &*self;
        let parts: Vec<Result<Vec<Group>, PolicyError>> = thread::scope(|scope| {
            let threads: Vec<_> = requests
                .chunks(share)
                .map(|part| scope.spawn(move || this.run(acting, part, size)))
                .collect();
            let join = |thread: thread::ScopedJoinHandle<'_, _>| {
                thread.join().unwrap_or_else(|_| {
                    Err(PolicyError::Execution("a replay thread failed".to_owned()))
                })
            };
            threads.into_iter().map(join).collect()
        });
        let mut groups = Vec::with_capacity(requests.len());
        for part in parts {
            groups.extend(part?);
        }
        Ok(Rollouts {
            entries: self.entries.clone(),
            groups,
        })
    }
}

/// What the episodes of a group have in common.
struct Scene<'a> {
    world: &'a World,
    task: &'a ReplayTask,
    absent: Absent,
    spec: EpisodeSpec,
    reward: RewardWeights,
    catalogue: &'a Prepared,
    first_row: u32,
    question: &'a Arc<[f32]>,
}

impl Scene<'_> {
    /// The state of an episode, its entries as rows of the table of all; `None` once it has ended.
    fn state(&self, episode: &mut ReplayEpisode<'_>) -> Option<Features> {
        let actions = episode.actions();
        if actions.is_empty() {
            return None;
        }
        let mut state = features(episode.request(), &actions, self.catalogue, self.question);
        for entry in state.rows.iter_mut().flat_map(|row| &mut row.entries) {
            if *entry != NO_ENTRY {
                *entry += self.first_row;
            }
        }
        Some(state)
    }
}

/// A group while it runs.
struct GroupRun<'a> {
    scene: &'a Scene<'a>,
    seed: u64,
    episodes: Vec<(ReplayEpisode<'a>, Vec<Decided>)>,
    states: Vec<Features>,
    distributions: Vec<Distribution>,
    /// Place of the state that follows a sequence of calls: nothing else tells the episodes of a
    /// group apart.
    known: HashMap<Vec<usize>, usize>,
    /// States that [`Self::new_states`] gave out.
    asked: usize,
}

impl<'a> GroupRun<'a> {
    fn start(scene: &'a Scene<'a>, seed: u64, size: usize) -> Self {
        let start = || {
            let spec = scene.spec.clone();
            ReplayEpisode::start(scene.world, scene.task, &scene.absent, spec)
        };
        Self {
            scene,
            seed,
            episodes: (0..size).map(|_| (start(), Vec::new())).collect(),
            states: Vec::new(),
            distributions: Vec::new(),
            known: HashMap::new(),
            asked: 0,
        }
    }

    /// States of running episodes that were not scored yet.
    fn new_states(&mut self) -> Vec<Features> {
        let mut found = Vec::new();
        for (episode, _) in &mut self.episodes {
            if episode.result().is_some() || self.known.contains_key(episode.calls()) {
                continue;
            }
            if let Some(state) = self.scene.state(episode) {
                self.known.insert(episode.calls().to_vec(), self.asked);
                self.asked += 1;
                found.push(state);
            }
        }
        found
    }

    fn add_state(&mut self, state: Features, logits: &[f32]) -> Result<(), PolicyError> {
        let distribution = Distribution::new(logits, 1.0)
            .ok_or_else(|| PolicyError::Execution("the scores are not numbers".to_owned()))?;
        self.states.push(state);
        self.distributions.push(distribution);
        Ok(())
    }

    /// One decision in each running episode.
    fn step(&mut self) {
        for (place, (episode, decisions)) in self.episodes.iter_mut().enumerate() {
            if episode.result().is_some() {
                continue;
            }
            let Some(state) = self.known.get(episode.calls()).copied() else {
                continue;
            };
            let keys = [self.seed, 1 + place as u64, decisions.len() as u64];
            let at = SplitMix::keyed(&keys).uniform();
            let taken = self.distributions[state].take(ServingMode::Sampled, at);
            let action = self.distributions[state].order[taken.rank];
            let choice: &Choice = &self.states[state].rows[action].choice;
            episode.take(choice);
            decisions.push(Decided {
                state,
                action,
                log_prob: taken.log_prob,
            });
        }
    }

    fn finish(self, task: usize, version: u64) -> Group {
        let weights = &self.scene.reward;
        let episodes = self
            .episodes
            .into_iter()
            .filter_map(|(episode, decisions)| {
                let result = episode.result()?.clone();
                let reward = Reward::new(
                    result.score,
                    result.has_format,
                    result.cost,
                    result.latency,
                    weights,
                );
                Some(Rollout {
                    decisions,
                    result,
                    reward: reward.total(),
                    version,
                })
            })
            .collect();
        Group {
            task,
            states: self.states,
            episodes,
        }
    }
}
