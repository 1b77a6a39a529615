//! The ports: what the pure parts need of the world. Adapters live in other crates; the services
//! join them.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{
    digest::Digest,
    episode::{
        Action, Conclusion, Decision, EpisodeRecord, EpisodeSpec, EpisodeStatus, Failure,
        Observation, Outcome, PendingCall, Remaining, ServingMode, Step,
    },
    error::CoreError,
    expert_call::{ExpertCall, ExpertReply},
    ids::{EpisodeId, ExpertName, InstanceId, SkillName, TenantId},
    registry::{Descriptor, PolicySlot, SkillHeader, Snapshot},
    skill_run::SkillRun,
    task::{Pair, Task},
};

mod shared_journal;
mod trajectories;

pub use shared_journal::{Adopted, Membership, SharedJournal, Standing};
pub use trajectories::{Batching, Tidied, Trajectories};

/// An earlier step as the policy sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct PastStep {
    /// Index of the step.
    pub index: u32,
    /// The pair that was called; `None` for a malformed action.
    pub pair: Option<Pair>,
    /// What was asked.
    pub query: String,
    /// What came of it.
    pub observation: Observation,
}

impl PastStep {
    /// The steps as the policy sees them: those that something came of.
    pub fn history(steps: &[Step]) -> Vec<Self> {
        steps
            .iter()
            .filter_map(|step| {
                let observation = step.observation.clone()?;
                let (pair, query) = match &step.decision.action {
                    Action::Invoke { pair, query } => (Some(pair.clone()), query.clone()),
                    Action::Answer(_) => (None, String::new()),
                };
                Some(Self {
                    index: step.index,
                    pair,
                    query,
                    observation,
                })
            })
            .collect()
    }
}

/// The state that a policy decides on. It carries no reference answer.
#[derive(Clone, Debug, PartialEq)]
pub struct DecideRequest {
    /// Episode, for tracing and sampling.
    pub episode: EpisodeId,
    /// Index of the step to decide.
    pub step: u32,
    /// What was asked.
    pub task: Arc<Task>,
    /// What has been tried.
    pub history: Vec<PastStep>,
    /// What is left.
    pub remaining: Remaining,
    /// How to take the action from the distribution.
    pub mode: ServingMode,
    /// Policy slot that decides.
    pub slot: String,
    /// Seed of a sampled decision.
    pub seed: u64,
    /// Decide on a registry at least this new, so that a client reads its own writes.
    pub min_revision: u64,
}

/// Why there is no decision.
#[derive(Clone, Debug, PartialEq)]
pub enum Undecided {
    /// The policy found nothing to choose: no pair may be called and no observation holds an answer.
    /// Any other would say the same.
    Impossible(Failure),
    /// No policy could be asked, or none answered: worker away, queue full, deadline.
    Away(Failure),
}

impl Undecided {
    /// The reason.
    pub fn failure(self) -> Failure {
        match self {
            Self::Impossible(failure) | Self::Away(failure) => failure,
        }
    }
}

/// Decides the next action.
#[async_trait]
pub trait Policy: Send + Sync {
    /// The next action.
    async fn decide(&self, request: DecideRequest) -> Result<Decision, Undecided>;
}

/// Calls experts. Dropping the future cancels the call, down to the expert.
#[async_trait]
pub trait Experts: Send + Sync {
    /// Makes one call.
    async fn invoke(&self, call: ExpertCall) -> Result<ExpertReply, Failure>;

    /// The instance that a call to an expert would go to now, where there are several to choose from.
    fn likely_instance(&self, _expert: &ExpertName) -> Option<InstanceId> {
        None
    }
}

/// Runs skills. Dropping the future cancels the run and every call of it.
#[async_trait]
pub trait Skills: Send + Sync {
    /// Runs one skill. A failure of the skill is an observation; `Err` means that no runner could
    /// be reached.
    async fn run(&self, run: SkillRun) -> Result<Observation, Failure>;
}

/// Content-addressed storage.
#[async_trait]
pub trait Blobs: Send + Sync {
    /// Stores `content` under its SHA-256. Storing the same content again changes nothing.
    async fn put(&self, content: Bytes) -> Result<Digest, CoreError>;

    /// The content, checked against its digest.
    ///
    /// # Errors
    /// [`CoreError::NotFound`] where there is none, [`CoreError::DataLoss`] where it is damaged.
    async fn get(&self, digest: &Digest) -> Result<Bytes, CoreError>;

    /// Whether the content is there.
    async fn contains(&self, digest: &Digest) -> Result<bool, CoreError>;
}

/// What stands beside a policy's weights. Its digest is the policy's version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyManifest {
    /// Family of the policy: `scorer`, `generative`.
    pub kind: String,
    /// Digest of the weights (a safetensors blob).
    pub weights: Digest,
    /// When it was made.
    pub created_at: Timestamp,
    /// What it was made from and how well it did: data, seed, registry revision, metrics.
    #[serde(default)]
    pub notes: BTreeMap<String, String>,
}

/// Keeps policies: which there are. Manifests and weights are also blobs under their digests, so
/// that whoever has the digest can load one through [`Blobs`].
#[async_trait]
pub trait PolicyStore: Send + Sync {
    /// Stores a policy and returns the digest of its manifest.
    async fn push(&self, manifest: PolicyManifest, weights: Bytes) -> Result<Digest, CoreError>;

    /// All policies, newest first.
    async fn list(&self) -> Result<Vec<(Digest, PolicyManifest)>, CoreError>;
}

/// Whether a creation was the first of its request id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// The episode is new.
    New,
    /// The request id was used before, for this episode and the same task.
    Existing(EpisodeId),
}

/// Which episodes a listing wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListQuery {
    /// Only running or only finished ones.
    pub status: Option<EpisodeStatus>,
    /// Most records of the page.
    pub page_size: usize,
    /// Only episodes created before this one (ids sort by creation; listings run newest first).
    pub before: Option<EpisodeId>,
}

/// Keeps the record of every episode. Writes answer [`CoreError::Superseded`] once another process
/// has taken the episode over.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Accepts an episode. With a request id that was used before nothing is written.
    ///
    /// # Errors
    /// [`CoreError::Conflict`] where the request id stands for a different task.
    async fn create(&self, spec: &EpisodeSpec) -> Result<Created, CoreError>;

    /// Notes a call before it is made, so that whoever goes on with the episode knows of it. A
    /// journal that ends with the process has no use for that.
    async fn begin(&self, _id: &EpisodeId, _call: &PendingCall) -> Result<(), CoreError> {
        Ok(())
    }

    /// Appends a step. Appending the same step again changes nothing.
    async fn append(&self, id: &EpisodeId, step: &Step) -> Result<(), CoreError>;

    /// Ends an episode with the steps that are not written yet: the answer, or one whose writing was
    /// cut off. Those that are written already change nothing. Only the first end counts.
    async fn finish(
        &self,
        id: &EpisodeId,
        rest: &[Step],
        conclusion: &Conclusion,
    ) -> Result<(), CoreError>;

    /// Adds how good a finished episode was. A later report replaces an earlier one.
    async fn report(
        &self,
        tenant: &TenantId,
        id: &EpisodeId,
        outcome: &Outcome,
    ) -> Result<(), CoreError>;

    /// The record of a tenant's episode.
    async fn get(&self, tenant: &TenantId, id: &EpisodeId) -> Result<EpisodeRecord, CoreError>;

    /// A page of a tenant's episodes, newest first.
    async fn list(
        &self,
        tenant: &TenantId,
        query: &ListQuery,
    ) -> Result<Vec<EpisodeRecord>, CoreError>;
}

/// What a write does when an entry of the name is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutMode {
    /// Refuses one that differs with [`CoreError::Conflict`]; an equal one is left as it is.
    Create,
    /// Replaces it.
    Replace,
}

/// An instance to be registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceSpec {
    /// The expert it serves.
    pub expert: ExpertName,
    /// Its identifier.
    pub id: InstanceId,
    /// Where it serves.
    pub endpoint: url::Url,
    /// Calls that it serves at once.
    pub capacity: u32,
}

/// A registration that lasts until it is revoked, dropped, or its process ends. While it lasts it
/// is renewed, and made again after the registry was away.
#[async_trait]
pub trait Registration: Send + Sync {
    /// Ends it now, so that callers stop choosing the instance.
    async fn revoke(self: Box<Self>) -> Result<(), CoreError>;
}

/// The live registry.
#[async_trait]
pub trait Registry: Send + Sync {
    /// The latest snapshot and its changes. The first value is already loaded. While the registry
    /// cannot be reached the last snapshot stays.
    fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>>;

    /// Writes a descriptor; returns the registry's revision after it.
    async fn put_expert(&self, descriptor: &Descriptor, mode: PutMode) -> Result<u64, CoreError>;

    /// Removes a descriptor; returns the registry's revision after it.
    async fn delete_expert(&self, name: &ExpertName) -> Result<u64, CoreError>;

    /// Writes a skill; returns the registry's revision after it.
    async fn put_skill(&self, header: &SkillHeader, mode: PutMode) -> Result<u64, CoreError>;

    /// Removes a skill; returns the registry's revision after it.
    async fn delete_skill(&self, name: &SkillName) -> Result<u64, CoreError>;

    /// Registers an instance under this process's lease.
    ///
    /// # Errors
    /// [`CoreError::Conflict`] where another process holds the identifier, naming both endpoints.
    async fn register(&self, spec: InstanceSpec) -> Result<Box<dyn Registration>, CoreError>;

    /// Replaces the policies of a slot if they still are `expected`.
    ///
    /// # Errors
    /// [`CoreError::Conflict`] where they are not.
    async fn set_policy(
        &self,
        slot: &str,
        expected: Option<&PolicySlot>,
        new: &PolicySlot,
    ) -> Result<u64, CoreError>;
}
