//! Steps that hold steps, as they are written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{StepFile, StepsFile};

/// A case of a branch.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CaseFile {
    /// When it applies, an expression. The last case may do without: it is for everything else.
    pub(crate) when: Option<String>,
    /// What it does.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, StepFile>")]
    pub(crate) steps: StepsFile,
    /// The value of the branch where this case was taken, a template.
    pub(crate) value: Option<String>,
}

/// Runs steps again until a condition is true.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RepeatFile {
    /// Most rounds, 1 to 8.
    pub(crate) times: u32,
    /// An expression, checked after every round.
    pub(crate) until: String,
    /// One round. Its templates also see `round`, from 1, and `previous`: the results of the
    /// round before by step, null in the first.
    #[schemars(with = "BTreeMap<String, StepFile>")]
    pub(crate) steps: StepsFile,
}
