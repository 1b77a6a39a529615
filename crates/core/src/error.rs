//! The crate's error.

use std::fmt;

use crate::ids::{ExpertName, SkillName};

/// One field of a request that broke a rule. `field` is the path in the request as the client
/// spelt it (`task.budget.max_cost`), `description` names the limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldViolation {
    /// Path of the field.
    pub field: String,
    /// What is wrong and what is allowed.
    pub description: String,
}

impl FieldViolation {
    /// A violation of one field.
    pub fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            description: description.into(),
        }
    }

    /// The same violation with the field placed under `parent`.
    #[must_use]
    pub fn under(mut self, parent: &str) -> Self {
        self.field = format!("{parent}.{}", self.field);
        self
    }
}

impl fmt::Display for FieldViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.description)
    }
}

/// What can go wrong in the domain. Mapped to a gRPC status in one place, `maestro-rpc`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CoreError {
    /// A field broke a rule.
    #[error("invalid {0}")]
    Invalid(FieldViolation),
    /// Something named does not exist.
    #[error("{kind} {name:?} not found")]
    NotFound {
        /// What kind of thing: `episode`, `expert`, `skill`, `blob`, `policy`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A write met something of the same name that differs.
    #[error("{kind} {name:?} is already registered: existing {existing}; refused {refused}")]
    Conflict {
        /// What kind of thing.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What stands there now.
        existing: String,
        /// What was refused.
        refused: String,
    },
    /// The state does not allow the operation.
    #[error("{0}")]
    FailedPrecondition(String),
    /// Another process has taken over what this one was writing; it must stop.
    #[error("{0}")]
    Superseded(String),
    /// A bounded resource is used up for now.
    #[error("{what} exhausted (limit {limit}); retry in {retry_after_ms} ms")]
    Exhausted {
        /// The limit that was met.
        what: &'static str,
        /// Its size.
        limit: u64,
        /// When a retry may succeed, in milliseconds.
        retry_after_ms: u64,
    },
    /// A dependency cannot be reached.
    #[error("{what} unavailable: {reason}")]
    Unavailable {
        /// The dependency.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// The deadline passed.
    #[error("deadline exceeded: {0}")]
    DeadlineExceeded(String),
    /// The caller or an operator cancelled.
    #[error("cancelled: {0}")]
    Cancelled(String),
    /// Stored data cannot be read back.
    #[error("corrupt data: {0}")]
    DataLoss(String),
    /// A defect of this program.
    #[error("internal: {0}")]
    Internal(String),
}

impl CoreError {
    /// An [`CoreError::Invalid`] for `field`.
    pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::Invalid(FieldViolation::new(field, description))
    }

    /// The expert is not in the registry.
    pub fn unknown_expert(name: &ExpertName) -> Self {
        Self::NotFound {
            kind: "expert",
            name: name.to_string(),
        }
    }

    /// The skill is not in the registry.
    pub fn unknown_skill(name: &SkillName) -> Self {
        Self::NotFound {
            kind: "skill",
            name: name.to_string(),
        }
    }

    /// Whether the same request may succeed when it is sent again unchanged.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Exhausted { .. })
    }

    /// Places the field of an [`CoreError::Invalid`] under `parent`.
    #[must_use]
    pub fn under(self, parent: &str) -> Self {
        match self {
            Self::Invalid(violation) => Self::Invalid(violation.under(parent)),
            other => other,
        }
    }
}

impl From<FieldViolation> for CoreError {
    fn from(violation: FieldViolation) -> Self {
        Self::Invalid(violation)
    }
}
