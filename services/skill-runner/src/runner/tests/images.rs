//! Steps that make images, and what is found in them.

use maestro_core::{
    answer::AnswerKind,
    expert_call::{Detection, ExpertReply},
    ports::Blobs,
};

use super::testing::*;

/// One thing, at the same place of every image.
fn thing(bounds: [f32; 4]) -> ExpertReply {
    let detection = Detection {
        label: "cup".into(),
        confidence: 0.9,
        bounds,
    };
    ExpertReply {
        detections: vec![detection],
        ..ExpertReply::default()
    }
}

#[tokio::test]
async fn what_tiles_show_is_placed_in_the_whole_image() {
    let text = r#"
description: looks closely
steps:
  parts: {tile: {of: 0, size: 64, overlap: 0, most: 4}}
  find: {helper: {capability: detect, images: [parts], each: true}}
answer: {text: "{{ parts.count }} {{ find.detections | map(attribute='bounds') }}"}
"#;
    let bench = Bench::new(skill(text), |_| Ok(thing([4.0, 10.0, 14.0, 20.0])));
    let request = bench
        .with_image(bench.request("chat", "q", AnswerKind::FreeText))
        .await;
    let observation = bench.run(request).await;
    assert_eq!(
        observation.text,
        "2 [[4.0, 10.0, 14.0, 20.0], [40.0, 10.0, 50.0, 20.0]]"
    );
    let calls = bench.calls();
    assert_eq!(calls.len(), 2, "one call a tile");
    assert!(calls.iter().all(|call| call.images.len() == 1));
    let keys: Vec<String> = calls.iter().map(|call| call.key.to_string()).collect();
    assert_eq!(keys, ["episode-1/2/main/find#0", "episode-1/2/main/find#1"]);
}

#[tokio::test]
async fn found_things_are_drawn_for_the_expert() {
    let text = r#"
description: marks what was found
steps:
  find: {helper: {capability: detect}}
  marked: {image: {of: 0, draw: {boxes: "{{ find.detections }}", numbered: true}}}
  ask: {ask: {prompt: "Which one?", images: [marked], max_output_tokens: 9}}
answer: {text: "{{ ask.text }}"}
"#;
    let bench = Bench::new(skill(text), |call| match call.capability.as_str() {
        "detect" => Ok(thing([20.0, 30.0, 60.0, 50.0])),
        _ => said("the first"),
    });
    let request = bench
        .with_image(bench.request("chat", "q", AnswerKind::FreeText))
        .await;
    let observation = bench.run(request).await;
    assert_eq!(observation.text, "the first");
    let calls = bench.calls();
    let shown = &calls[0].images[0];
    let content = bench.blobs.get(shown).await.unwrap();
    let image = image::load_from_memory(&content).unwrap().to_rgb8();
    assert_eq!((image.width(), image.height()), (100, 60));
    assert_ne!(image.get_pixel(59, 40).0, [0; 3], "the right edge");
    assert_eq!(image.get_pixel(50, 40).0, [0; 3], "within");
    assert_eq!(image.get_pixel(80, 10).0, [0; 3], "outside");
}

#[tokio::test]
async fn a_step_on_an_image_that_is_not_there_fails_alone() {
    let text = r#"
description: wants a second image
steps:
  cut: {image: {of: 1, zoom: 2}, optional: true}
  ask: {ask: {prompt: "one or two?", images: [0, cut], max_output_tokens: 9}}
answer: {text: "{{ ask.text }} {{ cut.width or 'none' }}"}
"#;
    let bench = Bench::new(skill(text), |call| said(&call.images.len().to_string()));
    let request = bench
        .with_image(bench.request("chat", "q", AnswerKind::FreeText))
        .await;
    assert_eq!(bench.run(request).await.text, "1 none");
}
