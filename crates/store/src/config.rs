//! Settings and how they become a store.

use std::{env, fs, sync::Arc, time::Duration};

use object_store::{ObjectStore, local::LocalFileSystem, memory::InMemory};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::error::StoreError;

/// Where blobs are kept and what may be kept there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    /// `memory://`, `file:///directory`, or a bucket: `s3://bucket/prefix`, `gs://…`,
    /// `az://…`, whose credentials and region come from the provider's usual environment
    /// variables.
    pub url: Url,
    /// Largest blob in bytes.
    #[serde(default = "default_max_blob_bytes")]
    pub max_blob_bytes: u64,
    /// Memory for blobs that are read often, in bytes; 0 keeps none.
    #[serde(default = "default_cache_bytes")]
    pub cache_bytes: u64,
    /// Longest time of a request without content (a lookup, a listing) in milliseconds.
    #[serde(default = "default_request_timeout_ms")]
    pub request_timeout_ms: u64,
    /// Longest time of reading or writing one blob, or of waiting for the next chunk of an
    /// upload, in milliseconds.
    #[serde(default = "default_transfer_timeout_ms")]
    pub transfer_timeout_ms: u64,
}

fn default_max_blob_bytes() -> u64 {
    256 << 20
}

fn default_cache_bytes() -> u64 {
    64 << 20
}

fn default_request_timeout_ms() -> u64 {
    10_000
}

fn default_transfer_timeout_ms() -> u64 {
    60_000
}

impl StoreConfig {
    /// A store at `url` with the default limits.
    pub fn new(url: Url) -> Self {
        Self {
            url,
            max_blob_bytes: default_max_blob_bytes(),
            cache_bytes: default_cache_bytes(),
            request_timeout_ms: default_request_timeout_ms(),
            transfer_timeout_ms: default_transfer_timeout_ms(),
        }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`StoreError::Config`] naming the setting.
    pub fn validate(&self) -> Result<(), StoreError> {
        let at_least_one = [
            ("max_blob_bytes", self.max_blob_bytes),
            ("request_timeout_ms", self.request_timeout_ms),
            ("transfer_timeout_ms", self.transfer_timeout_ms),
        ];
        for (field, value) in at_least_one {
            if value == 0 {
                return Err(StoreError::config(field, "must be at least 1"));
            }
        }
        Ok(())
    }

    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }

    pub(crate) fn transfer_timeout(&self) -> Duration {
        Duration::from_millis(self.transfer_timeout_ms)
    }

    pub(crate) fn build(&self) -> Result<Arc<dyn ObjectStore>, StoreError> {
        match self.url.scheme() {
            "memory" => Ok(Arc::new(InMemory::new())),
            "file" => self.build_local(),
            _ => self.build_bucket(),
        }
    }

    fn build_local(&self) -> Result<Arc<dyn ObjectStore>, StoreError> {
        let directory = self
            .url
            .to_file_path()
            .map_err(|()| StoreError::config("url", "must be file:///directory"))?;
        let refused = |error: &dyn std::error::Error| {
            StoreError::config("url", format!("cannot be used: {error}"))
        };
        fs::create_dir_all(&directory).map_err(|error| refused(&error))?;
        let store =
            LocalFileSystem::new_with_prefix(&directory).map_err(|error| refused(&error))?;
        Ok(Arc::new(store))
    }

    fn build_bucket(&self) -> Result<Arc<dyn ObjectStore>, StoreError> {
        let scheme = self.url.scheme();
        if !["s3", "s3a", "gs", "az", "abfs", "abfss"].contains(&scheme) {
            let reason = format!("has the unknown scheme {scheme:?}");
            return Err(StoreError::config("url", reason));
        }
        // `env::vars` would panic on a variable that is not Unicode.
        let variables = env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
        let (store, prefix) = object_store::parse_url_opts(&self.url, variables)
            .map_err(|error| StoreError::config("url", error.to_string()))?;
        Ok(Arc::new(object_store::prefix::PrefixStore::new(
            store, prefix,
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_settings_are_refused() {
        let error = serde_json::from_str::<StoreConfig>(r#"{"url":"memory://","chache_bytes":1}"#)
            .unwrap_err();
        assert!(error.to_string().contains("chache_bytes"), "{error}");
    }

    #[test]
    fn an_error_names_the_setting() {
        let mut config = StoreConfig::new("memory://".parse().unwrap());
        config.validate().unwrap();
        config.max_blob_bytes = 0;
        assert!(
            config
                .validate()
                .unwrap_err()
                .to_string()
                .contains("max_blob_bytes")
        );
        let unknown = StoreConfig::new("ftp://host/".parse().unwrap())
            .build()
            .unwrap_err();
        assert!(unknown.to_string().contains("ftp"), "{unknown}");
    }
}
