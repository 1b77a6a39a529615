//! Finds the objects in images with YOLOv3-tiny: as the network says, and as the local expert does.
//!
//! ```text
//! cargo run -p maestro-expert-worker --example detect -- MODELS IMAGE... > found.jsonl
//! ```
//!
//! MODELS is the folder that `maestro models pull` fills. Each image gives three JSON objects with
//! `file`, `how`, `seconds` and `detections`: `network`, one pass and the confidences as they are;
//! `expert`, one pass and calibrated ones; `closely`, the expert's closer look.

use std::{error::Error, io::Write, path::Path, sync::Arc, time::Duration, time::Instant};

use bytes::Bytes;
use maestro_core::{
    EpisodeId, Timestamp,
    expert_call::{Detection, ExpertCall, Generation},
    ids::IdempotencyKey,
    ports::Blobs,
};
use maestro_expert_worker::{backend, images::Images, local_experts};
use maestro_models::{DeviceSetting, ObjectDetector, detector::DetectOptions};
use maestro_store::{ObjectBlobs, StoreConfig};
use serde_json::json;

const NAME: &str = "yolov3-tiny";
/// Least confidence of the bare network's objects.
const LEAST: f32 = 0.02;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let models = arguments.next().ok_or("usage: detect MODELS IMAGE...")?;
    let models = Path::new(&models);
    let network = ObjectDetector::load(&models.join(NAME), &DeviceSetting::Cpu.open()?)?;
    let hosted = local_experts(models)?;
    let hosted = hosted
        .iter()
        .find(|hosted| hosted.descriptor().name.as_str() == NAME)
        .ok_or("there is no such local expert")?;
    let expert = backend::build(hosted.backend(), &hosted.descriptor().limits).await?;
    let blobs: Arc<dyn Blobs> =
        Arc::new(ObjectBlobs::open(StoreConfig::new("memory://".parse()?))?);
    let images = Images::new(Arc::clone(&blobs), Default::default());
    let options = DetectOptions {
        threshold: LEAST,
        ..DetectOptions::default()
    };
    for file in arguments {
        let digest = blobs.put(Bytes::from(std::fs::read(&file)?)).await?;
        let pixels = images.pixels(&digest).await.map_err(|f| f.message)?;
        let start = Instant::now();
        let found = network.detect(&pixels, &options)?;
        let found: Vec<Detection> = found
            .into_iter()
            .map(|object| Detection {
                label: object.label,
                confidence: object.confidence,
                bounds: [
                    object.bounds.left,
                    object.bounds.top,
                    object.bounds.right,
                    object.bounds.bottom,
                ],
            })
            .collect();
        report(&file, "network", start, &found)?;
        for (how, operation) in [("expert", ""), ("closely", "closely")] {
            let call = ExpertCall {
                instance: None,
                expert: hosted.descriptor().name.clone(),
                capability: "detect".parse()?,
                operation: operation.to_owned(),
                messages: Vec::new(),
                images: vec![digest],
                generation: Generation::default(),
                key: IdempotencyKey::step(EpisodeId::generate(), 0),
                deadline: Timestamp::now() + Duration::from_secs(60),
            };
            let start = Instant::now();
            let reply = expert.invoke(&call, &images).await.map_err(|f| f.message)?;
            report(&file, how, start, &reply.detections)?;
        }
    }
    Ok(())
}

fn report(
    file: &str,
    how: &str,
    start: Instant,
    detections: &[Detection],
) -> Result<(), Box<dyn Error>> {
    let seconds = start.elapsed().as_secs_f64();
    let object = json!({ "file": file, "how": how, "seconds": seconds, "detections": detections });
    writeln!(std::io::stdout(), "{object}")?;
    Ok(())
}
