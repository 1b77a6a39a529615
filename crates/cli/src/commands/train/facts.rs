use std::collections::{BTreeMap, BTreeSet};

use maestro_core::{
    Digest,
    recording::{KnownTask, RecordedTask},
    registry::Catalogue,
};
use maestro_policy::{
    NOTE_DESCRIPTIONS,
    learning::{Trained, TrainingConfig},
};

use crate::{arguments::Train, error::CliError};

/// What a manifest says about its data.
#[derive(Default)]
pub(super) struct Facts {
    tasks: Vec<u8>,
    count: usize,
    catalogues: BTreeSet<String>,
    descriptions: BTreeSet<Digest>,
}

impl Facts {
    /// Adds a pool.
    pub(super) fn add_catalogue(&mut self, catalogue: &Catalogue) {
        self.catalogues.insert(catalogue.digest().to_string());
        let experts = catalogue.experts.values().map(|e| &e.description);
        let skills = catalogue.skills.values().map(|s| &s.description);
        let texts = experts.chain(skills);
        self.descriptions
            .extend(texts.map(|text| Digest::of(text.as_bytes())));
    }

    /// Adds recorded tasks.
    pub(super) fn add_recorded(&mut self, tasks: &[RecordedTask]) -> Result<(), CliError> {
        for task in tasks {
            serde_json::to_writer(&mut self.tasks, task)?;
        }
        self.count += tasks.len();
        Ok(())
    }

    /// Adds tasks that are asked.
    pub(super) fn add_asked(&mut self, tasks: &[KnownTask]) -> Result<(), CliError> {
        for task in tasks {
            serde_json::to_writer(&mut self.tasks, task)?;
        }
        self.count += tasks.len();
        Ok(())
    }

    /// The notes of the policy's manifest.
    pub(super) fn notes(
        self,
        trained: &Trained,
        config: &TrainingConfig,
        arguments: &Train,
    ) -> Result<BTreeMap<String, String>, CliError> {
        let join = |texts: BTreeSet<String>| texts.into_iter().collect::<Vec<_>>().join(",");
        let descriptions = self.descriptions.iter().map(Digest::to_string).collect();
        let mut notes = BTreeMap::from([
            ("training".to_owned(), "grpo".to_owned()),
            ("data".to_owned(), names(arguments).join(",")),
            (
                "data_digest".to_owned(),
                Digest::of(&self.tasks).to_string(),
            ),
            ("catalogues".to_owned(), join(self.catalogues)),
            ("tasks".to_owned(), self.count.to_string()),
            ("seed".to_owned(), config.learner.seed.to_string()),
            ("iteration".to_owned(), trained.iteration.to_string()),
            ("settings".to_owned(), serde_json::to_string(config)?),
            (NOTE_DESCRIPTIONS.to_owned(), join(descriptions)),
        ]);
        if let Some(validation) = trained.validation {
            notes.insert("metrics".to_owned(), serde_json::to_string(&validation)?);
        }
        Ok(notes)
    }
}

/// The data by name: folders, then what was left out of them.
fn names(arguments: &Train) -> Vec<String> {
    let name = |folder: &std::path::PathBuf| {
        let name = folder.file_name().unwrap_or(folder.as_os_str());
        name.to_string_lossy().into_owned()
    };
    let mut names: Vec<String> = arguments.data.iter().map(name).collect();
    names.extend(arguments.without_expert.iter().map(|e| format!("-{e}@*")));
    names.extend(arguments.without_skill.iter().map(|s| format!("-*@{s}")));
    names.extend(arguments.without_domain.iter().map(|d| format!("-{d}")));
    names
}
