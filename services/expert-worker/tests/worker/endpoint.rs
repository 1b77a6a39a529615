//! An OpenAI-compatible endpoint over HTTP that records what it is asked and answers as told.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle};

/// How it answers.
#[derive(Clone)]
pub(crate) enum Behaviour {
    /// With this text.
    Say(&'static str),
    /// With this body.
    Body(Value),
    /// With a status and a body.
    Status(u16, Value),
    /// After this long.
    Slow(Duration),
    /// With this many bytes.
    Large(usize),
    /// Once [`Endpoint::release`] lets it.
    Hold,
}

/// What it was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

struct Shared {
    asked: Mutex<Vec<Asked>>,
    behaviour: Mutex<Behaviour>,
    models: Mutex<StatusCode>,
    held: Semaphore,
}

pub(crate) struct Endpoint {
    pub(crate) base_url: String,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl Endpoint {
    pub(crate) async fn start() -> Self {
        let shared = Arc::new(Shared {
            asked: Mutex::default(),
            behaviour: Mutex::new(Behaviour::Say("hello")),
            models: Mutex::new(StatusCode::OK),
            held: Semaphore::new(0),
        });
        let app = Router::new()
            .route("/v1/models", get(models))
            .route("/v1/chat/completions", post(chat))
            .layer(DefaultBodyLimit::max(64 * 1024 * 1024))
            .with_state(Arc::clone(&shared));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self {
            base_url,
            shared,
            server,
        }
    }

    pub(crate) fn behave(&self, behaviour: Behaviour) {
        *self.shared.behaviour.lock().unwrap() = behaviour;
    }

    /// How it answers when asked whether it is there.
    pub(crate) fn be_there(&self, status: StatusCode) {
        *self.shared.models.lock().unwrap() = status;
    }

    /// Lets calls go that are held.
    pub(crate) fn release(&self, count: usize) {
        self.shared.held.add_permits(count);
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    pub(crate) async fn wait_for_calls(&self, count: usize) {
        let arrived = async {
            while self.asked().len() < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), arrived)
            .await
            .expect("the calls arrive");
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn models(State(shared): State<Arc<Shared>>) -> (StatusCode, Json<Value>) {
    let status = *shared.models.lock().unwrap();
    (status, Json(json!({ "object": "list", "data": [] })))
}

async fn chat(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    shared.asked.lock().unwrap().push(Asked { headers, body });
    let behaviour = shared.behaviour.lock().unwrap().clone();
    match behaviour {
        Behaviour::Say(text) => Json(completion(text)).into_response(),
        Behaviour::Body(body) => Json(body).into_response(),
        Behaviour::Status(status, body) => {
            (StatusCode::from_u16(status).unwrap(), Json(body)).into_response()
        }
        Behaviour::Slow(time) => {
            tokio::time::sleep(time).await;
            Json(completion("late")).into_response()
        }
        Behaviour::Large(bytes) => Body::from(vec![b' '; bytes]).into_response(),
        Behaviour::Hold => {
            shared.held.acquire().await.unwrap().forget();
            Json(completion("released")).into_response()
        }
    }
}

/// A reply as such servers give it: 1,000 tokens read, 10 written.
pub(crate) fn completion(text: &str) -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "model": "m",
        "choices": [{
            "index": 0,
            "message": { "role": "assistant", "content": text },
            "finish_reason": "stop",
        }],
        "usage": { "prompt_tokens": 1000, "completion_tokens": 10, "total_tokens": 1010 },
    })
}
