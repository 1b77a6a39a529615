//! Checks steps that call an expert.

use std::collections::BTreeSet;

use regex::Regex;

use super::{Checker, pictures::MAX_TILES};
use crate::{
    error::SkillError,
    format::{AskFile, ServiceFile},
    step::{Ask, Example, ImageRef, ImageSelection, ServiceCall},
};

const MAX_SAMPLES: u32 = 16;
const MAX_EXAMPLES: usize = 32;
const MAX_OUTPUT_TOKENS: u32 = 16_384;

impl Checker<'_> {
    /// A question that stands under the key `key`.
    pub(crate) fn ask(
        &self,
        key: &str,
        raw: &AskFile,
        needs: &mut BTreeSet<String>,
    ) -> Result<Ask, SkillError> {
        let field = |field: &str| format!("{key}.{field}");
        let range = |name: &str, value: u32, most: u32| {
            if (1..=most).contains(&value) {
                return Ok(value);
            }
            let place = self.place.at(&field(name));
            Err(place.invalid(format!("is {value}; must be 1 to {most}")))
        };
        if !(0.0..=2.0).contains(&raw.temperature) {
            return Err(self
                .place
                .at(&field("temperature"))
                .invalid("must be 0 to 2"));
        }
        if raw.stop.len() > 4 || raw.stop.iter().any(String::is_empty) {
            return Err(self
                .place
                .at(&field("stop"))
                .invalid("at most 4 texts, none empty"));
        }
        let blank = |text: &String| text.trim().is_empty();
        if raw.examples.len() > MAX_EXAMPLES
            || raw
                .examples
                .iter()
                .any(|example| blank(&example.user) || blank(&example.assistant))
        {
            return Err(self
                .place
                .at(&field("examples"))
                .invalid(format!("at most {MAX_EXAMPLES}, with both texts")));
        }
        let expect = raw.expect.as_deref().map(Regex::new).transpose();
        Ok(Ask {
            system: match &raw.system {
                Some(source) => Some(self.template(&field("system"), source, needs)?),
                None => None,
            },
            examples: raw
                .examples
                .iter()
                .map(|example| Example {
                    user: example.user.clone(),
                    assistant: example.assistant.clone(),
                })
                .collect(),
            prompt: self.template(&field("prompt"), &raw.prompt, needs)?,
            images: match &raw.images {
                Some(images) => self.images(&field("images"), &images.0, needs)?,
                None => ImageSelection::All,
            },
            max_output_tokens: range(
                "max_output_tokens",
                raw.max_output_tokens,
                MAX_OUTPUT_TOKENS,
            )?,
            temperature: raw.temperature,
            stop: raw.stop.clone(),
            samples: range("samples", raw.samples, MAX_SAMPLES)?,
            expect: expect.map_err(|e| self.place.at(&field("expect")).invalid(e.to_string()))?,
        })
    }

    pub(super) fn service(
        &self,
        key: &str,
        raw: &ServiceFile,
        needs: &mut BTreeSet<String>,
    ) -> Result<ServiceCall, SkillError> {
        let images = match &raw.images {
            Some(images) => self.images(&format!("{key}.images"), &images.0, needs)?,
            None => ImageSelection::These(vec![ImageRef::Task(0)]),
        };
        Ok(ServiceCall {
            capability: raw.capability.clone(),
            operation: raw.operation.clone(),
            text: match &raw.text {
                Some(source) => Some(self.template(&format!("{key}.text"), source, needs)?),
                None => None,
            },
            calls: if raw.each {
                self.calls_of_each(&format!("{key}.each"), &images)?
            } else {
                1
            },
            images,
            each: raw.each,
        })
    }

    /// Most calls where each of `images` goes in one of its own.
    fn calls_of_each(&self, field: &str, images: &ImageSelection) -> Result<u32, SkillError> {
        let place = self.place.at(field);
        let ImageSelection::These(refs) = images else {
            return Err(place.invalid("needs a list of images: how many `all` are is not known"));
        };
        let count = |image: &ImageRef| match image {
            ImageRef::Task(_) => 1,
            ImageRef::Step(name) => self.scope.images(name),
        };
        let calls = refs.iter().map(count).fold(0, u32::saturating_add);
        if (1..=MAX_TILES).contains(&calls) {
            return Ok(calls);
        }
        Err(place.invalid(format!("is {calls} calls; must be 1 to {MAX_TILES}")))
    }
}
