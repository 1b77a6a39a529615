use std::{fs, io::ErrorKind, path::Path};

use maestro_policy::learning::IterationMetrics;
use serde::Serialize;

use crate::error::CliError;

/// How a policy learned.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Curve {
    /// The policy.
    pub(crate) name: String,
    /// Its iterations.
    pub(crate) iterations: Vec<IterationMetrics>,
}

impl Curve {
    /// Reads a run's metrics file; `None` where there is none.
    pub(crate) fn read(name: &str, path: &Path) -> Result<Option<Self>, CliError> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            read => read.map_err(CliError::file(path))?,
        };
        let lines = text.lines().enumerate();
        let iterations = lines
            .filter(|(_, line)| !line.trim().is_empty())
            .map(|(index, line)| {
                serde_json::from_str(line).map_err(|error| CliError::Content {
                    path: path.to_owned(),
                    reason: format!("line {}: {error}", index + 1),
                })
            })
            .collect::<Result<Vec<IterationMetrics>, _>>()?;
        Ok((!iterations.is_empty()).then(|| Self {
            name: name.to_owned(),
            iterations,
        }))
    }
}
