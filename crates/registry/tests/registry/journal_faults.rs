//! What the journal has to bear: owners that die or stall, a killed server, no room.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;
use maestro_core::{
    CoreError,
    adoption::{Unfinished, to_adopt},
    ports::{Adopted, Created, Journal, PutMode, Registry, SharedJournal},
};
use maestro_registry::{EtcdJournal, EtcdRegistry, JournalConfig};
use tokio::time;

use crate::support::{
    PATIENCE,
    entries::expert,
    episodes::{
        answer, blobs, call, conclusion, journal, journal_with, only_unfinished, spec, step,
    },
    proxy::Proxy,
    server::EtcdServer,
};

async fn raw(port: u16) -> etcd_client::Client {
    etcd_client::Client::connect([format!("http://127.0.0.1:{port}")], None)
        .await
        .unwrap()
}

fn me(journal: &EtcdJournal) -> maestro_core::CoordinatorId {
    journal.membership().borrow().me.clone().unwrap()
}

/// Waits until an owner is gone, then adopts its episode.
async fn adopt(journal: &EtcdJournal, entry: &Unfinished) -> Adopted {
    let mut members = journal.membership();
    let gone = members.wait_for(|members| !members.living.contains(&entry.owner));
    time::timeout(PATIENCE, gone).await.unwrap().unwrap();
    journal.adopt(entry).await.unwrap().unwrap()
}

#[tokio::test]
async fn an_episode_of_a_gone_owner_is_adopted_once_with_all_that_was_written() {
    let server = EtcdServer::start();
    let first = journal(server.port()).await;
    let heirs = [journal(server.port()).await, journal(server.port()).await];
    let spec = spec("q", None);
    first.create(&spec).await.unwrap();
    first.append(&spec.id, &step(0, "a")).await.unwrap();
    let pending = call(1);
    first.begin(&spec.id, &pending).await.unwrap();
    let entry = only_unfinished(&first).await;
    let early = heirs[0].adopt(&entry).await.unwrap();
    assert_eq!(early, None, "its owner lives");
    first.resign().await.unwrap();

    let mut members = heirs[0].membership();
    let gone = members.wait_for(|members| !members.living.contains(&entry.owner));
    time::timeout(PATIENCE, gone).await.unwrap().unwrap();
    let adopted = join_all(heirs.iter().map(|heir| heir.adopt(&entry))).await;
    let (winners, losers): (Vec<_>, Vec<_>) = adopted
        .iter()
        .zip(&heirs)
        .partition(|(adopted, _)| matches!(adopted, Ok(Some(_))));
    assert_eq!((winners.len(), losers.len()), (1, 1), "{adopted:?}");
    let Ok(Some(adopted)) = winners[0].0 else {
        panic!("{adopted:?}")
    };
    assert_eq!(adopted.terms, 2);
    assert_eq!(adopted.standing.record.steps.len(), 1);
    assert_eq!(adopted.standing.call.as_ref(), Some(&pending));
    let heir = winners[0].1;
    assert_eq!(only_unfinished(heir).await.owner, me(heir));
    heir.append(&spec.id, &step(1, "b")).await.unwrap();
    let rest = [answer(2)];
    heir.finish(&spec.id, &rest, &conclusion("b"))
        .await
        .unwrap();
    let record = heir.get(&spec.tenant, &spec.id).await.unwrap();
    assert_eq!(record.steps.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_episode_that_comes_while_the_server_starts_again_waits_for_it() {
    let mut server = EtcdServer::start();
    let journal = Arc::new(journal(server.port()).await);
    // Connected and seated, so that what fails is the write.
    journal.create(&spec("before", None)).await.unwrap();
    server.kill();
    let spec = spec("meanwhile", Some("request"));
    let creating = tokio::spawn({
        let (journal, spec) = (Arc::clone(&journal), spec.clone());
        async move { journal.create(&spec).await }
    });
    time::sleep(Duration::from_millis(300)).await;
    assert!(!creating.is_finished(), "{:?}", creating.await);
    server.restart();
    assert_eq!(creating.await.unwrap().unwrap(), Created::New);
    journal.append(&spec.id, &step(0, "a")).await.unwrap();
}

#[tokio::test]
async fn a_stalled_owner_that_wakes_writes_nothing_and_its_neighbours_pass() {
    let server = EtcdServer::start();
    let line = Proxy::start(server.port()).await;
    let stalled = journal(line.port()).await;
    let heir = journal(server.port()).await;
    let spec = spec("q", None);
    stalled.create(&spec).await.unwrap();
    let entry = only_unfinished(&heir).await;
    let before = me(&stalled);
    line.hold_up();
    let adopted = adopt(&heir, &entry).await;
    assert_eq!(adopted.terms, 2);
    heir.append(&spec.id, &step(0, "heir")).await.unwrap();
    line.release();
    // Whatever it tries first after it woke, it is refused.
    let deadline = Instant::now() + PATIENCE;
    let refused = loop {
        match stalled.append(&spec.id, &step(0, "stalled")).await {
            Err(error) if error.is_transient() && Instant::now() < deadline => {
                time::sleep(Duration::from_millis(50)).await;
            }
            other => break other,
        }
    };
    assert!(
        matches!(refused, Err(CoreError::Superseded(_))),
        "{refused:?}"
    );
    // It goes on under another name, and what it does under that counts.
    let mut members = stalled.membership();
    let anew = members.wait_for(|members| members.me.as_ref().is_some_and(|me| *me != before));
    time::timeout(PATIENCE, anew).await.unwrap().unwrap();
    stalled
        .create(&crate::support::episodes::spec("new", None))
        .await
        .unwrap();
    let record = heir.get(&spec.tenant, &spec.id).await.unwrap();
    assert_eq!(record.steps[0].observation.as_ref().unwrap().text, "heir");
}

#[tokio::test]
async fn in_one_batch_a_lost_episode_is_refused_and_its_neighbours_are_written() {
    let server = EtcdServer::start();
    let journal = journal(server.port()).await;
    let specs: Vec<_> = (0..10).map(|_| spec("q", None)).collect();
    for spec in &specs {
        journal.create(spec).await.unwrap();
    }
    // Somebody else changes the head of one, as an adoption does.
    let mut raw = raw(server.port()).await;
    let lost = &specs[4].id;
    let head = format!("/maestro/v1/journal/default/{lost}/head");
    let value = raw.get(head.as_str(), None).await.unwrap().kvs()[0]
        .value()
        .to_vec();
    raw.put(head, value, None).await.unwrap();

    let before = journal.tally();
    let first = step(0, "a");
    let written = join_all(specs.iter().map(|spec| journal.append(&spec.id, &first))).await;
    let after = journal.tally();
    for (spec, written) in specs.iter().zip(&written) {
        if spec.id == *lost {
            assert!(
                matches!(written, Err(CoreError::Superseded(_))),
                "{written:?}"
            );
        } else {
            assert_eq!(*written, Ok(()));
        }
    }
    let transactions = after.transactions - before.transactions;
    assert!(
        transactions <= 3,
        "they shared transactions: {transactions}"
    );
    assert!(!journal.owns(lost));
}

#[tokio::test]
async fn what_an_owner_does_not_run_it_takes_up_itself() {
    let server = EtcdServer::start();
    let journal = journal(server.port()).await;
    let spec = spec("q", None);
    journal.create(&spec).await.unwrap();
    let entry = only_unfinished(&journal).await;
    assert_eq!(journal.adopt(&entry).await.unwrap(), None, "it runs it");
    journal.release(&spec.id);
    let unfinished = journal.unfinished().await.unwrap();
    let living = journal.membership().borrow().living.clone();
    let mine = to_adopt(&unfinished, &living, &me(&journal), |id| journal.owns(id));
    assert_eq!(mine, [&entry]);
    let adopted = journal.adopt(&entry).await.unwrap().unwrap();
    assert_eq!(adopted.terms, 2);
    journal
        .finish(&spec.id, &[], &conclusion("x"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_killed_server_delays_writes_and_loses_none() {
    let mut server = EtcdServer::start();
    let journal = journal(server.port()).await;
    let spec = spec("q", None);
    journal.create(&spec).await.unwrap();
    let owner = me(&journal);
    server.kill();
    let away = journal.append(&spec.id, &step(0, "a")).await.unwrap_err();
    assert!(away.is_transient(), "{away}");
    server.restart();
    let first = step(0, "a");
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = journal.append(&spec.id, &first).await {
        assert!(error.is_transient() && Instant::now() < deadline, "{error}");
        time::sleep(Duration::from_millis(50)).await;
    }
    // The lease outlived the server's absence, so that nothing changed hands.
    assert_eq!(me(&journal), owner);
    journal
        .finish(&spec.id, &[], &conclusion("a"))
        .await
        .unwrap();
    let record = journal.get(&spec.tenant, &spec.id).await.unwrap();
    assert_eq!(record.steps, [first]);
}

#[tokio::test]
async fn finished_episodes_go_and_their_request_ids_with_them() {
    let server = EtcdServer::start();
    let config = JournalConfig {
        max_finished: 2,
        ..JournalConfig::default()
    };
    let journal = journal_with(config, server.port(), blobs()).await;
    let specs: Vec<_> = (0..5).map(|n| spec("q", Some(&format!("r{n}")))).collect();
    for spec in &specs {
        journal.create(spec).await.unwrap();
    }
    for spec in &specs[..4] {
        journal
            .finish(&spec.id, &[], &conclusion("x"))
            .await
            .unwrap();
    }
    let tenant = &specs[0].tenant;
    let deadline = Instant::now() + PATIENCE;
    while journal.get(tenant, &specs[1].id).await.is_ok() {
        assert!(Instant::now() < deadline, "it is never deleted");
        time::sleep(Duration::from_millis(100)).await;
    }
    assert!(journal.get(tenant, &specs[0].id).await.is_err());
    for kept in &specs[2..] {
        journal.get(tenant, &kept.id).await.unwrap();
    }
    let again = journal.create(&spec("another", Some("r0"))).await.unwrap();
    assert_eq!(again, Created::New);
}

#[tokio::test]
async fn without_room_new_episodes_are_refused_and_everything_else_goes_on() {
    let server = EtcdServer::start();
    let config = JournalConfig {
        max_bytes: 1 << 20,
        ..JournalConfig::default()
    };
    let journal = journal_with(config, server.port(), blobs()).await;
    let registry = EtcdRegistry::connect(crate::support::config(server.port()))
        .await
        .unwrap();
    let running = spec("running", None);
    journal.create(&running).await.unwrap();
    let large = "x".repeat(30_000);
    let deadline = Instant::now() + PATIENCE;
    let refused = loop {
        match journal.create(&spec(&large, None)).await {
            Ok(_) => assert!(Instant::now() < deadline, "it never refuses"),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(
            refused,
            CoreError::Exhausted {
                what: "journal",
                ..
            }
        ),
        "{refused}"
    );
    // Nobody else notices.
    let expert = expert("e", "an expert");
    registry.put_expert(&expert, PutMode::Create).await.unwrap();
    journal.append(&running.id, &step(0, "a")).await.unwrap();
    journal
        .finish(&running.id, &[], &conclusion("a"))
        .await
        .unwrap();
}

#[tokio::test]
async fn while_etcd_is_full_new_episodes_are_refused_and_running_ones_end() {
    let server = EtcdServer::start_with(&["--quota-backend-bytes", "2097152"]);
    let journal = journal(server.port()).await;
    let running = spec("running", None);
    journal.create(&running).await.unwrap();
    // Somebody else fills it.
    let mut raw = raw(server.port()).await;
    let deadline = Instant::now() + PATIENCE;
    let mut number = 0;
    while raw
        .put(format!("/other/{number}"), vec![b'x'; 100_000], None)
        .await
        .is_ok()
    {
        assert!(Instant::now() < deadline, "etcd never fills up");
        number += 1;
    }
    let refused = loop {
        match journal.create(&spec("new", None)).await {
            Ok(_) => assert!(Instant::now() < deadline, "it never refuses"),
            Err(error) => break error,
        }
        time::sleep(Duration::from_millis(50)).await;
    };
    assert!(
        matches!(
            refused,
            CoreError::Exhausted {
                what: "journal",
                ..
            }
        ),
        "{refused}"
    );
    // The lease is renewed all the same, and what was accepted ends.
    let owner = me(&journal);
    time::sleep(Duration::from_secs(4)).await;
    assert_eq!(me(&journal), owner);
    journal.append(&running.id, &step(0, "a")).await.unwrap();
    journal
        .finish(&running.id, &[], &conclusion("a"))
        .await
        .unwrap();
}
