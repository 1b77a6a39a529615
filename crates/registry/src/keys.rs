//! Which entry stands under which key. Pure.

use maestro_core::{CoreError, ExpertName, InstanceId, SkillName};

/// The directories of the registry. Others under the same prefix (journal, requests, …) are none
/// of its business and are never read.
const DIRECTORIES: [&str; 4] = ["experts", "instances", "skills", "policies"];

/// What an entry is the entry of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// An expert's descriptor.
    Expert(ExpertName),
    /// A serving instance of an expert.
    Instance(ExpertName, InstanceId),
    /// A skill's header.
    Skill(SkillName),
    /// A policy slot.
    Policy(String),
}

impl Key {
    /// The key of a policy slot.
    ///
    /// # Errors
    /// [`CoreError::Invalid`] where `slot` is not a name.
    pub fn policy(slot: &str) -> Result<Self, CoreError> {
        // A slot follows the rule of all names; only the field is called differently.
        match InstanceId::new(slot) {
            Err(CoreError::Invalid(violation)) => {
                Err(CoreError::invalid("slot", violation.description))
            }
            Err(other) => Err(other),
            Ok(_) => Ok(Self::Policy(slot.to_owned())),
        }
    }

    /// What kind of thing it names, for people.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Expert(_) => "expert",
            Self::Instance(..) => "instance",
            Self::Skill(_) => "skill",
            Self::Policy(_) => "policy slot",
        }
    }

    /// Its name, for people.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Expert(name) => name.to_string(),
            Self::Instance(expert, id) => format!("{expert}/{id}"),
            Self::Skill(name) => name.to_string(),
            Self::Policy(slot) => slot.clone(),
        }
    }

    /// The error for an entry that is not there.
    pub(crate) fn not_found(&self) -> CoreError {
        CoreError::NotFound {
            kind: self.kind(),
            name: self.name(),
        }
    }
}

/// Keys in etcd under one prefix.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    prefix: String,
}

impl Keys {
    pub(crate) fn new(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
        }
    }

    /// The prefixes under which the registry's keys stand.
    pub(crate) fn directories(&self) -> impl Iterator<Item = String> {
        DIRECTORIES
            .iter()
            .map(|directory| format!("{}/{directory}/", self.prefix))
    }

    pub(crate) fn format(&self, key: &Key) -> String {
        let prefix = &self.prefix;
        match key {
            Key::Expert(name) => format!("{prefix}/experts/{name}"),
            Key::Instance(expert, id) => format!("{prefix}/instances/{expert}/{id}"),
            Key::Skill(name) => format!("{prefix}/skills/{name}"),
            Key::Policy(slot) => format!("{prefix}/policies/{slot}"),
        }
    }

    pub(crate) fn parse(&self, key: &[u8]) -> Option<Key> {
        let path = str::from_utf8(key)
            .ok()?
            .strip_prefix(&self.prefix)?
            .strip_prefix('/')?;
        let (directory, name) = path.split_once('/')?;
        match directory {
            "experts" => ExpertName::new(name).ok().map(Key::Expert),
            "instances" => {
                let (expert, id) = name.split_once('/')?;
                Some(Key::Instance(
                    ExpertName::new(expert).ok()?,
                    InstanceId::new(id).ok()?,
                ))
            }
            "skills" => SkillName::new(name).ok().map(Key::Skill),
            "policies" => Key::policy(name).ok(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAME: &str = "[a-z0-9]([a-z0-9.-]{0,8}[a-z0-9])?";

    fn any_key() -> impl Strategy<Value = Key> {
        prop_oneof![
            NAME.prop_map(|name| Key::Expert(ExpertName::new(name).unwrap())),
            (NAME, NAME).prop_map(|(expert, id)| Key::Instance(
                ExpertName::new(expert).unwrap(),
                InstanceId::new(id).unwrap()
            )),
            NAME.prop_map(|name| Key::Skill(SkillName::new(name).unwrap())),
            NAME.prop_map(|slot| Key::policy(&slot).unwrap()),
        ]
    }

    proptest! {
        #[test]
        fn a_key_is_read_as_it_was_written(key in any_key()) {
            let keys = Keys::new("/maestro/v1");
            let text = keys.format(&key);
            prop_assert_eq!(keys.parse(text.as_bytes()), Some(key));
            prop_assert_eq!(keys.directories().filter(|one| text.starts_with(one)).count(), 1);
            prop_assert_eq!(Keys::new("/other").parse(text.as_bytes()), None);
        }

        #[test]
        fn any_bytes_can_be_parsed(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let keys = Keys::new("");
            if let Some(key) = keys.parse(&bytes) {
                prop_assert_eq!(keys.format(&key).into_bytes(), bytes);
            }
        }
    }

    #[test]
    fn keys_stand_where_the_design_says() {
        let keys = Keys::new("/maestro/v1");
        let instance = Key::Instance(ExpertName::new("e").unwrap(), InstanceId::new("i").unwrap());
        assert_eq!(keys.format(&instance), "/maestro/v1/instances/e/i");
        for other in [
            "/maestro/v1/journal/a/b",
            "/maestro/v1/experts",
            "/maestro/v1/experts/a/b",
        ] {
            assert_eq!(keys.parse(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn a_bad_slot_is_named() {
        let error = Key::policy("a/b").unwrap_err();
        assert!(error.to_string().contains("slot"), "{error}");
    }
}
