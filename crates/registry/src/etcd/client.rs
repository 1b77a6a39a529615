//! Small things around `etcd-client`.

use std::{path::PathBuf, time::Duration};

use etcd_client::{
    Certificate, Client, ConnectOptions, Identity, KeyValue, LeaseClient, LeaseKeepAliveResponse,
    LeaseKeepAliveStream, LeaseKeeper, ResponseHeader, TlsOptions,
};
use tokio::time;

use crate::{
    codec::Stored,
    config::{EtcdConfig, EtcdTls},
    decide::Existing,
    error::RegistryError,
    keys::Key,
};

/// Pause between pings of an idle connection. etcd drops clients that ping more often than its
/// `--grpc-keepalive-min-time`, by default this.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// A fresh connection, in the runtime of the caller.
pub(crate) async fn connect(config: &EtcdConfig) -> Result<Client, RegistryError> {
    let mut options = ConnectOptions::new()
        .with_connect_timeout(config.connect_timeout())
        .with_keep_alive(PING_INTERVAL, config.request_timeout())
        // A member that is cut off from its cluster ends watches instead of going quiet.
        .with_require_leader(true);
    if let Some(user) = &config.user {
        options = options
            .with_user(user.name.clone(), user.password.clone())
            .with_auto_token_refresh(true);
    }
    if let Some(tls) = &config.tls {
        options = options.with_tls(tls_options(tls)?);
    }
    let connecting = Client::connect(&config.endpoints, Some(options));
    call("connecting", config.connect_timeout(), connecting).await
}

fn tls_options(tls: &EtcdTls) -> Result<TlsOptions, RegistryError> {
    let read = |file: &PathBuf| {
        std::fs::read(file).map_err(|source| RegistryError::ReadTls {
            file: file.clone(),
            source,
        })
    };
    let mut options = TlsOptions::new();
    options = match &tls.ca_file {
        Some(file) => options.ca_certificate(Certificate::from_pem(read(file)?)),
        None => options.with_native_roots(),
    };
    if let (Some(certificate), Some(key)) = (&tls.cert_file, &tls.key_file) {
        options = options.identity(Identity::from_pem(read(certificate)?, read(key)?));
    }
    if let Some(name) = &tls.server_name {
        options = options.domain_name(name);
    }
    Ok(options)
}

/// Waits for one request to etcd, but not for ever: the client waits as long as no member can be
/// reached.
pub(crate) async fn call<T>(
    operation: &'static str,
    limit: Duration,
    request: impl Future<Output = Result<T, etcd_client::Error>>,
) -> Result<T, RegistryError> {
    match time::timeout(limit, request).await {
        Ok(result) => result.map_err(|error| RegistryError::from_etcd(operation, &error)),
        Err(_) => Err(RegistryError::Timeout {
            operation,
            after: limit,
        }),
    }
}

/// Takes a lease, or goes on with one that was taken over another connection; `held` names it even
/// where renewing it then fails.
pub(crate) async fn hold_lease(
    leases: &mut LeaseClient,
    held: &mut Option<i64>,
    ttl_s: u32,
    limit: Duration,
) -> Result<(i64, LeaseKeeper, LeaseKeepAliveStream), RegistryError> {
    let lease = match *held {
        Some(lease) => lease,
        None => {
            let granting = leases.grant(i64::from(ttl_s), None);
            call("granting a lease", limit, granting).await?.id()
        }
    };
    *held = Some(lease);
    let (keeper, renewals) = call("keeping the lease", limit, leases.keep_alive(lease)).await?;
    Ok((lease, keeper, renewals))
}

/// Whether an answer to a renewal says that the lease lives on.
pub(crate) fn renewed(
    answer: Result<Option<LeaseKeepAliveResponse>, etcd_client::Error>,
) -> Result<(), RegistryError> {
    const OPERATION: &str = "a renewal";
    let answer = answer
        .map_err(|error| RegistryError::from_etcd(OPERATION, &error))?
        .ok_or_else(|| RegistryError::Unavailable {
            operation: OPERATION,
            reason: "the stream was closed".into(),
        })?;
    if answer.ttl() <= 0 {
        return Err(RegistryError::LeaseGone);
    }
    Ok(())
}

/// The revision of an answer.
pub(crate) fn header_revision(header: Option<&ResponseHeader>) -> u64 {
    header.map_or(0, |header| revision(header.revision()))
}

/// Revisions are never negative.
pub(crate) fn revision(revision: i64) -> u64 {
    revision.try_into().unwrap_or(0)
}

/// What stands under `key`, where something does.
pub(crate) fn existing(key: &Key, pair: &KeyValue) -> Existing {
    match Stored::decode(key, pair.value()) {
        Ok(stored) => Existing::Readable(Box::new(stored)),
        Err(_) => Existing::Unreadable,
    }
}
