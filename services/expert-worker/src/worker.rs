//! What the worker serves now, and how a call finds its way there.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use async_trait::async_trait;
use maestro_core::{
    Digest, ExpertName,
    episode::{Failure, FailureKind},
    expert_call::{ExpertCall, ExpertReply, Load},
    ids::InstanceId,
    ports::{Blobs, Experts},
    registry::Descriptor,
};
use maestro_telemetry::{Counter, Label};
use moka::future::Cache;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::{
    config::ExpertWorkerConfig,
    images::Images,
    serving::{Serving, time_left},
};

/// How much later than its own deadline a call gives up: the one that makes it knows better what
/// went wrong.
const SHARED_GRACE: Duration = Duration::from_millis(20);

/// How far an expert is on its way into service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpertState {
    /// Its backend is being built or warms up, or its descriptor is not in the registry yet.
    Starting,
    /// It takes calls and is registered.
    Serving,
    /// It could not be brought into service; the worker tries again.
    Failing(String),
}

impl ExpertState {
    fn describe(&self) -> String {
        match self {
            Self::Starting => "starting".to_owned(),
            Self::Serving => "serving".to_owned(),
            Self::Failing(reason) => format!("failing: {reason}"),
        }
    }
}

/// Takes calls. Several handles share it; inside one process it is the port [`Experts`].
pub struct Worker {
    serving: RwLock<HashMap<ExpertName, Arc<Serving>>>,
    states: watch::Sender<BTreeMap<ExpertName, ExpertState>>,
    images: Images,
    /// Recent replies by key and content of the call.
    replies: Cache<Digest, Arc<ExpertReply>>,
    calls: TaskTracker,
    max_waiting: u32,
    max_wait: Duration,
}

impl Worker {
    pub(crate) fn new(config: &ExpertWorkerConfig, blobs: Arc<dyn Blobs>) -> Self {
        let replies = Cache::builder()
            .max_capacity(config.replies.max_bytes)
            .time_to_live(Duration::from_millis(config.replies.keep_ms))
            .weigher(|_: &Digest, reply: &Arc<ExpertReply>| size(reply))
            .build();
        let calls = TaskTracker::new();
        // Closed from the start: what is tracked are tokens of calls, and waiting for none of them
        // to be left is all that it is for.
        calls.close();
        Self {
            serving: RwLock::default(),
            states: watch::Sender::new(BTreeMap::new()),
            images: Images::new(blobs, config.images),
            replies,
            calls,
            max_waiting: config.max_waiting,
            max_wait: Duration::from_millis(config.max_wait_ms),
        }
    }

    /// How far each expert is.
    pub fn states(&self) -> watch::Receiver<BTreeMap<ExpertName, ExpertState>> {
        self.states.subscribe()
    }

    pub(crate) fn described_states(&self) -> BTreeMap<String, String> {
        let states = self.states.borrow();
        states
            .iter()
            .map(|(name, state)| (format!("expert.{name}"), state.describe()))
            .collect()
    }

    pub(crate) fn set_state(&self, name: &ExpertName, state: ExpertState) {
        self.states.send_if_modified(|states| {
            let changed = states.get(name) != Some(&state);
            if changed {
                states.insert(name.clone(), state);
            }
            changed
        });
    }

    pub(crate) fn forget_state(&self, name: &ExpertName) {
        self.states
            .send_if_modified(|states| states.remove(name).is_some());
    }

    /// Puts an expert into service; calls can come as soon as this returns.
    pub(crate) fn put(&self, serving: Arc<Serving>) {
        let name = serving.descriptor().name.clone();
        let mut table = self.serving.write().unwrap_or_else(PoisonError::into_inner);
        table.insert(name, serving);
    }

    /// Takes an instance out of service. Its calls that run go on.
    pub(crate) fn take_away(&self, name: &ExpertName, instance: &InstanceId) {
        let mut table = self.serving.write().unwrap_or_else(PoisonError::into_inner);
        if table.get(name).is_some_and(|s| s.instance() == instance) {
            table.remove(name);
        }
    }

    pub(crate) fn max_waiting(&self) -> u32 {
        self.max_waiting
    }

    fn find(&self, name: &ExpertName) -> Option<Arc<Serving>> {
        let table = self.serving.read().unwrap_or_else(PoisonError::into_inner);
        table.get(name).cloned()
    }

    /// What is served now, by name.
    pub(crate) fn list(&self) -> Vec<(Arc<Descriptor>, InstanceId, Load)> {
        let table = self.serving.read().unwrap_or_else(PoisonError::into_inner);
        let mut list: Vec<_> = table
            .values()
            .map(|s| (s.descriptor(), s.instance().clone(), s.load()))
            .collect();
        drop(table);
        list.sort_by(|a, b| a.0.name.cmp(&b.0.name));
        list
    }

    /// Calls under way, waiting ones included.
    pub fn in_flight(&self) -> u32 {
        u32::try_from(self.calls.len()).unwrap_or(u32::MAX)
    }

    /// Waits until no call is under way.
    pub(crate) async fn idle(&self) {
        self.calls.wait().await;
    }
}

#[async_trait]
impl Experts for Worker {
    /// Makes one call, or gives the reply that a call of the same key and content had; a call
    /// that is still under way is shared. Failures are not kept.
    async fn invoke(&self, call: ExpertCall) -> Result<ExpertReply, Failure> {
        let _token = self.calls.token();
        let serving = self.find(&call.expert).ok_or_else(|| {
            let message = format!("expert {} is not served here", call.expert);
            Failure::new(FailureKind::Unavailable, message)
        })?;
        let late = || Failure::new(FailureKind::Timeout, "the call's time is up");
        let left = time_left(call.deadline).ok_or_else(late)?;
        let before = serving.load();
        let key = fingerprint(&call)?;
        let make = async {
            let reply = serving.call(call, &self.images, self.max_wait).await?;
            Ok::<_, Failure>(Arc::new(reply))
        };
        // Whoever shares another's call has a deadline of its own.
        let shared = self.replies.entry(key).or_try_insert_with(make);
        let entry = tokio::time::timeout(left + SHARED_GRACE, shared)
            .await
            .map_err(|_| late())?
            .map_err(|failure| Failure::clone(&failure))?;
        let hit = !entry.is_fresh();
        Counter::CacheRequests.increment(&[Label::Cache("replies"), Label::Hit(hit)]);
        let mut reply = ExpertReply::clone(&entry.into_value());
        reply.load = before;
        Ok(reply)
    }
}

/// What two calls must share to be the same: everything but the deadline. The key alone would let
/// a defect of a caller hand one question's reply to another.
fn fingerprint(call: &ExpertCall) -> Result<Digest, Failure> {
    let content = (
        &call.key,
        (&call.expert, &call.capability, &call.operation),
        (&call.messages, &call.images, &call.generation),
    );
    serde_json::to_vec(&content)
        .map(|content| Digest::of(&content))
        .map_err(|error| Failure::new(FailureKind::Rejected, error.to_string()))
}

/// About how much memory a reply takes.
fn size(reply: &ExpertReply) -> u32 {
    const FIXED: usize = 512;
    let regions: usize = reply.regions.iter().map(|r| r.text.len() + 64).sum();
    let findings: usize = reply
        .findings
        .iter()
        .map(|f| f.value.len() + f.evidence.len() + 64)
        .sum();
    let detections: usize = reply.detections.iter().map(|d| d.label.len() + 64).sum();
    let numbers =
        reply.token_log_probs.len() + reply.embeddings.iter().map(Vec::len).sum::<usize>();
    let bytes = FIXED + reply.text.len() + regions + findings + detections + 4 * numbers;
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use maestro_core::{
        Timestamp,
        expert_call::{Generation, Message, Role},
        ids::{EpisodeId, IdempotencyKey},
    };

    use super::*;

    #[test]
    fn calls_are_the_same_whatever_their_deadline() {
        let call = ExpertCall {
            instance: None,
            expert: "e".parse().unwrap(),
            capability: "chat".parse().unwrap(),
            operation: String::new(),
            messages: vec![Message {
                role: Role::User,
                text: "q".into(),
            }],
            images: vec![],
            generation: Generation::default(),
            key: IdempotencyKey::step(EpisodeId::generate(), 0),
            deadline: Timestamp::UNIX_EPOCH,
        };
        let later = ExpertCall {
            deadline: Timestamp::now(),
            ..call.clone()
        };
        assert_eq!(fingerprint(&call).unwrap(), fingerprint(&later).unwrap());
        let mut other = call.clone();
        other.messages[0].text.push('?');
        assert_ne!(fingerprint(&call).unwrap(), fingerprint(&other).unwrap());
        let mut sample = call.clone();
        sample.key.sample = 1;
        assert_ne!(fingerprint(&call).unwrap(), fingerprint(&sample).unwrap());
    }
}
