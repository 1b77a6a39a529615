//! The crate's error.

use std::path::PathBuf;

/// Why a folder or a bundle is no skill. `file` is relative to the skill's folder; lines count
/// from 1 and are 0 where unknown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SkillError {
    /// A file or folder cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// Why it cannot be.
        source: std::io::Error,
    },
    /// A file that every skill needs is not there.
    #[error("{file} is missing")]
    MissingFile {
        /// The file.
        file: String,
    },
    /// A file is not well-formed.
    #[error("{file}:{line}: {message}")]
    Syntax {
        /// The file.
        file: String,
        /// The line.
        line: u64,
        /// What is wrong with it.
        message: String,
    },
    /// A key that the format does not have.
    #[error("{file}:{line}: unknown key {field:?}; known here: {expected}")]
    UnknownField {
        /// The file.
        file: String,
        /// The line.
        line: u64,
        /// The key.
        field: String,
        /// The keys that may stand there.
        expected: String,
    },
    /// A value breaks a rule.
    #[error("{file}:{line}: {field}: {reason}")]
    Invalid {
        /// The file.
        file: String,
        /// The line.
        line: u64,
        /// Path of the field within the file.
        field: String,
        /// The rule.
        reason: String,
    },
    /// A step refers to a step or variable that does not exist, or whose result is not there yet
    /// where it stands.
    #[error(
        "{file}:{line}: {field} refers to {reference:?}, which is no step or variable that can be read here"
    )]
    UnknownReference {
        /// The file.
        file: String,
        /// The line.
        line: u64,
        /// Path of the field within the file.
        field: String,
        /// The name that nothing bears.
        reference: String,
    },
    /// A step names a tool that does not exist.
    #[error("{file}:{line}: {field}: unknown tool {tool:?}; known: {known}")]
    UnknownTool {
        /// The file.
        file: String,
        /// The line.
        line: u64,
        /// Path of the field within the file.
        field: String,
        /// The name that no tool bears.
        tool: String,
        /// The tools there are.
        known: String,
    },
    /// The dispatch names a solver that does not exist.
    #[error("{file}:{line}: {field}: there is no solver {solver:?}")]
    UnknownSolver {
        /// The file.
        file: String,
        /// The line.
        line: u64,
        /// Path of the field within the file.
        field: String,
        /// The name that no solver bears.
        solver: String,
    },
    /// Steps wait for each other in a circle.
    #[error("{file}:{line}: steps form a cycle: {}", steps.join(" -> "))]
    Cycle {
        /// The file.
        file: String,
        /// Line of the first step of the circle.
        line: u64,
        /// The circle, its first step again at the end.
        steps: Vec<String>,
    },
    /// A folder or bundle is larger than allowed.
    #[error("{what}: {size} is more than the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: String,
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// A path leads out of the skill's folder, or is not plain.
    #[error("{path:?} is not allowed in a skill: {reason}")]
    ForbiddenPath {
        /// The path.
        path: String,
        /// Why not.
        reason: &'static str,
    },
    /// The bytes are no bundle.
    #[error("not a skill bundle: {0}")]
    MalformedBundle(&'static str),
}

impl SkillError {
    /// The file that is wrong, if it is one file.
    pub fn file(&self) -> Option<&str> {
        match self {
            Self::MissingFile { file }
            | Self::Syntax { file, .. }
            | Self::UnknownField { file, .. }
            | Self::Invalid { file, .. }
            | Self::UnknownReference { file, .. }
            | Self::UnknownTool { file, .. }
            | Self::UnknownSolver { file, .. }
            | Self::Cycle { file, .. } => Some(file),
            _ => None,
        }
    }

    /// The line that is wrong, if known.
    pub fn line(&self) -> Option<u64> {
        match self {
            Self::Syntax { line, .. }
            | Self::UnknownField { line, .. }
            | Self::Invalid { line, .. }
            | Self::UnknownReference { line, .. }
            | Self::UnknownTool { line, .. }
            | Self::UnknownSolver { line, .. }
            | Self::Cycle { line, .. } => Some(*line).filter(|line| *line > 0),
            _ => None,
        }
    }
}
