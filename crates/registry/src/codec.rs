//! Entries and their bytes. Pure.

use maestro_core::{
    CoreError, Timestamp,
    registry::{Descriptor, Entry, Instance, PolicySlot, SkillHeader},
};
use maestro_proto::v1;
use maestro_wire::{FromProto, ToProto};
use prost::Message;

use crate::{keys::Key, unknown::keep_unknown};

/// An entry of the registry.
#[derive(Clone, Debug, PartialEq)]
pub enum Stored {
    /// Under [`Key::Expert`].
    Expert(Entry<Descriptor>),
    /// Under [`Key::Instance`].
    Instance(Instance),
    /// Under [`Key::Skill`].
    Skill(Entry<SkillHeader>),
    /// Under [`Key::Policy`].
    Policy(PolicySlot),
}

impl Stored {
    /// Whether two entries say the same, whenever they were written.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Expert(one), Self::Expert(two)) => one.value == two.value,
            (Self::Skill(one), Self::Skill(two)) => one.value == two.value,
            (Self::Policy(one), Self::Policy(two)) => one == two,
            (Self::Instance(one), Self::Instance(two)) => {
                let Instance {
                    expert,
                    id,
                    endpoint,
                    capacity,
                    written_at: _,
                } = one;
                (expert, id, endpoint, capacity)
                    == (&two.expert, &two.id, &two.endpoint, &two.capacity)
            }
            _ => false,
        }
    }

    /// What it says in one line, for a message about a conflict.
    pub(crate) fn summary(&self) -> String {
        match self {
            Self::Expert(Entry { value, .. }) => {
                let capabilities: Vec<&str> = value
                    .capabilities
                    .iter()
                    .map(|capability| capability.as_str())
                    .collect();
                let backend = value
                    .backend
                    .as_ref()
                    .map_or("none", |backend| &backend.kind);
                let description = shorten(&value.description);
                format!(
                    "capabilities {}, backend {backend}, {description:?}",
                    capabilities.join(" "),
                )
            }
            Self::Skill(Entry { value, .. }) => {
                format!(
                    "bundle {}, {:?}",
                    value.bundle.short(),
                    shorten(&value.description)
                )
            }
            Self::Instance(instance) => {
                format!("{} with capacity {}", instance.endpoint, instance.capacity)
            }
            Self::Policy(slot) => {
                let shadow = slot
                    .shadow
                    .map_or_else(|| "none".into(), |digest| digest.short());
                format!("active {}, shadow {shadow}", slot.active.short())
            }
        }
    }

    /// The same entry as every reader will see it: settings of a backend lose on the way what the
    /// protocol cannot tell apart, such as 3 and 3.0.
    ///
    /// # Errors
    /// [`CoreError::Invalid`] where no reader could read it.
    pub(crate) fn normalised(self) -> Result<Self, CoreError> {
        Ok(match self {
            Self::Expert(Entry { value, written_at }) => Self::Expert(Entry {
                value: Descriptor::from_proto(value.to_proto())?,
                written_at,
            }),
            Self::Skill(Entry { value, written_at }) => Self::Skill(Entry {
                value: SkillHeader::from_proto(value.to_proto())?,
                written_at,
            }),
            other => other,
        })
    }

    /// The bytes to store in place of `old`.
    pub(crate) fn encode_over(&self, old: &[u8]) -> Vec<u8> {
        keep_unknown(old, self.encode(), self.known_fields())
    }

    /// Field numbers of the message that [`Self::encode`] writes.
    fn known_fields(&self) -> &'static [u32] {
        match self {
            Self::Instance(_) => &[1],
            Self::Expert(_) | Self::Skill(_) | Self::Policy(_) => &[1, 2],
        }
    }

    /// Its bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Expert(entry) => v1::StoredExpert {
                descriptor: Some(entry.value.to_proto()),
                written_at: Some(entry.written_at.to_proto()),
            }
            .encode_to_vec(),
            Self::Instance(instance) => v1::StoredInstance {
                instance: Some(instance.to_proto()),
            }
            .encode_to_vec(),
            Self::Skill(entry) => v1::StoredSkill {
                header: Some(entry.value.to_proto()),
                written_at: Some(entry.written_at.to_proto()),
            }
            .encode_to_vec(),
            Self::Policy(slot) => v1::StoredPolicySlot {
                slot: Some(slot.to_proto()),
                written_at: Some(Timestamp::now().to_proto()),
            }
            .encode_to_vec(),
        }
    }

    /// Reads what stands under `key`.
    ///
    /// # Errors
    /// [`CoreError::DataLoss`] where it is no message, [`CoreError::Invalid`] where it says
    /// something that cannot be or is about another entry.
    pub(crate) fn decode(key: &Key, bytes: &[u8]) -> Result<Self, CoreError> {
        match key {
            Key::Expert(name) => {
                let stored: v1::StoredExpert = message(bytes)?;
                let value: Descriptor = required("descriptor", stored.descriptor)?;
                same("descriptor.name", name, &value.name)?;
                Ok(Self::Expert(Entry {
                    value,
                    written_at: written_at(stored.written_at)?,
                }))
            }
            Key::Instance(expert, id) => {
                let stored: v1::StoredInstance = message(bytes)?;
                let instance: Instance = required("instance", stored.instance)?;
                same("instance.expert", expert, &instance.expert)?;
                same("instance.id", id, &instance.id)?;
                Ok(Self::Instance(instance))
            }
            Key::Skill(name) => {
                let stored: v1::StoredSkill = message(bytes)?;
                let value: SkillHeader = required("header", stored.header)?;
                same("header.name", name, &value.name)?;
                Ok(Self::Skill(Entry {
                    value,
                    written_at: written_at(stored.written_at)?,
                }))
            }
            Key::Policy(_) => {
                let stored: v1::StoredPolicySlot = message(bytes)?;
                Ok(Self::Policy(required("slot", stored.slot)?))
            }
        }
    }
}

fn message<M: Message + Default>(bytes: &[u8]) -> Result<M, CoreError> {
    M::decode(bytes).map_err(|error| CoreError::DataLoss(error.to_string()))
}

fn required<T: FromProto>(field: &str, value: Option<T::Proto>) -> Result<T, CoreError> {
    let value = value.ok_or_else(|| CoreError::invalid(field, "must be set"))?;
    T::from_proto(value).map_err(|error| error.under(field))
}

fn same<T: PartialEq + std::fmt::Display>(
    field: &str,
    in_key: &T,
    in_value: &T,
) -> Result<(), CoreError> {
    if in_key == in_value {
        return Ok(());
    }
    Err(CoreError::invalid(
        field,
        format!("is {in_value}, but stands under {in_key}"),
    ))
}

fn written_at(value: Option<<Timestamp as ToProto>::Proto>) -> Result<Timestamp, CoreError> {
    required("written_at", value)
}

fn shorten(text: &str) -> String {
    const SHOWN_CHARS: usize = 40;
    if text.chars().count() <= SHOWN_CHARS {
        return text.to_owned();
    }
    text.chars().take(SHOWN_CHARS).chain(['…']).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use maestro_core::{
        Capability, Digest, ExpertName, InstanceId, SkillName,
        registry::{BackendSpec, CallBounds, ImageNeed, Limits, Modality},
    };
    use prost_types::FileDescriptorSet;

    use super::*;

    pub(crate) fn expert(name: &str, description: &str) -> Stored {
        Stored::Expert(Entry {
            value: Descriptor {
                name: ExpertName::new(name).unwrap(),
                description: description.into(),
                capabilities: [Capability::new("chat").unwrap()].into(),
                modalities: [Modality::Text].into(),
                price: None,
                limits: Limits::default(),
                typical_latency_ms: Some(5),
                backend: Some(BackendSpec {
                    kind: "process".into(),
                    config: serde_json::from_str(r#"{"threads": 3.0, "rate": 0.5}"#).unwrap(),
                }),
            },
            written_at: Timestamp::from_second(7).unwrap(),
        })
    }

    pub(crate) fn skill(name: &str, description: &str) -> Stored {
        Stored::Skill(Entry {
            value: SkillHeader {
                hedge: false,
                name: SkillName::new(name).unwrap(),
                description: description.into(),
                bundle: Digest::of(name.as_bytes()),
                requires: [Capability::new("chat").unwrap()].into(),
                helpers: [].into(),
                optional_helpers: [].into(),
                images: ImageNeed::Optional,
                expert_reads_images: false,
                answer_kinds: [].into(),
                direct: false,
                bounds: CallBounds::default(),
                solvers: vec![],
            },
            written_at: Timestamp::from_second(8).unwrap(),
        })
    }

    pub(crate) fn instance(expert: &str, id: &str, capacity: u32) -> Stored {
        Stored::Instance(Instance {
            expert: ExpertName::new(expert).unwrap(),
            id: InstanceId::new(id).unwrap(),
            endpoint: "http://127.0.0.1:9".parse().unwrap(),
            capacity,
            written_at: Timestamp::from_second(9).unwrap(),
        })
    }

    pub(crate) fn policy(active: &str) -> Stored {
        Stored::Policy(PolicySlot {
            active: Digest::of(active.as_bytes()),
            shadow: None,
            previous: None,
        })
    }

    pub(crate) fn key(stored: &Stored) -> Key {
        match stored {
            Stored::Expert(entry) => Key::Expert(entry.value.name.clone()),
            Stored::Instance(one) => Key::Instance(one.expert.clone(), one.id.clone()),
            Stored::Skill(entry) => Key::Skill(entry.value.name.clone()),
            Stored::Policy(_) => Key::policy("default").unwrap(),
        }
    }

    #[test]
    fn a_normalised_entry_is_read_as_it_was_written() {
        for stored in [
            expert("e", "d"),
            skill("s", "d"),
            instance("e", "i", 2),
            policy("p"),
        ] {
            let stored = stored.normalised().unwrap();
            assert_eq!(
                Stored::decode(&key(&stored), &stored.encode()).unwrap(),
                stored
            );
            assert_eq!(stored.clone().normalised().unwrap(), stored);
        }
    }

    #[test]
    fn an_entry_under_a_foreign_key_is_refused() {
        let bytes = expert("e", "d").encode();
        let error =
            Stored::decode(&Key::Expert(ExpertName::new("f").unwrap()), &bytes).unwrap_err();
        assert!(error.to_string().contains("descriptor.name"), "{error}");
        let garbage = Stored::decode(&Key::policy("default").unwrap(), b"\xff\xff").unwrap_err();
        assert!(matches!(garbage, CoreError::DataLoss(_)));
    }

    #[test]
    fn the_known_fields_are_those_of_the_schema() {
        let schema = FileDescriptorSet::decode(v1::FILE_DESCRIPTOR_SET).unwrap();
        let numbers = |message: &str| -> Vec<u32> {
            schema
                .file
                .iter()
                .flat_map(|file| &file.message_type)
                .find(|candidate| candidate.name() == message)
                .unwrap()
                .field
                .iter()
                .map(|field| field.number() as u32)
                .collect()
        };
        assert_eq!(expert("e", "d").known_fields(), numbers("StoredExpert"));
        assert_eq!(
            instance("e", "i", 1).known_fields(),
            numbers("StoredInstance")
        );
        assert_eq!(skill("s", "d").known_fields(), numbers("StoredSkill"));
        assert_eq!(policy("p").known_fields(), numbers("StoredPolicySlot"));
    }

    #[test]
    fn summaries_are_short_and_tell_instances_apart_by_endpoint() {
        assert!(
            instance("e", "i", 2)
                .summary()
                .contains("http://127.0.0.1:9")
        );
        assert!(expert("e", &"long ".repeat(100)).summary().len() < 150);
    }
}
