//! Joins what an analysis of a drawing measured with what a reader of text read in it.

mod marked;
mod routes;

pub use self::marked::marked_character;
pub use self::routes::{RoutesError, count_routes};

/// Left, top, right, bottom in pixels.
pub type Bounds = [f32; 4];

/// A text that was read, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The text.
    pub text: String,
    /// Where it stands.
    pub bounds: Bounds,
}

/// An answer and how sure it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Picked {
    /// The answer.
    pub value: String,
    /// How sure, 0 to 1, beside what the analysis and the reader are sure of.
    pub confidence: f32,
    /// What it rests on, for people.
    pub evidence: String,
}
