//! Episodes for tests.

use std::sync::Arc;

use maestro_core::{
    EpisodeId, TenantId, Timestamp,
    episode::{Durability, EpisodeSpec, ServingMode},
    task::TaskDraft,
};

/// A durable episode without a request id that was asked for at `at`.
pub(crate) fn spec(question: &str, at: Timestamp) -> EpisodeSpec {
    let draft = TaskDraft {
        question: question.into(),
        ..TaskDraft::default()
    };
    EpisodeSpec {
        id: EpisodeId::generate(),
        tenant: TenantId::anonymous(),
        request_id: None,
        task: Arc::new(draft.validate(at).unwrap()),
        durability: Durability::Durable,
        mode: ServingMode::Greedy,
        slot: "default".into(),
        seed: 1,
        created_at: at,
    }
}
