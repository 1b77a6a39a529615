//! Any chat endpoint that speaks OpenAI's protocol (`POST …/chat/completions`).
//!
//! `wire` is pure: the request's body from a call, the reply from a response's body, the
//! failure from a status. This module moves the bytes. Redirects are not followed: the key would
//! go along.

mod config;
mod wire;

use std::time::Duration;

use async_trait::async_trait;
use maestro_core::{
    episode::{Failure, FailureKind},
    expert_call::{ExpertCall, ExpertReply},
    ids::IdempotencyKey,
};
use reqwest::{
    Client, Response, StatusCode, Url,
    header::{self, HeaderName, HeaderValue},
    redirect,
};

pub use config::{OpenAiConfig, TokenLimit};

use super::{Backend, BackendKind, failed, no_operation};
use crate::{error::ExpertWorkerError, images::Images};

/// Most that is read of an error's body.
const MAX_ERROR_BYTES: usize = 16 * 1024;
/// Longest time of the question whether the endpoint is there.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// Carries the call's idempotency key: whoever stands in front of the model sees which calls are
/// the same, and may answer a repeated one from what it kept.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A model behind an endpoint.
pub struct OpenAi {
    client: Client,
    chat: Url,
    models: Url,
    config: OpenAiConfig,
}

impl OpenAi {
    /// Checks the settings and reads the key, if one is named.
    ///
    /// # Errors
    /// [`ExpertWorkerError::Backend`] naming the setting.
    pub fn new(config: OpenAiConfig) -> Result<Self, ExpertWorkerError> {
        let error = |reason: String| ExpertWorkerError::backend(BackendKind::Openai, reason);
        config.validate().map_err(error)?;
        let mut headers = header::HeaderMap::new();
        if let Some(key) = config.api_key().map_err(error)? {
            let mut value = HeaderValue::try_from(format!("Bearer {key}"))
                .map_err(|_| error("the API key holds characters that no key has".to_owned()))?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        let mut builder = Client::builder()
            .default_headers(headers)
            .user_agent(concat!("maestro/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_millis(config.connect_timeout_ms))
            .redirect(redirect::Policy::none())
            .tcp_nodelay(true);
        if config.base_url.scheme() == "http" {
            // Without TLS the machine's certificates are not needed, and a container may have none.
            builder = builder.tls_certs_only([]);
        }
        let client = builder
            .build()
            .map_err(|reason| error(format!("no HTTP client: {reason}")))?;
        Ok(Self {
            client,
            chat: config.url("chat/completions"),
            models: config.url("models"),
            config,
        })
    }

    async fn respond(&self, key: &IdempotencyKey, body: Vec<u8>) -> Result<Response, Failure> {
        let mut request = self
            .client
            .post(self.chat.clone())
            .header(header::CONTENT_TYPE, "application/json");
        // A node of a foreign skill may have a name that no header can hold.
        if let Ok(key) = HeaderValue::try_from(key.to_string()) {
            request = request.header(IDEMPOTENCY_KEY, key);
        }
        request
            .body(body)
            .send()
            .await
            .map_err(|error| transport_failure(&error))
    }
}

#[async_trait]
impl Backend for OpenAi {
    /// Asks for the list of models, which every such server has: whether it is there and takes
    /// the key. It costs nothing.
    async fn warm_up(&self) -> Result<(), ExpertWorkerError> {
        let error = |reason: String| ExpertWorkerError::backend(BackendKind::Openai, reason);
        let request = self.client.get(self.models.clone()).timeout(PROBE_TIMEOUT);
        let response = request
            .send()
            .await
            .map_err(|reason| error(transport_failure(&reason).message))?;
        match response.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(error("the endpoint refuses the API key".to_owned()))
            }
            status if status.is_server_error() => {
                Err(error(format!("the endpoint is not ready: HTTP {status}")))
            }
            // A server without that list is there all the same.
            _ => Ok(()),
        }
    }

    async fn invoke(&self, call: &ExpertCall, images: &Images) -> Result<ExpertReply, Failure> {
        no_operation(call)?;
        let mut attached = Vec::with_capacity(call.images.len());
        for digest in &call.images {
            attached.push(images.encoded(digest).await?);
        }
        let request = wire::request(call, &attached, &self.config);
        let body = serde_json::to_vec(&request)
            .map_err(|error| failed(format!("the request cannot be written: {error}")))?;
        let response = self.respond(&call.key, body).await?;
        let status = response.status();
        if !status.is_success() {
            // The status counts; without the body its cause is less clear, no more.
            let body = read(response, MAX_ERROR_BYTES).await.unwrap_or_default();
            return Err(wire::status_failure(status.as_u16(), &body));
        }
        let body = read(response, self.config.max_response_bytes).await?;
        wire::reply(&body, &request)
    }
}

/// The body, unless it is larger than `limit`.
async fn read(mut response: Response, limit: usize) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| transport_failure(&error))?
    {
        if body.len() + chunk.len() > limit {
            return Err(failed(format!("the response is larger than {limit} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// A failure below HTTP. Only a connection that could not be made is sure to have done nothing.
fn transport_failure(error: &reqwest::Error) -> Failure {
    if error.is_connect() {
        Failure::new(FailureKind::Unavailable, "the endpoint cannot be reached")
    } else if error.is_timeout() {
        Failure::new(FailureKind::Timeout, "the endpoint did not answer in time")
    } else if error.is_builder() {
        failed("the request cannot be built")
    } else {
        failed("the connection to the endpoint broke")
    }
}
