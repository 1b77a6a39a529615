use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::descriptor::check_description;
use crate::{
    digest::Digest,
    error::CoreError,
    ids::{Capability, SkillName},
};

/// What a skill does with the task's images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageNeed {
    /// Only for tasks with at least one image.
    Required,
    /// For tasks with and without images; the expert must read images where there are some.
    #[default]
    Optional,
    /// Only for tasks without images.
    None,
}

/// Upper bounds of what one run of a skill asks of experts. Enforced by the runner; the cost
/// reservation rests on them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallBounds {
    /// Most calls to the pair's expert.
    pub expert_calls: u32,
    /// Most calls to helpers.
    pub helper_calls: u32,
    /// Most tokens read by one call.
    pub input_tokens: u32,
    /// Most tokens written by one call.
    pub output_tokens: u32,
}

/// A Level-2 solver as far as the catalogue describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SolverHeader {
    /// Its name within the skill.
    pub name: String,
    /// What it solves.
    pub description: String,
}

/// A skill as the registry describes it; the workflow itself is a bundle in the blob store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkillHeader {
    /// Its name.
    pub name: SkillName,
    /// What it is for and when to use it. The policy reads it.
    pub description: String,
    /// Digest of the bundle.
    pub bundle: Digest,
    /// Capabilities that the pair's expert must have, all of them.
    pub requires: BTreeSet<Capability>,
    /// Capabilities that some serving expert must have.
    pub helpers: BTreeSet<Capability>,
    /// Capabilities that it also calls where an expert serves them, and can do without.
    #[serde(default)]
    pub optional_helpers: BTreeSet<Capability>,
    /// What it does with images.
    pub images: ImageNeed,
    /// Whether the pair's expert itself looks at the images (else a helper or a tool does).
    pub expert_reads_images: bool,
    /// Kinds of answer it can give ([`crate::answer::AnswerKind::name`]); empty is all.
    pub answer_kinds: BTreeSet<String>,
    /// Whether the call goes to the expert as it is, without the skill runner.
    pub direct: bool,
    /// Whether a call that is slow may be made a second time, at another instance, whichever answers
    /// first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hedge: bool,
    /// What one run asks of experts at most.
    pub bounds: CallBounds,
    /// Its Level-2 solvers.
    pub solvers: Vec<SolverHeader>,
}

impl SkillHeader {
    /// Checks every field against its limit.
    pub fn validate(&self) -> Result<(), CoreError> {
        check_description(&self.description)?;
        if self.direct && !(self.helpers.is_empty() && self.optional_helpers.is_empty()) {
            return Err(CoreError::invalid(
                "helpers",
                "a direct skill has no helpers",
            ));
        }
        Ok(())
    }
}
