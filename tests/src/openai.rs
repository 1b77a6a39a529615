use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Json, Router, extract::State, http::HeaderMap, routing::post};
use rand::Rng;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::process::{SandboxError, io_error};

/// A real HTTP server with the chat endpoint of the OpenAI protocol. It answers by a rule, after a
/// delay that the test sets, and keeps what it was sent.
pub struct ChatServer {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<ChatState>,
    task: JoinHandle<()>,
}

/// The reply to the body of a request.
type Answer = dyn Fn(&Value) -> String + Send + Sync;

struct ChatState {
    answer: Box<Answer>,
    requests: Mutex<Vec<Value>>,
    keys: Mutex<Vec<String>>,
    delay_ms: AtomicU64,
    spread_ms: AtomicU64,
    forgets: AtomicBool,
    calls: AtomicUsize,
    finished: AtomicUsize,
}

impl ChatServer {
    /// Starts a server on a free port of loopback that gives everybody the same answer.
    ///
    /// # Errors
    /// Where it cannot listen.
    pub async fn start(answer: &str) -> Result<Self, SandboxError> {
        let answer = answer.to_owned();
        Self::answering(move |_| answer.clone()).await
    }

    /// Starts a server that answers the body of each request by `answer`.
    ///
    /// # Errors
    /// Where it cannot listen.
    pub async fn answering(
        answer: impl Fn(&Value) -> String + Send + Sync + 'static,
    ) -> Result<Self, SandboxError> {
        Self::listening((Ipv4Addr::LOCALHOST, 0).into(), answer).await
    }

    /// The same at an address of one's own.
    ///
    /// # Errors
    /// Where it cannot listen.
    pub async fn listening(
        address: SocketAddr,
        answer: impl Fn(&Value) -> String + Send + Sync + 'static,
    ) -> Result<Self, SandboxError> {
        let listener = TcpListener::bind(address)
            .await
            .map_err(io_error("the chat server"))?;
        let address = listener.local_addr().map_err(io_error("the chat server"))?;
        let state = Arc::new(ChatState {
            answer: Box::new(answer),
            requests: Mutex::default(),
            keys: Mutex::default(),
            delay_ms: AtomicU64::new(0),
            spread_ms: AtomicU64::new(0),
            forgets: AtomicBool::new(false),
            calls: AtomicUsize::new(0),
            finished: AtomicUsize::new(0),
        });
        let app = Router::new()
            .route("/v1/chat/completions", post(complete))
            .with_state(Arc::clone(&state));
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                // The test notices by its calls; this says why.
                tracing_free(&error);
            }
        });
        Ok(Self {
            address,
            state,
            task,
        })
    }

    /// Where an `openai` backend finds it.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// How long each answer takes from now on.
    pub fn set_delay(&self, delay: Duration) {
        let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.state.delay_ms.store(millis, Ordering::SeqCst);
    }

    /// How much longer each answer takes at most, differently for each.
    pub fn set_spread(&self, spread: Duration) {
        let millis = u64::try_from(spread.as_millis()).unwrap_or(u64::MAX);
        self.state.spread_ms.store(millis, Ordering::SeqCst);
    }

    /// From now on keeps nothing of what it is sent: for long loads.
    pub fn forget(&self) {
        self.state.forgets.store(true, Ordering::SeqCst);
    }

    /// Idempotency keys of the requests so far, in the order in which they came; empty for one
    /// without.
    pub fn keys(&self) -> Vec<String> {
        let keys = self.state.keys.lock();
        keys.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Bodies of the requests so far, in the order in which they came.
    pub fn requests(&self) -> Vec<Value> {
        let requests = self.state.requests.lock();
        requests.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Calls that came in.
    pub fn calls(&self) -> usize {
        self.state.calls.load(Ordering::SeqCst)
    }

    /// Calls that were answered; a caller that left before is not among them.
    pub fn finished(&self) -> usize {
        self.state.finished.load(Ordering::SeqCst)
    }
}

impl Drop for ChatServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[expect(clippy::print_stderr, reason = "a test's server has no other place")]
fn tracing_free(error: &std::io::Error) {
    eprintln!("chat server: {error}");
}

async fn complete(
    State(state): State<Arc<ChatState>>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Json<Value> {
    state.calls.fetch_add(1, Ordering::SeqCst);
    let keeps = !state.forgets.load(Ordering::SeqCst);
    if keeps {
        let key = headers
            .get("idempotency-key")
            .and_then(|key| key.to_str().ok());
        state
            .keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(key.unwrap_or_default().to_owned());
    }
    let spread = state.spread_ms.load(Ordering::SeqCst);
    let delay = state.delay_ms.load(Ordering::SeqCst) + rand::rng().random_range(0..=spread);
    let answer = (state.answer)(&body);
    if keeps {
        state
            .requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(body);
    }
    tokio::time::sleep(Duration::from_millis(delay)).await;
    state.finished.fetch_add(1, Ordering::SeqCst);
    Json(json!({
        "id": "1", "object": "chat.completion", "model": "test",
        "choices": [{
            "index": 0, "finish_reason": "stop",
            "message": { "role": "assistant", "content": answer }
        }],
        "usage": { "prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12 }
    }))
}
