//! The experts that need nothing but this machine: what `maestro up` starts with.

use std::path::Path;

use maestro_core::registry::Descriptor;
use serde_json::Value;

use crate::{config::HostedExpert, error::ExpertWorkerError};

/// Stands in the settings for the folder of the pulled models.
const MODELS: &str = "${MODELS}";

/// The files and where they come from, for errors.
const FILES: [(&str, &str); 5] = [
    ("pp-ocr", include_str!("../experts/pp-ocr.yaml")),
    ("tesseract", include_str!("../experts/tesseract.yaml")),
    (
        "image-analysis",
        include_str!("../experts/image-analysis.yaml"),
    ),
    ("minilm", include_str!("../experts/minilm.yaml")),
    ("yolov3-tiny", include_str!("../experts/yolov3-tiny.yaml")),
];

/// The local experts, with their models in `models_dir` as `maestro models pull` lays them out.
/// Whether the models are there shows when the worker brings the experts into service.
///
/// # Errors
/// [`ExpertWorkerError::Catalogue`] for a file that does not parse, which a test rules out, and for
/// a folder whose name is not Unicode.
pub fn local_experts(models_dir: &Path) -> Result<Vec<HostedExpert>, ExpertWorkerError> {
    let error = |path: &dyn std::fmt::Display, reason: String| ExpertWorkerError::Catalogue {
        path: path.to_string(),
        reason,
    };
    let folder = models_dir
        .to_str()
        .ok_or_else(|| error(&models_dir.display(), "the name is not Unicode".to_owned()))?;
    FILES
        .iter()
        .map(|(name, text)| {
            let mut descriptor: Descriptor =
                serde_saphyr::from_str(text).map_err(|e| error(name, e.to_string()))?;
            if let Some(backend) = &mut descriptor.backend {
                backend
                    .config
                    .values_mut()
                    .for_each(|value| place(value, folder));
            }
            HostedExpert::try_from(descriptor).map_err(|e| error(name, e.to_string()))
        })
        .collect()
}

fn place(value: &mut Value, folder: &str) {
    if let Value::String(text) = value
        && let Some(rest) = text.strip_prefix(MODELS)
    {
        *text = format!("{folder}{rest}");
    }
}

#[cfg(test)]
mod tests {
    use maestro_core::MicroUsd;

    use super::*;

    #[test]
    fn the_local_experts_are_free_and_find_their_models() {
        let experts = local_experts(Path::new("/srv/models")).unwrap();
        let names: Vec<&str> = experts
            .iter()
            .map(|expert| expert.descriptor().name.as_str())
            .collect();
        assert_eq!(
            names,
            [
                "pp-ocr",
                "tesseract",
                "image-analysis",
                "minilm",
                "yolov3-tiny"
            ]
        );
        for expert in &experts {
            let descriptor = expert.descriptor();
            let price = descriptor.price.unwrap();
            assert_eq!(
                maestro_core::quote::actual(&price, 1_000_000, 1_000_000),
                MicroUsd::ZERO
            );
            assert!(descriptor.typical_latency_ms.is_some());
            let config = serde_json::to_string(&expert.backend().config).unwrap();
            assert!(!config.contains(MODELS), "{config}");
        }
        assert_eq!(
            experts[0].backend().config["detection"],
            "/srv/models/pp-ocrv6-small/det.onnx"
        );
    }
}
