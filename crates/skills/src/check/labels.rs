//! Checks choices among labels.

use std::collections::BTreeSet;

use super::Checker;
use crate::{
    classify::{Classify, named},
    error::SkillError,
    format::ClassifyFile,
};

const LABELS: std::ops::RangeInclusive<usize> = 2..=32;
const MAX_LABEL_CHARS: usize = 64;
pub(crate) const MAX_WEIGHT: f32 = 1000.0;

impl Checker<'_> {
    pub(super) fn classify(
        &self,
        raw: &ClassifyFile,
        needs: &mut BTreeSet<String>,
    ) -> Result<Classify, SkillError> {
        let refuse =
            |field: &str, reason: &str| Err(self.place.at("classify").at(field).invalid(reason));
        let labels = &raw.labels.0;
        if !LABELS.contains(&labels.len()) {
            return refuse("labels", "there must be 2 to 32 labels");
        }
        let names: Vec<&str> = labels.keys().map(String::as_str).collect();
        for name in names.iter().copied().chain(raw.otherwise.as_deref()) {
            if name.trim() != name || name.is_empty() || name.chars().count() > MAX_LABEL_CHARS {
                return refuse(
                    "labels",
                    "a label has 1 to 64 characters and no blank at its ends",
                );
            }
        }
        // A reply that is the label itself must be understood as it.
        if let Some(name) = names
            .iter()
            .find(|name| named(name, &names) != Some(**name))
        {
            let reason = format!("{name:?} cannot be told from another label by its words");
            return refuse("labels", &reason);
        }
        let weights = || labels.values().flat_map(|words| words.values());
        if weights().any(|weight| !weight.is_finite() || weight.abs() > MAX_WEIGHT) {
            return refuse("labels", "weights are -1000 to 1000");
        }
        if !raw.threshold.is_finite() || raw.threshold.abs() > MAX_WEIGHT {
            return refuse("threshold", "must be -1000 to 1000");
        }
        if raw.ask.is_none() && weights().next().is_none() {
            return refuse("labels", "without `ask`, labels need words");
        }
        if raw.ask.as_ref().is_some_and(|ask| ask.expect.is_some()) {
            return refuse("ask.expect", "the labels are what is expected");
        }
        Ok(Classify {
            text: self.template(
                "classify.text",
                raw.text.as_deref().unwrap_or("{{ query }}"),
                needs,
            )?,
            labels: labels.clone(),
            threshold: raw.threshold,
            ask: match &raw.ask {
                Some(ask) => Some(self.ask("classify.ask", ask, needs)?),
                None => None,
            },
            otherwise: raw.otherwise.clone(),
        })
    }
}
