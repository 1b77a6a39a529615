//! The journal on a real etcd: what is written is read back, once, in order, and cheaper the more
//! there is.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, future::join_all};
use maestro_core::{
    CoreError, EpisodeId, TenantId,
    episode::{EpisodeStatus, Outcome},
    ports::{Created, Journal, ListQuery, SharedJournal},
};
use maestro_registry::{EtcdJournal, JournalConfig};
use tokio::time;

use crate::support::{
    PATIENCE,
    episodes::{
        answer, blobs, call, conclusion, journal, journal_with, now, only_unfinished, spec, step,
    },
    server::EtcdServer,
};

#[tokio::test]
async fn an_episode_is_read_back_as_it_was_written() {
    let server = EtcdServer::start();
    let journal = journal(server.port()).await;
    let spec = spec("How many?", None);
    let (tenant, id) = (&spec.tenant, &spec.id);
    assert_eq!(journal.create(&spec).await.unwrap(), Created::New);
    let owner = only_unfinished(&journal).await.owner;
    assert_eq!(journal.membership().borrow().me.as_ref(), Some(&owner));

    journal.begin(id, &call(0)).await.unwrap();
    let (first, last) = (step(0, "seven"), answer(1));
    journal.append(id, &first).await.unwrap();
    let running = journal.get(tenant, id).await.unwrap();
    assert_eq!(
        (running.status(), running.steps.len()),
        (EpisodeStatus::Running, 1)
    );

    let end = conclusion("7");
    let rest = std::slice::from_ref(&last);
    journal.finish(id, rest, &end).await.unwrap();
    let record = journal.get(tenant, id).await.unwrap();
    assert_eq!(record.spec, spec);
    assert_eq!(record.steps, [first, last]);
    assert_eq!(record.conclusion, Some(end));
    assert!(journal.unfinished().await.unwrap().is_empty());

    let late = journal.append(id, &step(2, "late")).await.unwrap_err();
    assert!(matches!(late, CoreError::Superseded(_)), "{late}");
    let stranger: TenantId = "stranger".parse().unwrap();
    let hidden = journal.get(&stranger, id).await.unwrap_err();
    assert!(matches!(hidden, CoreError::NotFound { .. }), "{hidden}");
}

#[tokio::test]
async fn steps_are_appended_once_and_without_gaps() {
    let server = EtcdServer::start();
    let journal = journal(server.port()).await;
    let spec = spec("q", None);
    journal.create(&spec).await.unwrap();
    let first = step(0, "a");
    journal.append(&spec.id, &first).await.unwrap();
    journal.append(&spec.id, &first).await.unwrap();
    for refused in [step(0, "b"), step(2, "c")] {
        let error = journal.append(&spec.id, &refused).await.unwrap_err();
        assert!(matches!(error, CoreError::FailedPrecondition(_)), "{error}");
    }
    journal.append(&spec.id, &step(1, "d")).await.unwrap();
    let record = journal.get(&spec.tenant, &spec.id).await.unwrap();
    assert_eq!(record.steps.len(), 2);
}

#[tokio::test]
async fn a_large_step_goes_into_the_blob_store() {
    let server = EtcdServer::start();
    let blobs = blobs();
    let journal = journal_with(JournalConfig::default(), server.port(), Arc::clone(&blobs)).await;
    let spec = spec("q", None);
    journal.create(&spec).await.unwrap();
    let large = step(0, &"long ".repeat(100_000));
    journal.append(&spec.id, &large).await.unwrap();
    journal.append(&spec.id, &large).await.unwrap();
    let record = journal.get(&spec.tenant, &spec.id).await.unwrap();
    assert_eq!(record.steps, [large]);
    // Another with no such blob cannot read it, and says so.
    let other = crate::support::episodes::journal(server.port()).await;
    assert!(other.get(&spec.tenant, &spec.id).await.is_err());
}

#[tokio::test]
async fn a_request_id_creates_once_whoever_is_asked() {
    let server = EtcdServer::start();
    let (one, two) = (journal(server.port()).await, journal(server.port()).await);
    let first = spec("q", Some("r1"));
    assert_eq!(one.create(&first).await.unwrap(), Created::New);
    let again = spec("q", Some("r1"));
    let found = Created::Existing(first.id.clone());
    assert_eq!(two.create(&again).await.unwrap(), found);
    let other = two.create(&spec("another", Some("r1"))).await.unwrap_err();
    let CoreError::Conflict { kind, existing, .. } = other else {
        panic!("{other}")
    };
    assert_eq!(kind, "request_id");
    assert!(existing.contains(first.id.as_str()), "{existing}");
    // Nothing of those that were refused is left.
    assert_eq!(only_unfinished(&one).await.episode, first.id);

    // Many at once with one request id: one is new, wherever they came in and however they were
    // batched.
    let specs: Vec<_> = (0..20).map(|_| spec("at once", Some("r2"))).collect();
    let created = join_all(specs.iter().enumerate().map(|(index, spec)| {
        let journal = if index % 2 == 0 { &one } else { &two };
        journal.create(spec)
    }))
    .await;
    let new = created
        .iter()
        .filter(|created| matches!(created, Ok(Created::New)))
        .count();
    assert_eq!(new, 1, "{created:?}");
    assert!(created.iter().all(Result::is_ok), "{created:?}");
}

/// An episode of one step and its answer.
async fn run(journal: &EtcdJournal, number: usize) {
    let spec = spec(&format!("Question {number}?"), None);
    journal.create(&spec).await.unwrap();
    journal.begin(&spec.id, &call(0)).await.unwrap();
    journal.append(&spec.id, &step(0, "yes")).await.unwrap();
    let rest = [answer(1)];
    journal
        .finish(&spec.id, &rest, &conclusion("yes"))
        .await
        .unwrap();
}

#[tokio::test]
async fn transactions_per_episode_fall_as_the_load_rises() {
    let server = EtcdServer::start();
    let journal = journal(server.port()).await;
    let mut per_episode = vec![];
    for at_once in [1, 8, 64, 256] {
        let before = journal.tally();
        const ROUNDS: usize = 4;
        for round in 0..ROUNDS {
            join_all((0..at_once).map(|number| run(&journal, round * at_once + number))).await;
        }
        let after = journal.tally();
        let episodes = (ROUNDS * at_once) as f64;
        let writes = (after.writes - before.writes) as f64 / episodes;
        let transactions = (after.transactions - before.transactions) as f64 / episodes;
        println!("{at_once} at once: {writes:.1} writes, {transactions:.3} transactions each");
        assert!((writes - 4.0).abs() < 1e-9);
        per_episode.push(transactions);
    }
    assert!(
        per_episode.windows(2).all(|pair| pair[1] < pair[0]),
        "{per_episode:?}"
    );
    assert!(per_episode[2] < per_episode[0] / 8.0, "{per_episode:?}");
}

#[tokio::test]
async fn batches_stay_within_what_etcd_takes() {
    let server = EtcdServer::start();
    let journal = journal(server.port()).await;
    // Far more bytes and operations than one transaction may hold, all waiting at once.
    let specs: Vec<_> = (0..400)
        .map(|number| spec(&format!("{number} {}", "x".repeat(30_000)), None))
        .collect();
    let created = join_all(specs.iter().map(|spec| journal.create(spec))).await;
    assert!(
        created.iter().all(|one| one == &Ok(Created::New)),
        "{created:?}"
    );
    assert_eq!(journal.unfinished().await.unwrap().len(), 400);
    let tally = journal.tally();
    assert!(tally.transactions > 10, "{tally:?}");
}

#[tokio::test]
async fn a_full_queue_refuses_new_episodes_at_once() {
    let server = EtcdServer::start();
    let config = JournalConfig {
        queue: 1,
        ..JournalConfig::default()
    };
    let journal = journal_with(config, server.port(), blobs()).await;
    let specs: Vec<_> = (0..200).map(|_| spec("q", None)).collect();
    let created = join_all(specs.iter().map(|spec| journal.create(spec))).await;
    let refused = created
        .iter()
        .filter_map(|one| one.as_ref().err())
        .collect::<Vec<_>>();
    assert!(!refused.is_empty() && refused.len() < created.len());
    for error in refused {
        assert!(
            matches!(
                error,
                CoreError::Exhausted {
                    what: "journal",
                    ..
                }
            ),
            "{error}"
        );
    }
    // What was refused is nowhere, what was accepted is there.
    let accepted = created.iter().filter(|one| one.is_ok()).count();
    assert_eq!(journal.unfinished().await.unwrap().len(), accepted);
}

#[tokio::test]
async fn listings_are_paged_and_belong_to_the_tenant() {
    let server = EtcdServer::start();
    let journal = journal(server.port()).await;
    let mut ids = vec![];
    for number in 0..5 {
        let spec = spec("q", None);
        journal.create(&spec).await.unwrap();
        if number % 2 == 0 {
            journal
                .finish(&spec.id, &[], &conclusion("x"))
                .await
                .unwrap();
        }
        ids.push(spec.id);
    }
    ids.reverse();
    let tenant = TenantId::anonymous();
    let pages = async |status| {
        let (mut seen, mut before) = (vec![], None);
        loop {
            let query = ListQuery {
                status,
                page_size: 2,
                before: before.clone(),
            };
            let page = journal.list(&tenant, &query).await.unwrap();
            let Some(last) = page.last() else { break seen };
            before = Some(last.spec.id.clone());
            seen.extend(page.into_iter().map(|record| record.spec.id));
        }
    };
    assert_eq!(pages(None).await, ids);
    let finished: Vec<EpisodeId> = ids.iter().step_by(2).cloned().collect();
    assert_eq!(pages(Some(EpisodeStatus::Finished)).await, finished);
    assert_eq!(pages(Some(EpisodeStatus::Running)).await.len(), 2);
    let stranger = "stranger".parse().unwrap();
    let query = ListQuery {
        status: None,
        page_size: 9,
        before: None,
    };
    assert!(journal.list(&stranger, &query).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_outcome_is_kept_once_the_episode_has_ended() {
    let server = EtcdServer::start();
    let journal = journal(server.port()).await;
    let spec = spec("q", None);
    journal.create(&spec).await.unwrap();
    let outcome = Outcome {
        score: 1.0,
        source: "user".into(),
        reported_at: now(),
    };
    let (tenant, id) = (&spec.tenant, &spec.id);
    let early = journal.report(tenant, id, &outcome).await.unwrap_err();
    assert!(matches!(early, CoreError::FailedPrecondition(_)), "{early}");
    journal.finish(id, &[], &conclusion("x")).await.unwrap();
    journal.report(tenant, id, &outcome).await.unwrap();
    let record = journal.get(tenant, id).await.unwrap();
    assert_eq!(record.outcome, Some(outcome));
}

#[tokio::test]
async fn whoever_follows_an_episode_sees_it_to_its_end() {
    let server = EtcdServer::start();
    let (owner, other) = (journal(server.port()).await, journal(server.port()).await);
    let spec = spec("q", None);
    owner.create(&spec).await.unwrap();
    let following = other.follow(&spec.tenant, &spec.id).await.unwrap();
    let seen = tokio::spawn(following.collect::<Vec<_>>());
    owner.begin(&spec.id, &call(0)).await.unwrap();
    owner.append(&spec.id, &step(0, "a")).await.unwrap();
    owner
        .finish(&spec.id, &[answer(1)], &conclusion("a"))
        .await
        .unwrap();
    let seen = time::timeout(PATIENCE, seen).await.unwrap().unwrap();
    let first = &seen.first().unwrap().record;
    let last = &seen.last().unwrap().record;
    assert!(first.steps.is_empty() && first.conclusion.is_none());
    assert!(last.steps.len() == 2 && last.conclusion.is_some());
    let lengths: Vec<usize> = seen.iter().map(|one| one.record.steps.len()).collect();
    assert!(lengths.is_sorted(), "{lengths:?}");
    let unknown = other.follow(&spec.tenant, &EpisodeId::generate()).await;
    assert!(matches!(unknown.err(), Some(CoreError::NotFound { .. })));
}

#[tokio::test]
async fn a_wish_to_cancel_reaches_the_owner_and_goes_with_the_episode() {
    let server = EtcdServer::start();
    let (owner, other) = (journal(server.port()).await, journal(server.port()).await);
    let spec = spec("q", None);
    owner.create(&spec).await.unwrap();
    let (tenant, id) = (&spec.tenant, &spec.id);
    other.request_cancel(tenant, id, "enough").await.unwrap();
    let mut wishes = owner.cancellations();
    let heard = wishes.wait_for(|wishes| wishes.get(id).is_some_and(|why| why == "enough"));
    time::timeout(PATIENCE, heard).await.unwrap().unwrap();
    owner.finish(id, &[], &conclusion("x")).await.unwrap();
    let gone = wishes.wait_for(|wishes| wishes.is_empty());
    time::timeout(PATIENCE, gone).await.unwrap().unwrap();
    other.request_cancel(tenant, id, "too late").await.unwrap();
    time::sleep(Duration::from_millis(200)).await;
    assert!(owner.cancellations().borrow().is_empty());
}
