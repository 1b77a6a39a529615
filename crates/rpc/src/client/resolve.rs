//! Finds the servers behind a name: a headless Service has one address for each pod.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use url::{Host, Url};

/// Longest time to resolve one name.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Whether a URL names its host instead of giving its address.
pub(super) fn has_name(url: &Url) -> bool {
    matches!(url.host(), Some(Host::Domain(name)) if name.parse::<IpAddr>().is_err())
}

/// Each URL with an address stays as it is; one with a name becomes one for each of the name's
/// addresses. Empty where any name cannot be resolved: half an answer must not push servers out.
pub(super) async fn resolve(urls: &[Url]) -> BTreeSet<Url> {
    let mut resolved = BTreeSet::new();
    for url in urls {
        if !has_name(url) {
            resolved.insert(url.clone());
            continue;
        }
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or(80);
        let lookup = tokio::net::lookup_host((host, port));
        let addresses = match tokio::time::timeout(TIMEOUT, lookup).await {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(error)) => {
                tracing::debug!(host, %error, "a server's name cannot be resolved");
                return BTreeSet::new();
            }
            Err(_) => {
                tracing::debug!(host, "a server's name takes too long to resolve");
                return BTreeSet::new();
            }
        };
        for address in addresses {
            let mut url = url.clone();
            if url.set_ip_host(address.ip()).is_ok() {
                resolved.insert(url);
            }
        }
    }
    resolved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_become_addresses_and_addresses_stay() {
        let address: Url = "http://127.0.0.1:7".parse().unwrap();
        let name: Url = "http://localhost:7".parse().unwrap();
        assert!(has_name(&name) && !has_name(&address));
        let resolved = resolve(&[address.clone(), name]).await;
        assert!(resolved.contains(&address), "{resolved:?}");
        assert!(resolved.iter().all(|url| !has_name(url)), "{resolved:?}");
    }

    #[tokio::test]
    async fn an_unknown_name_gives_nothing_at_all() {
        let address: Url = "http://127.0.0.1:7".parse().unwrap();
        let unknown: Url = "http://no-such-host.invalid:7".parse().unwrap();
        assert!(resolve(&[address, unknown]).await.is_empty());
    }
}
