use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use maestro_core::{
    CoreError, Digest,
    episode::{Choice, Decision, EpisodeRecord, ServingMode, Step},
    off_policy::{LoggedStep, Trajectory},
    ports::{Blobs, DecideRequest},
    registry::{Catalogue, Snapshot},
    task::Pair,
};
use maestro_policy::{
    Column, EmbeddingCache, Features, PolicyError, Prepared, Runtime, ScorerPolicy,
    distribution::Distribution,
    parse_manifest,
    reconstruct::{logged_features, logged_trace, states},
};
use maestro_policy_worker::{builtin, config::Config};
use maestro_rpc::RemoteBlobs;

use crate::error::CliError;

/// Largest difference between a logged and a recomputed probability. Where it is larger the state
/// has not been rebuilt as it was.
const TOLERANCE: f64 = 1e-3;

/// A kind of action in a kind of situation, whose episodes are expected to end equally well: the
/// cells of the reward model.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cell {
    answer_kind: &'static str,
    /// The pair that is called, or whose answer is taken.
    pair: Option<Pair>,
    /// Whether it is called, and whether something was called before.
    call: Option<bool>,
    /// Confidence of the answer taken, in fifths.
    confidence: u8,
    /// Whether another pair claims the same.
    agreed: bool,
}

/// An episode in the light of two policies.
pub(super) struct Judged {
    pub(super) active: Trajectory<Cell>,
    pub(super) candidate: Trajectory<Cell>,
    /// Decisions of which both policies' first choice is the same.
    pub(super) agreed: usize,
    /// Largest difference between a logged and a recomputed probability.
    pub(super) deviation: f64,
    pub(super) cost_usd: f64,
    pub(super) seconds: f64,
}

/// Why an episode cannot be judged.
#[derive(Debug, thiserror::Error)]
pub(super) enum LeftOut {
    #[error("decided by a policy that cannot be loaded")]
    Policy,
    #[error("on a catalogue that the blob store does not have")]
    Catalogue,
    #[error("recomputed probabilities deviate by more than {TOLERANCE}")]
    Deviation,
    #[error("taken action is not among the alternatives")]
    Action,
    #[error("not ended")]
    Running,
    #[error("{0}")]
    Core(#[from] CoreError),
    #[error("{0}")]
    Computation(#[from] PolicyError),
}

/// Recomputes decisions. Policies and catalogues are fetched once.
pub(super) struct Judge {
    blobs: RemoteBlobs,
    runtime: Runtime,
    builtin: Arc<ScorerPolicy>,
    sampled: bool,
    embeddings: EmbeddingCache,
    policies: HashMap<String, Option<Arc<ScorerPolicy>>>,
    catalogues: HashMap<Digest, Option<Arc<Prepared>>>,
}

impl Judge {
    /// `sampled` policies take each action with its probability, others always the most probable
    /// one.
    pub(super) fn new(
        runtime: Runtime,
        blobs: RemoteBlobs,
        sampled: bool,
    ) -> Result<Self, CliError> {
        let builtin = builtin::policy(&Config::default(), &runtime)?;
        Ok(Self {
            embeddings: EmbeddingCache::new(Arc::clone(runtime.embedder())),
            blobs,
            runtime,
            builtin: Arc::new(builtin),
            sampled,
            policies: HashMap::new(),
            catalogues: HashMap::new(),
        })
    }

    /// A policy without which there is nothing to compare.
    pub(super) async fn needed(
        &self,
        part: &str,
        version: &Digest,
    ) -> Result<Arc<ScorerPolicy>, CliError> {
        let unusable = |reason: String| {
            CliError::Compare(format!("the {part} policy {}: {reason}", version.short()))
        };
        self.load(version).await.map_err(unusable)
    }

    async fn load(&self, version: &Digest) -> Result<Arc<ScorerPolicy>, String> {
        if self.builtin.version() == version {
            return Ok(Arc::clone(&self.builtin));
        }
        let fetch = async |digest: &Digest| {
            let content = self.blobs.get(digest).await;
            content.map_err(|error| error.to_string())
        };
        let manifest = fetch(version).await?;
        let parsed = parse_manifest(&manifest).map_err(|error| error.to_string())?;
        let weights = fetch(&parsed.weights).await?;
        ScorerPolicy::load(&manifest, &weights, self.runtime.clone())
            .map(Arc::new)
            .map_err(|error| error.to_string())
    }

    /// The policy that decided; `None` where it cannot be loaded.
    async fn deciding(&mut self, version: &str) -> Option<Arc<ScorerPolicy>> {
        if let Some(known) = self.policies.get(version) {
            return known.clone();
        }
        let policy = match version.parse() {
            Ok(digest) => self.load(&digest).await.ok(),
            Err(_) => None,
        };
        self.policies.insert(version.to_owned(), policy.clone());
        policy
    }

    async fn catalogue(&mut self, digest: Digest) -> Option<Arc<Prepared>> {
        if let Some(known) = self.catalogues.get(&digest) {
            return known.clone();
        }
        let prepared = self.prepare(&digest).await.map(Arc::new);
        self.catalogues.insert(digest, prepared.clone());
        prepared
    }

    async fn prepare(&mut self, digest: &Digest) -> Option<Prepared> {
        let content = self.blobs.get(digest).await.ok()?;
        let catalogue: Catalogue = serde_json::from_slice(&content).ok()?;
        let embeddings = self.embeddings.embed(&catalogue).ok()?;
        // What served then is in the traces.
        let snapshot = Arc::new(Snapshot::new(0, catalogue));
        Some(self.runtime.prepare(snapshot, embeddings))
    }

    /// What two policies make of an episode whose answer was worth `score`.
    pub(super) async fn judge(
        &mut self,
        record: &EpisodeRecord,
        score: f64,
        active: &ScorerPolicy,
        candidate: &ScorerPolicy,
    ) -> Result<Judged, LeftOut> {
        let conclusion = record.conclusion.as_ref().ok_or(LeftOut::Running)?;
        let time = conclusion
            .finished_at
            .duration_since(record.spec.created_at);
        let empty = || Trajectory {
            steps: Vec::new(),
            reward: score,
        };
        let mut judged = Judged {
            active: empty(),
            candidate: empty(),
            agreed: 0,
            deviation: 0.0,
            cost_usd: conclusion.usage.cost.as_usd(),
            seconds: time.as_secs_f64(),
        };
        for (state, step) in states(record).iter().zip(&record.steps) {
            let view = self.view(state, step).await?;
            judged.deviation = judged.deviation.max(view.deviation);
            if judged.deviation > TOLERANCE {
                return Err(LeftOut::Deviation);
            }
            let ours = view.step(active, self.sampled)?;
            let theirs = view.step(candidate, self.sampled)?;
            judged.agreed += usize::from(ours.first == theirs.first);
            judged.active.steps.push(ours.step);
            judged.candidate.steps.push(theirs.step);
        }
        Ok(judged)
    }

    /// A decision made ready to be judged, checked against the policy that made it.
    async fn view<'a>(
        &mut self,
        state: &'a DecideRequest,
        step: &'a Step,
    ) -> Result<View<'a>, LeftOut> {
        let decision = &step.decision;
        let policy = self.deciding(&decision.policy_version).await;
        let policy = policy.ok_or(LeftOut::Policy)?;
        let digest = decision.catalogue.ok_or(LeftOut::Catalogue)?;
        let prepared = self.catalogue(digest).await.ok_or(LeftOut::Catalogue)?;
        let question = self
            .runtime
            .embedder()
            .embed(&[state.task.question.as_str()])
            .map_err(PolicyError::from)?
            .pop()
            .unwrap_or_default();
        let temperature = logged_trace(decision)?.temperature;
        let features = logged_features(state, decision, prepared.embeddings(), &question)?;
        let choice = Choice::from(&decision.action);
        let taken = features.rows.iter().position(|row| row.choice == choice);
        let mut view = View {
            state,
            decision,
            prepared,
            features,
            temperature,
            taken: taken.ok_or(LeftOut::Action)?,
            deviation: 0.0,
        };
        view.deviation = view.deviation(&view.distribution(&policy)?);
        Ok(view)
    }
}

/// What a policy would do in a logged state.
struct Judgement {
    step: LoggedStep<Cell>,
    /// Row of its most probable action.
    first: Option<usize>,
}

/// A logged decision with the state that it was made in.
struct View<'a> {
    state: &'a DecideRequest,
    decision: &'a Decision,
    prepared: Arc<Prepared>,
    features: Features,
    temperature: f32,
    /// Row of the action that was taken.
    taken: usize,
    deviation: f64,
}

impl View<'_> {
    fn distribution(&self, policy: &ScorerPolicy) -> Result<Distribution, PolicyError> {
        let features = std::slice::from_ref(&self.features);
        policy
            .distributions(&self.prepared, features, self.temperature)?
            .pop()
            .ok_or_else(|| PolicyError::Execution("no distribution".to_owned()))
    }

    /// Largest difference between a logged probability and the distribution's.
    fn deviation(&self, distribution: &Distribution) -> f64 {
        let recomputed = by_row(distribution);
        let logged = self.logged();
        let differences = self.features.rows.iter().zip(&recomputed).map(|(row, p)| {
            let logged = logged.get(&key(&row.choice)).copied().unwrap_or(0.0);
            (p - logged).abs()
        });
        differences.fold(0.0, f64::max)
    }

    /// Logged probabilities of the policy that decided.
    fn logged(&self) -> BTreeMap<String, f64> {
        let alternatives = self.decision.alternatives.iter();
        alternatives
            .map(|one| (key(&one.choice), f64::from(one.probability)))
            .collect()
    }

    fn step(&self, policy: &ScorerPolicy, sampled: bool) -> Result<Judgement, LeftOut> {
        let distribution = self.distribution(policy)?;
        let first = distribution.order.first().copied();
        let probabilities: Vec<f64> = if sampled {
            by_row(&distribution)
        } else {
            let rows = 0..self.features.rows.len();
            rows.map(|row| f64::from(u8::from(Some(row) == first)))
                .collect()
        };
        let logged = self.logged();
        // A greedy decision without exploration could only be what it was; with it, and in a
        // sampled one, whatever has a probability.
        let explored = self.decision.mode == ServingMode::Sampled || self.decision.log_prob < 0.0;
        let mut unsupported = 0.0;
        let mut options = Vec::new();
        for (row, probability) in probabilities.iter().enumerate() {
            if *probability <= 0.0 {
                continue;
            }
            let choice = &self.features.rows[row].choice;
            let tried = explored && logged.get(&key(choice)).is_some_and(|p| *p > 0.0);
            if row != self.taken && !tried {
                unsupported += probability;
            }
            options.push((self.cell(row), *probability));
        }
        let step = LoggedStep::new(
            self.decision.log_prob.exp(),
            probabilities.get(self.taken).copied().unwrap_or(0.0),
            unsupported,
            self.cell(self.taken),
            options,
        )?;
        Ok(Judgement { step, first })
    }

    fn cell(&self, row: usize) -> Cell {
        let row = &self.features.rows[row];
        let answered = |step: u32| {
            let past = self.state.history.iter().find(|past| past.index == step);
            past.and_then(|past| past.pair.clone())
        };
        let column = |column: Column| row.columns[column as usize];
        let (pair, call) = match &row.choice {
            Choice::Invoke(pair) => (Some(pair.clone()), Some(!self.state.history.is_empty())),
            Choice::AnswerObservation(step) => (answered(*step), None),
            Choice::AnswerText => (None, None),
        };
        Cell {
            answer_kind: self.state.task.answer_kind.name(),
            pair,
            call,
            confidence: (column(Column::Confidence) * 5.0).clamp(0.0, 4.0) as u8,
            agreed: column(Column::Agreed) > 0.0,
        }
    }
}

fn key(choice: &Choice) -> String {
    match choice {
        Choice::Invoke(pair) => format!("{}@{}", pair.expert, pair.skill),
        Choice::AnswerObservation(step) => format!("#{step}"),
        Choice::AnswerText => "#".to_owned(),
    }
}

/// Probabilities in the order of the rows.
fn by_row(distribution: &Distribution) -> Vec<f64> {
    let mut probabilities = vec![0.0; distribution.order.len()];
    for (row, probability) in distribution.order.iter().zip(&distribution.probabilities) {
        probabilities[*row] = *probability;
    }
    probabilities
}
