//! Episodes to write.

use std::sync::Arc;

use maestro_core::{
    EpisodeId, MicroUsd, RequestId, TenantId, Timestamp,
    adoption::Unfinished,
    episode::{
        Action, Answer, Conclusion, Decision, Durability, EpisodeSpec, FinalAnswer, Observation,
        PendingCall, ServingMode, Step, Termination,
    },
    expert_call::Usage,
    ports::{Blobs, SharedJournal},
    task::{Pair, TaskDraft},
};
use maestro_registry::{EtcdJournal, JournalConfig};
use maestro_store::{ObjectBlobs, StoreConfig};

/// A time that survives the way through the journal and the store of trajectories as it is.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_microsecond(Timestamp::now().as_microsecond()).unwrap()
}

pub(crate) fn spec(question: &str, request: Option<&str>) -> EpisodeSpec {
    let draft = TaskDraft {
        question: question.into(),
        ..TaskDraft::default()
    };
    EpisodeSpec {
        id: EpisodeId::generate(),
        tenant: TenantId::anonymous(),
        request_id: request.map(|id| RequestId::new(id).unwrap()),
        task: Arc::new(draft.validate(now()).unwrap()),
        durability: Durability::Durable,
        mode: ServingMode::Greedy,
        slot: "default".into(),
        seed: 1,
        created_at: now(),
    }
}

fn decision(action: Action) -> Decision {
    Decision {
        action,
        log_prob: -0.5,
        probability: 0.5,
        mode: ServingMode::Greedy,
        alternatives: vec![],
        policy_version: "v".into(),
        catalogue: None,
        revision: 3,
        trace: None,
    }
}

fn invocation() -> Decision {
    decision(Action::Invoke {
        pair: Pair {
            expert: "reader".parse().unwrap(),
            skill: "direct".parse().unwrap(),
        },
        query: String::new(),
    })
}

pub(crate) fn call(step: u32) -> PendingCall {
    PendingCall {
        instance: None,
        suspended: std::time::Duration::from_secs(7),
        step,
        decision: invocation(),
        started_at: now(),
        decided_at: now(),
        max_cost: Some(MicroUsd(7)),
        repeated: false,
    }
}

pub(crate) fn step(index: u32, text: &str) -> Step {
    Step {
        index,
        decision: invocation(),
        observation: Some(Observation {
            text: text.into(),
            ..Observation::default()
        }),
        started_at: now(),
        decided_at: now(),
        finished_at: now(),
    }
}

pub(crate) fn answer(index: u32) -> Step {
    Step {
        decision: decision(Action::Answer(Answer::Observation(0))),
        observation: None,
        ..step(index, "")
    }
}

pub(crate) fn conclusion(value: &str) -> Conclusion {
    Conclusion {
        termination: Termination::Answered,
        answer: Some(FinalAnswer {
            value: value.into(),
            from_step: Some(0),
            confidence: 0.5,
        }),
        usage: Usage::default(),
        unsettled_cost: MicroUsd::ZERO,
        finished_at: now(),
    }
}

/// A blob store in memory.
pub(crate) fn blobs() -> Arc<dyn Blobs> {
    let config = StoreConfig::new("memory:///".parse().unwrap());
    Arc::new(ObjectBlobs::open(config).unwrap())
}

/// A coordinator's journal in the etcd at `port`.
pub(crate) async fn journal(port: u16) -> EtcdJournal {
    journal_with(JournalConfig::default(), port, blobs()).await
}

pub(crate) async fn journal_with(
    config: JournalConfig,
    port: u16,
    blobs: Arc<dyn Blobs>,
) -> EtcdJournal {
    EtcdJournal::connect(config, &super::config(port), blobs)
        .await
        .unwrap()
}

/// The only episode that has not ended.
pub(crate) async fn only_unfinished(journal: &EtcdJournal) -> Unfinished {
    let unfinished = journal.unfinished().await.unwrap();
    assert_eq!(unfinished.len(), 1, "{unfinished:?}");
    unfinished[0].clone()
}
