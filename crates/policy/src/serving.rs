//! The scorer as a policy: artefacts in, decisions out.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
};

use burn::tensor::{Tensor, TensorData};
use maestro_core::{
    Digest, Timestamp,
    episode::{
        Action, Alternative, Answer, Choice, Decision, Failure, FailureKind, ServingMode, Trace,
    },
    ports::{DecideRequest, PolicyManifest},
    registry::Snapshot,
    task::Pair,
};

use crate::{
    actions::{PossibleAction, possible_actions},
    artefact::{
        NOTE_DESCRIPTIONS, check_dim, check_manifest, manifest, manifest_content, parse_manifest,
        read_weights, weights,
    },
    distribution::{Distribution, Taken, uniform},
    embeddings::QuestionCache,
    error::PolicyError,
    features::{Features, STATE_COLUMNS, features},
    prepared::Prepared,
    runtime::Runtime,
    scorer::{Batch, Scorer, ScorerConfig},
    trace::{self, ScorerTrace},
    values,
};

/// Questions whose vectors are kept, twice.
const CACHED_QUESTIONS: usize = 2048;

/// A scorer that decides.
pub struct ScorerPolicy {
    scorer: Scorer,
    config: ScorerConfig,
    manifest: PolicyManifest,
    version: Digest,
    runtime: Runtime,
    questions: QuestionCache,
    known: HashSet<Digest>,
}

impl fmt::Debug for ScorerPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScorerPolicy")
            .field("version", &self.version)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl ScorerPolicy {
    /// The policy before any training. The same settings always give the same version.
    ///
    /// # Errors
    /// [`PolicyError::Config`], or [`PolicyError::Weights`] where they cannot be serialised.
    pub fn untrained(config: ScorerConfig, runtime: Runtime) -> Result<Self, PolicyError> {
        config.validate()?;
        check_dim(&config, &runtime)?;
        let scorer = config.init(&runtime.device);
        let notes = BTreeMap::from([("training".to_owned(), "none".to_owned())]);
        let manifest = manifest(&scorer, &config, &runtime, Timestamp::UNIX_EPOCH, notes)?;
        let version = Digest::of(&manifest_content(&manifest)?);
        Ok(Self::assemble(scorer, config, manifest, version, runtime))
    }

    /// A policy from its artefacts: the bytes of its manifest, whose digest is the version, and
    /// the weights.
    ///
    /// # Errors
    /// [`PolicyError::Manifest`] where it is of another kind, layout or embedder;
    /// [`PolicyError::Weights`] where they are damaged or of another shape.
    pub fn load(
        manifest_json: &[u8],
        weights: &[u8],
        runtime: Runtime,
    ) -> Result<Self, PolicyError> {
        let manifest = parse_manifest(manifest_json)?;
        let config = check_manifest(&manifest, &runtime)?;
        if Digest::of(weights) != manifest.weights {
            let message = format!("they are not those of the digest {}", manifest.weights);
            return Err(PolicyError::Weights(message));
        }
        let scorer = read_weights(&config, weights, &runtime)?;
        let version = Digest::of(manifest_json);
        Ok(Self::assemble(scorer, config, manifest, version, runtime))
    }

    fn assemble(
        scorer: Scorer,
        config: ScorerConfig,
        manifest: PolicyManifest,
        version: Digest,
        runtime: Runtime,
    ) -> Self {
        let known = manifest
            .notes
            .get(NOTE_DESCRIPTIONS)
            .map(|list| {
                list.split(',')
                    .filter_map(|text| text.parse().ok())
                    .collect()
            })
            .unwrap_or_default();
        Self {
            scorer,
            config,
            known,
            version,
            manifest,
            runtime,
            questions: QuestionCache::new(CACHED_QUESTIONS),
        }
    }

    /// Digest of the manifest.
    pub fn version(&self) -> &Digest {
        &self.version
    }

    /// The manifest.
    pub fn manifest(&self) -> &PolicyManifest {
        &self.manifest
    }

    /// Whether it met the descriptions of both the expert and the skill in training.
    pub fn knows(&self, snapshot: &Snapshot, pair: &Pair) -> bool {
        let catalogue = &snapshot.catalogue;
        let expert = catalogue.experts.get(&pair.expert).map(|e| &e.description);
        let skill = catalogue.skills.get(&pair.skill).map(|s| &s.description);
        !self.known.is_empty()
            && [expert, skill].into_iter().all(|description| {
                description.is_some_and(|text| self.known.contains(&Digest::of(text.as_bytes())))
            })
    }

    /// The network's shape.
    pub fn config(&self) -> &ScorerConfig {
        &self.config
    }

    /// The network.
    pub fn scorer(&self) -> &Scorer {
        &self.scorer
    }

    /// The weights as safetensors.
    ///
    /// # Errors
    /// [`PolicyError::Weights`] where they cannot be serialised.
    pub fn weights(&self) -> Result<Vec<u8>, PolicyError> {
        weights(&self.scorer)
    }

    /// Decides one request.
    ///
    /// # Errors
    /// Why nothing could be chosen.
    pub fn decide(
        &self,
        prepared: &Prepared,
        request: &DecideRequest,
    ) -> Result<Decision, Failure> {
        self.decide_batch(prepared, &[request])
            .pop()
            .unwrap_or_else(|| Err(Failure::new(FailureKind::Unavailable, "no decision")))
    }

    /// Decides several requests in one forward pass, each as if it were alone.
    pub fn decide_batch(
        &self,
        prepared: &Prepared,
        requests: &[&DecideRequest],
    ) -> Vec<Result<Decision, Failure>> {
        let possible: Vec<Result<Vec<PossibleAction<'_>>, Failure>> = requests
            .iter()
            .map(|request| possible_actions(request, prepared.snapshot()))
            .collect();
        let open: Vec<(&DecideRequest, &[PossibleAction<'_>])> = requests
            .iter()
            .zip(&possible)
            .filter_map(|(request, actions)| Some((*request, actions.as_deref().ok()?)))
            .collect();
        let mut decided = match self.score(prepared, &open) {
            Ok(decided) => decided.into_iter(),
            Err(error) => {
                let failure = Failure::new(FailureKind::Unavailable, error.to_string());
                return requests.iter().map(|_| Err(failure.clone())).collect();
            }
        };
        possible
            .into_iter()
            .map(|actions| {
                actions.and_then(|_| {
                    let missing = || Err(Failure::new(FailureKind::Unavailable, "no decision"));
                    decided.next().unwrap_or_else(missing)
                })
            })
            .collect()
    }

    /// Features, one forward pass, and an action for each request.
    fn score(
        &self,
        prepared: &Prepared,
        open: &[(&DecideRequest, &[PossibleAction<'_>])],
    ) -> Result<Vec<Result<Decision, Failure>>, PolicyError> {
        if open.is_empty() {
            return Ok(Vec::new());
        }
        let texts: Vec<&str> = open
            .iter()
            .map(|(request, _)| request.task.question.as_str())
            .collect();
        let questions = self.questions.embed(&*self.runtime.embedder, &texts)?;
        let features: Vec<Features> = open
            .iter()
            .zip(&questions)
            .map(|((request, actions), question)| features(request, actions, prepared, question))
            .collect();
        let (logits, inputs) = self.forward(prepared, &features)?;
        let actions = logits.len() / features.len();
        let width = self.config.inputs();
        let decided = open
            .iter()
            .zip(&features)
            .zip(
                logits
                    .chunks_exact(actions)
                    .zip(inputs.chunks_exact(actions * width)),
            )
            .map(|(((request, _), features), (logits, inputs))| {
                let rows = features.rows.len();
                let inputs: Vec<&[f32]> = inputs.chunks_exact(width).take(rows).collect();
                self.conclude(prepared, request, features, &logits[..rows], &inputs)
            })
            .collect();
        Ok(decided)
    }

    /// One forward pass: logits `[requests × actions]` and inputs of the head
    /// `[requests × actions × inputs]`, padded to the same number of actions.
    fn forward(
        &self,
        prepared: &Prepared,
        features: &[Features],
    ) -> Result<(Vec<f32>, Vec<f32>), PolicyError> {
        let batch = Batch::collate(features, prepared.table().clone(), &self.runtime.device);
        let scores = self.scorer.forward(batch);
        Ok((values(scores.logits)?, values(scores.inputs)?))
    }

    /// The distributions at `temperature` over the rows of each of `features`, which all refer to
    /// the catalogue of `prepared`, in one forward pass.
    ///
    /// # Errors
    /// [`PolicyError::Execution`] where the network fails or its scores are not numbers.
    pub fn distributions(
        &self,
        prepared: &Prepared,
        features: &[Features],
        temperature: f32,
    ) -> Result<Vec<Distribution>, PolicyError> {
        if features.is_empty() {
            return Ok(Vec::new());
        }
        let (logits, _) = self.forward(prepared, features)?;
        let actions = logits.len() / features.len();
        features
            .iter()
            .zip(logits.chunks_exact(actions))
            .map(|(features, logits)| {
                Distribution::new(&logits[..features.rows.len()], temperature)
                    .ok_or_else(|| PolicyError::Execution("the scores are not numbers".into()))
            })
            .collect()
    }

    fn conclude(
        &self,
        prepared: &Prepared,
        request: &DecideRequest,
        features: &Features,
        logits: &[f32],
        inputs: &[&[f32]],
    ) -> Result<Decision, Failure> {
        let temperature = self.runtime.serving.temperature;
        let distribution = Distribution::new(logits, temperature).ok_or_else(|| {
            Failure::new(
                FailureKind::Unavailable,
                "the policy's scores are not numbers",
            )
        })?;
        let taken = self.take(&distribution, logits, request);
        let sorted: Vec<&[f32]> = distribution.order.iter().map(|at| inputs[*at]).collect();
        let trace = ScorerTrace::new(temperature, STATE_COLUMNS, &sorted).encode();
        let alternatives: Vec<Alternative> = distribution
            .order
            .iter()
            .zip(&distribution.probabilities)
            .map(|(at, probability)| Alternative {
                choice: features.rows[*at].choice.clone(),
                probability: *probability as f32,
            })
            .collect();
        Ok(Decision {
            action: action(&alternatives[taken.rank].choice),
            log_prob: taken.log_prob,
            probability: taken.probability as f32,
            mode: request.mode,
            alternatives,
            policy_version: self.version.to_string(),
            catalogue: prepared.snapshot().digest,
            revision: prepared.snapshot().changed,
            trace: Some(Trace::Inline(trace::FORMAT.to_owned(), trace)),
        })
    }

    fn take(&self, distribution: &Distribution, logits: &[f32], request: &DecideRequest) -> Taken {
        let at = uniform(request.seed, &request.episode, request.step);
        let explore = &self.runtime.serving.explore;
        if request.mode == ServingMode::Greedy
            && explore.share > 0.0
            && let Some(samples) = Distribution::new(logits, explore.temperature)
        {
            return distribution.explore(&samples, explore.share, at);
        }
        distribution.take(request.mode, at)
    }

    /// Logits of the actions of a trace, in the order of the decision's alternatives, divided by
    /// the trace's temperature.
    ///
    /// # Errors
    /// [`PolicyError::Trace`] where the trace is of another network.
    pub fn logits_of(&self, trace: &ScorerTrace) -> Result<Vec<f32>, PolicyError> {
        let inputs = trace.inputs();
        let width = self.config.inputs();
        if inputs.iter().any(|row| row.len() != width) {
            return Err(PolicyError::Trace("it has another number of inputs"));
        }
        let data = TensorData::new(inputs.concat(), [inputs.len(), width]);
        let logits = self
            .scorer
            .head(Tensor::from_data(data, &self.runtime.device));
        let logits = logits.div_scalar(trace.temperature);
        values(logits)
    }
}

fn action(choice: &Choice) -> Action {
    match choice {
        Choice::Invoke(pair) => Action::Invoke {
            pair: pair.clone(),
            query: String::new(),
        },
        Choice::AnswerObservation(step) => Action::Answer(Answer::Observation(*step)),
        // The scorer lists none.
        Choice::AnswerText => Action::Answer(Answer::Text(String::new())),
    }
}

#[cfg(test)]
#[path = "serving_tests.rs"]
mod tests;
