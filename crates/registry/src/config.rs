//! Settings.

use std::{fmt, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::error::RegistryError;

/// Name and password of an etcd user.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// Name.
    pub name: String,
    /// Password. Never shown.
    #[serde(skip_serializing)]
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// How the members of etcd are known, and how this process is known to them. All files are PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EtcdTls {
    /// Authorities whose certificates members may show; absent: those of the system.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// This process's certificate, where etcd asks its clients for one.
    #[serde(default)]
    pub cert_file: Option<PathBuf>,
    /// The private key of it.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
    /// The name that members' certificates hold, where it is not the endpoint's host.
    #[serde(default)]
    pub server_name: Option<String>,
}

/// Which etcd to use and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EtcdConfig {
    /// Members of the cluster: `http://host:port`, or `https://` with [`Self::tls`]; at least one.
    pub endpoints: Vec<String>,
    /// What every key begins with, without a slash at the end.
    #[serde(default = "default_prefix")]
    pub prefix: String,
    /// How long the registrations of a dead process last, in seconds. etcd allows no less than
    /// about two (1.5 times its election timeout).
    #[serde(default = "default_lease_ttl_s")]
    pub lease_ttl_s: u32,
    /// Longest time to connect and to load the registry at the start, in milliseconds.
    #[serde(default = "default_connect_timeout_ms")]
    pub connect_timeout_ms: u64,
    /// Longest time of one request, in milliseconds.
    #[serde(default = "default_request_timeout_ms")]
    pub request_timeout_ms: u64,
    /// User, if etcd wants one.
    #[serde(default)]
    pub user: Option<Credentials>,
    /// TLS, if etcd wants it. Then every endpoint begins with `https://`.
    #[serde(default)]
    pub tls: Option<EtcdTls>,
}

fn default_prefix() -> String {
    "/maestro/v1".into()
}

fn default_lease_ttl_s() -> u32 {
    3
}

fn default_connect_timeout_ms() -> u64 {
    5_000
}

fn default_request_timeout_ms() -> u64 {
    2_000
}

impl EtcdConfig {
    /// The cluster at `endpoints` with the default settings.
    pub fn new(endpoints: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            prefix: default_prefix(),
            lease_ttl_s: default_lease_ttl_s(),
            connect_timeout_ms: default_connect_timeout_ms(),
            request_timeout_ms: default_request_timeout_ms(),
            user: None,
            tls: None,
        }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`RegistryError::Config`] naming the setting.
    pub fn validate(&self) -> Result<(), RegistryError> {
        let refuse = |field, reason| Err(RegistryError::Config { field, reason });
        if self.endpoints.is_empty() || self.endpoints.iter().any(|one| one.trim().is_empty()) {
            return refuse(
                "endpoints",
                "must name at least one member, none of them blank",
            );
        }
        let is_secure = |endpoint: &String| endpoint.trim_start().starts_with("https://");
        match &self.tls {
            Some(_) if !self.endpoints.iter().all(is_secure) => {
                return refuse("endpoints", "must all begin with https:// where tls is set");
            }
            Some(tls) if tls.cert_file.is_some() != tls.key_file.is_some() => {
                return refuse("tls", "needs cert_file and key_file together or neither");
            }
            None if self.endpoints.iter().any(is_secure) => {
                return refuse(
                    "tls",
                    "must be set (it may be {}) where an endpoint begins with https://",
                );
            }
            _ => {}
        }
        if !self.prefix.starts_with('/') || self.prefix.ends_with('/') {
            return refuse("prefix", "must begin with a slash and not end with one");
        }
        if self.lease_ttl_s == 0 {
            return refuse("lease_ttl_s", "must be at least 1");
        }
        if self.connect_timeout_ms == 0 {
            return refuse("connect_timeout_ms", "must be at least 1");
        }
        if self.request_timeout_ms == 0 {
            return refuse("request_timeout_ms", "must be at least 1");
        }
        Ok(())
    }

    pub(crate) fn lease_ttl(&self) -> Duration {
        Duration::from_secs(self.lease_ttl_s.into())
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_checked_by_name() {
        let good = EtcdConfig::new(["http://127.0.0.1:2379"]);
        good.validate().unwrap();
        let none = EtcdConfig {
            endpoints: vec![],
            ..good.clone()
        };
        assert!(
            none.validate()
                .unwrap_err()
                .to_string()
                .contains("endpoints")
        );
        let slash = EtcdConfig {
            prefix: "/a/".into(),
            ..good.clone()
        };
        assert!(slash.validate().unwrap_err().to_string().contains("prefix"));
        let ttl = EtcdConfig {
            lease_ttl_s: 0,
            ..good
        };
        assert!(
            ttl.validate()
                .unwrap_err()
                .to_string()
                .contains("lease_ttl_s")
        );
    }

    #[test]
    fn tls_and_endpoints_must_agree() {
        let tls = EtcdTls {
            ca_file: None,
            cert_file: None,
            key_file: None,
            server_name: None,
        };
        let refused = |config: EtcdConfig| config.validate().unwrap_err().to_string();
        let plain = EtcdConfig::new(["https://a:2379"]);
        assert!(refused(plain.clone()).contains("tls"));
        let secure = EtcdConfig {
            tls: Some(tls.clone()),
            ..plain
        };
        secure.validate().unwrap();
        let mixed = EtcdConfig {
            endpoints: vec!["https://a:2379".into(), "http://b:2379".into()],
            ..secure.clone()
        };
        assert!(refused(mixed).contains("endpoints"));
        let half = EtcdTls {
            cert_file: Some("a.crt".into()),
            ..tls
        };
        let half = EtcdConfig {
            tls: Some(half),
            ..secure
        };
        assert!(refused(half).contains("key_file"));
    }

    #[test]
    fn the_password_is_never_shown() {
        let user = Credentials {
            name: "a".into(),
            password: "secret".into(),
        };
        let config = EtcdConfig {
            user: Some(user),
            ..EtcdConfig::new(["x"])
        };
        assert!(!format!("{config:?}").contains("secret"));
        assert!(!serde_json::to_string(&config).unwrap().contains("secret"));
    }
}
