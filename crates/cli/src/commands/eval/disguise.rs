//! The same recordings under other names and in other words: what a policy knows of entries must
//! come from what their descriptions mean.

use std::{collections::HashMap, path::Path};

use maestro_core::{CoreError, Digest, recording::Recording, registry::Catalogue, task::Pair};

use crate::{data, error::CliError};

/// How recordings are changed.
#[derive(Debug, Default)]
pub(super) struct Disguise {
    /// Other words by the digest of the text.
    paraphrases: HashMap<Digest, String>,
    /// Whether entries get new names.
    rename: bool,
}

impl Disguise {
    /// Reads a file of paraphrases. The last one of each text is used, as it is the one that
    /// training leaves for evaluations.
    pub(super) fn read(paraphrases: Option<&Path>, rename: bool) -> Result<Self, CliError> {
        let all = paraphrases.map(data::paraphrases).transpose()?;
        let last = |(digest, mut others): (Digest, Vec<String>)| Some((digest, others.pop()?));
        Ok(Self {
            paraphrases: all
                .unwrap_or_default()
                .into_iter()
                .filter_map(last)
                .collect(),
            rename,
        })
    }

    /// Changes a recording, and counts the descriptions that got other words.
    pub(super) fn put_on(&self, recording: &mut Recording) -> Result<usize, CoreError> {
        let reworded = self.reword(&mut recording.catalogue);
        if self.rename {
            rename(recording)?;
        }
        Ok(reworded)
    }

    fn reword(&self, catalogue: &mut Catalogue) -> usize {
        let experts = catalogue.experts.values_mut();
        let skills = catalogue.skills.values_mut().flat_map(|skill| {
            let solvers = skill.solvers.iter_mut();
            let solvers = solvers.map(|solver| &mut solver.description);
            std::iter::once(&mut skill.description).chain(solvers)
        });
        let texts = experts.map(|expert| &mut expert.description).chain(skills);
        let mut count = 0;
        for text in texts {
            if let Some(other) = self.paraphrases.get(&Digest::of(text.as_bytes())) {
                text.clone_from(other);
                count += 1;
            }
        }
        count
    }
}

/// Gives every entry a name that says nothing, the same one wherever the entry occurs.
fn rename(recording: &mut Recording) -> Result<(), CoreError> {
    let catalogue = std::mem::take(&mut recording.catalogue);
    for (_, mut expert) in catalogue.experts {
        expert.name = alias(expert.name.as_str()).parse()?;
        let name = expert.name.clone();
        recording.catalogue.experts.insert(name, expert);
    }
    for (_, mut skill) in catalogue.skills {
        skill.name = alias(skill.name.as_str()).parse()?;
        let name = skill.name.clone();
        recording.catalogue.skills.insert(name, skill);
    }
    for call in recording.tasks.iter_mut().flat_map(|task| &mut task.calls) {
        call.pair = Pair {
            expert: alias(call.pair.expert.as_str()).parse()?,
            skill: alias(call.pair.skill.as_str()).parse()?,
        };
    }
    Ok(())
}

fn alias(name: &str) -> String {
    let digest = Digest::of(name.as_bytes()).to_string();
    let hex: String = digest.chars().filter(char::is_ascii_hexdigit).collect();
    format!("entry-{}", hex.get(..12).unwrap_or(&hex))
}
