//! What the tests share: a real etcd, a line to it that can be held up, and entries.

pub(crate) mod entries;
pub(crate) mod episodes;
pub(crate) mod proxy;
pub(crate) mod server;

use std::{sync::Arc, time::Duration};

use maestro_core::registry::Snapshot;
use maestro_registry::EtcdConfig;
use tokio::{sync::watch, time};

/// How long anything may take that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Settings for a server on a loopback port.
pub(crate) fn config(port: u16) -> EtcdConfig {
    EtcdConfig {
        request_timeout_ms: 500,
        lease_ttl_s: 2,
        ..EtcdConfig::new([format!("http://127.0.0.1:{port}")])
    }
}

/// Waits for a snapshot of which `condition` holds.
pub(crate) async fn wait_for(
    snapshots: &mut watch::Receiver<Arc<Snapshot>>,
    condition: impl FnMut(&Arc<Snapshot>) -> bool,
) -> Arc<Snapshot> {
    let found = time::timeout(PATIENCE, snapshots.wait_for(condition)).await;
    let snapshot = found
        .expect("the snapshot should have come")
        .expect("the registry runs");
    Arc::clone(&snapshot)
}
