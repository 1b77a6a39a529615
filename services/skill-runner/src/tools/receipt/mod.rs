//! What a receipt says: its total, its date and the company that gave it.

mod amounts;
mod calibration;
mod company;
mod date;
mod layout;
mod names;
mod total;
mod words;

/// A line or word of text in an image, as a reader of images gives it.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// The text.
    pub text: String,
    /// How sure the reader is, 0 to 1.
    pub confidence: f32,
    /// Corners in pixels: top left, top right, bottom right, bottom left.
    pub quad: [[f32; 2]; 4],
    /// How sure the reader is of each word, 0 to 1; empty where it does not say.
    pub word_confidences: Vec<f32>,
}

/// A value read from a receipt.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// The value: a total with two decimals and no currency sign, a date or a name as printed.
    pub value: String,
    /// The share of answers with the same signs that was right, 0 to 1.
    pub confidence: f32,
    /// The rows that it was read from, one a line.
    pub evidence: String,
}

/// The total to be paid.
pub fn total(lines: &[Line]) -> Option<Field> {
    total::total(&layout::rows(lines))
}

/// The day of the purchase.
pub fn date(lines: &[Line]) -> Option<Field> {
    date::date(&layout::rows(lines))
}

/// The name of the company.
pub fn company(lines: &[Line]) -> Option<Field> {
    company::company(&layout::rows(lines))
}

#[cfg(test)]
mod tests;
