//! Strict YAML with errors that name file, line and key.

use serde::de::DeserializeOwned;
use serde_saphyr::Error;

use crate::error::SkillError;

/// Reads `text`; lines are shifted by `line_offset` (for YAML that stands inside another file).
pub(crate) fn read<T: DeserializeOwned>(
    file: &str,
    text: &str,
    line_offset: u64,
) -> Result<T, SkillError> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let line = error
            .location()
            .map_or(0, |location| location.line() + line_offset);
        match error.without_snippet() {
            Error::SerdeUnknownField {
                field, expected, ..
            } => SkillError::UnknownField {
                file: file.to_owned(),
                line,
                field: field.clone(),
                expected: expected.join(", "),
            },
            other => SkillError::Syntax {
                file: file.to_owned(),
                line,
                message: first_line(other),
            },
        }
    })
}

fn first_line(error: &Error) -> String {
    error.render().lines().next().unwrap_or_default().to_owned()
}

/// Where an error is reported: the file, a line in it and the path of a field.
#[derive(Clone, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) file: &'a str,
    pub(crate) line: u64,
    pub(crate) field: String,
}

impl<'a> Place<'a> {
    pub(crate) fn new(file: &'a str, line: u64, field: impl Into<String>) -> Self {
        Self {
            file,
            line,
            field: field.into(),
        }
    }

    /// The same place, one field further down.
    pub(crate) fn at(&self, field: &str) -> Self {
        Self {
            file: self.file,
            line: self.line,
            field: format!("{}.{field}", self.field),
        }
    }

    pub(crate) fn invalid(&self, reason: impl Into<String>) -> SkillError {
        SkillError::Invalid {
            file: self.file.to_owned(),
            line: self.line,
            field: self.field.clone(),
            reason: reason.into(),
        }
    }
}
