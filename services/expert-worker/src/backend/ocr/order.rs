//! The order in which a person reads boxes of text: rows from top to bottom, left to right in
//! each, on a page that may be a little skewed.

use super::geometry::{Point, Quad, centre, size};

/// Boxes share a row if their centres are closer, across the rows, than this part of the lower
/// box's height.
const ROW_DISTANCE: f32 = 0.5;
/// Boxes at least this many times as wide as high tell the page's skew.
const LONG_LINE: f32 = 4.0;

/// A box as the page's own axes see it.
struct Placed {
    index: usize,
    left: f32,
    middle: f32,
    height: f32,
}

/// Indices of `quads` in reading order.
pub(super) fn reading_order(quads: &[Quad]) -> Vec<usize> {
    let [cos, sin] = skew(quads);
    let mut boxes: Vec<Placed> = quads
        .iter()
        .enumerate()
        .map(|(index, quad)| {
            let [x, y] = centre(quad);
            let left = quad
                .iter()
                .map(|[x, y]| x * cos + y * sin)
                .fold(f32::INFINITY, f32::min);
            Placed {
                index,
                left,
                middle: y * cos - x * sin,
                height: size(quad).1,
            }
        })
        .collect();
    boxes.sort_by(|a, b| {
        a.middle
            .total_cmp(&b.middle)
            .then(a.left.total_cmp(&b.left))
    });
    let mut rows: Vec<Vec<Placed>> = Vec::new();
    for next in boxes {
        // The row's first box stands for it: a row cannot creep down the page box by box.
        match rows.last_mut() {
            Some(row) if shares_row(&row[0], &next) => row.push(next),
            _ => rows.push(vec![next]),
        }
    }
    for row in &mut rows {
        row.sort_by(|a, b| a.left.total_cmp(&b.left));
    }
    rows.into_iter()
        .flatten()
        .map(|placed| placed.index)
        .collect()
}

fn shares_row(row: &Placed, next: &Placed) -> bool {
    next.middle - row.middle < ROW_DISTANCE * row.height.min(next.height)
}

/// Direction of the page's lines as a unit vector: the mean of the long boxes' baselines.
fn skew(quads: &[Quad]) -> Point {
    let mut sum = [0.0, 0.0];
    for quad in quads {
        let (width, height) = size(quad);
        if width >= LONG_LINE * height {
            let [left, right, ..] = quad;
            sum[0] += right[0] - left[0];
            sum[1] += right[1] - left[1];
        }
    }
    let length = f32::hypot(sum[0], sum[1]);
    // Text that runs down the page is no skew.
    if length == 0.0 || sum[0] <= sum[1].abs() {
        return [1.0, 0.0];
    }
    sum.map(|part| part / length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block(x: f32, y: f32, width: f32, height: f32) -> Quad {
        [
            [x, y],
            [x + width, y],
            [x + width, y + height],
            [x, y + height],
        ]
    }

    fn turned(quad: Quad, degrees: f32) -> Quad {
        let (sin, cos) = degrees.to_radians().sin_cos();
        quad.map(|[x, y]| [x * cos - y * sin, x * sin + y * cos])
    }

    /// A receipt of two columns; heights and offsets differ within a row as they do in print.
    fn receipt() -> Vec<Quad> {
        vec![
            block(100.0, 0.0, 300.0, 30.0),
            block(0.0, 50.0, 200.0, 20.0),
            block(420.0, 54.0, 60.0, 16.0),
            block(0.0, 80.0, 260.0, 20.0),
            block(420.0, 77.0, 60.0, 22.0),
            block(0.0, 110.0, 12.0, 20.0),
        ]
    }

    #[test]
    fn rows_are_read_from_the_left_even_when_the_right_box_is_higher() {
        assert_eq!(reading_order(&receipt()), [0, 1, 2, 3, 4, 5]);
        assert_eq!(reading_order(&[]), [0usize; 0]);
    }

    #[test]
    fn a_staircase_is_not_one_row() {
        let stairs: Vec<Quad> = (0..5)
            .map(|i| block(400.0 - 80.0 * i as f32, 8.0 * i as f32, 60.0, 20.0))
            .collect();
        // Neighbours overlap, the first and the third do not.
        assert_eq!(reading_order(&stairs), [1, 0, 3, 2, 4]);
    }

    proptest! {
        #[test]
        fn a_skewed_page_reads_like_a_straight_one(degrees in -12f32..12.0) {
            let page: Vec<Quad> = receipt().into_iter().map(|quad| turned(quad, degrees)).collect();
            prop_assert_eq!(reading_order(&page), [0, 1, 2, 3, 4, 5]);
        }

        #[test]
        fn every_box_comes_once_and_input_order_does_not_matter(
            places in prop::collection::hash_set((0i32..40, 0i32..40), 0..20),
            sizes in prop::collection::vec((1f32..80.0, 5f32..30.0), 20),
        ) {
            let quads: Vec<Quad> = places
                .iter()
                .zip(&sizes)
                .map(|(&(x, y), &(w, h))| block(x as f32 * 13.0, y as f32 * 7.1, w, h))
                .collect();
            let order = reading_order(&quads);
            let mut all = order.clone();
            all.sort_unstable();
            prop_assert_eq!(all, (0..quads.len()).collect::<Vec<_>>());

            let reversed: Vec<Quad> = quads.iter().rev().copied().collect();
            let again: Vec<usize> =
                reading_order(&reversed).iter().map(|i| quads.len() - 1 - i).collect();
            prop_assert_eq!(order, again);
        }
    }
}
