//! Models behind paid services of which only outcomes are on record: their entries in a catalogue,
//! and estimates of what a call costs where no token counts were kept.

use std::collections::BTreeSet;

use maestro_core::{
    Capability, CoreError, Digest, MicroUsd, SkillName,
    quote::actual,
    recording::{RecordedCall, RecordedResult},
    registry::{CallBounds, Descriptor, ImageNeed, Limits, Modality, Price, SkillHeader},
    task::Pair,
};

/// The one skill of these models. Not named as any skill of the library, so that a recording of
/// live pairs can be joined.
const SKILL: &str = "ask-once";
const SKILL_DESCRIPTION: &str = "Puts the question, with its pictures if there are any, to the \
    expert in a single message, and takes the reply as the answer without checking it.";
/// Latency was not recorded. Rather than making one up, calls take no time: figures of latency
/// say nothing about these models.
const UNKNOWN_LATENCY_MS: u64 = 0;
/// Characters of a token, a rule of thumb for English.
const CHARACTERS_PER_TOKEN: u64 = 4;

/// A catalogue entry of a model behind a paid service.
pub(super) struct Hosted<'a> {
    pub(super) name: &'a str,
    pub(super) description: &'a str,
    pub(super) sees: bool,
    /// US dollars per million tokens read and written.
    pub(super) usd_per_mtok: [f64; 2],
}

impl Hosted<'_> {
    /// The entry.
    ///
    /// # Errors
    /// [`CoreError::Invalid`] where it breaks a rule of the registry.
    pub(super) fn descriptor(&self) -> Result<Descriptor, CoreError> {
        let mut modalities = BTreeSet::from([Modality::Text]);
        if self.sees {
            modalities.insert(Modality::Image);
        }
        let [input, output] = self.usd_per_mtok.map(micro_usd);
        let descriptor = Descriptor {
            name: self.name.parse()?,
            description: self.description.to_owned(),
            capabilities: BTreeSet::from([Capability::new("chat")?]),
            modalities,
            price: Some(Price {
                input_per_mtok: input,
                output_per_mtok: output,
                per_call: MicroUsd::ZERO,
            }),
            limits: Limits::default(),
            typical_latency_ms: None,
            backend: None,
        };
        descriptor.validate()?;
        Ok(descriptor)
    }
}

fn micro_usd(usd: f64) -> MicroUsd {
    MicroUsd((usd.max(0.0) * 1e6).round() as u64)
}

/// The skill under which they were asked.
pub(super) fn skill() -> Result<SkillHeader, CoreError> {
    Ok(SkillHeader {
        hedge: false,
        name: SKILL.parse()?,
        description: SKILL_DESCRIPTION.to_owned(),
        // There is no workflow to name.
        bundle: Digest::of(b""),
        requires: BTreeSet::from([Capability::new("chat")?]),
        helpers: BTreeSet::new(),
        optional_helpers: BTreeSet::new(),
        images: ImageNeed::Optional,
        expert_reads_images: true,
        answer_kinds: BTreeSet::new(),
        direct: true,
        bounds: CallBounds {
            expert_calls: 1,
            helper_calls: 0,
            input_tokens: 4096,
            output_tokens: 1024,
        },
        solvers: Vec::new(),
    })
}

/// A call of which only the score is known.
///
/// # Errors
/// [`CoreError::Invalid`] where the expert's name is none.
pub(super) fn graded(expert: &str, score: f64, cost: MicroUsd) -> Result<RecordedCall, CoreError> {
    Ok(RecordedCall {
        pair: Pair {
            expert: expert.parse()?,
            skill: SkillName::new(SKILL)?,
        },
        result: RecordedResult::Graded(score),
        cost,
        latency_ms: UNKNOWN_LATENCY_MS,
    })
}

/// An estimate of the tokens of a text.
pub(super) fn tokens(text: &str) -> u64 {
    (text.chars().count() as u64).div_ceil(CHARACTERS_PER_TOKEN)
}

/// What a call of an expert costs with these token counts; nothing where its price is unknown.
pub(super) fn cost(expert: &Descriptor, input_tokens: u64, output_tokens: u64) -> MicroUsd {
    let price = expert.price.unwrap_or_default();
    actual(&price, input_tokens, output_tokens)
}
