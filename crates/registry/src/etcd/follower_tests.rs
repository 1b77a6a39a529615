use super::*;

#[expect(
    dead_code,
    reason = "shared with the integration tests, which use all of it"
)]
#[path = "../../tests/registry/support/server.rs"]
mod server;

#[tokio::test]
async fn a_watch_from_a_compacted_revision_ends_as_compacted() {
    let server = server::EtcdServer::start();
    let config = EtcdConfig::new([format!("http://127.0.0.1:{}", server.port())]);
    let client = connect(&config).await.unwrap();
    let mut kv = client.kv_client();
    for _ in 0..10 {
        kv.put("/maestro/v1/experts/e", "", None).await.unwrap();
    }
    kv.compact(8, None).await.unwrap();
    let health = Arc::new(watch::Sender::new(RegistryHealth::new()));
    let keys = Keys::new(config.prefix.clone());
    let mut follower = Follower::new(config, keys, health, CancellationToken::new());
    let (requests, responses) = follower.open(client.watch_client(), 2).await.unwrap();
    let ended = follower.watch(requests, responses).await.unwrap_err();
    assert!(matches!(ended, RegistryError::Compacted(8)), "{ended}");
}
