use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Descriptor, SkillHeader};
use crate::{
    digest::Digest,
    ids::{ExpertName, SkillName},
};

/// The descriptors and skills. Its digest changes only when a description does, so that a step
/// can name exactly what the policy chose from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Catalogue {
    /// Experts by name.
    pub experts: BTreeMap<ExpertName, Descriptor>,
    /// Skills by name.
    pub skills: BTreeMap<SkillName, SkillHeader>,
}

impl Catalogue {
    /// The canonical content: JSON with sorted keys. This is what the blob store keeps.
    pub fn content(&self) -> Vec<u8> {
        // Maps are ordered and every key is a string, so serialisation cannot fail; an empty
        // content would still be a valid, if wrong, address.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The address of [`Self::content`].
    pub fn digest(&self) -> Digest {
        Digest::of(&self.content())
    }
}
