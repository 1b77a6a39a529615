//! Results of steps as templates read them. Pure.

use maestro_core::{
    episode::Evidence,
    expert_call::{ExpertReply, TextRegion},
};
use serde_json::{Map, Value as Json, json};

use super::picture::Picture;

/// Most lines of read text that are kept as evidence.
const EVIDENCE_LINES: usize = 40;
/// Most objects that are kept as evidence.
const EVIDENCE_OBJECTS: usize = 40;

/// What a step gave.
#[derive(Clone, Debug, Default)]
pub(crate) struct StepOutput {
    /// What templates read under the step's name; null for a step that was skipped or failed.
    pub(crate) value: Json,
    /// The images that it made.
    pub(crate) images: Vec<Picture>,
    /// What it adds to the observation's evidence.
    pub(crate) evidence: Vec<Evidence>,
}

/// The reply to a call that is no chat. A key without content is left out, so that a template
/// that needs it fails rather than goes on with nothing.
pub(crate) fn service_output(reply: &ExpertReply) -> StepOutput {
    let mut value = Map::new();
    let mut evidence = Vec::new();
    let lines: Vec<&str> = reply
        .regions
        .iter()
        .map(|region| region.text.as_str())
        .collect();
    let text = if reply.text.is_empty() {
        lines.join("\n")
    } else {
        reply.text.clone()
    };
    value.insert("text".into(), text.into());
    value.insert("lines".into(), json!(lines));
    value.insert(
        "regions".into(),
        reply.regions.iter().map(region_json).collect(),
    );
    value.insert("detections".into(), json!(reply.detections));
    value.insert("findings".into(), json!(reply.findings));
    if !reply.embeddings.is_empty() {
        value.insert("embeddings".into(), json!(reply.embeddings));
    }
    if !lines.is_empty() {
        let kept = &lines[..lines.len().min(EVIDENCE_LINES)];
        evidence.push(note("ocr", kept.join("\n")));
        value.insert("confidence".into(), json!(mean_confidence(&reply.regions)));
    }
    if let Some(first) = reply.findings.first() {
        value.insert("value".into(), json!(first.value));
        value.insert("confidence".into(), json!(first.confidence));
        value.insert("evidence".into(), json!(first.evidence));
    }
    for finding in &reply.findings {
        evidence.push(note(
            "analysis",
            format!("{}: {}", finding.value, finding.evidence),
        ));
    }
    for found in reply.detections.iter().take(EVIDENCE_OBJECTS) {
        let [left, top, right, bottom] = found.bounds;
        evidence.push(note(
            "detection",
            format!(
                "{} at {left:.0},{top:.0}-{right:.0},{bottom:.0}",
                found.label
            ),
        ));
    }
    StepOutput {
        value: value.into(),
        images: Vec::new(),
        evidence,
    }
}

/// A piece of evidence in words.
pub(crate) fn note(label: &str, text: impl Into<String>) -> Evidence {
    Evidence {
        label: label.to_owned(),
        text: text.into(),
        image: None,
    }
}

fn region_json(region: &TextRegion) -> Json {
    let xs = region.quad.map(|corner| corner[0]);
    let ys = region.quad.map(|corner| corner[1]);
    let least = |values: [f32; 4]| values.into_iter().fold(f32::INFINITY, f32::min);
    let most = |values: [f32; 4]| values.into_iter().fold(f32::NEG_INFINITY, f32::max);
    json!({
        "text": region.text,
        "confidence": region.confidence,
        "quad": region.quad,
        "word_confidences": region.word_confidences,
        "bounds": [least(xs), least(ys), most(xs), most(ys)],
    })
}

fn mean_confidence(regions: &[TextRegion]) -> f32 {
    let sum: f32 = regions.iter().map(|region| region.confidence).sum();
    sum / regions.len().max(1) as f32
}

#[cfg(test)]
mod tests {
    use maestro_core::expert_call::Finding;

    use super::*;

    #[test]
    fn a_reply_without_findings_has_no_value() {
        let region = TextRegion {
            text: "TOTAL 5".into(),
            confidence: 0.5,
            quad: [[1.0, 2.0], [9.0, 2.0], [9.0, 4.0], [1.0, 4.0]],
            word_confidences: Vec::new(),
        };
        let reply = ExpertReply {
            regions: vec![region],
            ..ExpertReply::default()
        };
        let output = service_output(&reply);
        assert_eq!(output.value["text"], "TOTAL 5");
        assert_eq!(
            output.value["regions"][0]["bounds"],
            json!([1.0, 2.0, 9.0, 4.0])
        );
        assert!(output.value.get("value").is_none());
        assert_eq!(output.evidence[0].label, "ocr");
        let finding = Finding {
            value: "3".into(),
            confidence: 1.0,
            evidence: "rings".into(),
        };
        let reply = ExpertReply {
            findings: vec![finding],
            ..ExpertReply::default()
        };
        assert_eq!(service_output(&reply).value["value"], "3");
    }
}
