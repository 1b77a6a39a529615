use std::{collections::BTreeMap, sync::Arc, time::Duration};

use maestro_core::{
    CoreError, EpisodeId, InstanceId, MicroUsd, TenantId, Timestamp,
    episode::{Durability, EpisodeSpec, Observation, ServingMode},
    quote,
    recording::{KnownTask, RecordedCall, RecordedResult, Recording},
    registry::{Candidate, Instance, Snapshot},
    task::{DEFAULT_STEPS, DEFAULT_TIMEOUT, Pair, Task, TaskDraft, Weights},
};

/// Under which terms every task is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    /// Most decisions, the answer included.
    pub max_steps: u32,
    /// How long an episode may take.
    pub timeout: Duration,
    /// Most that an episode may cost.
    pub max_cost: Option<MicroUsd>,
    /// The user's weights.
    pub weights: Weights,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            max_steps: DEFAULT_STEPS,
            timeout: DEFAULT_TIMEOUT,
            max_cost: None,
            weights: Weights::default(),
        }
    }
}

/// A recorded call made ready.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayCall {
    /// The pair.
    pub pair: Pair,
    /// Place of the expert in the catalogue.
    pub expert: usize,
    /// Place of the skill in the catalogue.
    pub skill: usize,
    /// Most that the call can cost, as the coordinator would quote it.
    pub bound: Option<MicroUsd>,
    /// What it cost.
    pub cost: MicroUsd,
    /// How long it took.
    pub latency: Duration,
    /// How right its answer is, 0 to 1.
    pub score: f64,
    /// What came of it. Empty where only the score is known.
    pub observation: Observation,
    /// Whether only the score is known, so that the episode ends with it.
    pub is_final: bool,
}

/// A task made ready.
#[derive(Clone, Debug)]
pub struct ReplayTask {
    /// What is known of it. For evaluations: nothing of it but the question reaches a policy.
    pub known: KnownTask,
    /// The calls that suit it, in the order of the action set.
    pub calls: Vec<ReplayCall>,
    pub(super) spec: EpisodeSpec,
}

impl ReplayTask {
    /// The task as a policy sees it.
    pub fn task(&self) -> &Arc<Task> {
        &self.spec.task
    }

    /// The same task under other weights of the user.
    #[must_use]
    pub fn weighing(&self, weights: Weights) -> EpisodeSpec {
        if self.spec.task.weights == weights {
            return self.spec.clone();
        }
        let task = Task {
            weights,
            ..Task::clone(&self.spec.task)
        };
        EpisodeSpec {
            task: Arc::new(task),
            ..self.spec.clone()
        }
    }

    /// The best score that one call reaches.
    pub fn best_score(&self) -> f64 {
        self.calls.iter().map(|call| call.score).fold(0.0, f64::max)
    }
}

/// Entries of the catalogue that are not there, by their places in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Absent {
    /// Experts.
    pub experts: Vec<usize>,
    /// Skills.
    pub skills: Vec<usize>,
}

impl Absent {
    /// Whether a call could not be made.
    pub fn covers(&self, call: &ReplayCall) -> bool {
        self.experts.contains(&call.expert) || self.skills.contains(&call.skill)
    }
}

/// A recording made ready for replay.
#[derive(Clone, Debug)]
pub struct World {
    pub(super) snapshot: Arc<Snapshot>,
    tasks: Vec<ReplayTask>,
}

impl World {
    /// Makes a recording ready. A task without a call that suits it is left out.
    ///
    /// # Errors
    /// [`CoreError::Invalid`] names the task that cannot be asked under these terms.
    pub fn new(recording: Recording, terms: &Terms) -> Result<Self, CoreError> {
        let mut snapshot = Snapshot::new(1, recording.catalogue);
        snapshot.instances = one_instance_each(&snapshot)?;
        let places = Places::new(&snapshot);
        let mut tasks = Vec::with_capacity(recording.tasks.len());
        for recorded in recording.tasks {
            let known = recorded.task;
            let spec = spec(&known, terms).map_err(|error| error.under(&known.id))?;
            let kind = known.answer_kind.name();
            let suitable = snapshot.candidates(known.images.len(), kind, &spec.task.constraints);
            let calls: Vec<ReplayCall> = suitable
                .iter()
                .filter_map(|candidate| {
                    let pair = candidate.pair();
                    let call = recorded.calls.iter().find(|call| call.pair == pair)?;
                    let bound = quote::upper_bound(&snapshot, candidate);
                    Some(places.call(call, &known, bound))
                })
                .collect();
            if !calls.is_empty() {
                tasks.push(ReplayTask { known, calls, spec });
            }
        }
        Ok(Self {
            snapshot: Arc::new(snapshot),
            tasks,
        })
    }

    /// The pool as a registry would show it, each expert with one instance.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// The tasks.
    pub fn tasks(&self) -> &[ReplayTask] {
        &self.tasks
    }

    /// The entries behind a call.
    pub(super) fn candidate(&self, call: &ReplayCall) -> Option<Candidate<'_>> {
        let catalogue = &self.snapshot.catalogue;
        Some(Candidate {
            expert: catalogue.experts.get(&call.pair.expert)?,
            skill: catalogue.skills.get(&call.pair.skill)?,
        })
    }
}

fn spec(known: &KnownTask, terms: &Terms) -> Result<EpisodeSpec, CoreError> {
    let draft = TaskDraft {
        question: known.question.clone(),
        images: known.images.clone(),
        answer_kind: known.answer_kind.clone(),
        max_steps: Some(terms.max_steps.into()),
        timeout: Some(terms.timeout),
        max_cost_micro_usd: terms
            .max_cost
            .map(|cost| i64::try_from(cost.0).unwrap_or(i64::MAX)),
        weights: Some(terms.weights),
        ..TaskDraft::default()
    };
    let start = Timestamp::UNIX_EPOCH;
    Ok(EpisodeSpec {
        id: EpisodeId::new("replay")?,
        tenant: TenantId::new("replay")?,
        request_id: None,
        task: Arc::new(draft.validate(start)?),
        durability: Durability::Ephemeral,
        mode: ServingMode::Sampled,
        slot: String::new(),
        seed: 0,
        created_at: start,
    })
}

fn one_instance_each(
    snapshot: &Snapshot,
) -> Result<BTreeMap<maestro_core::ExpertName, Vec<Instance>>, CoreError> {
    let endpoint: url::Url = "http://recorded.invalid"
        .parse()
        .map_err(|error| CoreError::Internal(format!("endpoint: {error}")))?;
    let instance = |name: &maestro_core::ExpertName| Instance {
        expert: name.clone(),
        id: InstanceId::generate(),
        endpoint: endpoint.clone(),
        capacity: 1,
        written_at: Timestamp::UNIX_EPOCH,
    };
    let names = snapshot.catalogue.experts.keys();
    Ok(names
        .map(|name| (name.clone(), vec![instance(name)]))
        .collect())
}

/// Places of the entries in the catalogue.
struct Places {
    experts: BTreeMap<maestro_core::ExpertName, usize>,
    skills: BTreeMap<maestro_core::SkillName, usize>,
}

impl Places {
    fn new(snapshot: &Snapshot) -> Self {
        let catalogue = &snapshot.catalogue;
        Self {
            experts: catalogue.experts.keys().cloned().zip(0..).collect(),
            skills: catalogue.skills.keys().cloned().zip(0..).collect(),
        }
    }

    fn call(
        &self,
        recorded: &RecordedCall,
        known: &KnownTask,
        bound: Option<MicroUsd>,
    ) -> ReplayCall {
        let (mut observation, is_final) = match &recorded.result {
            RecordedResult::Observed(observation) => (Observation::clone(observation), false),
            RecordedResult::Graded(_) => (Observation::default(), true),
        };
        observation.usage.cost = recorded.cost;
        let place = |found: Option<&usize>| found.copied().unwrap_or(usize::MAX);
        ReplayCall {
            expert: place(self.experts.get(&recorded.pair.expert)),
            skill: place(self.skills.get(&recorded.pair.skill)),
            pair: recorded.pair.clone(),
            bound,
            cost: recorded.cost,
            latency: recorded.latency(),
            score: recorded.score(known.reference.as_ref()),
            observation,
            is_final,
        }
    }
}
