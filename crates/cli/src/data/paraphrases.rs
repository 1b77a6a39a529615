use std::{collections::HashMap, fs, path::Path};

use maestro_core::Digest;
use serde::Deserialize;

use crate::error::CliError;

/// A line of the file.
#[derive(Deserialize)]
struct Reworded {
    digest: Digest,
    paraphrases: Vec<String>,
}

/// Other words by the digest of the text, from JSON Lines of `digest` and `paraphrases`. The last
/// ones of each text are for evaluations; training leaves them out.
///
/// # Errors
/// [`CliError::File`], or [`CliError::Content`] with the line that is wrong.
pub(crate) fn paraphrases(path: &Path) -> Result<HashMap<Digest, Vec<String>>, CliError> {
    let text = fs::read_to_string(path).map_err(CliError::file(path))?;
    let lines = text.lines().enumerate();
    lines
        .map(|(index, line)| {
            let line: Reworded = serde_json::from_str(line).map_err(|error| CliError::Content {
                path: path.to_owned(),
                reason: format!("line {}: {error}", index + 1),
            })?;
            Ok((line.digest, line.paraphrases))
        })
        .collect()
}
