//! Adoption, changes, repetition, overload, drain.

use std::time::Duration;

use axum::http::StatusCode;
use maestro_core::{
    MicroUsd,
    episode::FailureKind,
    ports::{PutMode, Registry},
};
use maestro_expert_worker::{ExpertState, ExpertWorkerConfig};
use maestro_proto::v1::{
    DescribeRequest, GetStatusRequest, admin_service_client::AdminServiceClient,
};
use serde_json::json;

use crate::{
    endpoint::{Behaviour, Endpoint},
    harness::{PATIENCE, Sandbox, adopting, call, descriptor},
};

#[tokio::test]
async fn a_descriptor_alone_brings_a_model_into_service_and_out_again() {
    let endpoint = Endpoint::start().await;
    let sandbox = Sandbox::start(adopting()).await;
    let seer = descriptor(&endpoint.base_url, json!({}));
    let instance = sandbox.add(&seer).await;
    assert_eq!(instance.capacity, 4);
    assert_eq!(
        instance.endpoint.port(),
        Some(sandbox.worker.address().port())
    );
    let described = sandbox.client.0.clone().describe(DescribeRequest {}).await;
    let described = described.unwrap().into_inner().experts;
    assert_eq!(described.len(), 1);
    assert_eq!(described[0].instance, instance.id.to_string());

    // A running call outlives the descriptor.
    endpoint.behave(Behaviour::Hold);
    let client = sandbox.client.clone();
    let running = tokio::spawn(async move { client.invoke(&call("seer", "q")).await });
    endpoint.wait_for_calls(1).await;
    sandbox.registry.delete_expert(&seer.name).await.unwrap();
    sandbox.snapshot(|s| !s.serves(&seer.name)).await;
    endpoint.release(1);
    assert_eq!(running.await.unwrap().unwrap().text, "released");
    let refused = async {
        loop {
            match sandbox.client.invoke(&call("seer", "q")).await {
                Err(failure) if failure.kind == FailureKind::Unavailable => return,
                // The registration goes first, the service right after it.
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    endpoint.behave(Behaviour::Say("still there"));
    tokio::time::timeout(PATIENCE, refused).await.unwrap();
    assert!(sandbox.worker.worker().states().borrow().is_empty());
}

#[tokio::test]
async fn a_change_interrupts_service_only_where_the_backend_changes() {
    let (first, second) = (Endpoint::start().await, Endpoint::start().await);
    let sandbox = Sandbox::start(adopting()).await;
    let before = sandbox.add(&descriptor(&first.base_url, json!({}))).await;
    // Another price: the same instance, charged anew.
    let dearer = descriptor(&first.base_url, json!({ "price": { "per_call": 5 } }));
    assert_eq!(sandbox.add(&dearer).await.id, before.id);
    let charged = async {
        while sandbox
            .client
            .invoke(&call("seer", "q"))
            .await
            .unwrap()
            .usage
            .cost
            != MicroUsd(5)
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, charged).await.unwrap();
    // Another endpoint: another instance, and the old one is gone.
    let moved = descriptor(&second.base_url, json!({}));
    sandbox
        .registry
        .put_expert(&moved, PutMode::Replace)
        .await
        .unwrap();
    let after = sandbox
        .snapshot(|s| {
            let instances = s.instances.get(&moved.name);
            instances.is_some_and(|all| all.len() == 1 && all[0].id != before.id)
        })
        .await;
    let after = &after.instances[&moved.name][0];
    second.behave(Behaviour::Say("from the second"));
    let reply = sandbox.client.invoke(&call("seer", "q")).await.unwrap();
    assert_eq!(reply.text, "from the second");
    assert_eq!(reply.instance.as_ref(), Some(&after.id));
}

#[tokio::test]
async fn an_expert_is_registered_only_once_it_is_ready() {
    let endpoint = Endpoint::start().await;
    endpoint.be_there(StatusCode::SERVICE_UNAVAILABLE);
    let sandbox = Sandbox::start(adopting()).await;
    let seer = descriptor(&endpoint.base_url, json!({}));
    sandbox
        .registry
        .put_expert(&seer, PutMode::Create)
        .await
        .unwrap();
    // One that can never work does not stop the other.
    let broken =
        json!({ "name": "broken", "backend": { "kind": "openai", "config": { "modle": "m" } } });
    let broken = descriptor("http://unused/v1", broken);
    sandbox
        .registry
        .put_expert(&broken, PutMode::Create)
        .await
        .unwrap();
    let mut states = sandbox.worker.worker().states();
    let failing = states.wait_for(|states| {
        let failing = |name: &str, word: &str| {
            matches!(states.get(name), Some(ExpertState::Failing(reason)) if reason.contains(word))
        };
        failing("seer", "503") && failing("broken", "modle")
    });
    tokio::time::timeout(PATIENCE, failing)
        .await
        .unwrap()
        .unwrap();
    assert!(!sandbox.registry.snapshots().borrow().serves(&seer.name));
    endpoint.be_there(StatusCode::OK);
    sandbox.serving(&seer.name).await;
    assert_eq!(
        sandbox
            .client
            .invoke(&call("seer", "q"))
            .await
            .unwrap()
            .text,
        "hello"
    );

    let mut admin = AdminServiceClient::connect(format!("http://{}", sandbox.worker.address()))
        .await
        .unwrap();
    let status = admin
        .get_status(GetStatusRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (status.service.as_str(), status.capacity),
        ("expert-worker", 4)
    );
    assert_eq!(status.details["expert.seer"], "serving");
    assert!(status.details["expert.broken"].contains("modle"));
}

#[tokio::test]
async fn a_repeated_key_calls_once() {
    let endpoint = Endpoint::start().await;
    let sandbox = Sandbox::start(adopting()).await;
    sandbox
        .add(&descriptor(&endpoint.base_url, json!({})))
        .await;
    // Together: the second joins the first.
    endpoint.behave(Behaviour::Hold);
    let one = call("seer", "q");
    let both = async { tokio::join!(sandbox.client.invoke(&one), sandbox.client.invoke(&one)) };
    let release = async {
        endpoint.wait_for_calls(1).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        endpoint.release(2);
    };
    let ((first, second), ()) = tokio::join!(both, release);
    assert_eq!(first.unwrap().text, second.unwrap().text);
    // Later: the same reply, whatever the model would say now.
    endpoint.behave(Behaviour::Say("changed its mind"));
    let third = sandbox.client.invoke(&one).await.unwrap();
    assert_eq!(
        (third.text.as_str(), third.usage.input_tokens),
        ("released", 1000)
    );
    assert_eq!(endpoint.asked().len(), 1);
    // Another sample of the same step is another call.
    let mut sample = one.clone();
    sample.key.sample = 1;
    let fourth = sandbox.client.invoke(&sample).await.unwrap();
    assert_eq!(fourth.text, "changed its mind");
    // A failure is not kept.
    endpoint.behave(Behaviour::Status(500, json!({})));
    let again = call("seer", "q");
    assert!(sandbox.client.invoke(&again).await.is_err());
    endpoint.behave(Behaviour::Say("recovered"));
    assert_eq!(
        sandbox.client.invoke(&again).await.unwrap().text,
        "recovered"
    );
}

#[tokio::test]
async fn a_full_expert_turns_calls_away() {
    let endpoint = Endpoint::start().await;
    endpoint.behave(Behaviour::Hold);
    let config = ExpertWorkerConfig {
        max_waiting: 1,
        ..adopting()
    };
    let sandbox = Sandbox::start(config).await;
    let narrow = json!({ "limits": { "max_concurrency": 1 } });
    sandbox.add(&descriptor(&endpoint.base_url, narrow)).await;
    let spawn = || {
        let client = sandbox.client.clone();
        tokio::spawn(async move { client.invoke(&call("seer", "q")).await })
    };
    let running = spawn();
    endpoint.wait_for_calls(1).await;
    let waiting = spawn();
    let present = async {
        while sandbox.worker.worker().in_flight() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, present).await.unwrap();
    let failure = sandbox.client.invoke(&call("seer", "q")).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Overloaded, "{failure}");
    assert_eq!(endpoint.asked().len(), 1, "one at a time");
    endpoint.release(2);
    assert_eq!(running.await.unwrap().unwrap().load.in_flight, 0);
    assert_eq!(waiting.await.unwrap().unwrap().load.in_flight, 1);
}

#[tokio::test]
async fn a_cancelled_call_frees_its_place() {
    let endpoint = Endpoint::start().await;
    endpoint.behave(Behaviour::Hold);
    let sandbox = Sandbox::start(adopting()).await;
    let narrow = json!({ "limits": { "max_concurrency": 1 } });
    sandbox.add(&descriptor(&endpoint.base_url, narrow)).await;
    let client = sandbox.client.clone();
    let abandoned = tokio::spawn(async move { client.invoke(&call("seer", "q")).await });
    endpoint.wait_for_calls(1).await;
    abandoned.abort();
    endpoint.behave(Behaviour::Say("next"));
    let next = sandbox.client.invoke(&call("seer", "q")).await.unwrap();
    assert_eq!(next.text, "next");
}

#[tokio::test]
async fn a_drain_deregisters_first_and_finishes_what_runs() {
    let endpoint = Endpoint::start().await;
    let sandbox = Sandbox::start(adopting()).await;
    let seer = descriptor(&endpoint.base_url, json!({}));
    sandbox.add(&seer).await;
    endpoint.behave(Behaviour::Hold);
    let Sandbox {
        registry,
        worker,
        client,
        ..
    } = sandbox;
    let running = tokio::spawn({
        let client = client.clone();
        async move { client.invoke(&call("seer", "q")).await }
    });
    endpoint.wait_for_calls(1).await;
    let drain = tokio::spawn(worker.drain(PATIENCE));
    let mut snapshots = registry.snapshots();
    let gone = snapshots.wait_for(|snapshot| !snapshot.serves(&seer.name));
    tokio::time::timeout(PATIENCE, gone).await.unwrap().unwrap();
    assert!(!running.is_finished() && !drain.is_finished());
    let failure = client.invoke(&call("seer", "q")).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unavailable, "{failure}");
    endpoint.release(1);
    assert_eq!(running.await.unwrap().unwrap().text, "released");
    assert_eq!(drain.await.unwrap().unfinished, 0);
    // The descriptor is a lasting entry.
    assert!(
        snapshots
            .borrow()
            .catalogue
            .experts
            .contains_key(&seer.name)
    );
}

#[tokio::test]
async fn a_dropped_worker_leaves_no_registration() {
    let endpoint = Endpoint::start().await;
    let sandbox = Sandbox::start(adopting()).await;
    let seer = descriptor(&endpoint.base_url, json!({}));
    sandbox.add(&seer).await;
    let Sandbox {
        registry, worker, ..
    } = sandbox;
    drop(worker);
    let mut snapshots = registry.snapshots();
    let gone = snapshots.wait_for(|snapshot| !snapshot.serves(&seer.name));
    tokio::time::timeout(PATIENCE, gone).await.unwrap().unwrap();
}
