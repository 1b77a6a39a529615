//! What a run learns from: the part of the data that it may, and other words for descriptions.

use std::{collections::HashMap, path::Path};

use maestro_core::{
    Digest,
    recording::{RecordedTask, Recording},
};

use crate::{
    arguments::Train,
    data::{self, DataSet},
    error::CliError,
};

/// The part of a folder that is learned from.
pub(super) fn read(folder: &Path, arguments: &Train) -> Result<DataSet, CliError> {
    let mut set = DataSet::read(folder)?;
    set.keep_splits(&arguments.split);
    let recording = &mut set.recording;
    let is_out = |list: &[String], name: &str| list.iter().any(|out| out == name);
    recording
        .tasks
        .retain(|task| !is_out(&arguments.without_domain, &task.task.domain));
    for task in &mut recording.tasks {
        task.calls.retain(|call| {
            !is_out(&arguments.without_expert, call.pair.expert.as_str())
                && !is_out(&arguments.without_skill, call.pair.skill.as_str())
        });
    }
    let catalogue = &mut recording.catalogue;
    catalogue
        .experts
        .retain(|name, _| !is_out(&arguments.without_expert, name.as_str()));
    catalogue
        .skills
        .retain(|name, _| !is_out(&arguments.without_skill, name.as_str()));
    Ok(set)
}

/// Divides by groups of tasks: the part to learn from and the part that is held out.
pub(super) fn divided(mut recording: Recording, share: f64, seed: u64) -> (Recording, Recording) {
    let is_held = |task: &RecordedTask| {
        let group = task.task.group.as_deref().unwrap_or(&task.task.id);
        let digest = Digest::of(format!("{seed} {group}").as_bytes());
        let head = digest.as_bytes().iter().take(4);
        let place = head.fold(0u32, |sum, byte| (sum << 8) | u32::from(*byte));
        f64::from(place) < share * f64::from(u32::MAX)
    };
    let (held, learned) = recording.tasks.drain(..).partition(is_held);
    let with = |tasks| Recording {
        catalogue: recording.catalogue.clone(),
        tasks,
    };
    (with(learned), with(held))
}

/// Other words by the digest of the text. The last of each is kept for evaluations.
pub(super) fn paraphrases(arguments: &Train) -> Result<HashMap<Digest, Vec<String>>, CliError> {
    let Some(path) = &arguments.paraphrases else {
        return Ok(HashMap::new());
    };
    let mut found = data::paraphrases(path)?;
    for others in found.values_mut() {
        others.pop();
    }
    Ok(found)
}
