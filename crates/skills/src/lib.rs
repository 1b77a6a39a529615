//! Skills are data: a folder with a `SKILL.md` after the Agent Skills standard, and, where a
//! skill is more than instructions, the files that this crate defines.
//!
//! ```text
//! my-skill/
//!   SKILL.md            front matter (name, description) and the instructions
//!   skill.yaml          optional: images, answer kinds, limits, dispatch rules
//!   solvers/NAME.yaml   optional: one workflow each
//!   references/, assets/  whatever the instructions refer to
//! ```
//!
//! [`Skill::load`] reads a folder, [`unpack`] a bundle (the same files as one deterministic
//! blob). Either gives a skill that cannot be invalid: every reference, tool and template was
//! checked, no workflow has a cycle, and the sum of its limits is known
//! ([`maestro_core::registry::CallBounds`]). A folder with nothing but `SKILL.md` is a skill too:
//! its instructions become the system message of one question to the expert.
//!
//! Nothing here does I/O beyond reading a folder, calls an expert or knows one by name.

mod bundle;
mod check;
mod classify;
mod dispatch;
mod error;
mod format;
mod front_matter;
mod graph;
mod lint;
mod needs;
mod skill;
mod solver;
mod step;
mod template;
mod yaml;

pub use bundle::{MAX_BUNDLE_BYTES, MAX_FILES, pack, unpack};
pub use classify::{Class, Classify, named};
pub use dispatch::{Dispatch, Dispatched, Evidence, ImageProbe, KeywordRule, Score};
pub use error::SkillError;
pub use format::json_schema;
pub use front_matter::FrontMatter;
pub use graph::Progress;
pub use lint::{Finding, Severity, lint};
pub use needs::IMAGE_TOKENS;
pub use skill::Skill;
pub use solver::{AnswerSpec, Solver};
pub use step::{
    Action, Argument, Ask, Branch, Case, Crop, CropUnit, Draw, Example, Extract, Group, ImageRef,
    ImageSelection, ImageStep, Repeat, RunCode, ServiceCall, Step, Tile, Tool, ToolCall,
};
pub use template::{Template, TemplateError};
