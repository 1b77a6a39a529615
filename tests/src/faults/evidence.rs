//! What is known after a run: all that the checker looks at.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use maestro_proto::v1;

/// Everything that was seen in a run.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// What each client saw.
    pub clients: Vec<ClientView>,
    /// Each durable episode as each coordinator tells it after the run.
    pub reads: Vec<Read>,
    /// Ids of episodes that a coordinator lists as running after the run.
    pub running: Vec<(String, String)>,
    /// What stands in etcd after the run.
    pub journal: JournalDump,
    /// Finished episodes that the store of trajectories holds; none where there is no store.
    pub store: Option<Vec<v1::Episode>>,
    /// Calls that reached the model, in the order in which they came.
    pub calls: Vec<Call>,
    /// Price of each of them, in micro-USD.
    pub price_micro_usd: u64,
    /// Processes that live after the run.
    pub living: Living,
    /// What became of the leases of processes that were killed after the run.
    pub leases: Vec<LeaseEnd>,
    /// How long after the death of its process a lease may stand.
    pub lease_limit: Duration,
    /// Processes that ended in a panic, and with what words.
    pub panics: Vec<(String, String)>,
}

/// What a client wanted, and saw.
#[derive(Clone, Debug, Default)]
pub struct ClientView {
    /// The request id under which it asked, as often as it had to.
    pub request_id: String,
    /// Whether the episode was to survive its coordinator.
    pub is_durable: bool,
    /// The answer of an episode that was answered.
    pub answer: String,
    /// Ids that it was given: each answer to its request, by the coordinator that gave it.
    pub accepted: Vec<(String, String)>,
    /// Watchers of the episode.
    pub watches: Vec<Watch>,
    /// Whether it asked for the episode to be cancelled.
    pub cancels: bool,
    /// Why it gave up, if it did.
    pub gave_up: Option<String>,
}

impl ClientView {
    /// The episode, once it is known.
    pub fn episode(&self) -> Option<&str> {
        self.accepted.first().map(|(_, id)| id.as_str())
    }
}

/// What a watcher saw, over as many streams as it took.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// The events in the order in which they came.
    pub events: Vec<v1::EpisodeEvent>,
    /// Streams that were opened.
    pub streams: usize,
    /// Whether it is the stream of the creation, which ends with its coordinator where the episode
    /// is ephemeral.
    pub is_of_creation: bool,
}

/// What a coordinator tells of an episode.
#[derive(Clone, Debug)]
pub struct Read {
    /// Which coordinator.
    pub coordinator: String,
    /// Of which episode.
    pub id: String,
    /// The episode, or why it did not tell.
    pub episode: Result<v1::Episode, String>,
}

/// The keys of Maestro in etcd, by their use.
#[derive(Clone, Debug, Default)]
pub struct JournalDump {
    /// Episodes by id.
    pub episodes: BTreeMap<String, JournalEpisode>,
    /// What request ids stand for.
    pub requests: BTreeMap<String, String>,
    /// Owner and episode of those that have not ended.
    pub running: BTreeSet<(String, String)>,
    /// Episodes that have ended.
    pub finished: BTreeSet<String>,
    /// Episodes that somebody wants cancelled.
    pub cancellations: BTreeSet<String>,
    /// Keys under leases: coordinators and instances.
    pub leased: Vec<Leased>,
    /// Keys whose values cannot be read.
    pub unreadable: Vec<String>,
}

/// An episode as its keys tell it.
#[derive(Clone, Debug, Default)]
pub struct JournalEpisode {
    /// Its head.
    pub head: Option<v1::StoredEpisode>,
    /// Its steps by the number in their key.
    pub steps: BTreeMap<u32, v1::Step>,
    /// Steps that are blobs.
    pub blobs: BTreeSet<u32>,
    /// Whether a call is to be made.
    pub has_call: bool,
    /// Its outcome.
    pub outcome: Option<v1::Outcome>,
}

/// A key that should go with its process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leased {
    /// The key.
    pub key: String,
    /// Whom it stands for: a coordinator's host, or an expert and the endpoint of its instance.
    pub holder: String,
    /// Whether it stands under a lease at all.
    pub has_lease: bool,
}

/// Processes that live, by how they call themselves in the registry.
#[derive(Clone, Debug, Default)]
pub struct Living {
    /// Hosts of coordinators.
    pub coordinators: BTreeSet<String>,
    /// Experts with the endpoints of the workers that serve them.
    pub instances: BTreeSet<String>,
}

/// The end of a lease whose process was killed.
#[derive(Clone, Debug)]
pub struct LeaseEnd {
    /// Whose.
    pub holder: String,
    /// How long after the death of the process its keys were gone; none if they never were.
    pub gone_after: Option<Duration>,
}

/// A call that reached the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its idempotency key: `EPISODE/STEP/PATH#SAMPLE`.
    pub key: String,
}

impl Call {
    /// The episode and the step that it was made for.
    pub fn episode_and_step(&self) -> Option<(&str, u32)> {
        let mut parts = self.key.split('/');
        Some((parts.next()?, parts.next()?.parse().ok()?))
    }
}
