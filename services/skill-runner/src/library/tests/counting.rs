//! The contract of the skill that counts objects: which call is made and what comes of it.

use maestro_core::{
    answer::AnswerKind,
    expert_call::{Detection, ExpertReply},
    registry::ImageNeed,
};
use maestro_skills::Skill;

use super::named;
use crate::runner::testing::Bench;

fn skill() -> Skill {
    named("counting-problem")
}

/// A bench whose expert `spotter` finds two dogs, one of them twice, and something unsure.
fn bench() -> Bench {
    Bench::new(skill(), |_| {
        let found = |label: &str, confidence: f32, left: f32| Detection {
            label: label.to_owned(),
            confidence,
            bounds: [left, 5.0, left + 20.0, 40.0],
        };
        Ok(ExpertReply {
            detections: vec![
                found("dog", 0.95, 0.0),
                found("dog", 0.8, 60.0),
                found("dog", 0.7, 63.0),
                found("dog", 0.1, 30.0),
                found("tvmonitor", 0.9, 75.0),
            ],
            ..ExpertReply::default()
        })
    })
}

#[test]
fn it_needs_a_detector_and_an_image() {
    let header = skill().header();
    let requires: Vec<&str> = header.requires.iter().map(|c| c.as_str()).collect();
    assert_eq!(requires, ["detect"]);
    assert_eq!(header.images, ImageNeed::Required);
    assert_eq!(header.bounds.expert_calls, 1);
}

#[tokio::test]
async fn objects_are_counted_by_the_pairs_detector() {
    for (question, answer) in [
        ("How many dogs can you make out?", "2"),
        ("Count the puppies", "2"),
        ("Number of television sets?", "1"),
        ("Are there any cats, and how many?", "0"),
    ] {
        let bench = bench();
        let request = bench.request("spotter", question, AnswerKind::Integer);
        let observation = bench.run(bench.with_image(request).await).await;
        assert_eq!(observation.failure, None, "{question}");
        assert_eq!(observation.solver.as_deref(), Some("detected-objects"));
        assert_eq!(observation.answer_text(), answer, "{question}");
        let confidence = observation.confidence();
        assert!(confidence > 0.3 && confidence < 0.96, "{confidence}");
        let last = observation.evidence.last().unwrap();
        assert_eq!(last.label, "count");
        let calls = bench.calls();
        assert_eq!(calls.len(), 1);
        assert_eq!(
            (calls[0].capability.as_str(), calls[0].operation.as_str()),
            ("detect", "closely")
        );
        assert_eq!((calls[0].images.len(), calls[0].messages.len()), (1, 0));
        assert_eq!(observation.usage.calls, 1);
    }
}

#[tokio::test]
async fn what_no_detector_knows_is_left_to_others() {
    let bench = bench();
    let request = bench.request("spotter", "How many unicorns?", AnswerKind::Integer);
    let observation = bench.run(bench.with_image(request).await).await;
    assert!(observation.failure.is_some() && !observation.is_answerable());
}
