//! Choices among labels, as they are written.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};

use super::{AskFile, one, schema::LabelsSchema};

/// Says which of several labels fits.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClassifyFile {
    /// The text whose words count, a template. Default: the query.
    pub(crate) text: Option<String>,
    /// The labels: a list, or a map that gives each the weights of words that speak for it.
    #[schemars(with = "LabelsSchema")]
    pub(crate) labels: LabelsFile,
    /// Least weight with which words decide.
    #[serde(default = "one")]
    pub(crate) threshold: f32,
    /// The question to the pair's expert where words do not decide. The labels are added to it.
    pub(crate) ask: Option<AskFile>,
    /// The value where nothing decides. Without one the step fails.
    pub(crate) otherwise: Option<String>,
}

/// Labels with the weights of words that speak for them.
#[derive(Debug)]
pub(crate) struct LabelsFile(pub(crate) BTreeMap<String, BTreeMap<String, f32>>);

impl<'de> Deserialize<'de> for LabelsFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Labels;
        impl<'de> Visitor<'de> for Labels {
            type Value = BTreeMap<String, BTreeMap<String, f32>>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of labels, or a map of labels to weights of words")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut labels = BTreeMap::new();
                while let Some(label) = seq.next_element::<String>()? {
                    if labels.insert(label.clone(), BTreeMap::new()).is_some() {
                        return Err(A::Error::custom(format!("label {label:?} stands twice")));
                    }
                }
                Ok(labels)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut labels = BTreeMap::new();
                while let Some((label, words)) = map.next_entry::<String, Option<_>>()? {
                    labels.insert(label, words.unwrap_or_default());
                }
                Ok(labels)
            }
        }
        deserializer.deserialize_any(Labels).map(Self)
    }
}
