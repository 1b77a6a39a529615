use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, stream};
use maestro_core::{
    CoreError, Digest, Timestamp,
    episode::EpisodeRecord,
    grading::Reference,
    recording::KnownTask,
    registry::Catalogue,
    task::{DEFAULT_STEPS, DEFAULT_TIMEOUT, Task, TaskDraft, Weights},
};
use maestro_policy::{
    EmbeddingCache, Embeddings, PolicyError, Runtime, ScorerConfig,
    learning::{Acting, Environment, Group, GroupRequest, Rollouts, ScenarioConfig},
    manifest, weights,
};
use serde::{Deserialize, Serialize};
use tokio::{runtime::Handle, time};
use url::Url;

use super::{
    lesson::{add_episode, result, reward},
    remote::Coordinator,
};

/// Longest wait for the policy workers to take a policy up.
const TAKE_UP: Duration = Duration::from_secs(30);
/// Wait before an episode is asked for again that the cluster was too busy for.
const BUSY: Duration = Duration::from_millis(200);
/// How often.
const ATTEMPTS: u32 = 5;

/// How episodes are run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LiveConfig {
    /// Slot in which the learning policy acts. One of its own: users' episodes are not to be
    /// sampled from a policy that is being trained.
    pub slot: String,
    /// Episodes at the same time.
    pub concurrency: usize,
    /// Most decisions of an episode.
    pub max_steps: u32,
    /// How long an episode may take, in milliseconds.
    pub timeout_ms: u64,
}

impl Default for LiveConfig {
    fn default() -> Self {
        Self {
            slot: "learning".to_owned(),
            concurrency: 16,
            max_steps: DEFAULT_STEPS,
            timeout_ms: u64::try_from(DEFAULT_TIMEOUT.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// Why episodes cannot be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LiveError {
    /// The coordinator cannot be reached or refuses.
    #[error(transparent)]
    Coordinator(#[from] CoreError),
    /// The endpoint is none.
    #[error(transparent)]
    Rpc(#[from] maestro_rpc::RpcError),
    /// A task cannot be learned from.
    #[error("task {id}: {reason}")]
    Task {
        /// The task.
        id: String,
        /// Why.
        reason: String,
    },
    /// There is no task.
    #[error("there is no task to learn from")]
    NoTask,
}

/// Episodes through a cluster's coordinator. Blocks: use it outside the runtime's own threads.
pub struct LiveEnvironment {
    handle: Handle,
    coordinator: Coordinator,
    tasks: Vec<(KnownTask, Reference)>,
    config: LiveConfig,
    scenario: ScenarioConfig,
    scorer: ScorerConfig,
    runtime: Runtime,
    /// Number of each policy that was made active.
    versions: HashMap<String, u64>,
    catalogues: HashMap<Digest, (Arc<Embeddings>, u32)>,
    matrix: Vec<f32>,
}

impl LiveEnvironment {
    /// Tasks whose images the coordinator's blob store holds.
    ///
    /// # Errors
    /// [`LiveError::Task`] for one without a reference or whose image is not there.
    pub async fn new(
        endpoint: &Url,
        tasks: Vec<KnownTask>,
        config: LiveConfig,
        scenario: ScenarioConfig,
        scorer: ScorerConfig,
        runtime: Runtime,
    ) -> Result<Self, LiveError> {
        let coordinator = Coordinator::new(endpoint)?;
        let mut known = Vec::with_capacity(tasks.len());
        for task in tasks {
            let refuse = |reason: &str| LiveError::Task {
                id: task.id.clone(),
                reason: reason.to_owned(),
            };
            let reference = task
                .reference
                .clone()
                .ok_or_else(|| refuse("has no reference"))?;
            for image in &task.images {
                if !coordinator.blobs().contains(&image.digest).await? {
                    return Err(refuse("has an image that the blob store does not hold"));
                }
            }
            known.push((task, reference));
        }
        if known.is_empty() {
            return Err(LiveError::NoTask);
        }
        Ok(Self {
            handle: Handle::current(),
            coordinator,
            tasks: known,
            config,
            scenario,
            scorer,
            runtime,
            versions: HashMap::new(),
            catalogues: HashMap::new(),
            matrix: Vec::new(),
        })
    }

    fn task(&self, known: &KnownTask, weights: Weights) -> Result<Task, CoreError> {
        TaskDraft {
            question: known.question.clone(),
            images: known.images.clone(),
            answer_kind: known.answer_kind.clone(),
            max_steps: Some(self.config.max_steps.into()),
            timeout: Some(self.timeout()),
            weights: Some(weights),
            ..TaskDraft::default()
        }
        .validate(Timestamp::now())
    }

    fn timeout(&self) -> Duration {
        Duration::from_millis(self.config.timeout_ms)
    }

    /// Makes the acting policy the slot's active one, once a version.
    async fn publish(&mut self, acting: &Acting) -> Result<(), PolicyError> {
        if self
            .versions
            .values()
            .any(|version| *version == acting.version)
        {
            return Ok(());
        }
        let notes = BTreeMap::from([
            ("training".to_owned(), "grpo, live".to_owned()),
            ("update".to_owned(), acting.version.to_string()),
        ]);
        let (scorer, runtime) = (&acting.scorer, &self.runtime);
        let made = manifest(scorer, &self.scorer, runtime, Timestamp::now(), notes)?;
        let slot = &self.config.slot;
        let digest = self
            .coordinator
            .activate(&made, weights(scorer)?, slot)
            .await
            .map_err(failed)?
            .to_string();
        self.versions.insert(digest.clone(), acting.version);
        self.taken_up(&digest).await
    }

    /// Waits until a decision is of this policy. The probes are ordinary episodes of one step.
    async fn taken_up(&self, digest: &str) -> Result<(), PolicyError> {
        let probe = async {
            loop {
                let (known, _) = &self.tasks[0];
                let mut task = self.task(known, Weights::default()).map_err(failed)?;
                task.budget.max_steps = 2;
                let run = self.episode(task, 1).await;
                let is_new = run.as_ref().is_ok_and(|record| {
                    let first = record.steps.first();
                    first.is_some_and(|step| step.decision.policy_version == digest)
                });
                if is_new {
                    return Ok(());
                }
                time::sleep(BUSY).await;
            }
        };
        time::timeout(TAKE_UP, probe).await.unwrap_or_else(|_| {
            Err(PolicyError::Execution(format!(
                "no policy worker decided by {digest} within {TAKE_UP:?}"
            )))
        })
    }

    /// One episode. Asks again while the cluster is too busy.
    async fn episode(&self, task: Task, seed: u64) -> Result<EpisodeRecord, CoreError> {
        let mut attempt = 0;
        loop {
            let slot = &self.config.slot;
            let run = self
                .coordinator
                .run(task.clone(), slot, seed.max(1), self.timeout());
            match run.await {
                Err(error) if error.is_transient() && attempt < ATTEMPTS => {
                    time::sleep(BUSY * 2u32.pow(attempt)).await;
                    attempt += 1;
                }
                ended => return ended,
            }
        }
    }

    async fn run(
        &mut self,
        acting: &Acting,
        requests: &[GroupRequest],
        size: usize,
    ) -> Result<Rollouts, PolicyError> {
        self.publish(acting).await?;
        let wanted = requests.iter().enumerate().flat_map(|(place, request)| {
            (0..size).map(move |number| (place, *request, number as u64))
        });
        let this = &*self;
        let records: Vec<(usize, EpisodeRecord)> = stream::iter(wanted)
            .map(|(place, request, number)| async move {
                let (known, _) = this.tasks.get(request.task)?;
                let weights = this.scenario.weights_of(request.seed);
                let task = this.task(known, weights).ok()?;
                let seed = request
                    .seed
                    .wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                match this.episode(task, seed).await {
                    Ok(record) => Some((place, record)),
                    Err(error) => {
                        tracing::warn!(task = known.id, %error, "an episode could not be run");
                        None
                    }
                }
            })
            .buffer_unordered(self.config.concurrency.max(1))
            .filter_map(async |record| record)
            .collect()
            .await;
        if records.is_empty() {
            let message = "the cluster ran none of the episodes".to_owned();
            return Err(PolicyError::Execution(message));
        }
        let mut groups: Vec<Group> = requests
            .iter()
            .map(|request| Group {
                task: request.task,
                states: Vec::new(),
                episodes: Vec::new(),
            })
            .collect();
        for (place, record) in &records {
            self.add(&mut groups[*place], record).await?;
        }
        groups.retain(|group| !group.episodes.is_empty());
        Ok(Rollouts {
            entries: self.runtime.table(self.matrix.clone()),
            groups,
        })
    }

    /// Grades an episode, reports its outcome and adds it to its group. One whose decisions are
    /// not all of policies of this run is left out.
    async fn add(&mut self, group: &mut Group, record: &EpisodeRecord) -> Result<(), PolicyError> {
        let (known, reference) = &self.tasks[group.task];
        let Some(ended) = result(record, reference) else {
            return Ok(());
        };
        let versions = record.steps.iter().map(|step| {
            let version = self.versions.get(&step.decision.policy_version);
            version.copied()
        });
        let version: Option<u64> = versions
            .collect::<Option<Vec<u64>>>()
            .and_then(|versions| versions.into_iter().min());
        let catalogue = record.steps.first().and_then(|s| s.decision.catalogue);
        let (Some(version), Some(catalogue)) = (version, catalogue) else {
            return Ok(());
        };
        let id = record.spec.id.as_str();
        if let Err(error) = self.coordinator.report(id, ended.score).await {
            tracing::warn!(episode = id, %error, "the outcome could not be reported");
        }
        let question = self.runtime.embedder().embed(&[known.question.as_str()])?;
        let weights = self.scenario.reward_of(&record.spec.task.weights);
        let worth = reward(&ended, &weights);
        let (embeddings, first_row) = self.catalogue(&catalogue).await?;
        let question = question.first().map_or(&[][..], Vec::as_slice);
        add_episode(
            group,
            record,
            ended,
            worth,
            question,
            &embeddings,
            (first_row, version),
        )
    }

    /// The vectors of a catalogue and where they begin in the table of all.
    async fn catalogue(&mut self, digest: &Digest) -> Result<(Arc<Embeddings>, u32), PolicyError> {
        if let Some((embeddings, first)) = self.catalogues.get(digest) {
            return Ok((Arc::clone(embeddings), *first));
        }
        let content = self.coordinator.fetch(digest).await.map_err(failed)?;
        let catalogue: Catalogue = serde_json::from_slice(&content).map_err(failed)?;
        let embedder = Arc::clone(self.runtime.embedder());
        let dim = embedder.dim().max(1);
        let embeddings = Arc::new(EmbeddingCache::new(embedder).embed(&catalogue)?);
        let first = u32::try_from(self.matrix.len() / dim).unwrap_or(u32::MAX);
        self.matrix.extend_from_slice(embeddings.matrix());
        self.catalogues
            .insert(*digest, (Arc::clone(&embeddings), first));
        Ok((embeddings, first))
    }
}

impl Environment for LiveEnvironment {
    fn tasks(&self) -> usize {
        self.tasks.len()
    }

    fn roll_out(
        &mut self,
        acting: &Acting,
        requests: &[GroupRequest],
        size: usize,
    ) -> Result<Rollouts, PolicyError> {
        let handle = self.handle.clone();
        handle.block_on(self.run(acting, requests, size))
    }
}

fn failed(error: impl std::fmt::Display) -> PolicyError {
    PolicyError::Execution(error.to_string())
}
