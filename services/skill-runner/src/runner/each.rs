//! One call for each of several images, and what they found together.

use futures::future;
use maestro_core::{
    episode::Failure,
    expert_call::{Detection, ExpertReply, TextRegion},
};
use maestro_skills::ServiceCall;
use serde_json::Value as Json;

use super::{
    calls::Request,
    picture::{Origin, Picture},
    reply::{StepOutput, service_output},
    scope::{Callee, Scope},
};

/// Of two things of one kind, the smaller is taken for a part of the larger where this share of it
/// lies within.
const PART: f32 = 0.7;

impl Scope<'_> {
    /// Calls once for each image, all at once. The first failure is that of the step.
    pub(super) async fn each(
        &self,
        call: &ServiceCall,
        callee: Callee,
    ) -> Result<StepOutput, Failure> {
        let pictures = self.pictures(&call.images)?;
        let request = self.service_request(call)?;
        let calls = (0..).zip(&pictures).map(|(sample, picture)| {
            let request = Request {
                images: vec![picture.digest],
                sample,
                ..request.clone()
            };
            self.call(callee, request)
        });
        let replies = future::try_join_all(calls).await?;
        let own: Vec<Json> = replies.iter().map(|r| service_output(r).value).collect();
        let mut output = service_output(&together(&pictures, replies));
        if let Json::Object(value) = &mut output.value {
            value.insert("replies".into(), own.into());
        }
        Ok(output)
    }
}

/// One reply out of several, each to its own image: places are those in the images of the task,
/// and what several images show counts once.
fn together(pictures: &[Picture], replies: Vec<ExpertReply>) -> ExpertReply {
    let mut all = ExpertReply::default();
    let (mut regions, mut detections) = (Vec::new(), Vec::new());
    for (index, (picture, mut reply)) in pictures.iter().zip(replies).enumerate() {
        picture.origin.place_reply(&mut reply);
        // Where there are regions, their lines are the text: what two images show counts once.
        if !reply.text.is_empty() && reply.regions.is_empty() {
            if !all.text.is_empty() {
                all.text.push('\n');
            }
            all.text.push_str(&reply.text);
        }
        let from = Source {
            index,
            origin: picture.origin,
        };
        regions.extend(reply.regions.into_iter().map(|region| (from, region)));
        detections.extend(reply.detections.into_iter().map(|found| (from, found)));
        all.findings.extend(reply.findings);
        all.embeddings.extend(reply.embeddings);
    }
    all.regions = once(regions);
    all.detections = once(detections);
    all
}

/// The image of a call: its number, and where it lies in which image of the task.
#[derive(Clone, Copy)]
struct Source {
    index: usize,
    origin: Origin,
}

impl Source {
    /// Whether two calls can have seen the same thing.
    fn overlaps(&self, other: &Self) -> bool {
        self.index != other.index && self.origin.shares_image(&other.origin)
    }
}

/// Something at a place.
trait Placed {
    /// Left, top, right, bottom.
    fn bounds(&self) -> [f32; 4];
    /// What is of another kind is not the same.
    fn kind(&self) -> &str;
}

impl Placed for Detection {
    fn bounds(&self) -> [f32; 4] {
        self.bounds
    }
    fn kind(&self) -> &str {
        &self.label
    }
}

impl Placed for TextRegion {
    fn bounds(&self) -> [f32; 4] {
        let along = |axis: usize| self.quad.map(|corner| corner[axis]);
        let least = |axis| along(axis).into_iter().fold(f32::INFINITY, f32::min);
        let most = |axis| along(axis).into_iter().fold(f32::NEG_INFINITY, f32::max);
        [least(0), least(1), most(0), most(1)]
    }
    /// A line that is cut off reads otherwise, and is still the same.
    fn kind(&self) -> &str {
        ""
    }
}

/// Leaves out what is a part, or the same, of something that another image shows; of equals the
/// first stays. The order stays.
fn once<T: Placed>(found: Vec<(Source, T)>) -> Vec<T> {
    let is_part = |(i, (image, thing)): (usize, &(Source, T))| {
        found.iter().enumerate().any(|(j, (other, whole))| {
            let larger = area(whole.bounds()).total_cmp(&area(thing.bounds()));
            image.overlaps(other)
                && thing.kind() == whole.kind()
                && share_within(thing.bounds(), whole.bounds()) >= PART
                && (larger.is_gt() || (larger.is_eq() && j < i))
        })
    };
    let parts: Vec<bool> = found.iter().enumerate().map(is_part).collect();
    let kept = found.into_iter().zip(parts).filter(|(_, part)| !part);
    kept.map(|((_, thing), _)| thing).collect()
}

fn area([left, top, right, bottom]: [f32; 4]) -> f32 {
    (right - left).max(0.0) * (bottom - top).max(0.0)
}

/// The share of a box that lies within another.
fn share_within(inner: [f32; 4], outer: [f32; 4]) -> f32 {
    let common = [
        inner[0].max(outer[0]),
        inner[1].max(outer[1]),
        inner[2].min(outer[2]),
        inner[3].min(outer[3]),
    ];
    area(common) / area(inner).max(f32::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use maestro_core::Digest;
    use proptest::prelude::*;

    use super::*;

    fn dog(bounds: [f32; 4]) -> Detection {
        Detection {
            label: "dog".into(),
            confidence: 0.9,
            bounds,
        }
    }

    fn seen(index: usize, image: &[u8]) -> Source {
        let origin = Origin::whole(Digest::of(image));
        Source { index, origin }
    }

    #[test]
    fn what_two_tiles_show_counts_once() {
        let whole = dog([90.0, 10.0, 140.0, 40.0]);
        let cut = dog([90.0, 10.0, 100.0, 40.0]);
        let mut cat = cut.clone();
        cat.label = "cat".into();
        let near = dog([130.0, 10.0, 180.0, 40.0]);
        let tile = |index| seen(index, b"one");
        let found = vec![
            (tile(0), cut.clone()),
            (tile(0), cat.clone()),
            (tile(1), whole.clone()),
            (tile(1), near.clone()),
            (tile(2), whole.clone()),
        ];
        assert_eq!(once(found), [cat, whole.clone(), near]);
        let one = vec![(tile(0), whole.clone()), (tile(0), cut)];
        assert_eq!(once(one).len(), 2, "one image");
        let two = vec![(seen(0, b"one"), whole.clone()), (seen(1, b"two"), whole)];
        assert_eq!(once(two).len(), 2, "two images of the task");
    }

    #[test]
    fn lines_that_two_tiles_show_are_text_once() {
        let reply = || ExpertReply {
            text: "Total 4.50".into(),
            regions: vec![TextRegion {
                text: "Total 4.50".into(),
                confidence: 0.9,
                quad: [[0.0, 0.0], [9.0, 0.0], [9.0, 3.0], [0.0, 3.0]],
                word_confidences: Vec::new(),
            }],
            ..ExpertReply::default()
        };
        let picture = Picture {
            digest: Digest::of(b"one"),
            origin: Origin::whole(Digest::of(b"one")),
        };
        let all = together(&[picture, picture], vec![reply(), reply()]);
        assert_eq!((all.text.as_str(), all.regions.len()), ("", 1));
        assert_eq!(service_output(&all).value["text"], "Total 4.50");
    }

    proptest! {
        #[test]
        fn each_thing_left_out_is_part_of_one_that_stays(
            boxes in prop::collection::vec((0usize..3, prop::array::uniform4(0f32..100.0)), 0..20),
        ) {
            let found: Vec<(usize, Detection)> = boxes
                .iter()
                .map(|(image, [a, b, w, h])| (*image, dog([*a, *b, a + w, b + h])))
                .collect();
            let sourced = found.iter().map(|(image, thing)| (seen(*image, b"one"), thing.clone()));
            let kept = once(sourced.collect());
            let is_kept = |thing: &Detection| kept.contains(thing);
            // What is left out lies mostly within something of another image, though that one may
            // be part of a third.
            for (image, thing) in found.iter().filter(|(_, thing)| !is_kept(thing)) {
                let within = |(other, whole): &&(usize, Detection)| {
                    other != image && share_within(thing.bounds, whole.bounds) >= PART
                };
                prop_assert!(found.iter().any(|found| within(&found)));
            }
            // The largest of all is part of nothing.
            let largest = found.iter().max_by(|a, b| area(a.1.bounds).total_cmp(&area(b.1.bounds)));
            prop_assert!(largest.is_none_or(|(_, thing)| is_kept(thing)));
        }
    }
}
