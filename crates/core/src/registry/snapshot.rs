use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Catalogue, Descriptor, ImageNeed, Instance, Modality, SkillHeader};
use crate::{
    digest::Digest,
    error::CoreError,
    ids::{Capability, ExpertName, SkillName},
    task::{Constraints, Pair},
};

/// An entry with the time at which it was written, by the writer's clock.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry<T> {
    /// The entry.
    pub value: T,
    /// When it was written.
    pub written_at: Timestamp,
}

/// Which policy serves in a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicySlot {
    /// Digest of the active policy's manifest.
    pub active: Digest,
    /// Digest of the policy that scores along without acting.
    pub shadow: Option<Digest>,
    /// The policy that was active before, for a rollback.
    pub previous: Option<Digest>,
}

/// Why a pair that a request names cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    /// No such expert.
    #[error("expert {0:?} is not registered")]
    UnknownExpert(ExpertName),
    /// No such skill.
    #[error("skill {0:?} is not registered")]
    UnknownSkill(SkillName),
    /// The expert lacks what the skill requires.
    #[error("expert {expert:?} lacks what skill {skill:?} requires")]
    Incompatible {
        /// The expert.
        expert: ExpertName,
        /// The skill.
        skill: SkillName,
    },
    /// Registered, but no instance serves it.
    #[error("expert {0:?} has no serving instance")]
    NotServing(ExpertName),
    /// No serving expert has a capability that the skill needs as a helper.
    #[error("no serving expert has the capability {0:?}")]
    MissingHelper(Capability),
}

/// A pair of the action set with what describes it.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The expert.
    pub expert: &'a Descriptor,
    /// The skill.
    pub skill: &'a SkillHeader,
}

impl Candidate<'_> {
    /// The pair's names.
    pub fn pair(&self) -> Pair {
        Pair {
            expert: self.expert.name.clone(),
            skill: self.skill.name.clone(),
        }
    }
}

/// The registry at one revision, as one process sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Revision of the registry up to which this holds every change, liveness included. After a
    /// listing it counts what else is written to the same etcd, so that it may be one that no other
    /// process ever sees.
    pub revision: u64,
    /// Revision of a change that this holds: the last one, but for deletions before a listing. Every
    /// other process comes to a [`Self::revision`] at least this, so it is what to ask others for.
    pub changed: u64,
    /// Descriptors and skills.
    pub catalogue: Arc<Catalogue>,
    /// [`Catalogue::digest`], computed once per change.
    pub digest: Option<Digest>,
    /// When each expert's descriptor was written.
    pub experts_written: BTreeMap<ExpertName, Timestamp>,
    /// When each skill was written.
    pub skills_written: BTreeMap<SkillName, Timestamp>,
    /// Serving instances by expert.
    pub instances: BTreeMap<ExpertName, Vec<Instance>>,
    /// Policies by slot.
    pub policies: BTreeMap<String, PolicySlot>,
}

impl Snapshot {
    /// A snapshot of `catalogue` in which nothing serves yet.
    pub fn new(revision: u64, catalogue: Catalogue) -> Self {
        let digest = Some(catalogue.digest());
        Self {
            revision,
            changed: revision,
            catalogue: Arc::new(catalogue),
            digest,
            ..Self::default()
        }
    }

    /// Whether at least one instance of the expert serves.
    pub fn serves(&self, expert: &ExpertName) -> bool {
        self.instances
            .get(expert)
            .is_some_and(|instances| !instances.is_empty())
    }

    /// Serving experts that have a capability, by name.
    pub fn with_capability<'a>(
        &'a self,
        capability: &'a Capability,
    ) -> impl Iterator<Item = &'a Descriptor> {
        self.catalogue.experts.values().filter(move |descriptor| {
            descriptor.capabilities.contains(capability) && self.serves(&descriptor.name)
        })
    }

    /// Every pair whose skill's requirements the expert meets and which has a serving instance:
    /// the **action set** before a task narrows it.
    pub fn action_set(&self) -> Vec<Candidate<'_>> {
        let helped = |skill: &&SkillHeader| {
            skill
                .helpers
                .iter()
                .all(|helper| self.with_capability(helper).next().is_some())
        };
        let serving: Vec<&Descriptor> = self
            .catalogue
            .experts
            .values()
            .filter(|descriptor| self.serves(&descriptor.name))
            .collect();
        self.catalogue
            .skills
            .values()
            .filter(helped)
            .flat_map(|skill| {
                serving
                    .iter()
                    .filter(|expert| is_compatible(expert, skill))
                    .map(move |expert| Candidate { expert, skill })
            })
            .collect()
    }

    /// The part of the action set that suits a task with `image_count` images, an answer of
    /// `answer_kind` ([`crate::answer::AnswerKind::name`]) and `constraints`.
    pub fn candidates(
        &self,
        image_count: usize,
        answer_kind: &str,
        constraints: &Constraints,
    ) -> Vec<Candidate<'_>> {
        self.action_set()
            .into_iter()
            .filter(|candidate| suits(candidate, image_count, answer_kind))
            .filter(|candidate| constraints.permit(&candidate.pair()))
            .collect()
    }

    /// The entries of a pair.
    ///
    /// # Errors
    /// Why the pair cannot be called now.
    pub fn resolve(&self, pair: &Pair) -> Result<Candidate<'_>, Unreachable> {
        let expert = self
            .catalogue
            .experts
            .get(&pair.expert)
            .ok_or_else(|| Unreachable::UnknownExpert(pair.expert.clone()))?;
        let skill = self
            .catalogue
            .skills
            .get(&pair.skill)
            .ok_or_else(|| Unreachable::UnknownSkill(pair.skill.clone()))?;
        if !is_compatible(expert, skill) {
            return Err(Unreachable::Incompatible {
                expert: pair.expert.clone(),
                skill: pair.skill.clone(),
            });
        }
        if !self.serves(&pair.expert) {
            return Err(Unreachable::NotServing(pair.expert.clone()));
        }
        let missing = skill
            .helpers
            .iter()
            .find(|helper| self.with_capability(helper).next().is_none());
        if let Some(missing) = missing {
            return Err(Unreachable::MissingHelper(missing.clone()));
        }
        Ok(Candidate { expert, skill })
    }

    /// Refuses constraints that pin what the registry does not know.
    ///
    /// # Errors
    /// [`CoreError::Invalid`] naming the entry, `constraints.pinned[i].expert` or `.skill`.
    pub fn check_pinned(&self, constraints: &Constraints) -> Result<(), CoreError> {
        for (index, pair) in constraints.pinned.iter().enumerate() {
            let part = match self.resolve(pair) {
                Err(Unreachable::UnknownExpert(_)) => "expert",
                Err(Unreachable::UnknownSkill(_) | Unreachable::Incompatible { .. }) => "skill",
                // Not serving now is no mistake of the client: an instance may come.
                Err(Unreachable::NotServing(_) | Unreachable::MissingHelper(_)) | Ok(_) => continue,
            };
            let reason = self.resolve(pair).err().map(|error| error.to_string());
            return Err(CoreError::invalid(
                format!("constraints.pinned[{index}].{part}"),
                reason.unwrap_or_default(),
            ));
        }
        Ok(())
    }

    /// When the write happened that made a pair complete: the latest of the descriptor, the skill
    /// and the earliest serving instance.
    pub fn completed_at(&self, pair: &Pair) -> Option<Timestamp> {
        let expert = *self.experts_written.get(&pair.expert)?;
        let skill = *self.skills_written.get(&pair.skill)?;
        let instance = self
            .instances
            .get(&pair.expert)?
            .iter()
            .map(|instance| instance.written_at)
            .min()?;
        Some(expert.max(skill).max(instance))
    }
}

fn is_compatible(expert: &Descriptor, skill: &SkillHeader) -> bool {
    skill.requires.is_subset(&expert.capabilities)
        && !(skill.images == ImageNeed::Required
            && skill.expert_reads_images
            && !expert.modalities.contains(&Modality::Image))
}

fn suits(candidate: &Candidate<'_>, image_count: usize, answer_kind: &str) -> bool {
    let Candidate { expert, skill } = candidate;
    let has_images = image_count > 0;
    let images_fit = match skill.images {
        ImageNeed::Required => has_images,
        ImageNeed::None => !has_images,
        ImageNeed::Optional => true,
    };
    let expert_sees =
        !has_images || !skill.expert_reads_images || expert.modalities.contains(&Modality::Image);
    let kind_fits = skill.answer_kinds.is_empty() || skill.answer_kinds.contains(answer_kind);
    images_fit && expert_sees && kind_fits
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
