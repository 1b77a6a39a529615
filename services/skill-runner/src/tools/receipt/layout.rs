//! The rows of a receipt, rebuilt from boxes of text.

use std::ops::Range;

use super::Line;

/// A box of text in the coordinates of the upright page.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) confidence: f32,
    /// The same of each word; empty where the reader does not say.
    pub(super) word_confidences: Vec<f32>,
    pub(super) left: f32,
    pub(super) right: f32,
    pub(super) middle: f32,
    pub(super) height: f32,
}

/// Boxes that stand beside each other, from left to right.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Row {
    pub(super) cells: Vec<Cell>,
}

impl Row {
    /// The text of the cells, separated by one space.
    pub(super) fn text(&self) -> String {
        let texts: Vec<&str> = self.cells.iter().map(|cell| cell.text.trim()).collect();
        texts.join(" ")
    }

    /// The vertical centre.
    pub(super) fn middle(&self) -> f32 {
        mean(self.cells.iter().map(|cell| cell.middle))
    }

    /// The mean height of the cells.
    pub(super) fn height(&self) -> f32 {
        mean(self.cells.iter().map(|cell| cell.height))
    }

    /// The mean confidence of the reader.
    pub(super) fn confidence(&self) -> f32 {
        mean(self.cells.iter().map(|cell| cell.confidence))
    }

    /// The least confidence of the reader in a word that has a part in these bytes of
    /// [`Self::text`], or in its cell where single words are not told apart.
    pub(super) fn least_confidence(&self, part: &Range<usize>) -> f32 {
        let mut least = 1.0_f32;
        let mut start = 0;
        for cell in &self.cells {
            let text = cell.text.trim();
            let in_part = |from: usize, to: usize| from < part.end && to > part.start;
            let words: Vec<&str> = text.split_whitespace().collect();
            if words.len() == cell.word_confidences.len() {
                let mut from = start;
                for (word, confidence) in words.iter().zip(&cell.word_confidences) {
                    let offset = text.get(from - start..).and_then(|rest| rest.find(word));
                    from += offset.unwrap_or(0);
                    if in_part(from, from + word.len()) {
                        least = least.min(*confidence);
                    }
                    from += word.len();
                }
            } else if in_part(start, start + text.len()) {
                least = least.min(cell.confidence);
            }
            start += text.len() + 1;
        }
        least
    }
}

fn mean(values: impl Iterator<Item = f32>) -> f32 {
    let (mut sum, mut count) = (0.0, 0.0_f32);
    for value in values {
        sum += value;
        count += 1.0;
    }
    sum / count.max(1.0)
}

/// How far the centres of two neighbours in a row may be apart, in heights of the lower box.
const SAME_ROW: f32 = 0.5;
/// How far back an open row is looked for: boxes come from top to bottom, so it is near.
const OPEN_ROWS: usize = 6;
/// A box has this many times its height in width before its slope says something of the page's.
const LONG: f32 = 5.0;

/// The rows from top to bottom. Lines without text or with coordinates that are not finite are
/// left out.
///
/// The page's slope is the median slope of its long boxes, so a tilted photograph is read like an
/// upright one. Each box then joins the row whose horizontally nearest box stands at its height.
pub(super) fn rows(lines: &[Line]) -> Vec<Row> {
    let readable: Vec<&Line> = lines
        .iter()
        .filter(|line| !line.text.trim().is_empty())
        .filter(|line| line.quad.iter().flatten().all(|value| value.is_finite()))
        .collect();
    let slope = slope(&readable);
    let mut cells: Vec<Cell> = readable.iter().map(|line| cell(line, slope)).collect();
    cells.sort_by(|a, b| a.middle.total_cmp(&b.middle));
    let mut rows: Vec<Row> = Vec::new();
    for cell in cells {
        let first_open = rows.len().saturating_sub(OPEN_ROWS);
        let nearest = rows
            .iter()
            .enumerate()
            .skip(first_open)
            .filter_map(|(index, row)| offset(row, &cell).map(|offset| (index, offset)))
            .min_by(|a, b| a.1.total_cmp(&b.1));
        match nearest {
            Some((index, _)) => rows[index].cells.push(cell),
            None => rows.push(Row { cells: vec![cell] }),
        }
    }
    for row in &mut rows {
        row.cells.sort_by(|a, b| a.left.total_cmp(&b.left));
    }
    rows.sort_by(|a, b| a.middle().total_cmp(&b.middle()));
    rows
}

/// How far `cell` is off the height of its nearest neighbour in `row`; `None` if it does not
/// belong there.
fn offset(row: &Row, cell: &Cell) -> Option<f32> {
    let gap = |other: &Cell| (cell.left - other.right).max(other.left - cell.right);
    let neighbour = row.cells.iter().min_by(|a, b| gap(a).total_cmp(&gap(b)))?;
    let lower = neighbour.height.min(cell.height);
    let offset = (neighbour.middle - cell.middle).abs();
    // Boxes above each other may touch by a few pixels, boxes of one row do not overlap.
    (offset <= SAME_ROW * lower && gap(neighbour) > -lower).then_some(offset)
}

fn slope(lines: &[&Line]) -> f32 {
    let mut slopes: Vec<f32> = lines
        .iter()
        .filter_map(|line| {
            let [a, b, _, d] = line.quad;
            let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
            let height = (d[1] - a[1]).abs().max(1.0);
            (dx > LONG * height).then(|| dy / dx)
        })
        .collect();
    slopes.sort_by(f32::total_cmp);
    slopes.get(slopes.len() / 2).copied().unwrap_or(0.0)
}

fn cell(line: &Line, slope: f32) -> Cell {
    let xs = line.quad.map(|corner| corner[0]);
    let ys = line.quad.map(|corner| corner[1] - slope * corner[0]);
    let low = |values: [f32; 4]| values.into_iter().fold(f32::INFINITY, f32::min);
    let high = |values: [f32; 4]| values.into_iter().fold(f32::NEG_INFINITY, f32::max);
    Cell {
        text: line.text.clone(),
        confidence: line.confidence,
        word_confidences: line.word_confidences.clone(),
        left: low(xs),
        right: high(xs),
        middle: f32::midpoint(low(ys), high(ys)),
        height: (high(ys) - low(ys)).max(1.0),
    }
}
