//! From the numbers of a head to boxes.

use super::boxes::{Bounds, Candidate};
use super::config::Head;

/// Numbers before those of the classes: centre, size, whether there is an object.
const BOX: usize = 5;

/// The candidates of one image that reach `threshold`, in pixels of the network's input.
///
/// `values` are those of one head, `[anchors × (5 + classes), height, width]`; `grid` is that
/// height and width, `input` the height and width of the network's input. An object may be
/// several classes at once. Values that are not finite give none.
#[must_use]
pub fn decode(
    values: &[f32],
    head: &Head,
    [rows, columns]: [usize; 2],
    input: [usize; 2],
    threshold: f32,
) -> Vec<Candidate> {
    let cells = rows * columns;
    let (cell_height, cell_width) = (
        input[0] as f32 / rows.max(1) as f32,
        input[1] as f32 / columns.max(1) as f32,
    );
    let mut candidates = Vec::new();
    let planes = values.chunks_exact(((BOX + head.classes) * cells).max(1));
    for (planes, anchor) in planes.zip(&head.anchors) {
        for cell in 0..cells {
            let value = |plane: usize| planes[plane * cells + cell];
            let object = sigmoid(value(4));
            // A class is at most as sure as that there is an object.
            if object.is_nan() || object < threshold {
                continue;
            }
            let x = (sigmoid(value(0)) + (cell % columns) as f32) * cell_width;
            let y = (sigmoid(value(1)) + (cell / columns) as f32) * cell_height;
            let width = value(2).exp() * anchor[0];
            let height = value(3).exp() * anchor[1];
            let bounds = Bounds {
                left: x - width / 2.0,
                top: y - height / 2.0,
                right: x + width / 2.0,
                bottom: y + height / 2.0,
            };
            if !bounds.area().is_finite() {
                continue;
            }
            for class in 0..head.classes {
                let confidence = object * sigmoid(value(BOX + class));
                if confidence >= threshold {
                    candidates.push(Candidate {
                        class,
                        confidence,
                        bounds,
                    });
                }
            }
        }
    }
    candidates
}

fn sigmoid(value: f32) -> f32 {
    1.0 / (1.0 + (-value).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One anchor of 20 × 10 and two classes on a grid of 2 rows and 3 columns.
    fn head() -> Head {
        Head {
            anchors: vec![[20.0, 10.0]],
            classes: 2,
        }
    }

    /// Nothing anywhere but in one cell.
    fn values(cell: usize, numbers: [f32; 7]) -> Vec<f32> {
        let mut values = vec![-50.0; 7 * 6];
        for (plane, number) in numbers.into_iter().enumerate() {
            values[plane * 6 + cell] = number;
        }
        values
    }

    #[test]
    fn a_cell_with_an_object_gives_its_box() {
        let values = values(4, [0.0, 0.0, 2.0_f32.ln(), 0.0, 50.0, 50.0, -50.0]);
        let found = decode(&values, &head(), [2, 3], [64, 96], 0.5);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].class, 0);
        assert!((found[0].confidence - 1.0).abs() < 1e-6);
        // The middle of the second row and column, twice as wide as the anchor.
        let Bounds {
            left,
            top,
            right,
            bottom,
        } = found[0].bounds;
        for (found, expected) in [left, top, right, bottom]
            .iter()
            .zip([28.0, 43.0, 68.0, 53.0])
        {
            assert!((found - expected).abs() < 1e-4, "{found} {expected}");
        }
    }

    #[test]
    fn confidence_is_that_of_object_and_class_together() {
        let values = values(0, [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 50.0]);
        let found = decode(&values, &head(), [2, 3], [64, 96], 0.2);
        let shown: Vec<(usize, f32)> = found.iter().map(|c| (c.class, c.confidence)).collect();
        assert_eq!(shown, [(0, 0.25), (1, 0.5)]);
        assert_eq!(decode(&values, &head(), [2, 3], [64, 96], 0.3).len(), 1);
    }

    #[test]
    fn what_is_not_finite_is_nothing() {
        let infinite = values(1, [0.0, 0.0, 999.0, 0.0, 50.0, 50.0, 50.0]);
        assert!(decode(&infinite, &head(), [2, 3], [64, 96], 0.1).is_empty());
        let undefined = values(1, [0.0, 0.0, 0.0, 0.0, f32::NAN, 50.0, 50.0]);
        assert!(decode(&undefined, &head(), [2, 3], [64, 96], 0.1).is_empty());
    }
}
