//! The named numbers of the feature matrix, and what each counts for before any training.

/// Declares the columns: name, weight in the untrained policy, meaning.
macro_rules! columns {
    ($($variant:ident $name:literal $weight:literal $doc:literal;)+) => {
        /// A column of the feature matrix. Those up to [`STATE_COLUMNS`] describe the state and
        /// are the same for all actions of a request.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Column { $(#[doc = $doc] $variant,)+ }

        impl Column {
            /// Every column, in the order of the matrix.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// A stable name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// Its weight in the untrained policy's logit.
            pub const fn untrained_weight(self) -> f32 {
                match self { $(Self::$variant => $weight,)+ }
            }
        }
    };
}

// The untrained weights say, in logits: a fresh pair whose descriptions fit best has 0. An answer
// of confidence c has 20·(c − accepted confidence), so that it is taken where it is sure enough
// and else the best pair is asked; a second observation that claims the same is worth half the
// scale. A pair that has answered is worth less than any answer, so it is not asked again; one
// that failed comes after fresh ones.
columns! {
    // State.
    StepsLeft "steps_left" 0.0 "Decisions left, of 8.";
    LastCall "last_call" 0.0 "1 if one call is left before the answer.";
    StepsTaken "steps_taken" 0.0 "Steps taken, of 8.";
    Failures "failures" 0.0 "Failed steps, of 8.";
    TimeLeft "time_left" 0.0 "Logarithm of the time left, 1 at ten minutes.";
    CostLeft "cost_left" 0.0 "Logarithm of the money left, 1 at a dollar; 1 without a limit.";
    CostLimited "cost_limited" 0.0 "1 if the money is limited.";
    WeightAccuracy "weight_accuracy" 0.0 "The user's share of weight on accuracy.";
    WeightCost "weight_cost" 0.0 "The user's share of weight on cost.";
    WeightLatency "weight_latency" 0.0 "The user's share of weight on latency.";
    Images "images" 0.0 "Images of the task, of 4.";
    Photographs "photographs" 0.0 "Share of the images in a format of photographs.";
    Pixels "pixels" 0.0 "Logarithm of the largest image's size, 1 at 16 million pixels.";
    Portrait "portrait" 0.0 "Logarithm of height by width of the first image, within ±1.";
    QuestionLength "question_length" 0.0 "Logarithm of the question's length, 1 at 8,192 bytes.";
    KindFreeText "kind_free_text" 0.0 "The answer is free text.";
    KindNumber "kind_number" 0.0 "The answer is a number.";
    KindYesNo "kind_yes_no" 0.0 "The answer is yes or no.";
    KindChoice "kind_choice" 0.0 "The answer is an option.";
    KindShortText "kind_short_text" 0.0 "The answer is a short text, a set or a date.";
    KindCode "kind_code" 0.0 "The answer is an expression or a program.";
    BestConfidence "best_confidence" 0.0 "Highest confidence of an observation.";
    SomeAgree "some_agree" 0.0 "1 if two pairs claim the same.";
    // Pairs.
    IsPair "is_pair" 0.0 "1 for a pair.";
    CostBound "cost_bound" 0.0 "Logarithm of the most that the call can cost, 1 at a dollar.";
    CostUnknown "cost_unknown" 0.0 "1 if a price is unknown.";
    CostWeighted "cost_weighted" -20.0 "`cost_bound` by the user's weight.";
    CostShare "cost_share" -2.0 "Share of the money left that the call can cost.";
    Latency "latency" 0.0 "Logarithm of the usual latency, 1 at a minute; 0.5 if unknown.";
    LatencyUnknown "latency_unknown" 0.0 "1 if the usual latency is unknown.";
    LatencyWeighted "latency_weighted" -20.0 "`latency` by the user's weight.";
    Overtime "overtime" -10.0 "1 if the usual latency is longer than the time left.";
    Instances "instances" 0.0 "Logarithm of the serving instances, 1 at 15.";
    Generality "generality" 0.0 "Capabilities of the expert, of 4.";
    ReadsImages "reads_images" 0.0 "1 if the task has images and the expert itself looks at them.";
    NeedsHelp "needs_help" 0.0 "1 if the skill calls helpers.";
    Direct "direct" -0.5 "1 if the question goes to the expert as it is.";
    NamesKind "names_kind" 0.5 "1 if the skill lists this kind of answer among few.";
    Solvers "solvers" 0.0 "Logarithm of the skill's solvers, 1 at 31.";
    ExpertAsked "expert_asked" -1.0 "1 if the expert was asked under another skill.";
    SkillAsked "skill_asked" 0.0 "1 if the skill was run with another expert.";
    PairAnswered "pair_answered" -25.0 "1 if the pair has answered.";
    PairFailed "pair_failed" -18.0 "Lasting failures of the pair, at most 3.";
    PairMissed "pair_missed" -12.0 "Passing failures of the pair (away, full, too slow), at most 3.";
    // Answers.
    IsAnswer "is_answer" 0.5 "1 for an answer.";
    Confidence "confidence" 20.0 "Confidence of the observation.";
    Unextracted "unextracted" 12.0 "1 if the whole text is the answer.";
    FreeAnswer "free_answer" 3.0 "1 if it is and free text was asked for.";
    Agreeing "agreeing" 0.0 "Other pairs that claim the same, of 4.";
    Agreed "agreed" 10.0 "1 if another pair claims the same.";
    Disagreeing "disagreeing" 0.0 "Other pairs that claim something else, of 4.";
    Disputed "disputed" -2.0 "1 if another pair claims something else.";
    AgreedConfidence "agreed_confidence" 0.0 "Chance that one of the agreeing is right, were they independent.";
    Latest "latest" 0.0 "1 for the last step.";
    AnswerLength "answer_length" 0.0 "Logarithm of the answer's length, 1 at 4,096 bytes.";
}

/// Number of columns.
pub const COLUMNS: usize = Column::ALL.len();
/// Number of columns that describe the state.
pub const STATE_COLUMNS: usize = Column::IsPair as usize;
