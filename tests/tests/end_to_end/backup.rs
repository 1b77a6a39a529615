//! The registry survives the loss of its etcd by a snapshot, as `docs/backup.md` says.

use std::process::Command;

use maestro_core::ports::Registry;
use maestro_tests::{Cluster, connect, start_etcd};

use crate::client::{descriptor, library_registered};

fn etcdctl(arguments: &[&str]) {
    let output = Command::new("etcdctl")
        .env("ETCDCTL_API", "3")
        .args(arguments)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_etcd_brings_the_registry_back() {
    let cluster = Cluster::start().await.unwrap();
    library_registered(&cluster).await;
    let worker = cluster.adopting_worker("worker").unwrap();
    cluster
        .add_expert(&descriptor("kept", "http://127.0.0.1:1/v1"))
        .await
        .unwrap();
    cluster
        .until("the expert", |s| s.catalogue.experts.contains_key("kept"))
        .await
        .unwrap();
    let before = cluster.registry.snapshots().borrow().catalogue.digest();

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("registry.db");
    let file = file.to_str().unwrap();
    etcdctl(&["--endpoints", cluster.etcd_url(), "snapshot", "save", file]);
    drop(worker);
    drop(cluster);
    let data = folder.path().join("etcd");
    let data = data.to_str().unwrap();
    etcdctl(&["snapshot", "restore", file, "--data-dir", data]);

    let (_etcd, url) = start_etcd(folder.path()).unwrap();
    let registry = connect(&url).await.unwrap();
    let mut snapshots = registry.snapshots();
    assert_eq!(snapshots.borrow().catalogue.digest(), before);
    // Nobody keeps the registrations of the lost processes alive.
    let gone = snapshots.wait_for(|s| s.instances.values().all(Vec::is_empty));
    tokio::time::timeout(std::time::Duration::from_secs(60), gone)
        .await
        .unwrap()
        .unwrap();
}
