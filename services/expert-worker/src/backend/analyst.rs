//! The image analyses as a backend of the capability `analyze`.

use std::collections::BTreeSet;

use async_trait::async_trait;
use image::RgbImage;
use maestro_core::{
    episode::Failure,
    expert_call::{Detection, ExpertCall, ExpertReply, Finding},
};
use serde::Deserialize;

use super::{
    Backend,
    analysis::{
        self, AnalysisError, Bounds, Contact, DiagramKind, Highlight, RouteMap, circle_contact,
        classify, count_circles, count_pentagons, grid_size, hex, highlighted_character,
        line_intersections, nested_squares, route_map,
    },
    blocking::Blocking,
    first_image, rejected,
};
use crate::{error::ExpertWorkerError, images::Images};

/// The analyses have nothing to set.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoSettings {}

/// Least distance that tells circles apart, in pixels, as the value is written.
const LEAST_GAP: f32 = 0.01;

/// What can be asked of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    LineIntersections,
    GridSize,
    NestedSquares,
    CircleContact,
    CountCircles,
    CountPentagons,
    HighlightedCharacter,
    Routes,
    Classify,
}

impl Operation {
    const ALL: [Self; 9] = [
        Self::LineIntersections,
        Self::GridSize,
        Self::NestedSquares,
        Self::CircleContact,
        Self::CountCircles,
        Self::CountPentagons,
        Self::HighlightedCharacter,
        Self::Routes,
        Self::Classify,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::LineIntersections => "line-intersections",
            Self::GridSize => "grid-size",
            Self::NestedSquares => "nested-squares",
            Self::CircleContact => "circle-contact",
            Self::CountCircles => "count-circles",
            Self::CountPentagons => "count-pentagons",
            Self::HighlightedCharacter => "highlighted-character",
            Self::Routes => "routes",
            Self::Classify => "classify",
        }
    }

    fn of_call(call: &ExpertCall) -> Result<Self, Failure> {
        Self::ALL
            .into_iter()
            .find(|operation| operation.name() == call.operation)
            .ok_or_else(|| {
                rejected(format!(
                    "operation {:?} is none of {}",
                    call.operation,
                    Self::ALL.map(Self::name).join(", ")
                ))
            })
    }

    /// Runs the analysis. Values are integers in decimal, except:
    /// `grid-size` "rows,columns"; `circle-contact` the gap in pixels, exactly 0 where the circles
    /// touch and negative where they overlap; `highlighted-character` "place,count", from 1, with
    /// the mark's colour as a second finding and the boxes `mark`, `line` and of each `character`;
    /// `routes` pairs of stations like "1-3", numbered as their boxes `station` come, with the routes'
    /// colours as a second finding; `classify`
    /// the kind's name.
    fn run(self, image: &RgbImage) -> Result<Found, AnalysisError> {
        Ok(match self {
            Self::LineIntersections => written(line_intersections(image)?, |n| n.to_string()),
            Self::NestedSquares => written(nested_squares(image)?, |n| n.to_string()),
            Self::CountCircles => written(count_circles(image)?, |n| n.to_string()),
            Self::CountPentagons => written(count_pentagons(image)?, |n| n.to_string()),
            Self::GridSize => written(grid_size(image)?, |(rows, columns)| {
                format!("{rows},{columns}")
            }),
            Self::CircleContact => written(circle_contact(image)?, gap),
            Self::HighlightedCharacter => highlight(highlighted_character(image)?),
            Self::Routes => routes(route_map(image)?),
            Self::Classify => written(classify(image)?, |kind| kind_name(kind).to_owned()),
        })
    }
}

/// What an operation replies.
#[derive(Debug)]
struct Found {
    findings: Vec<Finding>,
    boxes: Vec<Detection>,
}

fn written<T>(found: analysis::Finding<T>, write: impl FnOnce(T) -> String) -> Found {
    let finding = Finding {
        value: write(found.value),
        confidence: found.confidence,
        evidence: found.evidence,
    };
    Found {
        findings: vec![finding],
        boxes: Vec::new(),
    }
}

fn detection(label: &str, bounds: &Bounds, confidence: f32) -> Detection {
    let Bounds {
        left,
        top,
        right,
        bottom,
    } = *bounds;
    Detection {
        label: label.to_owned(),
        confidence,
        bounds: [left, top, right, bottom].map(|edge| edge as f32),
    }
}

fn highlight(found: analysis::Finding<Highlight>) -> Found {
    let sure = found.confidence;
    let Highlight {
        mark,
        colour,
        line,
        characters,
        index,
    } = &found.value;
    let mut boxes = vec![detection("mark", mark, sure), detection("line", line, sure)];
    boxes.extend(characters.iter().map(|c| detection("character", c, sure)));
    let place = format!("{},{}", index + 1, characters.len());
    let colour = Finding {
        value: hex(*colour),
        confidence: sure,
        evidence: "colour of the mark".to_owned(),
    };
    let mut reply = written(found, |_| place);
    reply.findings.push(colour);
    reply.boxes = boxes;
    reply
}

fn routes(found: analysis::Finding<RouteMap>) -> Found {
    let sure = found.confidence;
    let stations = found.value.stations.iter();
    let boxes = stations.map(|s| detection("station", s, sure)).collect();
    let colours: BTreeSet<String> = found.value.routes.iter().map(|r| hex(r.colour)).collect();
    let colours = Finding {
        value: Vec::from_iter(colours).join(" "),
        confidence: sure,
        evidence: "colours of the routes".to_owned(),
    };
    let mut reply = written(found, |map| {
        let pair = |route: &analysis::Route| {
            let [a, b] = route.stations;
            format!("{}-{}", a + 1, b + 1)
        };
        map.routes.iter().map(pair).collect::<Vec<_>>().join(" ")
    });
    reply.findings.push(colours);
    reply.boxes = boxes;
    reply
}

/// The gap as a number whose sign agrees with the verdicts: those allow for what a pixel grid
/// blurs, the measured distance does not.
fn gap(contact: Contact) -> String {
    if contact.overlapping {
        format!("{:.2}", contact.gap.min(-LEAST_GAP))
    } else if contact.touching {
        "0".to_owned()
    } else {
        format!("{:.2}", contact.gap.max(LEAST_GAP))
    }
}

fn kind_name(kind: DiagramKind) -> &'static str {
    match kind {
        DiagramKind::LinePaths => "line-paths",
        DiagramKind::Grid => "grid",
        DiagramKind::NestedSquares => "nested-squares",
        DiagramKind::CirclePair => "circle-pair",
        DiagramKind::Circles => "circles",
        DiagramKind::Pentagons => "pentagons",
        DiagramKind::RouteMap => "route-map",
        DiagramKind::MarkedText => "marked-text",
        DiagramKind::Text => "text",
        DiagramKind::Document => "document",
        DiagramKind::Photograph => "photograph",
        DiagramKind::Other => "other",
    }
}

/// Analyses images.
pub(super) struct Analyst {
    pool: Blocking,
}

impl Analyst {
    pub(super) fn new(concurrency: u32) -> Self {
        Self {
            pool: Blocking::new(concurrency),
        }
    }
}

#[async_trait]
impl Backend for Analyst {
    async fn warm_up(&self) -> Result<(), ExpertWorkerError> {
        // Nothing is loaded.
        Ok(())
    }

    async fn invoke(&self, call: &ExpertCall, images: &Images) -> Result<ExpertReply, Failure> {
        let operation = Operation::of_call(call)?;
        let image = images.pixels(first_image(call)?).await?;
        // An image without the structure is a question put to the wrong expert, not its failure.
        let analyse = move || {
            operation
                .run(&image)
                .map_err(|error| rejected(error.to_string()))
        };
        let found = self.pool.run(analyse).await?;
        Ok(ExpertReply {
            text: found
                .findings
                .first()
                .map(|f| f.value.clone())
                .unwrap_or_default(),
            findings: found.findings,
            detections: found.boxes,
            finish_reason: "stop".to_owned(),
            ..ExpertReply::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;
    use proptest::prelude::*;

    use super::*;

    fn value(contact: Contact) -> f32 {
        gap(contact).parse().unwrap()
    }

    proptest! {
        #[test]
        fn the_sign_of_a_gap_says_what_the_verdict_says(
            measured in -50.0f32..50.0, touching: bool, overlapping: bool,
        ) {
            let touching = touching || overlapping;
            let value = value(Contact { touching, overlapping, gap: measured });
            prop_assert_eq!(value < 0.0, overlapping);
            prop_assert_eq!(value <= 0.0, touching);
        }
    }

    #[test]
    fn a_drawn_grid_is_measured_and_classified() {
        // 3 rows of 4 cells, ruled in black.
        let ruled = |at: u32, step: u32, count: u32| {
            (0..=count).any(|line| at >= 20 + line * step && at < 22 + line * step)
        };
        let inside = |at: u32, step: u32, count: u32| at >= 20 && at < 22 + step * count;
        let image = RgbImage::from_fn(260, 200, |x, y| {
            let drawn =
                (ruled(x, 50, 4) && inside(y, 50, 3)) || (ruled(y, 50, 3) && inside(x, 50, 4));
            if drawn {
                Rgb([0, 0, 0])
            } else {
                Rgb([255, 255, 255])
            }
        });
        let size = Operation::GridSize.run(&image).unwrap();
        assert_eq!(size.findings[0].value, "3,4");
        let kind = Operation::Classify.run(&image).unwrap();
        assert_eq!(kind.findings[0].value, "grid");
    }

    #[test]
    fn a_blank_image_has_nothing_to_find() {
        let blank = RgbImage::from_pixel(64, 64, Rgb([255, 255, 255]));
        for operation in Operation::ALL {
            assert!(operation.run(&blank).is_err(), "{}", operation.name());
        }
    }
}
