//! Trials: what clients notice while something is done to Maestro under load, and how large its
//! processes grow. docs/operations.md says how to run them, and what was measured.

mod load;
mod report;
mod run;
mod sizes;

pub use load::{End, Offer, Seen, Told};
pub use report::{Counts, Report, quantile};
pub use run::{Operation, Trial, peak, run};
pub use sizes::Sizes;
