//! What every registry does, shown on each of them.

use std::sync::Arc;

use maestro_core::{
    CoreError, ExpertName, SkillName,
    ports::{PutMode, Registry},
};
use maestro_registry::{EtcdRegistry, MemoryRegistry};

use crate::support::{
    entries::{expert, instance, skill, slot},
    server::EtcdServer,
    wait_for,
};

/// One registry as two processes see it.
struct World {
    one: Arc<dyn Registry>,
    other: Arc<dyn Registry>,
    _server: Option<EtcdServer>,
}

impl World {
    fn in_memory() -> Self {
        let registry = MemoryRegistry::new();
        Self {
            one: Arc::new(registry.clone()),
            other: Arc::new(registry),
            _server: None,
        }
    }

    async fn in_etcd() -> Self {
        let server = EtcdServer::start();
        let config = crate::support::config(server.port());
        let one = EtcdRegistry::connect(config.clone()).await.unwrap();
        let other = EtcdRegistry::connect(config).await.unwrap();
        Self {
            one: Arc::new(one),
            other: Arc::new(other),
            _server: Some(server),
        }
    }
}

macro_rules! conformance {
    ($($case:ident)*) => {
        mod memory {
            $(#[tokio::test] async fn $case() { super::$case(super::World::in_memory()).await; })*
        }
        mod etcd {
            $(#[tokio::test] async fn $case() { super::$case(super::World::in_etcd().await).await; })*
        }
    };
}

conformance! {
    entries_come_and_go
    writers_read_their_own_writes
    creation_refuses_another_entry_and_names_both
    what_is_absent_cannot_be_deleted
    invalid_entries_are_refused
    registrations_last_until_they_are_revoked_or_dropped
    an_instance_id_is_held_once
    policies_are_compared_and_set
    of_many_writers_one_wins
}

fn conflict(error: CoreError) -> (String, String) {
    match error {
        CoreError::Conflict {
            existing, refused, ..
        } => (existing, refused),
        other => panic!("{other}"),
    }
}

async fn entries_come_and_go(world: World) {
    let mut snapshots = world.other.snapshots();
    let first = snapshots.borrow_and_update().clone();
    assert!(first.catalogue.experts.is_empty() && first.digest.is_some());
    world
        .one
        .put_expert(&expert("e", "first"), PutMode::Create)
        .await
        .unwrap();
    world
        .one
        .put_skill(&skill("s", "first"), PutMode::Create)
        .await
        .unwrap();
    let both = wait_for(&mut snapshots, |snapshot| {
        snapshot.catalogue.experts.contains_key("e") && snapshot.catalogue.skills.contains_key("s")
    })
    .await;
    assert_ne!(both.digest, first.digest);
    assert_eq!(both.digest, Some(both.catalogue.digest()));
    assert_eq!(both.catalogue.skills["s"], skill("s", "first"));
    assert!(both.experts_written.contains_key("e") && both.skills_written.contains_key("s"));
    world
        .one
        .put_expert(&expert("e", "second"), PutMode::Replace)
        .await
        .unwrap();
    wait_for(&mut snapshots, |snapshot| {
        snapshot.catalogue.experts["e"].description == "second"
    })
    .await;
    world
        .other
        .delete_expert(&ExpertName::new("e").unwrap())
        .await
        .unwrap();
    world
        .other
        .delete_skill(&SkillName::new("s").unwrap())
        .await
        .unwrap();
    let none = wait_for(&mut snapshots, |snapshot| {
        snapshot.catalogue.experts.is_empty() && snapshot.catalogue.skills.is_empty()
    })
    .await;
    assert_eq!(none.digest, first.digest);
    assert!(none.experts_written.is_empty() && none.skills_written.is_empty());
    assert!(none.revision > both.revision);
}

async fn writers_read_their_own_writes(world: World) {
    let mut snapshots = world.other.snapshots();
    for round in 0..20 {
        let description = format!("round {round}");
        let descriptor = expert("e", &description);
        let written = world
            .one
            .put_expert(&descriptor, PutMode::Replace)
            .await
            .unwrap();
        let snapshot = wait_for(&mut snapshots, |snapshot| snapshot.revision >= written).await;
        assert_eq!(snapshot.catalogue.experts["e"].description, description);
        // Writing the same again changes nothing, and what it answers is reached as well.
        let again = world
            .one
            .put_expert(&descriptor, PutMode::Create)
            .await
            .unwrap();
        assert_eq!(again, written);
    }
    let deleted = world
        .one
        .delete_expert(&ExpertName::new("e").unwrap())
        .await
        .unwrap();
    let snapshot = wait_for(&mut snapshots, |snapshot| snapshot.revision >= deleted).await;
    assert!(snapshot.catalogue.experts.is_empty());
}

async fn creation_refuses_another_entry_and_names_both(world: World) {
    world
        .one
        .put_expert(&expert("e", "the old one"), PutMode::Create)
        .await
        .unwrap();
    world
        .one
        .put_skill(&skill("s", "the old one"), PutMode::Create)
        .await
        .unwrap();
    let refused = [
        world
            .other
            .put_expert(&expert("e", "the new one"), PutMode::Create)
            .await
            .unwrap_err(),
        world
            .other
            .put_skill(&skill("s", "the new one"), PutMode::Create)
            .await
            .unwrap_err(),
    ];
    for error in refused {
        let (existing, refused) = conflict(error);
        assert!(existing.contains("the old one"), "{existing}");
        assert!(refused.contains("the new one"), "{refused}");
    }
}

async fn what_is_absent_cannot_be_deleted(world: World) {
    let expert = world
        .one
        .delete_expert(&ExpertName::new("e").unwrap())
        .await
        .unwrap_err();
    assert_eq!(
        expert,
        CoreError::NotFound {
            kind: "expert",
            name: "e".into()
        }
    );
    let skill = world
        .one
        .delete_skill(&SkillName::new("s").unwrap())
        .await
        .unwrap_err();
    assert_eq!(
        skill,
        CoreError::NotFound {
            kind: "skill",
            name: "s".into()
        }
    );
}

async fn invalid_entries_are_refused(world: World) {
    let error = world
        .one
        .put_expert(&expert("e", " "), PutMode::Create)
        .await
        .unwrap_err();
    assert!(matches!(&error, CoreError::Invalid(violation) if violation.field == "description"));
    let error = world
        .one
        .put_skill(&skill("s", ""), PutMode::Create)
        .await
        .unwrap_err();
    assert!(matches!(&error, CoreError::Invalid(violation) if violation.field == "description"));
    let error = world
        .one
        .set_policy("a/b", None, &slot("p"))
        .await
        .unwrap_err();
    assert!(matches!(&error, CoreError::Invalid(violation) if violation.field == "slot"));
}

async fn registrations_last_until_they_are_revoked_or_dropped(world: World) {
    let mut snapshots = world.other.snapshots();
    let digest = snapshots.borrow().digest;
    let one = world.one.register(instance("e", "one", 1)).await.unwrap();
    let two = world.one.register(instance("e", "two", 2)).await.unwrap();
    let serving = wait_for(&mut snapshots, |snapshot| {
        snapshot
            .instances
            .get("e")
            .is_some_and(|serving| serving.len() == 2)
    })
    .await;
    assert_eq!(
        serving.digest, digest,
        "liveness is no part of the catalogue"
    );
    let first = &serving.instances["e"][0];
    assert_eq!(
        (first.id.as_str(), first.endpoint.port(), first.capacity),
        ("one", Some(1), 2)
    );
    one.revoke().await.unwrap();
    wait_for(&mut snapshots, |snapshot| {
        snapshot.instances["e"].len() == 1 && snapshot.instances["e"][0].id.as_str() == "two"
    })
    .await;
    drop(two);
    wait_for(&mut snapshots, |snapshot| snapshot.instances.is_empty()).await;
}

async fn an_instance_id_is_held_once(world: World) {
    let held = world.one.register(instance("e", "i", 1111)).await.unwrap();
    for registry in [&world.one, &world.other] {
        let Err(error) = registry.register(instance("e", "i", 2222)).await else {
            panic!("the id is held");
        };
        let (existing, refused) = conflict(error);
        assert!(existing.contains("127.0.0.1:1111"), "{existing}");
        assert!(refused.contains("127.0.0.1:2222"), "{refused}");
    }
    // The refused ones took nothing away, and another expert has ids of its own.
    let other = world
        .other
        .register(instance("f", "i", 2222))
        .await
        .unwrap();
    let mut snapshots = world.other.snapshots();
    wait_for(&mut snapshots, |snapshot| {
        snapshot.instances.len() == 2 && snapshot.instances["e"][0].endpoint.port() == Some(1111)
    })
    .await;
    held.revoke().await.unwrap();
    let taken = world
        .other
        .register(instance("e", "i", 2222))
        .await
        .unwrap();
    wait_for(&mut snapshots, |snapshot| {
        snapshot
            .instances
            .get("e")
            .is_some_and(|one| one[0].endpoint.port() == Some(2222))
    })
    .await;
    drop((taken, other));
}

async fn policies_are_compared_and_set(world: World) {
    let mut snapshots = world.other.snapshots();
    let (a, b) = (slot("a"), slot("b"));
    conflict(
        world
            .one
            .set_policy("default", Some(&a), &b)
            .await
            .unwrap_err(),
    );
    let first = world.one.set_policy("default", None, &a).await.unwrap();
    let error = world
        .other
        .set_policy("default", None, &b)
        .await
        .unwrap_err();
    let (existing, refused) = conflict(error);
    assert!(existing.contains(&a.active.short()) && refused.contains(&b.active.short()));
    let second = world
        .other
        .set_policy("default", Some(&a), &b)
        .await
        .unwrap();
    assert!(second > first);
    let snapshot = wait_for(&mut snapshots, |snapshot| snapshot.revision >= second).await;
    assert_eq!(snapshot.policies["default"], b);
    assert_eq!(
        world.one.set_policy("default", Some(&b), &b).await.unwrap(),
        second
    );
}

async fn of_many_writers_one_wins(world: World) {
    let attempts = (0..16).map(|index| {
        let registry = if index % 2 == 0 {
            &world.one
        } else {
            &world.other
        };
        let description = format!("writer {index}");
        async move {
            registry
                .put_expert(&expert("e", &description), PutMode::Create)
                .await
        }
    });
    let results = futures::future::join_all(attempts).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    for error in results.into_iter().filter_map(Result::err) {
        conflict(error);
    }
    let replacements = (0..16).map(|index| {
        let registry = if index % 2 == 0 {
            &world.one
        } else {
            &world.other
        };
        let description = format!("writer {index}");
        async move {
            registry
                .put_expert(&expert("e", &description), PutMode::Replace)
                .await
        }
    });
    for result in futures::future::join_all(replacements).await {
        result.unwrap();
    }
}
