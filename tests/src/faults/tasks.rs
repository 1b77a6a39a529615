//! What clients ask, and what the model answers. Pure.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use maestro_core::registry::{BackendSpec, Descriptor, Limits, Modality, Price};
use maestro_proto::v1;
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

/// The experts, both behind the same model.
pub(super) const EXPERTS: [&str; 2] = ["only", "other"];
/// What a call costs.
pub(super) const PRICE_MICRO_USD: u64 = 100;
/// A skill whose calls go straight to an expert, and one that skill runners run.
pub(super) const SKILLS: [&str; 2] = ["direct", "word-problem"];
/// An image of one pixel.
const IMAGE: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/// What a client wants.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) request_id: String,
    pub(super) task: v1::Task,
    /// The right answer.
    pub(super) answer: String,
    pub(super) is_durable: bool,
    pub(super) has_image: bool,
    /// Whether the request is sent again after it was accepted.
    pub(super) asks_twice: bool,
    pub(super) watchers: usize,
    pub(super) cancels_after: Option<Duration>,
}

/// The question of a number.
pub(super) fn question(number: u32) -> String {
    format!("Ida has {number} beads and finds one more. How many has she?")
}

/// Its answer: a skill runner calculates, the model itself only says what is to be calculated.
pub(super) fn right_answer(number: u32, through_runner: bool) -> String {
    match through_runner {
        true => format!("{}", number + 1),
        false => format!("{number} + 1"),
    }
}

/// The wish of a client of a run.
pub(super) fn wish(seed: u64, number: u32) -> Wish {
    let mut random = StdRng::seed_from_u64(seed.rotate_left(32) ^ u64::from(number));
    let through_runner = random.random_ratio(2, 5);
    let has_image = !through_runner && random.random_ratio(1, 6);
    let is_durable = random.random_ratio(4, 5);
    // A call, a call and its repetition, several; or no limit.
    let limits = [None, None, Some(150), Some(250), Some(1000)];
    let max_cost = limits[random.random_range(0..limits.len())];
    let budget = v1::Budget {
        max_steps: Some(random.random_range(2..=5)),
        timeout: Some(prost_types::Duration {
            seconds: 30,
            nanos: 0,
        }),
        max_cost_micro_usd: max_cost,
        ..v1::Budget::default()
    };
    let image = v1::Image {
        source: Some(v1::image::Source::Content(image(seed, number).into())),
        ..v1::Image::default()
    };
    let skill = SKILLS[usize::from(through_runner)];
    let answer = right_answer(number, through_runner);
    Wish {
        request_id: format!("s{seed}-{number}"),
        task: v1::Task {
            question: question(number),
            images: if has_image { vec![image] } else { vec![] },
            budget: Some(budget),
            constraints: Some(v1::Constraints {
                allowed: vec![v1::PairPattern {
                    expert: String::new(),
                    skill: skill.to_owned(),
                }],
                ..v1::Constraints::default()
            }),
            ..v1::Task::default()
        },
        answer,
        is_durable,
        has_image,
        asks_twice: random.random_ratio(1, 5),
        watchers: if random.random_ratio(1, 6) { 2 } else { 1 },
        cancels_after: random
            .random_ratio(1, 12)
            .then(|| Duration::from_millis(random.random_range(0..1500))),
    }
}

/// A file that no other client sends: what follows the end of an image is not looked at.
fn image(seed: u64, number: u32) -> Vec<u8> {
    let mut file = BASE64_STANDARD.decode(IMAGE).unwrap_or_default();
    file.extend(format!("{seed} {number}").into_bytes());
    file
}

/// What the model says to the body of a request: the calculation that its last question asks for.
pub(super) fn answer(body: &Value) -> String {
    let last = body["messages"]
        .as_array()
        .and_then(|messages| messages.last());
    let content = last
        .map(|last| last["content"].to_string())
        .unwrap_or_default();
    let number = content
        .split_once("Ida has ")
        .and_then(|(_, rest)| rest.split(' ').next());
    number.map_or_else(|| "0".to_owned(), |number| format!("{number} + 1"))
}

/// An expert whose model listens at `base_url`.
///
/// # Errors
/// A name that is none.
pub(super) fn expert(name: &str, base_url: &str) -> Result<Descriptor, maestro_core::CoreError> {
    let config = [("base_url", json!(base_url)), ("model", json!("test"))];
    Ok(Descriptor {
        name: name.parse()?,
        description: format!("Answers short questions about everything. Variant {name}."),
        capabilities: ["chat".parse()?].into(),
        modalities: [Modality::Text, Modality::Image].into(),
        price: Some(Price {
            per_call: maestro_core::MicroUsd(PRICE_MICRO_USD),
            ..Price::default()
        }),
        limits: Limits {
            timeout_ms: 8_000,
            max_concurrency: 256,
            ..Limits::default()
        },
        typical_latency_ms: Some(200),
        backend: Some(BackendSpec {
            kind: "openai".to_owned(),
            config: config
                .map(|(key, value)| (key.to_owned(), value))
                .into_iter()
                .collect(),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_answers_the_question_that_was_asked_last() {
        let example = "Ida has 14 glass beads. She loses 6.";
        let wish = wish(3, 41);
        let parts = json!([{ "type": "text", "text": wish.task.question }]);
        for content in [json!(wish.task.question), parts] {
            let body = json!({ "messages": [
                { "role": "user", "content": example },
                { "role": "user", "content": content },
            ]});
            assert_eq!(answer(&body), "41 + 1");
        }
    }

    #[test]
    fn clients_want_everything_now_and_then() {
        let wishes: Vec<Wish> = (0..200).map(|number| wish(1, number)).collect();
        for has in [
            |wish: &Wish| !wish.is_durable,
            |wish: &Wish| wish.has_image,
            |wish: &Wish| wish.asks_twice,
            |wish: &Wish| wish.watchers == 2,
            |wish: &Wish| wish.cancels_after.is_some(),
            |wish: &Wish| wish.answer.ends_with("+ 1"),
            |wish: &Wish| !wish.answer.ends_with("+ 1"),
        ] {
            assert!(wishes.iter().any(has) && !wishes.iter().all(has));
        }
    }
}
