//! JSON schemas of the files, and stand-ins for types that have none of their own.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Value as Json, json};

use super::{SkillFile, SolverFile};

/// Actions of a step by key, exactly one of which it has.
pub(crate) const ACTIONS: [&str; 11] = [
    "ask", "expert", "helper", "image", "tile", "tool", "extract", "run", "classify", "branch",
    "repeat",
];

/// The JSON schemas of the format by file name, for editors and other programs.
pub fn json_schema() -> BTreeMap<&'static str, Json> {
    BTreeMap::from([
        (
            "skill.json",
            titled::<SkillFile>("skill.yaml of a Maestro skill"),
        ),
        (
            "solver.json",
            titled::<SolverFile>("A solver of a Maestro skill"),
        ),
    ])
}

fn titled<T: JsonSchema>(title: &str) -> Json {
    let generator = SchemaGenerator::new(SchemaSettings::draft2020_12());
    let mut schema = generator.into_root_schema_for::<T>();
    schema.insert("title".to_owned(), title.into());
    schema.to_value()
}

/// States what a struct of options cannot: that one action is there, and no other.
pub(super) fn exactly_one_action(schema: &mut Schema) {
    let required: Vec<Json> = ACTIONS
        .iter()
        .map(|action| json!({ "required": [action] }))
        .collect();
    schema.insert("oneOf".to_owned(), required.into());
}

/// What the skill does with the task's images.
#[derive(JsonSchema)]
#[schemars(rename = "ImageNeed", rename_all = "snake_case", inline)]
#[expect(dead_code, reason = "a stand-in that only its schema is made of")]
pub(super) enum ImageNeedSchema {
    /// Only for tasks with at least one image.
    Required,
    /// For tasks with and without images.
    Optional,
    /// Only for tasks without images.
    None,
}

/// An image.
#[derive(JsonSchema)]
#[schemars(rename = "Image", untagged)]
#[expect(dead_code, reason = "a stand-in that only its schema is made of")]
pub(super) enum ImageSchema {
    /// An image of the task, from 0.
    Task(u32),
    /// The image, or all tiles, that a step made.
    Step(String),
}

/// Images.
#[derive(JsonSchema)]
#[schemars(rename = "Images", untagged)]
#[expect(dead_code, reason = "a stand-in that only its schema is made of")]
pub(super) enum ImagesSchema {
    /// All of the task or none.
    Word(ImagesWord),
    /// These.
    These(Vec<ImageSchema>),
}

/// All images of the task or none.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case", inline)]
#[expect(dead_code, reason = "a stand-in that only its schema is made of")]
pub(super) enum ImagesWord {
    /// All of the task.
    All,
    /// None.
    None,
}

/// Labels.
#[derive(JsonSchema)]
#[schemars(rename = "Labels", untagged)]
#[expect(dead_code, reason = "a stand-in that only its schema is made of")]
pub(super) enum LabelsSchema {
    /// Their names.
    Names(Vec<String>),
    /// Weights of words by label.
    Weighted(BTreeMap<String, Option<BTreeMap<String, f32>>>),
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
