//! The files as they are written, before they are checked.

use std::{collections::BTreeMap, fmt};

use maestro_core::{Capability, registry::ImageNeed};
use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};
use serde_json::Value as Json;
use serde_saphyr::Spanned;

use crate::step::{ImageRef, ImageSelection};

mod groups;
mod labels;
mod pictures;
mod schema;

pub use self::schema::json_schema;
use self::schema::{ImageNeedSchema, ImageSchema, ImagesSchema};
pub(crate) use self::{
    groups::{CaseFile, RepeatFile},
    labels::ClassifyFile,
    pictures::{CropFile, DrawFile, ImageFile, TileFile},
    schema::ACTIONS,
};

/// `skill.yaml`: what holds for a skill as a whole. Every key is optional.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SkillFile {
    /// Capabilities that the pair's expert needs beyond what the steps show.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub(crate) requires: Vec<Capability>,
    /// What the skill does with the task's images.
    #[serde(default)]
    #[schemars(with = "ImageNeedSchema")]
    pub(crate) images: ImageNeed,
    /// Whether the pair's expert itself looks at the images. Default: unless `images: none`.
    #[serde(default)]
    pub(crate) expert_reads_images: Option<bool>,
    /// Kinds of answer that the skill gives. Default: all.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub(crate) answer_kinds: Vec<Spanned<String>>,
    /// Whether the call goes to the expert as it is. Such a skill has no solvers.
    #[serde(default)]
    pub(crate) direct: bool,
    /// Whether a call that is slow may be made a second time at another instance. Both may cost.
    #[serde(default)]
    pub(crate) hedge: bool,
    /// Most tokens of a call.
    #[serde(default)]
    pub(crate) limits: LimitsFile,
    /// Which solver takes which question. Needed where there are several.
    #[serde(default)]
    #[schemars(with = "Option<DispatchFile>")]
    pub(crate) dispatch: Option<Spanned<DispatchFile>>,
}

/// Most tokens of a call.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LimitsFile {
    /// Most tokens that one call reads.
    pub(crate) input_tokens: Option<u32>,
    /// Most tokens of a reply, for a skill without solvers.
    pub(crate) output_tokens: Option<u32>,
}

/// Which solver takes which question.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DispatchFile {
    /// The solver where nothing speaks for any.
    pub(crate) default: Option<String>,
    /// Least score with which a solver is chosen.
    #[serde(default = "one")]
    pub(crate) threshold: f32,
    /// Scores by words.
    #[serde(default)]
    #[schemars(with = "Vec<RuleFile>")]
    pub(crate) rules: Vec<Spanned<RuleFile>>,
    /// Scores by the kind of image.
    #[schemars(with = "Option<ProbeFile>")]
    pub(crate) image: Option<Spanned<ProbeFile>>,
    /// A question to the pair's expert where scores do not decide: none reaches the threshold, or
    /// the best are equal. The solvers are added to it; its templates see no steps.
    #[schemars(with = "Option<AskFile>")]
    pub(crate) ask: Option<Spanned<AskFile>>,
}

/// Scores a solver by words of the question.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuleFile {
    /// The solver that gains.
    pub(crate) solver: String,
    /// Settles equal scores: the higher one wins.
    #[serde(default)]
    pub(crate) priority: i32,
    /// Weights of terms. A `*` at the end of a word stands for any ending.
    #[serde(default)]
    pub(crate) keywords: BTreeMap<String, f32>,
    /// Weights by the kind of answer wanted.
    #[serde(default)]
    pub(crate) answer_kinds: BTreeMap<String, f32>,
}

/// Scores solvers by one call that says what kind of image it is.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProbeFile {
    /// The capability that is called.
    #[schemars(with = "String")]
    pub(crate) capability: Capability,
    /// Its operation.
    #[serde(default)]
    pub(crate) operation: String,
    /// Who is called.
    #[serde(default)]
    pub(crate) call: ProbeTarget,
    /// Weight of a kind that is named with full confidence.
    pub(crate) weight: f32,
    /// The call is spared where words alone put a solver this far ahead.
    pub(crate) decisive: f32,
    /// The solvers that gain by each kind.
    pub(crate) kinds: BTreeMap<String, Vec<String>>,
}

/// Who is called to look at the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ProbeTarget {
    /// The pair's expert.
    #[default]
    Expert,
    /// Any serving expert that has the capability.
    Helper,
}

/// Steps by name.
pub(crate) type StepsFile = BTreeMap<String, Spanned<StepFile>>;

/// `solvers/NAME.yaml`: one workflow of a skill.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SolverFile {
    /// What it solves.
    pub(crate) description: String,
    /// Its steps by name. Each runs as soon as the results that it reads are there.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, StepFile>")]
    pub(crate) steps: StepsFile,
    /// How its result is made.
    #[schemars(with = "AnswerFile")]
    pub(crate) answer: Spanned<AnswerFile>,
}

/// A step: exactly one action, and what applies to any.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = schema::exactly_one_action)]
pub(crate) struct StepFile {
    /// Asks the pair's expert in words.
    pub(crate) ask: Option<AskFile>,
    /// Calls a capability of the pair's own expert.
    pub(crate) expert: Option<ServiceFile>,
    /// Calls any serving expert that has a capability.
    pub(crate) helper: Option<ServiceFile>,
    /// Makes an image out of another: boxes drawn, cut out, enlarged.
    pub(crate) image: Option<ImageFile>,
    /// Covers an image with overlapping tiles.
    pub(crate) tile: Option<TileFile>,
    /// Runs a deterministic tool.
    pub(crate) tool: Option<ToolFile>,
    /// Reads an answer out of a text, or the most frequent one out of several.
    pub(crate) extract: Option<ExtractFile>,
    /// Runs a program in the sandbox.
    pub(crate) run: Option<RunFile>,
    /// Says which of several labels fits.
    pub(crate) classify: Option<ClassifyFile>,
    /// Runs the first case whose condition is true.
    #[schemars(with = "Option<Vec<CaseFile>>")]
    pub(crate) branch: Option<Vec<Spanned<CaseFile>>>,
    /// Runs steps again until a condition is true.
    pub(crate) repeat: Option<RepeatFile>,
    /// An expression; where it is false the step is skipped and its result is null.
    pub(crate) when: Option<String>,
    /// Whether a failure is a null result rather than the end of the run.
    #[serde(default)]
    pub(crate) optional: bool,
    /// Longest time of the step. Default: 30,000, for a branch or a repetition what its steps
    /// may take.
    pub(crate) timeout_ms: Option<u64>,
    /// Steps to wait for beyond those whose results are read.
    #[serde(default)]
    pub(crate) after: Vec<String>,
}

/// A question to the pair's expert.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AskFile {
    /// Instructions, a template.
    pub(crate) system: Option<String>,
    /// Turns before the question, word for word.
    #[serde(default)]
    pub(crate) examples: Vec<ExampleFile>,
    /// The question, a template.
    pub(crate) prompt: String,
    /// Images that go along. Default: all of the task, where the expert reads images.
    #[schemars(with = "Option<ImagesSchema>")]
    pub(crate) images: Option<ImagesFile>,
    /// Most tokens of the reply.
    pub(crate) max_output_tokens: u32,
    /// 0 is greedy.
    #[serde(default)]
    pub(crate) temperature: f32,
    /// Texts that end the reply.
    #[serde(default)]
    pub(crate) stop: Vec<String>,
    /// How often it is asked, at once.
    #[serde(default = "one_sample")]
    pub(crate) samples: u32,
    /// A regular expression that the reply must hold; its first group, else all of it, is the
    /// step's `value`.
    pub(crate) expect: Option<String>,
}

/// A question and the reply it should get.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExampleFile {
    /// What the user says.
    pub(crate) user: String,
    /// What the expert says.
    pub(crate) assistant: String,
}

/// A call to a capability other than a chat.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServiceFile {
    /// The capability.
    #[schemars(with = "String")]
    pub(crate) capability: Capability,
    /// Which of its operations.
    #[serde(default)]
    pub(crate) operation: String,
    /// Text that goes along, a template.
    pub(crate) text: Option<String>,
    /// Images that go along. Default: the first of the task.
    #[schemars(with = "Option<ImagesSchema>")]
    pub(crate) images: Option<ImagesFile>,
    /// Whether each image goes in a call of its own; what is found is placed in the task's image.
    #[serde(default)]
    pub(crate) each: bool,
}

/// A call of a deterministic tool.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToolFile {
    /// The tool.
    pub(crate) name: String,
    /// Its arguments; texts are templates.
    #[serde(default)]
    pub(crate) with: BTreeMap<String, Json>,
}

/// Reads an answer out of a text.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExtractFile {
    /// The text, or a list of texts that vote: a template.
    pub(crate) from: String,
    /// The kind of answer. Default: the one that the task wants.
    pub(crate) kind: Option<String>,
}

/// Runs a program in the sandbox.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunFile {
    /// Its text in Python, a template.
    pub(crate) code: String,
    /// What it reads, a template.
    pub(crate) stdin: Option<String>,
}

/// How a workflow's result is made.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AnswerFile {
    /// The text of the observation, a template.
    pub(crate) text: String,
    /// What the answer is read from, a template. Default: the text.
    pub(crate) from: Option<String>,
    /// The kind of answer. Default: the one that the task wants.
    pub(crate) kind: Option<String>,
    /// How sure the answer is, 0 to 1, a template. Default: how clearly the text claims it.
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
