//! Names and identifiers. Each is parsed once and is valid from then on.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{CoreError, FieldViolation};

/// Longest name of a registry entry, in bytes.
pub const MAX_NAME_BYTES: usize = 64;

fn check_name(field: &'static str, value: &str) -> Result<(), CoreError> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let valid = value.len() <= MAX_NAME_BYTES
        && value.chars().all(allowed)
        && edge(value.chars().next())
        && edge(value.chars().next_back());
    if valid {
        return Ok(());
    }
    Err(FieldViolation::new(
        field,
        format!(
            "{value:?} is not a name: 1 to {MAX_NAME_BYTES} lower-case letters, digits, '-' or '.', \
             beginning and ending with a letter or digit"
        ),
    )
    .into())
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $field:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Arc<str>);

        impl $type {
            /// Parses a name; the error names the field and the rule.
            pub fn new(value: impl AsRef<str>) -> Result<Self, CoreError> {
                check_name($field, value.as_ref())?;
                Ok(Self(Arc::from(value.as_ref())))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = CoreError;
            fn from_str(value: &str) -> Result<Self, CoreError> {
                Self::new(value)
            }
        }

        impl TryFrom<String> for $type {
            type Error = CoreError;
            fn try_from(value: String) -> Result<Self, CoreError> {
                Self::new(value)
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// Name of an expert in the registry.
    ExpertName, "expert"
);
name!(
    /// Name of a skill; equals the name of its folder.
    SkillName, "skill"
);
name!(
    /// Identifier of one serving instance of an expert, unique within the expert.
    InstanceId, "instance"
);
name!(
    /// What an expert can do: `chat`, `ocr`, `embed`, `detect`, … An open set: a capability is
    /// brought into being by the first descriptor that names it.
    Capability, "capability"
);
name!(
    /// Who a request belongs to.
    TenantId, "tenant"
);
name!(
    /// Identifier of a coordinator while it holds one lease: one that loses its lease goes on under
    /// another.
    CoordinatorId, "coordinator"
);
name!(
    /// Identifier of an episode (a UUIDv7 in text form, so that ids sort by creation).
    EpisodeId, "episode"
);

impl EpisodeId {
    /// A fresh identifier.
    pub fn generate() -> Self {
        Self(Arc::from(uuid::Uuid::now_v7().to_string().as_str()))
    }

    /// When it was generated, to the millisecond; `None` for one that was not generated here.
    pub fn generated_at(&self) -> Option<Timestamp> {
        let uuid: uuid::Uuid = self.as_str().parse().ok()?;
        if uuid.get_version() != Some(uuid::Version::SortRand) {
            return None;
        }
        let (seconds, nanoseconds) = uuid.get_timestamp()?.to_unix();
        let whole = Timestamp::from_second(i64::try_from(seconds).ok()?).ok()?;
        whole
            .checked_add(Duration::from_nanos(nanoseconds.into()))
            .ok()
    }
}

impl InstanceId {
    /// A fresh identifier.
    pub fn generate() -> Self {
        Self(Arc::from(uuid::Uuid::now_v7().to_string().as_str()))
    }
}

impl TenantId {
    /// The tenant of requests that carry no credential.
    pub fn anonymous() -> Self {
        Self(Arc::from("default"))
    }
}

/// A client's own key for a creation request (AIP-155): repeating it returns the first result.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RequestId(String);

impl RequestId {
    /// Parses a request id: 1 to 128 visible ASCII characters without `/`.
    pub fn new(value: impl Into<String>) -> Result<Self, CoreError> {
        let value = value.into();
        let valid = (1..=128).contains(&value.len())
            && value.bytes().all(|b| b.is_ascii_graphic() && b != b'/');
        if !valid {
            return Err(FieldViolation::new(
                "request_id",
                "must be 1 to 128 visible ASCII characters without '/'",
            )
            .into());
        }
        Ok(Self(value))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RequestId {
    type Error = CoreError;
    fn try_from(value: String) -> Result<Self, CoreError> {
        Self::new(value)
    }
}

impl From<RequestId> for String {
    fn from(value: RequestId) -> Self {
        value.0
    }
}

/// Key under which a call outside is made at most once (DESIGN: episode, step, path of the
/// solver's node, sample).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IdempotencyKey {
    /// Episode on whose behalf the call is made.
    pub episode: EpisodeId,
    /// Index of the step within the episode, from 0.
    pub step: u32,
    /// Path of the solver's node, segments joined by `/`; empty for a direct call.
    pub path: String,
    /// Index of the sample where a node asks several times, from 0.
    pub sample: u32,
}

impl IdempotencyKey {
    /// The key of the direct call of a step.
    pub fn step(episode: EpisodeId, step: u32) -> Self {
        Self {
            episode,
            step,
            path: String::new(),
            sample: 0,
        }
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}/{}#{}",
            self.episode, self.step, self.path, self.sample
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rule() {
        for good in ["a", "pp-ocr.v6", "x9"] {
            assert!(ExpertName::new(good).is_ok(), "{good}");
        }
        let long = "a".repeat(MAX_NAME_BYTES + 1);
        for bad in ["", "-a", "a-", "A", "a b", "a/b", "é", long.as_str()] {
            let error = ExpertName::new(bad).unwrap_err();
            assert!(error.to_string().contains("expert"), "{error}");
        }
    }

    #[test]
    fn generated_ids_are_valid_names() {
        assert!(EpisodeId::new(EpisodeId::generate().as_str()).is_ok());
        assert!(InstanceId::new(InstanceId::generate().as_str()).is_ok());
    }

    #[test]
    fn an_episode_id_says_when_it_was_generated() {
        let before = Timestamp::now();
        let at = EpisodeId::generate().generated_at().unwrap();
        let after = Timestamp::now();
        assert!(at.as_millisecond() >= before.as_millisecond(), "{at}");
        assert!(at <= after, "{at}");
        for other in ["e1", "6f6a7d3e-7c2f-4d0e-9a53-0f5a4f0f2c11"] {
            assert_eq!(EpisodeId::new(other).unwrap().generated_at(), None);
        }
    }
}
