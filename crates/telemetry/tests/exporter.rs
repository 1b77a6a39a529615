//! The metrics endpoint as Prometheus sees it.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use maestro_telemetry::{Counter, Gauge, Histogram, Label, install_metrics};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

async fn get(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    tokio::time::timeout(Duration::from_secs(5), stream.read_to_string(&mut response))
        .await
        .unwrap()
        .unwrap();
    response
}

#[tokio::test]
async fn metrics_are_served_with_explicit_buckets_and_shared_by_the_process() {
    let local = "127.0.0.1:0".parse().unwrap();
    let first = install_metrics(Some(local)).unwrap();
    let second = install_metrics(Some(local)).unwrap();
    let silent = install_metrics(None).unwrap();
    assert_eq!(silent.address(), None);
    assert_ne!(first.address(), second.address());

    Histogram::RegistryPropagation.record_duration(Duration::from_millis(95), &[]);
    Counter::Episodes.increment(&[Label::Termination("answered")]);
    Gauge::BreakerInstances.set(2.0, &[Label::Expert("reader"), Label::State("open")]);

    let text = get(first.address().unwrap(), "/metrics").await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert!(
        text.contains("registry_propagation_seconds_bucket{le=\"0.09\"} 0"),
        "{text}"
    );
    assert!(
        text.contains("registry_propagation_seconds_bucket{le=\"0.1\"} 1"),
        "{text}"
    );
    assert!(
        text.contains("maestro_episodes_total{termination=\"answered\"} 1"),
        "{text}"
    );
    assert!(
        text.contains("maestro_breaker_instances{expert=\"reader\",state=\"open\"} 2"),
        "{text}"
    );
    assert!(
        text.contains("# HELP maestro_episodes_total Episodes that ended"),
        "{text}"
    );

    let other = get(second.address().unwrap(), "/metrics").await;
    assert!(
        other.contains("maestro_episodes_total{termination=\"answered\"} 1"),
        "{other}"
    );
    assert!(
        get(first.address().unwrap(), "/other")
            .await
            .starts_with("HTTP/1.1 404")
    );

    let closed = second.address().unwrap();
    drop(second);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(
        TcpStream::connect(closed).await.is_err(),
        "dropping the handle closes the endpoint"
    );
}
