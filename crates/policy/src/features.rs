//! What the scorer sees of a state and of each action: named numbers, and which descriptions an
//! action stands for. Pure, so that training computes the same from a recorded episode.

use std::time::Duration;

use maestro_core::{
    MicroUsd,
    answer::{AnswerKind, canonical},
    episode::{Choice, FailureKind, Observation},
    ports::{DecideRequest, PastStep},
    registry::{Candidate, Modality},
    task::{Pair, Weights},
};

pub use crate::columns::{COLUMNS, Column, STATE_COLUMNS};
use crate::{
    actions::PossibleAction,
    embeddings::{Embeddings, NO_ENTRY},
    prepared::Prepared,
};

/// Descriptions that an action stands for: the skill's, its best fitting solver's, the expert's.
pub const ROLES: usize = 3;

/// An action in numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The action.
    pub choice: Choice,
    /// Whether it is a call of a pair (else an answer).
    pub is_pair: bool,
    /// Rows of the embeddings: skill, the solver nearest to the question (the skill itself where
    /// it has none), expert. For an answer those of the pair that gave it.
    pub entries: [u32; ROLES],
    /// Values by [`Column`].
    pub columns: [f32; COLUMNS],
}

/// A state and its possible actions in numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    /// The question's vector.
    pub question: Vec<f32>,
    /// The actions, in the order they were given.
    pub rows: Vec<Row>,
}

/// The features of a request with its possible actions.
pub fn features(
    request: &DecideRequest,
    actions: &[PossibleAction<'_>],
    prepared: &Prepared,
    question: &[f32],
) -> Features {
    let context = Context::new(request, prepared, question);
    let rows = actions.iter().map(|action| context.row(action)).collect();
    Features {
        question: question.to_vec(),
        rows,
    }
}

/// The rows of the descriptions that a pair stands for.
pub(crate) fn entries(embeddings: &Embeddings, question: &[f32], pair: &Pair) -> [u32; ROLES] {
    let expert = embeddings.expert(&pair.expert);
    let Some(rows) = embeddings.skill(&pair.skill) else {
        return [NO_ENTRY, NO_ENTRY, expert];
    };
    let nearest = std::iter::once(rows.skill)
        .chain(rows.solvers.clone())
        .map(|row| (row, embeddings.similarity(question, row)))
        .reduce(|best, next| if next.1 > best.1 { next } else { best })
        .map_or(rows.skill, |(row, _)| row);
    [rows.skill, nearest, expert]
}

/// `ln(1 + value)` as a share of `ln(1 + one)`, at most 1.5: an absurd budget or price is not to
/// drown the other columns.
fn log_share(value: f64, one: f64) -> f32 {
    (value.max(0.0).ln_1p() / one.ln_1p()).min(1.5) as f32
}

fn flag(condition: bool) -> f32 {
    f32::from(u8::from(condition))
}

fn part(count: usize, of: f32) -> f32 {
    (count as f32 / of).min(1.0)
}

/// 1 is a dollar.
fn money(amount: MicroUsd) -> f32 {
    log_share(amount.0 as f64, 1e6)
}

/// The user's weights as shares; all on accuracy where all are zero.
fn shares(weights: &Weights) -> [f32; 3] {
    let sum = weights.accuracy + weights.cost + weights.latency;
    if sum > 0.0 && sum.is_finite() {
        [
            weights.accuracy / sum,
            weights.cost / sum,
            weights.latency / sum,
        ]
    } else {
        [1.0, 0.0, 0.0]
    }
}

/// Whether asking again may go better.
fn is_passing(kind: FailureKind) -> bool {
    matches!(
        kind,
        FailureKind::Unavailable | FailureKind::Overloaded | FailureKind::Timeout
    )
}

/// What an answerable observation claims.
struct Claim<'a> {
    pair: Option<&'a Pair>,
    value: String,
    confidence: f32,
}

/// What is the same for all actions of a request.
struct Context<'a> {
    request: &'a DecideRequest,
    prepared: &'a Prepared,
    question: &'a [f32],
    shares: [f32; 3],
    /// By position in the history.
    claims: Vec<Option<Claim<'a>>>,
    state: [f32; COLUMNS],
}

impl<'a> Context<'a> {
    fn new(request: &'a DecideRequest, prepared: &'a Prepared, question: &'a [f32]) -> Self {
        let kind = &request.task.answer_kind;
        let claims = request
            .history
            .iter()
            .map(|past| claim(past, kind))
            .collect();
        let mut context = Self {
            request,
            prepared,
            question,
            shares: shares(&request.task.weights),
            claims,
            state: [0.0; COLUMNS],
        };
        context.state = context.state();
        context
    }

    fn state(&self) -> [f32; COLUMNS] {
        let DecideRequest {
            task,
            history,
            remaining,
            ..
        } = self.request;
        let steps = |count: usize| part(count, 8.0);
        let failures = history
            .iter()
            .filter(|past| past.observation.failure.is_some());
        let photographs = task
            .images
            .iter()
            .filter(|image| image.media_type == "image/jpeg");
        let pixels =
            |image: &maestro_core::task::ImageRef| f64::from(image.width) * f64::from(image.height);
        let portrait = task.images.first().map_or(0.0, |image| {
            let ratio = f64::from(image.height.max(1)) / f64::from(image.width.max(1));
            ratio.log2().clamp(-2.0, 2.0) as f32 / 2.0
        });
        let confidences = self.claims.iter().flatten().map(|claim| claim.confidence);
        let agree = (0..self.claims.len()).any(|position| !self.agreeing(position).is_empty());
        let kinds: &[Column] = match task.answer_kind {
            AnswerKind::FreeText => &[Column::KindFreeText],
            AnswerKind::Integer | AnswerKind::Number => &[Column::KindNumber],
            AnswerKind::YesNo => &[Column::KindYesNo],
            AnswerKind::Choice { .. } => &[Column::KindChoice],
            AnswerKind::ShortText | AnswerKind::Date | AnswerKind::Set => &[Column::KindShortText],
            AnswerKind::Expression | AnswerKind::Program => &[Column::KindCode],
        };
        let mut columns = [0.0; COLUMNS];
        let mut set = |column: Column, value: f32| columns[column as usize] = value;
        set(Column::StepsLeft, steps(remaining.steps as usize));
        set(Column::LastCall, flag(remaining.steps == 2));
        set(Column::StepsTaken, steps(history.len()));
        set(Column::Failures, steps(failures.count()));
        set(
            Column::TimeLeft,
            log_share(remaining.time.as_secs_f64() * 1e3, 6e5),
        );
        set(Column::CostLeft, remaining.cost.map_or(1.0, money));
        set(Column::CostLimited, flag(remaining.cost.is_some()));
        set(Column::WeightAccuracy, self.shares[0]);
        set(Column::WeightCost, self.shares[1]);
        set(Column::WeightLatency, self.shares[2]);
        set(Column::Images, part(task.images.len(), 4.0));
        let share = photographs.count() as f32 / task.images.len().max(1) as f32;
        set(Column::Photographs, share);
        let largest = task.images.iter().map(pixels).fold(0.0, f64::max);
        set(Column::Pixels, log_share(largest, 1.6e7));
        set(Column::Portrait, portrait);
        set(
            Column::QuestionLength,
            log_share(task.question.len() as f64, 8192.0),
        );
        for kind in kinds {
            set(*kind, 1.0);
        }
        set(Column::BestConfidence, confidences.fold(0.0, f32::max));
        set(Column::SomeAgree, flag(agree));
        columns
    }

    fn row(&self, action: &PossibleAction<'_>) -> Row {
        let mut columns = self.state;
        let (is_pair, entries) = match action {
            PossibleAction::Invoke { candidate, bound } => {
                self.pair_columns(candidate, *bound, &mut columns);
                let pair = candidate.pair();
                self.history_columns(&pair, &mut columns);
                (
                    true,
                    entries(self.prepared.embeddings(), self.question, &pair),
                )
            }
            PossibleAction::Answer { position, .. } => {
                self.answer_columns(*position, &mut columns);
                let past = self.request.history.get(*position);
                let pair = past.and_then(|past| past.pair.as_ref());
                (
                    false,
                    pair.map_or([NO_ENTRY; ROLES], |pair| {
                        entries(self.prepared.embeddings(), self.question, pair)
                    }),
                )
            }
        };
        Row {
            choice: action.choice(),
            is_pair,
            entries,
            columns,
        }
    }

    fn pair_columns(
        &self,
        candidate: &Candidate<'_>,
        bound: Option<MicroUsd>,
        columns: &mut [f32; COLUMNS],
    ) {
        let Candidate { expert, skill } = candidate;
        let request = self.request;
        let mut set = |column: Column, value: f32| columns[column as usize] = value;
        set(Column::IsPair, 1.0);
        let cost = bound.map_or(0.5, money);
        set(Column::CostBound, cost);
        set(Column::CostUnknown, flag(bound.is_none()));
        set(Column::CostWeighted, cost * self.shares[1]);
        if let (Some(bound), Some(left)) = (bound, request.remaining.cost) {
            set(
                Column::CostShare,
                (bound.0 as f64 / left.0.max(1) as f64).min(1.0) as f32,
            );
        }
        let typical = expert.typical_latency_ms;
        let latency = typical.map_or(0.5, |ms| log_share(f64::from(ms), 6e4));
        set(Column::Latency, latency);
        set(Column::LatencyUnknown, flag(typical.is_none()));
        set(Column::LatencyWeighted, latency * self.shares[2]);
        let usual = Duration::from_millis(typical.unwrap_or(0).into());
        set(Column::Overtime, flag(usual > request.remaining.time));
        let instances = self.prepared.snapshot().instances.get(&expert.name);
        set(
            Column::Instances,
            log_share(instances.map_or(0, Vec::len) as f64, 15.0),
        );
        set(Column::Generality, part(expert.capabilities.len(), 4.0));
        let sees = !request.task.images.is_empty()
            && skill.expert_reads_images
            && expert.modalities.contains(&Modality::Image);
        set(Column::ReadsImages, flag(sees));
        set(Column::NeedsHelp, flag(!skill.helpers.is_empty()));
        set(Column::Direct, flag(skill.direct));
        // A skill that takes every kind lists none; one that lists almost all says as little.
        set(
            Column::NamesKind,
            flag((1..=4).contains(&skill.answer_kinds.len())),
        );
        set(Column::Solvers, log_share(skill.solvers.len() as f64, 31.0));
    }

    fn history_columns(&self, pair: &Pair, columns: &mut [f32; COLUMNS]) {
        for past in &self.request.history {
            let Some(asked) = &past.pair else { continue };
            let same_expert = asked.expert == pair.expert;
            let same_skill = asked.skill == pair.skill;
            let column = match (same_expert, same_skill, &past.observation.failure) {
                (true, true, None) => Column::PairAnswered,
                (true, true, Some(failure)) => {
                    let column = if is_passing(failure.kind) {
                        Column::PairMissed
                    } else {
                        Column::PairFailed
                    };
                    columns[column as usize] = (columns[column as usize] + 1.0).min(3.0);
                    continue;
                }
                (true, false, _) => Column::ExpertAsked,
                (false, true, _) => Column::SkillAsked,
                (false, false, _) => continue,
            };
            columns[column as usize] = 1.0;
        }
    }

    fn answer_columns(&self, position: usize, columns: &mut [f32; COLUMNS]) {
        let (Some(past), Some(Some(claim))) = (
            self.request.history.get(position),
            self.claims.get(position),
        ) else {
            return;
        };
        let agreeing = self.agreeing(position);
        let disagreeing = self
            .others(position)
            .filter(|other| other.value != claim.value)
            .count();
        let doubt: f32 = agreeing
            .iter()
            .map(|other| 1.0 - other.confidence)
            .product::<f32>()
            * (1.0 - claim.confidence);
        let observation: &Observation = &past.observation;
        let unextracted = observation.answer.is_none();
        let free = matches!(self.request.task.answer_kind, AnswerKind::FreeText);
        let mut set = |column: Column, value: f32| columns[column as usize] = value;
        set(Column::IsAnswer, 1.0);
        set(Column::Confidence, claim.confidence);
        set(Column::Unextracted, flag(unextracted));
        set(Column::FreeAnswer, flag(unextracted && free));
        set(Column::Agreeing, part(agreeing.len(), 4.0));
        set(Column::Agreed, flag(!agreeing.is_empty()));
        set(Column::Disagreeing, part(disagreeing, 4.0));
        set(Column::Disputed, flag(disagreeing > 0));
        set(Column::AgreedConfidence, 1.0 - doubt);
        set(
            Column::Latest,
            flag(position + 1 == self.request.history.len()),
        );
        let length = observation.answer_text().len();
        set(Column::AnswerLength, log_share(length as f64, 4096.0));
    }

    /// Claims of other pairs than the one at `position`: the same pair asked twice says nothing
    /// new.
    fn others(&self, position: usize) -> impl Iterator<Item = &Claim<'a>> {
        let own = self.claims.get(position).and_then(Option::as_ref);
        self.claims
            .iter()
            .flatten()
            .filter(move |other| own.is_some_and(|own| own.pair != other.pair))
    }

    /// Those of them that claim the same.
    fn agreeing(&self, position: usize) -> Vec<&Claim<'a>> {
        let own = self.claims.get(position).and_then(Option::as_ref);
        self.others(position)
            .filter(|other| own.is_some_and(|own| own.value == other.value))
            .collect()
    }
}

fn claim<'a>(past: &'a PastStep, kind: &AnswerKind) -> Option<Claim<'a>> {
    let observation = &past.observation;
    observation.is_answerable().then(|| Claim {
        pair: past.pair.as_ref(),
        value: canonical(kind, observation.answer_text()),
        confidence: observation.confidence().clamp(0.0, 1.0),
    })
}

#[cfg(test)]
#[path = "features_tests.rs"]
pub(crate) mod tests;
