use maestro_core::{
    MicroUsd, Timestamp,
    episode::{Action, Answer, Decision, EpisodeStatus, ServingMode, Termination},
    expert_call::Usage,
};

use super::*;
use crate::testing;

fn spec(question: &str, request: Option<&str>) -> EpisodeSpec {
    EpisodeSpec {
        request_id: request.map(|id| RequestId::new(id).unwrap()),
        ..testing::spec(question, Timestamp::now())
    }
}

fn step(index: u32, text: &str) -> Step {
    let now = Timestamp::UNIX_EPOCH;
    Step {
        index,
        decision: Decision {
            action: Action::Answer(Answer::Text(text.into())),
            log_prob: 0.0,
            probability: 1.0,
            mode: ServingMode::Greedy,
            alternatives: vec![],
            policy_version: "v".into(),
            catalogue: None,
            revision: 0,
            trace: None,
        },
        observation: None,
        started_at: now,
        decided_at: now,
        finished_at: now,
    }
}

fn conclusion() -> Conclusion {
    Conclusion {
        termination: Termination::Answered,
        answer: None,
        usage: Usage::default(),
        unsettled_cost: MicroUsd::ZERO,
        finished_at: Timestamp::now(),
    }
}

#[tokio::test]
async fn a_request_id_creates_once_and_stands_for_one_task() {
    let journal = MemoryJournal::new(10);
    let first = spec("q", Some("r1"));
    assert_eq!(journal.create(&first).await.unwrap(), Created::New);
    let again = spec("q", Some("r1"));
    assert_eq!(
        journal.create(&again).await.unwrap(),
        Created::Existing(first.id.clone())
    );
    let other = journal
        .create(&spec("another", Some("r1")))
        .await
        .unwrap_err();
    assert!(matches!(
        other,
        CoreError::Conflict {
            kind: "request_id",
            ..
        }
    ));
}

#[tokio::test]
async fn steps_are_appended_once_and_without_gaps() {
    let journal = MemoryJournal::new(10);
    let spec = spec("q", None);
    journal.create(&spec).await.unwrap();
    journal.append(&spec.id, &step(0, "a")).await.unwrap();
    journal.append(&spec.id, &step(0, "a")).await.unwrap();
    assert!(journal.append(&spec.id, &step(0, "b")).await.is_err());
    assert!(journal.append(&spec.id, &step(2, "c")).await.is_err());
    journal
        .finish(&spec.id, &[step(0, "a"), step(1, "d")], &conclusion())
        .await
        .unwrap();
    journal
        .finish(&spec.id, &[step(1, "e")], &conclusion())
        .await
        .unwrap();
    assert!(journal.append(&spec.id, &step(2, "f")).await.is_err());
    let record = journal.get(&spec.tenant, &spec.id).await.unwrap();
    assert_eq!(record.steps, [step(0, "a"), step(1, "d")]);
}

#[tokio::test]
async fn the_oldest_finished_episode_goes_first() {
    let journal = MemoryJournal::new(2);
    let specs: Vec<_> = (0..4).map(|i| spec("q", Some(&format!("r{i}")))).collect();
    for spec in &specs {
        journal.create(spec).await.unwrap();
    }
    for spec in &specs[..3] {
        journal.finish(&spec.id, &[], &conclusion()).await.unwrap();
    }
    let tenant = TenantId::anonymous();
    assert!(journal.get(&tenant, &specs[0].id).await.is_err());
    assert!(
        journal.get(&tenant, &specs[3].id).await.is_ok(),
        "running ones stay"
    );
    // Its request id is free again.
    assert_eq!(
        journal.create(&spec("other", Some("r0"))).await.unwrap(),
        Created::New
    );
}

#[tokio::test]
async fn listings_are_paged_and_belong_to_the_tenant() {
    let journal = MemoryJournal::new(10);
    let mut ids = vec![];
    for _ in 0..5 {
        let spec = spec("q", None);
        journal.create(&spec).await.unwrap();
        ids.push(spec.id);
    }
    ids.sort();
    ids.reverse();
    let tenant = TenantId::anonymous();
    let mut query = ListQuery {
        status: Some(EpisodeStatus::Running),
        page_size: 2,
        before: None,
    };
    let mut seen = vec![];
    loop {
        let page = journal.list(&tenant, &query).await.unwrap();
        let Some(last) = page.last() else { break };
        query.before = Some(last.spec.id.clone());
        seen.extend(page.into_iter().map(|record| record.spec.id));
    }
    assert_eq!(seen, ids);
    let stranger: TenantId = "stranger".parse().unwrap();
    query.before = None;
    assert!(journal.list(&stranger, &query).await.unwrap().is_empty());
    assert!(journal.get(&stranger, &ids[0]).await.is_err());
}
