//! What only the registry over etcd has to bear: a dead process, a frozen line, a compaction, a
//! killed server, foreign values, many entries.

use std::{
    thread,
    time::{Duration, Instant},
};

use etcd_client::{Client, CompactionOptions};
use futures::{StreamExt, TryStreamExt, stream};
use maestro_core::{
    CoreError,
    ports::{PutMode, Registry},
};
use maestro_registry::EtcdRegistry;
use tokio::time;

use crate::support::{
    PATIENCE,
    entries::{expert, instance, skill, slot},
    proxy::Proxy,
    server::EtcdServer,
    wait_for,
};

async fn connect(port: u16) -> EtcdRegistry {
    EtcdRegistry::connect(crate::support::config(port))
        .await
        .unwrap()
}

async fn raw(port: u16) -> Client {
    Client::connect([format!("http://127.0.0.1:{port}")], None)
        .await
        .unwrap()
}

/// Waits until a write gets through.
async fn write(registry: &EtcdRegistry, name: &str) -> u64 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match registry
            .put_expert(&expert(name, "an expert"), PutMode::Create)
            .await
        {
            Ok(revision) => return revision,
            Err(error) => {
                assert!(error.is_transient() && Instant::now() < deadline, "{error}");
                time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

#[tokio::test]
async fn without_a_server_connecting_fails_in_time() {
    let started = Instant::now();
    let config = maestro_registry::EtcdConfig {
        connect_timeout_ms: 500,
        ..crate::support::config(9)
    };
    let Err(error) = EtcdRegistry::connect(config).await else {
        panic!("nobody listens there")
    };
    assert!(started.elapsed() < Duration::from_secs(3), "{error}");
    assert!(CoreError::from(error).is_transient());
}

#[tokio::test]
async fn what_a_dead_process_registered_expires_and_comes_back_if_it_does() {
    let server = EtcdServer::start();
    let line = Proxy::start(server.port()).await;
    let frozen = connect(line.port()).await;
    let watcher = connect(server.port()).await;
    let mut snapshots = watcher.snapshots();
    let kept = frozen.register(instance("e", "i", 1)).await.unwrap();
    let before = wait_for(&mut snapshots, |snapshot| {
        snapshot.instances.contains_key("e")
    })
    .await;
    line.hold_up();
    let started = Instant::now();
    wait_for(&mut snapshots, |snapshot| snapshot.instances.is_empty()).await;
    let gone_after = started.elapsed();
    assert!(gone_after < Duration::from_secs(6), "{gone_after:?}");
    line.release();
    let after = wait_for(&mut snapshots, |snapshot| {
        snapshot.instances.contains_key("e")
    })
    .await;
    assert!(after.instances["e"][0].written_at > before.instances["e"][0].written_at);
    kept.revoke().await.unwrap();
    wait_for(&mut snapshots, |snapshot| snapshot.instances.is_empty()).await;
}

#[tokio::test]
async fn an_id_that_was_taken_meanwhile_is_not_taken_back() {
    let server = EtcdServer::start();
    let line = Proxy::start(server.port()).await;
    let frozen = connect(line.port()).await;
    let other = connect(server.port()).await;
    let mut snapshots = other.snapshots();
    let lost = frozen.register(instance("e", "i", 1)).await.unwrap();
    wait_for(&mut snapshots, |snapshot| {
        snapshot.instances.contains_key("e")
    })
    .await;
    line.hold_up();
    wait_for(&mut snapshots, |snapshot| snapshot.instances.is_empty()).await;
    let taken = other.register(instance("e", "i", 2)).await.unwrap();
    line.release();
    let mut health = frozen.health();
    time::timeout(PATIENCE, health.wait_for(|health| health.leased))
        .await
        .unwrap()
        .unwrap();
    time::sleep(Duration::from_secs(2)).await;
    assert_eq!(
        snapshots.borrow_and_update().instances["e"][0]
            .endpoint
            .port(),
        Some(2)
    );
    // Once the other has gone, the first is served again.
    taken.revoke().await.unwrap();
    wait_for(&mut snapshots, |snapshot| {
        snapshot
            .instances
            .get("e")
            .is_some_and(|serving| serving[0].endpoint.port() == Some(1))
    })
    .await;
    drop(lost);
}

#[tokio::test]
async fn load_on_the_callers_runtime_does_not_end_the_lease() {
    let server = EtcdServer::start();
    let registry = connect(server.port()).await;
    let mut snapshots = registry.snapshots();
    let kept = registry.register(instance("e", "i", 1)).await.unwrap();
    let before = wait_for(&mut snapshots, |snapshot| {
        snapshot.instances.contains_key("e")
    })
    .await;
    // This blocks the only thread of the test's runtime for longer than the lease lasts.
    thread::sleep(Duration::from_secs(5));
    let after = snapshots.borrow_and_update().clone();
    assert_eq!(after.instances, before.instances);
    assert_eq!(after.revision, before.revision);
    drop(kept);
}

#[tokio::test]
async fn a_watch_that_falls_behind_a_compaction_misses_nothing() {
    let server = EtcdServer::start();
    let line = Proxy::start(server.port()).await;
    let behind = connect(line.port()).await;
    let ahead = connect(server.port()).await;
    ahead
        .put_expert(&expert("deleted", "is deleted meanwhile"), PutMode::Create)
        .await
        .unwrap();
    let mut snapshots = behind.snapshots();
    wait_for(&mut snapshots, |snapshot| {
        snapshot.catalogue.experts.len() == 1
    })
    .await;
    line.hold_up();
    let mut last = 0;
    for index in 0..200 {
        let name = format!("e{index}");
        last = ahead
            .put_expert(&expert(&name, "new"), PutMode::Create)
            .await
            .unwrap();
    }
    ahead
        .delete_expert(&expert("deleted", "d").name)
        .await
        .unwrap();
    let physically = CompactionOptions::new().with_physical();
    let at = i64::try_from(last).unwrap();
    raw(server.port())
        .await
        .compact(at, Some(physically))
        .await
        .unwrap();
    let mut health = behind.health();
    time::timeout(PATIENCE, health.wait_for(|health| !health.connected))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        snapshots.borrow_and_update().catalogue.experts.len(),
        1,
        "the last one serves"
    );
    assert!(health.borrow().age() > Duration::from_secs(1));
    line.release();
    wait_for(&mut snapshots, |snapshot| {
        snapshot.revision > last && snapshot.catalogue.experts.len() == 200
    })
    .await;
    assert!(behind.health().borrow().listings >= 2);
}

#[tokio::test]
async fn a_killed_server_leaves_no_gap() {
    let mut server = EtcdServer::start();
    let (one, other) = (connect(server.port()).await, connect(server.port()).await);
    let mut snapshots = one.snapshots();
    let kept = one.register(instance("e", "i", 1)).await.unwrap();
    write(&one, "before").await;
    wait_for(&mut snapshots, |snapshot| {
        snapshot.catalogue.experts.contains_key("before")
    })
    .await;
    for round in 0..3 {
        server.kill();
        let error = one
            .put_expert(&expert("never", "d"), PutMode::Create)
            .await
            .unwrap_err();
        assert!(error.is_transient(), "{error}");
        let serving = snapshots.borrow().clone();
        assert!(serving.catalogue.experts.contains_key("before"));
        assert!(
            serving.instances.contains_key("e"),
            "the last snapshot serves"
        );
        server.restart();
        let name = format!("after-{round}");
        let written = write(&other, &name).await;
        let snapshot = wait_for(&mut snapshots, |snapshot| snapshot.revision >= written).await;
        assert!(snapshot.catalogue.experts.contains_key(name.as_str()));
        wait_for(&mut snapshots, |snapshot| {
            snapshot.instances.contains_key("e")
        })
        .await;
    }
    assert_eq!(snapshots.borrow().catalogue.experts.len(), 4);
    let again = one.register(instance("f", "i", 2)).await.unwrap();
    wait_for(&mut snapshots, |snapshot| {
        snapshot.instances.contains_key("f")
    })
    .await;
    drop((kept, again));
}

#[tokio::test]
async fn a_server_that_lost_its_data_gets_the_registrations_again() {
    let mut server = EtcdServer::start();
    let registry = connect(server.port()).await;
    let mut snapshots = registry.snapshots();
    let kept = registry.register(instance("e", "i", 1)).await.unwrap();
    let ended = registry.register(instance("e", "j", 2)).await.unwrap();
    for index in 0..20 {
        write(&registry, &format!("e{index}")).await;
    }
    wait_for(&mut snapshots, |snapshot| {
        snapshot.catalogue.experts.len() == 20
    })
    .await;
    server.kill();
    drop(ended);
    server.restart_empty();
    let snapshot = wait_for(&mut snapshots, |snapshot| {
        snapshot.catalogue.experts.is_empty() && !snapshot.instances.is_empty()
    })
    .await;
    assert_eq!(snapshot.instances["e"].len(), 1);
    assert_eq!(snapshot.instances["e"][0].id.as_str(), "i");
    drop(kept);
}

#[tokio::test]
async fn a_value_that_cannot_be_read_hides_no_other() {
    let server = EtcdServer::start();
    let mut raw = raw(server.port()).await;
    raw.put("/maestro/v1/experts/bad", "\u{fffd} no message", None)
        .await
        .unwrap();
    raw.put("/maestro/v1/experts/BAD KEY", "", None)
        .await
        .unwrap();
    raw.put("/maestro/v1/journal/a/b/head", "not the registry's", None)
        .await
        .unwrap();
    let registry = connect(server.port()).await;
    assert_eq!(registry.health().borrow().unreadable, 2);
    let mut snapshots = registry.snapshots();
    write(&registry, "good").await;
    wait_for(&mut snapshots, |snapshot| {
        snapshot.catalogue.experts.contains_key("good")
    })
    .await;
    // One that turns bad is not offered any more, as after a fresh listing.
    raw.put("/maestro/v1/experts/good", [0xff, 0xff], None)
        .await
        .unwrap();
    wait_for(&mut snapshots, |snapshot| {
        snapshot.catalogue.experts.is_empty()
    })
    .await;
    assert_eq!(registry.health().borrow().unreadable, 3);
    let refused = registry
        .put_expert(&expert("good", "d"), PutMode::Create)
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("cannot be read"), "{refused}");
    registry
        .put_expert(&expert("good", "d"), PutMode::Replace)
        .await
        .unwrap();
    wait_for(&mut snapshots, |snapshot| {
        snapshot.catalogue.experts.contains_key("good")
    })
    .await;
}

#[tokio::test]
async fn fields_of_a_newer_version_survive_a_write() {
    // Field 15, length-delimited, "new".
    const NEWER: &[u8] = &[0x7a, 3, b'n', b'e', b'w'];
    let server = EtcdServer::start();
    let registry = connect(server.port()).await;
    registry
        .set_policy("default", None, &slot("a"))
        .await
        .unwrap();
    registry
        .put_skill(&skill("s", "old"), PutMode::Create)
        .await
        .unwrap();
    let mut raw = raw(server.port()).await;
    for key in ["/maestro/v1/policies/default", "/maestro/v1/skills/s"] {
        let stored = raw.get(key, None).await.unwrap();
        let value = [stored.kvs()[0].value(), NEWER].concat();
        raw.put(key, value, None).await.unwrap();
    }
    registry
        .set_policy("default", Some(&slot("a")), &slot("b"))
        .await
        .unwrap();
    registry
        .put_skill(&skill("s", "new"), PutMode::Replace)
        .await
        .unwrap();
    for key in ["/maestro/v1/policies/default", "/maestro/v1/skills/s"] {
        let stored = raw.get(key, None).await.unwrap();
        assert!(stored.kvs()[0].value().ends_with(NEWER), "{key}");
    }
    let mut snapshots = registry.snapshots();
    wait_for(&mut snapshots, |snapshot| {
        snapshot.policies.get("default") == Some(&slot("b"))
            && snapshot.catalogue.skills["s"].description == "new"
    })
    .await;
}

#[tokio::test]
async fn a_thousand_entries_are_followed_and_listed() {
    let server = EtcdServer::start();
    let (one, other) = (connect(server.port()).await, connect(server.port()).await);
    let started = Instant::now();
    let description = "what it is good at, at some length. ".repeat(20);
    stream::iter(0..1000)
        .map(|index| {
            let (one, description) = (&one, &description);
            async move {
                let name = format!("x{index}");
                match index % 2 {
                    0 => {
                        one.put_expert(&expert(&name, description), PutMode::Create)
                            .await
                    }
                    _ => {
                        one.put_skill(&skill(&name, description), PutMode::Create)
                            .await
                    }
                }
            }
        })
        .buffer_unordered(32)
        .try_collect::<Vec<u64>>()
        .await
        .unwrap();
    let mut snapshots = other.snapshots();
    let followed = wait_for(&mut snapshots, |snapshot| {
        snapshot.catalogue.experts.len() + snapshot.catalogue.skills.len() == 1000
    })
    .await;
    println!(
        "1,000 entries written and followed in {:?}",
        started.elapsed()
    );
    let started = Instant::now();
    let fresh = connect(server.port()).await;
    println!("1,000 entries listed in {:?}", started.elapsed());
    assert_eq!(*fresh.snapshots().borrow().catalogue, *followed.catalogue);
    assert_eq!(fresh.snapshots().borrow().digest, followed.digest);
}

#[tokio::test]
async fn a_change_is_everywhere_within_milliseconds() {
    let server = EtcdServer::start();
    let (one, other) = (connect(server.port()).await, connect(server.port()).await);
    let mut snapshots = other.snapshots();
    let mut delays = vec![];
    for index in 0..100 {
        let name = format!("e{index}");
        let written = one
            .put_expert(&expert(&name, "new"), PutMode::Create)
            .await
            .unwrap();
        let answered = Instant::now();
        wait_for(&mut snapshots, |snapshot| snapshot.revision >= written).await;
        delays.push(answered.elapsed());
    }
    delays.sort_unstable();
    println!(
        "from the answer to the snapshot: p50 {:?}, p99 {:?}",
        delays[49], delays[98]
    );
    assert!(delays[98] < Duration::from_millis(100), "{:?}", delays[98]);
}
