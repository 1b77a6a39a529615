use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use maestro_core::{
    episode::{Failure, FailureKind},
    ports::Experts,
    registry::Snapshot,
};
use maestro_rpc::{ChannelPool, ExpertRouter, RouterConfig, failure_to_status};
use maestro_telemetry::TraceContext;
use tokio::{net::TcpListener, sync::watch};
use tonic::Status;

use crate::world::{Behaviour, Expert, call, nobody, snapshot, start, url};

const LONG: Duration = Duration::from_secs(8);

fn router(
    first: Arc<Snapshot>,
    config: RouterConfig,
) -> (watch::Sender<Arc<Snapshot>>, ExpertRouter) {
    let (sender, receiver) = watch::channel(first);
    (sender, ExpertRouter::new(receiver, Arc::default(), config))
}

#[tokio::test]
async fn a_call_reaches_an_instance_and_carries_the_trace() {
    let expert = Expert::new(Behaviour::Answer);
    let server = start(&expert).await;
    let (_snapshots, router) = router(
        snapshot(1, &[("a", &url(&server), 4)]),
        RouterConfig::default(),
    );
    let trace = TraceContext::generate();
    let reply = trace
        .scope(router.invoke(call("hello", LONG)))
        .await
        .unwrap();
    assert_eq!(reply.text, "hello");
    assert_eq!(reply.instance.unwrap().as_str(), "a");
    let seen = expert.trace.lock().unwrap().unwrap();
    assert_eq!(seen.trace_id(), trace.trace_id());
    assert_ne!(seen.span_id(), trace.span_id());
}

#[tokio::test]
async fn a_call_that_cannot_connect_goes_to_another_instance() {
    let expert = Expert::new(Behaviour::Answer);
    let server = start(&expert).await;
    let dead = nobody().await;
    let (_snapshots, router) = router(
        snapshot(1, &[("dead", &dead, 4), ("alive", &url(&server), 4)]),
        RouterConfig::default(),
    );
    for _ in 0..20 {
        let reply = router.invoke(call("x", LONG)).await.unwrap();
        assert_eq!(reply.instance.unwrap().as_str(), "alive");
    }
    assert_eq!(expert.begun(), 20);
}

#[tokio::test]
async fn calls_of_one_run_go_to_the_instance_that_is_asked_first() {
    let expert = Expert::new(Behaviour::Answer);
    let (first, second) = (start(&expert).await, start(&expert).await);
    let (_snapshots, router) = router(
        snapshot(1, &[("a", &url(&first), 4), ("b", &url(&second), 4)]),
        RouterConfig::default(),
    );
    let likely = router.likely_instance(&"reader".parse().unwrap());
    assert!(likely.is_some());
    assert_eq!(router.likely_instance(&"nobody".parse().unwrap()), None);
    for instance in ["a", "b", "gone"] {
        for _ in 0..10 {
            let mut call = call("x", LONG);
            call.instance = Some(instance.parse().unwrap());
            let answered = router.invoke(call).await.unwrap().instance.unwrap();
            assert!(answered.as_str() == instance || instance == "gone");
        }
    }
}

#[tokio::test]
async fn a_call_that_may_have_begun_is_not_repeated() {
    let failing = Expert::new(Behaviour::Fail(Status::unavailable("upstream reset")));
    let (first, second) = (start(&failing).await, start(&failing).await);
    let (_snapshots, router) = router(
        snapshot(1, &[("a", &url(&first), 4), ("b", &url(&second), 4)]),
        RouterConfig::default(),
    );
    let failure = router.invoke(call("x", LONG)).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unavailable);
    assert_eq!(failing.begun(), 1);
}

#[tokio::test]
async fn dropping_the_future_cancels_the_call_at_the_expert_and_frees_the_permit() {
    let expert = Expert::new(Behaviour::Hold);
    let server = start(&expert).await;
    let (_snapshots, router) = router(
        snapshot(1, &[("a", &url(&server), 1)]),
        RouterConfig::default(),
    );
    let cut = tokio::time::timeout(Duration::from_millis(200), router.invoke(call("x", LONG)));
    assert!(cut.await.is_err());
    expert
        .until(|expert| expert.dropped.load(Ordering::SeqCst) == 1)
        .await;
    expert.set(Behaviour::Answer);
    router.invoke(call("x", LONG)).await.unwrap();
}

#[tokio::test]
async fn the_deadline_reaches_the_expert() {
    let expert = Expert::new(Behaviour::Hold);
    let server = start(&expert).await;
    let (_snapshots, router) = router(
        snapshot(1, &[("a", &url(&server), 1)]),
        RouterConfig::default(),
    );
    let started = Instant::now();
    let failure = router
        .invoke(call("x", Duration::from_millis(150)))
        .await
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::Timeout, "{failure}");
    assert!(started.elapsed() < Duration::from_secs(2));
    expert
        .until(|expert| expert.dropped.load(Ordering::SeqCst) == 1)
        .await;
}

#[tokio::test]
async fn calls_wait_for_a_permit_in_a_bounded_line() {
    let expert = Expert::new(Behaviour::Hold);
    let server = start(&expert).await;
    let config = RouterConfig {
        max_wait_ms: 300,
        max_waiting: 1,
        ..RouterConfig::default()
    };
    let (_snapshots, router) = router(snapshot(1, &[("a", &url(&server), 1)]), config);
    let router = Arc::new(router);
    let spawn = |text: &'static str| {
        let router = Arc::clone(&router);
        tokio::spawn(async move { router.invoke(call(text, LONG)).await })
    };
    let holder = spawn("first");
    expert.until(|expert| expert.begun() == 1).await;
    let waiter = spawn("second");
    tokio::time::sleep(Duration::from_millis(50)).await;
    let turned_away = router.invoke(call("third", LONG)).await.unwrap_err();
    assert_eq!(turned_away.kind, FailureKind::Overloaded);
    let late = waiter.await.unwrap().unwrap_err();
    assert_eq!(late.kind, FailureKind::Overloaded);
    let next = spawn("fourth");
    tokio::time::sleep(Duration::from_millis(50)).await;
    expert.release.add_permits(2);
    assert_eq!(holder.await.unwrap().unwrap().text, "first");
    assert_eq!(next.await.unwrap().unwrap().text, "fourth");
}

#[tokio::test]
async fn a_full_instance_is_asked_again_a_little_later() {
    let full = failure_to_status(&Failure::new(FailureKind::Overloaded, "queue full"));
    let expert = Expert::new(Behaviour::Fail(full));
    let server = start(&expert).await;
    let (_snapshots, router) = router(
        snapshot(1, &[("a", &url(&server), 4)]),
        RouterConfig::default(),
    );
    let free_later = async {
        expert.until(|expert| expert.begun() >= 3).await;
        expert.set(Behaviour::Answer);
    };
    let (reply, ()) = tokio::join!(router.invoke(call("x", LONG)), free_later);
    assert_eq!(reply.unwrap().text, "x");
}

#[tokio::test]
async fn failures_open_the_breaker_and_a_probe_closes_it() {
    let expert = Expert::new(Behaviour::Fail(Status::internal("model crashed")));
    let server = start(&expert).await;
    let config = RouterConfig {
        breaker_open_ms: 200,
        ..RouterConfig::default()
    };
    let (_snapshots, router) = router(snapshot(1, &[("a", &url(&server), 4)]), config);
    for _ in 0..3 {
        let failure = router.invoke(call("x", LONG)).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::ExpertFailed);
    }
    let failure = router.invoke(call("x", LONG)).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unavailable);
    assert_eq!(expert.begun(), 3, "an open breaker lets nothing through");
    expert.set(Behaviour::Answer);
    tokio::time::sleep(Duration::from_millis(250)).await;
    router.invoke(call("x", LONG)).await.unwrap();
}

#[tokio::test]
async fn the_registry_is_followed() {
    let expert = Expert::new(Behaviour::Answer);
    let server = start(&expert).await;
    let (snapshots, router) = router(Arc::new(Snapshot::default()), RouterConfig::default());
    let unknown = router.invoke(call("x", LONG)).await.unwrap_err();
    assert_eq!(unknown.kind, FailureKind::NotInActionSet);

    let arrives = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        snapshots.send_replace(snapshot(2, &[("a", &url(&server), 4)]));
    };
    let (reply, ()) = tokio::join!(router.invoke(call("x", LONG)), arrives);
    assert_eq!(
        reply.unwrap().text,
        "x",
        "a call waits a moment for what the policy has seen"
    );

    snapshots.send_replace(snapshot(3, &[]));
    tokio::time::sleep(Duration::from_millis(50)).await;
    let gone = router.invoke(call("x", LONG)).await.unwrap_err();
    assert_eq!(gone.kind, FailureKind::Unavailable);
}

#[tokio::test]
async fn a_draining_instance_finishes_its_calls_after_it_left() {
    let expert = Expert::new(Behaviour::Hold);
    let server = start(&expert).await;
    let (snapshots, router) = router(
        snapshot(1, &[("a", &url(&server), 4)]),
        RouterConfig::default(),
    );
    let leaves = async {
        expert.until(|expert| expert.begun() == 1).await;
        snapshots.send_replace(snapshot(2, &[]));
        tokio::time::sleep(Duration::from_millis(1500)).await;
        expert.release.add_permits(1);
    };
    let (reply, ()) = tokio::join!(router.invoke(call("x", LONG)), leaves);
    assert_eq!(reply.unwrap().text, "x");
}

#[tokio::test]
async fn a_silent_instance_that_left_does_not_hold_its_callers() {
    // Accepts connections and never says a word, as a stopped process does.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let (snapshots, router) = router(snapshot(1, &[("a", &endpoint, 4)]), RouterConfig::default());
    let started = Instant::now();
    let leaves = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        snapshots.send_replace(snapshot(2, &[]));
    };
    let (result, ()) = tokio::join!(router.invoke(call("x", LONG)), leaves);
    assert_eq!(result.unwrap_err().kind, FailureKind::Unavailable);
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_connection_that_breaks_fails_the_call_at_once() {
    let expert = Expert::new(Behaviour::Hold);
    let server = start(&expert).await;
    let (_snapshots, router) = router(
        snapshot(1, &[("a", &url(&server), 4)]),
        RouterConfig::default(),
    );
    let started = Instant::now();
    let dies = async {
        expert.until(|expert| expert.begun() == 1).await;
        drop(server);
    };
    let (result, ()) = tokio::join!(router.invoke(call("x", LONG)), dies);
    let failure = result.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unavailable, "{failure}");
    assert!(started.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn a_pool_keeps_no_endpoint_that_left() {
    let expert = Expert::new(Behaviour::Answer);
    let server = start(&expert).await;
    let pool = Arc::new(ChannelPool::default());
    let (sender, receiver) = watch::channel(snapshot(1, &[("a", &url(&server), 4)]));
    let _router = ExpertRouter::new(receiver, Arc::clone(&pool), RouterConfig::default());
    assert_eq!(pool.len(), 1);
    sender.send_replace(snapshot(2, &[]));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(pool.is_empty());
}
