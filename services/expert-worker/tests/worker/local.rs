//! The experts that `maestro up` starts with, with their real models.

use std::{env, path::PathBuf, time::Duration};

use bytes::Bytes;
use maestro_core::{
    expert_call::{Message, Role},
    ports::Blobs,
};
use maestro_expert_worker::{ExpertState, ExpertWorkerConfig, local_experts};

use crate::harness::{Sandbox, call};

const LINES: &[u8] = include_bytes!("../../src/backend/ocr/reference/lines.png");
/// Loading and warming the models takes seconds, on a busy machine a minute.
const LOADING: Duration = Duration::from_secs(240);

fn models() -> PathBuf {
    env::var_os("MAESTRO_MODELS").map_or_else(
        || PathBuf::from(env::var_os("HOME").expect("HOME")).join(".cache/maestro/models"),
        PathBuf::from,
    )
}

#[tokio::test]
async fn every_local_expert_does_what_it_says() {
    let config = ExpertWorkerConfig {
        experts: local_experts(&models()).unwrap(),
        ..ExpertWorkerConfig::default()
    };
    let sandbox = Sandbox::start(config).await;
    let states = sandbox.worker.settled(LOADING).await;
    for (name, state) in &states {
        assert_eq!(
            *state,
            ExpertState::Serving,
            "{name}: `make test` installs the program and pulls the models"
        );
    }
    let image = sandbox.blobs.put(Bytes::from_static(LINES)).await.unwrap();
    for reader in ["pp-ocr", "tesseract"] {
        let mut asked = call(reader, "");
        asked.capability = "ocr".parse().unwrap();
        asked.images = vec![image];
        let reply = sandbox.client.invoke(&asked).await.unwrap();
        assert!(
            reply.text.contains("quick brown fox"),
            "{reader}: {}",
            reply.text
        );
        let joined: Vec<&str> = reply.regions.iter().map(|r| r.text.as_str()).collect();
        assert_eq!(reply.text, joined.join("\n"));
        assert_eq!(reply.usage.cost.0, 0);
    }

    let mut asked = call("minilm", "a cat sits on the mat");
    asked.capability = "embed".parse().unwrap();
    for text in ["a kitten rests on a rug", "the invoice is due on Friday"] {
        asked.messages.push(Message {
            role: Role::User,
            text: text.into(),
        });
    }
    let vectors = sandbox.client.invoke(&asked).await.unwrap().embeddings;
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
    assert_eq!(vectors.len(), 3);
    assert!(dot(&vectors[0], &vectors[1]) > dot(&vectors[0], &vectors[2]) + 0.2);

    let mut asked = call("yolov3-tiny", "");
    asked.capability = "detect".parse().unwrap();
    asked.operation = "closely".to_owned();
    asked.messages.clear();
    asked.images = vec![image];
    // What it finds is measured elsewhere; a page of text shows it nothing that it is sure of.
    let found = sandbox.client.invoke(&asked).await.unwrap().detections;
    assert!(
        found.iter().all(|thing| thing.confidence >= 0.1),
        "{found:?}"
    );
    asked.operation = "squint".to_owned();
    assert!(sandbox.client.invoke(&asked).await.is_err());
}
