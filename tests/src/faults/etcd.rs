//! The three members of etcd, seen through their own command line.

use std::{path::Path, process::Output};

use serde::Deserialize;

use super::{network::Network, plan::Component};
use crate::process::{SandboxError, io_error};

/// Where clients reach the members.
pub(super) fn endpoints() -> Vec<String> {
    let members = Component::those(Component::is_etcd);
    members.into_iter().map(client_url).collect()
}

fn client_url(member: Component) -> String {
    format!("http://{}:2379", member.address())
}

fn peer_url(member: Component) -> String {
    format!("http://{}:2380", member.address())
}

/// How a member is started, for the first time or again.
pub(super) fn arguments(member: Component, folder: &Path) -> Vec<String> {
    let cluster: Vec<String> = Component::those(Component::is_etcd)
        .into_iter()
        .map(|one| format!("{one}={}", peer_url(one)))
        .collect();
    let pairs = [
        ("--name", member.to_string()),
        ("--data-dir", folder.join("data").display().to_string()),
        ("--listen-client-urls", client_url(member)),
        ("--advertise-client-urls", client_url(member)),
        ("--listen-peer-urls", peer_url(member)),
        ("--initial-advertise-peer-urls", peer_url(member)),
        ("--initial-cluster", cluster.join(",")),
        ("--initial-cluster-token", "maestro-faults".to_owned()),
        // As the chart has it.
        ("--auto-compaction-mode", "periodic".to_owned()),
        ("--auto-compaction-retention", "5m".to_owned()),
    ];
    let parts = pairs
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value]);
    parts.collect()
}

fn etcdctl(
    network: &Network,
    endpoints: &[String],
    arguments: &[&str],
) -> Result<Output, SandboxError> {
    network
        .inside(None, Path::new("etcdctl"))
        .env("ETCDCTL_API", "3")
        .arg(format!("--endpoints={}", endpoints.join(",")))
        .args(["--dial-timeout=2s", "--command-timeout=5s"])
        .args(arguments)
        .output()
        .map_err(io_error("etcdctl"))
}

fn succeeded(output: Output, what: &str) -> Result<Vec<u8>, SandboxError> {
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(SandboxError::Command {
        command: format!("etcdctl {what}"),
        said: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

/// Whether a majority serves.
pub(super) fn serves(network: &Network) -> bool {
    let output = etcdctl(network, &endpoints(), &["endpoint", "health"]);
    output.is_ok_and(|output| output.status.success())
}

/// Everything under a prefix, as JSON.
///
/// # Errors
/// `etcdctl`'s.
pub(super) fn dump(network: &Network, prefix: &str) -> Result<Vec<u8>, SandboxError> {
    let arguments = ["get", prefix, "--prefix", "--write-out=json"];
    succeeded(etcdctl(network, &endpoints(), &arguments)?, "get")
}

#[derive(Deserialize)]
struct Member {
    #[serde(rename = "Endpoint")]
    endpoint: String,
    #[serde(rename = "Status")]
    status: Status,
}

#[derive(Deserialize)]
struct Status {
    header: Header,
    #[serde(default)]
    leader: u64,
    #[serde(default, rename = "dbSize")]
    size: u64,
    #[serde(default, rename = "dbSizeInUse")]
    in_use: u64,
}

#[derive(Deserialize)]
struct Header {
    member_id: u64,
}

/// Bytes of the database and bytes of it in use, of the member with the largest.
///
/// # Errors
/// `etcdctl`'s.
pub(super) fn size(network: &Network) -> Result<(u64, u64), SandboxError> {
    let arguments = ["endpoint", "status", "--write-out=json"];
    let printed = succeeded(
        etcdctl(network, &endpoints(), &arguments)?,
        "endpoint status",
    )?;
    let members: Vec<Member> = read(&printed)?;
    let sizes = members
        .iter()
        .map(|one| (one.status.size, one.status.in_use));
    Ok(sizes.max().unwrap_or_default())
}

/// How many keys there are under a prefix.
///
/// # Errors
/// `etcdctl`'s.
pub(super) fn count(network: &Network, prefix: &str) -> Result<u64, SandboxError> {
    #[derive(Deserialize)]
    struct Counted {
        #[serde(default)]
        count: u64,
    }
    let arguments = [
        "get",
        prefix,
        "--prefix",
        "--keys-only",
        "--limit=1",
        "--write-out=json",
    ];
    let printed = succeeded(etcdctl(network, &endpoints(), &arguments)?, "get")?;
    read(&printed).map(|counted: Counted| counted.count)
}

fn read<T: serde::de::DeserializeOwned>(printed: &[u8]) -> Result<T, SandboxError> {
    serde_json::from_slice(printed).map_err(|error| SandboxError::Command {
        command: "etcdctl".to_owned(),
        said: error.to_string(),
    })
}

/// Who leads, and the others' ids.
///
/// # Errors
/// Where nobody does.
pub(super) fn leader(network: &Network) -> Result<(Component, Vec<u64>), SandboxError> {
    let arguments = ["endpoint", "status", "--write-out=json"];
    // It fails where one member is away, and tells of the others.
    let output = etcdctl(network, &endpoints(), &arguments)?;
    let nobody = || SandboxError::Timeout("a leader of etcd".to_owned());
    let members: Vec<Member> = serde_json::from_slice(&output.stdout).map_err(|_| nobody())?;
    let leads = |member: &&Member| member.status.leader == member.status.header.member_id;
    let leader = members.iter().find(leads).ok_or_else(nobody)?;
    let component = Component::those(Component::is_etcd)
        .into_iter()
        .find(|one| client_url(*one) == leader.endpoint)
        .ok_or_else(nobody)?;
    let ids = members.iter().map(|member| member.status.header.member_id);
    let others = ids.filter(|id| *id != leader.status.leader).collect();
    Ok((component, others))
}

/// Makes another member the leader.
///
/// # Errors
/// Where there is no leader, or nobody to take over.
pub(super) fn move_leader(network: &Network) -> Result<(), SandboxError> {
    let (leader, others) = leader(network)?;
    let heir = others
        .first()
        .map(|id| format!("{id:x}"))
        .unwrap_or_default();
    let output = etcdctl(network, &[client_url(leader)], &["move-leader", &heir])?;
    succeeded(output, "move-leader").map(drop)
}
