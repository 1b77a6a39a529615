//! Reports of an evaluation: a table for the terminal, JSON, and a page with plots.

mod curve;
mod page;
mod plots;
mod table;

use maestro_core::task::Weights;
use maestro_policy::evaluation::study::Study;
use serde::Serialize;

pub(crate) use curve::Curve;
pub(crate) use page::html;
pub(crate) use table::table;

/// All that a report says.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// Names of the data.
    pub(crate) data: Vec<String>,
    /// Names of the recordings that were added for the evaluation only.
    pub(crate) added: Vec<String>,
    /// Splits that were measured on.
    pub(crate) splits: Vec<String>,
    /// Tasks of these that no recorded call suits. No router is measured on them.
    pub(crate) left_out: usize,
    /// Tasks that baselines learned from.
    pub(crate) train_tasks: usize,
    /// Descriptions that had other words than those in the data.
    pub(crate) paraphrased: usize,
    /// Whether entries had other names.
    pub(crate) is_renamed: bool,
    /// Most decisions of a policy.
    pub(crate) max_steps: u32,
    /// The user's weights.
    pub(crate) weights: Weights,
    /// Digest of what turned texts into vectors.
    pub(crate) embedder: String,
    /// The figures.
    pub(crate) study: Study,
    /// How the policies learned, where that is known.
    pub(crate) curves: Vec<Curve>,
}
