//! The steps of a workflow, valid by construction.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
    time::Duration,
};

use maestro_core::Capability;
use regex::Regex;
use serde_json::Value as Json;

use crate::{classify::Classify, template::Template};

mod group;

pub use group::{Branch, Case, Group, Repeat};

/// One step of a workflow.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its name; later steps read its result under it.
    pub name: String,
    /// What it does.
    pub action: Action,
    /// It is skipped where this is false; its result is then null.
    pub when: Option<Template>,
    /// Whether its failure is a null result rather than the end of the run.
    pub optional: bool,
    /// Longest time of it, each call included.
    pub timeout: Duration,
    /// The steps of its group that it waits for.
    pub needs: BTreeSet<String>,
    /// The steps whose results it reads, those inside of others too.
    pub(crate) reads: BTreeSet<String>,
}

/// What a step does.
#[derive(Clone, Debug)]
pub enum Action {
    /// Asks the pair's expert in words.
    Ask(Ask),
    /// Calls a capability of the pair's own expert.
    Expert(ServiceCall),
    /// Calls any serving expert that has a capability.
    Helper(ServiceCall),
    /// Makes an image out of another.
    Image(ImageStep),
    /// Runs a deterministic tool.
    Tool(ToolCall),
    /// Reads an answer out of a text.
    Extract(Extract),
    /// Runs a program in the sandbox.
    Run(RunCode),
    /// Covers an image with smaller ones.
    Tile(Tile),
    /// Says which of several labels fits.
    Classify(Classify),
    /// Runs one of several groups of steps.
    Branch(Branch),
    /// Runs a group of steps several times.
    Repeat(Repeat),
}

/// A question to the pair's expert.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Instructions.
    pub system: Option<Template>,
    /// Turns before the question, word for word: how such questions are answered.
    pub examples: Vec<Example>,
    /// The question.
    pub prompt: Template,
    /// Images that go along.
    pub images: ImageSelection,
    /// Most tokens of the reply.
    pub max_output_tokens: u32,
    /// 0 is greedy.
    pub temperature: f32,
    /// Texts that end the reply.
    pub stop: Vec<String>,
    /// How often it is asked, at once.
    pub samples: u32,
    /// What the reply must hold; its first group (else all of it) becomes the step's `value`. A
    /// reply without it fails the step.
    pub expect: Option<Regex>,
}

/// A question and the reply it should get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// What the user says.
    pub user: String,
    /// What the expert says.
    pub assistant: String,
}

/// A call to a capability other than a chat.
#[derive(Clone, Debug)]
pub struct ServiceCall {
    /// The capability.
    pub capability: Capability,
    /// Which of its operations, empty where it has one only.
    pub operation: String,
    /// Text that goes along.
    pub text: Option<Template>,
    /// Images that go along.
    pub images: ImageSelection,
    /// Whether each image goes in a call of its own. What is found is then placed in the image of
    /// the task that the call's image was cut out of.
    pub each: bool,
    /// Most calls.
    pub calls: u32,
}

/// An image: one of the task or the result of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageRef {
    /// An image of the task, from 0.
    Task(usize),
    /// The image that a step made, or all of its tiles.
    Step(String),
}

/// Images of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageSelection {
    /// All images of the task.
    All,
    /// These; one that is not there fails the step. The result of a skipped step is left out.
    These(Vec<ImageRef>),
}

impl ImageSelection {
    /// No image.
    pub fn none() -> Self {
        Self::These(Vec::new())
    }

    /// The steps that it refers to.
    pub fn steps(&self) -> impl Iterator<Item = &str> {
        let refs = match self {
            Self::All => [].as_slice(),
            Self::These(refs) => refs.as_slice(),
        };
        refs.iter().filter_map(|image| match image {
            ImageRef::Step(name) => Some(name.as_str()),
            ImageRef::Task(_) => None,
        })
    }
}

/// Makes an image: boxes drawn, cut out, rid of colours, then enlarged.
#[derive(Clone, Debug)]
pub struct ImageStep {
    /// The image it starts from.
    pub of: ImageRef,
    /// What is cut out.
    pub crop: Option<Crop>,
    /// Colours as `#rrggbb`, separated by spaces, that are painted over with what surrounds them.
    pub erase: Option<Template>,
    /// How much the result is enlarged (or reduced).
    pub zoom: f32,
    /// Boxes drawn on the image that it starts from.
    pub draw: Option<Draw>,
}

/// Boxes that are drawn on an image.
#[derive(Clone, Debug)]
pub struct Draw {
    /// A list of boxes: four numbers each (left, top, right, bottom), or anything with `bounds`.
    pub boxes: Template,
    /// What the boxes count in.
    pub unit: CropUnit,
    /// Whether each box bears its number, from 1.
    pub numbered: bool,
}

/// Covers an image with overlapping square tiles, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Tile {
    /// The image.
    pub of: ImageRef,
    /// Least side of a tile in pixels; it grows where there would be too many.
    pub size: u32,
    /// How much neighbours overlap, as a share of the side.
    pub overlap: f32,
    /// Most tiles.
    pub most: u32,
}

/// A part of an image. It is clamped to the image and never empty.
#[derive(Clone, Debug)]
pub struct Crop {
    /// Left, top, right, bottom.
    pub bounds: Template,
    /// What the bounds count in.
    pub unit: CropUnit,
    /// Added on every side, as a share of the part's width and height.
    pub margin: f32,
}

/// What bounds count in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CropUnit {
    /// Pixels of the image.
    #[default]
    Pixels,
    /// Shares of width and height, 0 to 1.
    Fractions,
}

/// A deterministic tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tool {
    /// Evaluates an arithmetic expression: `expression`.
    Calculator,
    /// Finds the arithmetic expression that a reply gives as its result: `text`.
    FindExpression,
    /// Finds the program in a reply, fenced or bare: `text`.
    FindCode,
    /// Finds a field of a receipt in its lines of text: `field`, `regions`.
    ReceiptField,
    /// Counts the things that a question asks for among those that a detector found: `question`,
    /// `detections`.
    CountObjects,
    /// Tells which letter that was read stands at a marked place: `regions`, `place` of the marked
    /// piece of ink among the boxes called character in `boxes`.
    MarkedCharacter,
    /// Counts the routes between the stations that a question names: `question`, `regions`,
    /// `routes` as pairs of the boxes called station in `boxes`.
    CountRoutes,
}

impl Tool {
    /// Every tool.
    pub const ALL: [Self; 7] = [
        Self::Calculator,
        Self::FindExpression,
        Self::FindCode,
        Self::ReceiptField,
        Self::CountObjects,
        Self::MarkedCharacter,
        Self::CountRoutes,
    ];

    /// Its name in a solver's file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Calculator => "calculator",
            Self::FindExpression => "find-expression",
            Self::FindCode => "find-code",
            Self::ReceiptField => "receipt-field",
            Self::CountObjects => "count-objects",
            Self::MarkedCharacter => "marked-character",
            Self::CountRoutes => "count-routes",
        }
    }

    /// The arguments that it needs, all of them.
    pub fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Calculator => &["expression"],
            Self::FindExpression | Self::FindCode => &["text"],
            Self::ReceiptField => &["field", "regions"],
            Self::CountObjects => &["question", "detections"],
            Self::MarkedCharacter => &["regions", "place", "boxes"],
            Self::CountRoutes => &["question", "regions", "routes", "boxes"],
        }
    }
}

impl FromStr for Tool {
    type Err = ();
    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|tool| tool.name() == name)
            .ok_or(())
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A call of a tool.
#[derive(Clone, Debug)]
pub struct ToolCall {
    /// The tool.
    pub tool: Tool,
    /// Its arguments.
    pub with: BTreeMap<String, Argument>,
}

/// An argument of a tool.
#[derive(Clone, Debug, PartialEq)]
pub enum Argument {
    /// A number, a truth value, a list.
    Literal(Json),
    /// A text, or a single expression that keeps its type.
    Template(Template),
}

/// Reads an answer out of one text, or the most frequent one out of several.
#[derive(Clone, Debug)]
pub struct Extract {
    /// The text, or a list of texts that vote.
    pub from: Template,
    /// The kind of answer by name; `None` is the kind that the task wants.
    pub kind: Option<String>,
}

/// Runs a program. That it fails is a result of the step, not its failure.
#[derive(Clone, Debug)]
pub struct RunCode {
    /// Its text, in Python.
    pub code: Template,
    /// What it reads.
    pub stdin: Option<Template>,
}
