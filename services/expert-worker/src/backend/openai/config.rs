use std::{env, fs, io::Read, path::PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};
use url::Url;

/// Largest file that can hold a key.
const MAX_KEY_BYTES: u64 = 8 * 1024;
/// Keys of a request that `extra` must not set: the worker's limits and the meaning of the call
/// rest on them.
const RESERVED: [&str; 5] = ["model", "messages", "stream", "n", "logprobs"];

/// How the endpoint calls the limit of written tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenLimit {
    /// The usual name.
    #[default]
    MaxTokens,
    /// What OpenAI's newer models insist on.
    MaxCompletionTokens,
}

impl TokenLimit {
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
        }
    }
}

/// Where a model is served and under which name.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenAiConfig {
    /// The endpoint up to its version, usually ending in `/v1`.
    pub base_url: Url,
    /// The model's name at the endpoint.
    pub model: String,
    /// Environment variable of the worker that holds the API key.
    #[serde(default)]
    pub api_key_env: Option<String>,
    /// File that holds the API key, space around it ignored.
    #[serde(default)]
    pub api_key_file: Option<PathBuf>,
    /// Further keys of every request. One that is null takes away what would be sent
    /// (`temperature: null` for models that refuse it).
    #[serde(default)]
    pub extra: Map<String, Value>,
    /// How the endpoint calls the limit of written tokens.
    #[serde(default)]
    pub token_limit: TokenLimit,
    /// Largest response, in bytes.
    #[serde(default = "default_max_response_bytes")]
    pub max_response_bytes: usize,
    /// Longest time to connect, in milliseconds.
    #[serde(default = "default_connect_timeout_ms")]
    pub connect_timeout_ms: u64,
}

fn default_max_response_bytes() -> usize {
    4 * 1024 * 1024
}

fn default_connect_timeout_ms() -> u64 {
    5_000
}

impl OpenAiConfig {
    /// Checks every setting; the error names it.
    pub(super) fn validate(&self) -> Result<(), String> {
        if !matches!(self.base_url.scheme(), "http" | "https") || self.base_url.host().is_none() {
            return Err("config.base_url must be http://… or https://…".to_owned());
        }
        if !self.base_url.username().is_empty() || self.base_url.password().is_some() {
            return Err("config.base_url must hold no credentials; use api_key_env".to_owned());
        }
        if self.model.trim().is_empty() {
            return Err("config.model must not be empty".to_owned());
        }
        if self.api_key_env.is_some() && self.api_key_file.is_some() {
            return Err("config.api_key_env and config.api_key_file exclude each other".to_owned());
        }
        if self.max_response_bytes == 0 {
            return Err("config.max_response_bytes must be at least 1".to_owned());
        }
        if self.connect_timeout_ms == 0 {
            return Err("config.connect_timeout_ms must be at least 1".to_owned());
        }
        let limit = self.token_limit.key();
        let reserved = |key: &&String| RESERVED.contains(&key.as_str()) || key.as_str() == limit;
        match self.extra.keys().find(reserved) {
            Some(key) => Err(format!("config.extra must not set {key}")),
            None => Ok(()),
        }
    }

    /// The key that the settings refer to. Its content never stands in an error.
    pub(super) fn api_key(&self) -> Result<Option<String>, String> {
        let key = if let Some(name) = &self.api_key_env {
            env::var(name)
                .map_err(|_| format!("config.api_key_env: {name} is not set in this worker"))?
        } else if let Some(path) = &self.api_key_file {
            let error = |reason: std::io::Error| {
                format!("config.api_key_file: {}: {reason}", path.display())
            };
            let mut text = String::new();
            let file = fs::File::open(path).map_err(error)?;
            file.take(MAX_KEY_BYTES)
                .read_to_string(&mut text)
                .map_err(error)?;
            text
        } else {
            return Ok(None);
        };
        let key = key.trim();
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("the API key is empty or holds characters that no key has".to_owned());
        }
        Ok(Some(key.to_owned()))
    }

    /// A resource below the endpoint.
    pub(super) fn url(&self, path: &str) -> Url {
        let mut url = self.base_url.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/{path}"));
        url
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use serde_json::json;

    use super::*;

    fn config(more: Value) -> OpenAiConfig {
        let mut all = json!({ "base_url": "http://localhost:8000/v1", "model": "m" });
        for (key, value) in more.as_object().unwrap() {
            all[key] = value.clone();
        }
        serde_json::from_value(all).unwrap()
    }

    #[test]
    fn resources_stand_below_the_base() {
        for base in ["http://h/v1", "http://h/v1/"] {
            let config = config(json!({ "base_url": base }));
            assert_eq!(config.url("models").as_str(), "http://h/v1/models");
        }
    }

    #[test]
    fn bad_settings_are_named() {
        for (more, word) in [
            (json!({ "base_url": "ftp://h/v1" }), "base_url"),
            (json!({ "base_url": "http://me:pw@h/v1" }), "credentials"),
            (json!({ "model": " " }), "model"),
            (
                json!({ "api_key_env": "A", "api_key_file": "b" }),
                "api_key_file",
            ),
            (json!({ "extra": { "stream": true } }), "stream"),
            (json!({ "extra": { "max_tokens": 9 } }), "max_tokens"),
            (json!({ "max_response_bytes": 0 }), "max_response_bytes"),
        ] {
            let error = config(more).validate().unwrap_err();
            assert!(error.contains(word), "{error}");
        }
        let unknown = json!({ "base_url": "http://h/v1", "model": "m", "modle": 1 });
        let error = serde_json::from_value::<OpenAiConfig>(unknown).unwrap_err();
        assert!(error.to_string().contains("modle"), "{error}");
    }

    #[test]
    fn a_key_comes_from_a_file_and_is_never_shown() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b" sk-secret\n").unwrap();
        let named = config(json!({ "api_key_file": file.path() }));
        assert_eq!(named.api_key().unwrap().as_deref(), Some("sk-secret"));
        file.write_all(b"second line").unwrap();
        let error = named.api_key().unwrap_err();
        assert!(!error.contains("secret"), "{error}");
        let absent = config(json!({ "api_key_env": "MAESTRO_TEST_KEY_THAT_NOBODY_SETS" }));
        assert!(absent.api_key().unwrap_err().contains("NOBODY_SETS"));
    }
}
