//! The files as they are written, before they are checked.

use std::{collections::BTreeMap, fmt};

use maestro_core::{Capability, registry::ImageNeed};
use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};
use serde_json::Value as Json;
use serde_saphyr::Spanned;

use crate::step::{CropUnit, ImageRef, ImageSelection};

/// `skill.yaml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SkillFile {
    /// Capabilities that the pair's expert needs beyond what the steps show.
    #[serde(default)]
    pub(crate) requires: Vec<Capability>,
    #[serde(default)]
    pub(crate) images: ImageNeed,
    #[serde(default)]
    pub(crate) expert_reads_images: Option<bool>,
    #[serde(default)]
    pub(crate) answer_kinds: Vec<Spanned<String>>,
    #[serde(default)]
    pub(crate) direct: bool,
    #[serde(default)]
    pub(crate) limits: LimitsFile,
    #[serde(default)]
    pub(crate) dispatch: Option<Spanned<DispatchFile>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LimitsFile {
    /// Most tokens that one call reads.
    pub(crate) input_tokens: Option<u32>,
    /// Most tokens of a reply, for a skill without solvers.
    pub(crate) output_tokens: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DispatchFile {
    pub(crate) default: Option<String>,
    #[serde(default = "one")]
    pub(crate) threshold: f32,
    #[serde(default)]
    pub(crate) rules: Vec<Spanned<RuleFile>>,
    pub(crate) image: Option<Spanned<ProbeFile>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuleFile {
    pub(crate) solver: String,
    #[serde(default)]
    pub(crate) priority: i32,
    #[serde(default)]
    pub(crate) keywords: BTreeMap<String, f32>,
    #[serde(default)]
    pub(crate) answer_kinds: BTreeMap<String, f32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProbeFile {
    pub(crate) capability: Capability,
    #[serde(default)]
    pub(crate) operation: String,
    #[serde(default)]
    pub(crate) call: ProbeTarget,
    pub(crate) weight: f32,
    pub(crate) decisive: f32,
    pub(crate) kinds: BTreeMap<String, Vec<String>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ProbeTarget {
    #[default]
    Expert,
    Helper,
}

/// `solvers/NAME.yaml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SolverFile {
    pub(crate) description: String,
    #[serde(default)]
    pub(crate) steps: BTreeMap<String, Spanned<StepFile>>,
    pub(crate) answer: Spanned<AnswerFile>,
}

/// A step: exactly one of the first seven keys, and what applies to any.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StepFile {
    pub(crate) ask: Option<AskFile>,
    pub(crate) expert: Option<ServiceFile>,
    pub(crate) helper: Option<ServiceFile>,
    pub(crate) image: Option<ImageFile>,
    pub(crate) tool: Option<ToolFile>,
    pub(crate) extract: Option<ExtractFile>,
    pub(crate) run: Option<RunFile>,
    pub(crate) when: Option<String>,
    #[serde(default)]
    pub(crate) optional: bool,
    pub(crate) timeout_ms: Option<u64>,
    /// Steps to wait for beyond those whose results are read.
    #[serde(default)]
    pub(crate) after: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AskFile {
    pub(crate) system: Option<String>,
    #[serde(default)]
    pub(crate) examples: Vec<ExampleFile>,
    pub(crate) prompt: String,
    pub(crate) images: Option<ImagesFile>,
    pub(crate) max_output_tokens: u32,
    #[serde(default)]
    pub(crate) temperature: f32,
    #[serde(default)]
    pub(crate) stop: Vec<String>,
    #[serde(default = "one_sample")]
    pub(crate) samples: u32,
    pub(crate) expect: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExampleFile {
    pub(crate) user: String,
    pub(crate) assistant: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServiceFile {
    pub(crate) capability: Capability,
    #[serde(default)]
    pub(crate) operation: String,
    pub(crate) text: Option<String>,
    pub(crate) images: Option<ImagesFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImageFile {
    pub(crate) of: ImageRef,
    pub(crate) crop: Option<CropFile>,
    pub(crate) erase: Option<String>,
    #[serde(default = "one")]
    pub(crate) zoom: f32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CropFile {
    pub(crate) bounds: String,
    #[serde(default)]
    pub(crate) unit: CropUnit,
    #[serde(default)]
    pub(crate) margin: f32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToolFile {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) with: BTreeMap<String, Json>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExtractFile {
    pub(crate) from: String,
    pub(crate) kind: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunFile {
    pub(crate) code: String,
    pub(crate) stdin: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AnswerFile {
    pub(crate) text: String,
    pub(crate) from: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) confidence: Option<String>,
}

fn one() -> f32 {
    1.0
}

fn one_sample() -> u32 {
    1
}

/// `all`, `none` or a list of images.
#[derive(Debug)]
pub(crate) struct ImagesFile(pub(crate) ImageSelection);

impl<'de> Deserialize<'de> for ImagesFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Selection;
        impl<'de> Visitor<'de> for Selection {
            type Value = ImageSelection;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("all, none, or a list of image indices and step names")
            }
            fn visit_str<E: Error>(self, value: &str) -> Result<ImageSelection, E> {
                match value {
                    "all" => Ok(ImageSelection::All),
                    "none" => Ok(ImageSelection::none()),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(value), &self)),
                }
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<ImageSelection, A::Error> {
                let mut images = Vec::new();
                while let Some(image) = seq.next_element()? {
                    images.push(image);
                }
                Ok(ImageSelection::These(images))
            }
        }
        deserializer.deserialize_any(Selection).map(Self)
    }
}

impl<'de> Deserialize<'de> for ImageRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reference;
        impl Visitor<'_> for Reference {
            type Value = ImageRef;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the index of an image of the task or the name of a step")
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<ImageRef, E> {
                usize::try_from(value)
                    .map(ImageRef::Task)
                    .map_err(E::custom)
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<ImageRef, E> {
                usize::try_from(value)
                    .map(ImageRef::Task)
                    .map_err(E::custom)
            }
            fn visit_str<E: Error>(self, value: &str) -> Result<ImageRef, E> {
                Ok(ImageRef::Step(value.to_owned()))
            }
        }
        deserializer.deserialize_any(Reference)
    }
}
