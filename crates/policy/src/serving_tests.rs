//! The untrained policy on the kinds of tasks that a first installation meets.

use std::{sync::Arc, time::Duration};

use burn::{
    module::Param,
    tensor::{Device, activation::log_softmax},
};
use maestro_core::{
    MicroUsd,
    answer::AnswerKind,
    registry::{Catalogue, ImageNeed, Modality, Snapshot},
    task::{Pair, Weights},
};
use maestro_models::DeviceSetting;

use super::*;
use crate::{
    EmbeddingCache, ServingConfig,
    artefact::{NOTE_CONFIG, NOTE_EMBEDDER},
    features::tests::{answered, expert, failed, failed_with, request, serve, skill, table},
};

fn catalogue() -> Catalogue {
    let mut catalogue = Catalogue::default();
    let experts = [
        (
            "measurer",
            "Measures line drawings exactly by image analysis: where coloured paths cross, rows and \
             columns, squares in squares, discs that touch. It cannot read.",
            "analyze",
            250,
        ),
        (
            "neural-reader",
            "Neural text recognition for photographed receipts, invoices and signs, also crumpled \
             or slanted ones. Accurate, takes its time.",
            "ocr",
            4300,
        ),
        (
            "classic-reader",
            "Classical character recognition for clean scans and printed pages. Quick and cheap.",
            "ocr",
            700,
        ),
        (
            "talker",
            "A small general language model. Follows short instructions, rewrites text, and turns a \
             story with figures into a calculation.",
            "chat",
            2000,
        ),
    ];
    for (name, description, capability, latency) in experts {
        let mut entry = expert(name, description, &[capability]);
        entry.typical_latency_ms = Some(latency);
        if capability == "chat" {
            entry.modalities = [Modality::Text].into();
        }
        catalogue.experts.insert(entry.name.clone(), entry);
    }
    let diagrams = skill(
        "diagrams",
        "Counts and measures what is drawn in a figure: points where two lines cross or intersect, \
         rows and columns of a grid or table, squares nested inside each other, circles or discs \
         that touch or overlap, how many circles or pentagons there are.",
        &["analyze"],
        &[
            "Counts the crossings of two coloured lines.",
            "Counts rows and columns of a grid.",
            "Counts nested squares.",
            "Says whether two circles touch or overlap.",
        ],
    );
    let texts = skill(
        "texts",
        "Reads what is printed in a photo or scan, such as a receipt, bill or invoice: the total \
         amount paid, the date of the purchase, the company or shop that issued it, or all the words.",
        &["ocr"],
        &[
            "Finds the total to pay on a receipt.",
            "Finds the date of a receipt.",
            "Finds the company that issued a receipt.",
            "Reads all text.",
        ],
    );
    let mut stories = skill(
        "stories",
        "Story problems in arithmetic: somebody buys, gives away, shares or earns apples, coins or \
         hours, and the number that is left, or that each gets, or that it makes in all, is asked.",
        &["chat"],
        &["Writes the calculation and has it worked out exactly."],
    );
    stories.images = ImageNeed::None;
    stories.answer_kinds = ["integer".into(), "number".into()].into();
    let mut plain = skill(
        "plain",
        "Any question or conversation: facts, explanations, writing, translation, advice. The \
         expert answers in its own words.",
        &["chat"],
        &[],
    );
    plain.images = ImageNeed::Optional;
    plain.direct = true;
    for header in [diagrams, texts, stories, plain] {
        catalogue.skills.insert(header.name.clone(), header);
    }
    catalogue
}

fn runtime() -> Runtime {
    Runtime::open(DeviceSetting::Cpu, table(), ServingConfig::default()).unwrap()
}

fn world() -> (ScorerPolicy, Prepared) {
    let runtime = runtime();
    let mut snapshot = Snapshot::new(7, catalogue());
    serve(&mut snapshot);
    let mut cache = EmbeddingCache::new(runtime.embedder().clone());
    let embeddings = cache.embed(&snapshot.catalogue).unwrap();
    let prepared = runtime.prepare(Arc::new(snapshot), embeddings);
    let config = ScorerConfig::new(runtime.embedder().dim());
    (ScorerPolicy::untrained(config, runtime).unwrap(), prepared)
}

fn named(decision: &Decision) -> String {
    match &decision.action {
        Action::Invoke { pair, .. } => format!("{}@{}", pair.expert, pair.skill),
        Action::Answer(answer) => format!("{answer:?}"),
    }
}

const DRAWINGS: &[(&str, AnswerKind)] = &[
    (
        "At how many points do the red and the blue path cross?",
        AnswerKind::Integer,
    ),
    (
        "Count the intersections of both lines.",
        AnswerKind::Integer,
    ),
    (
        "How often is the green curve cut by the orange one?",
        AnswerKind::Integer,
    ),
    (
        "Rows and columns of this grid, please.",
        AnswerKind::ShortText,
    ),
    (
        "The picture shows a table. What is its size in rows and columns?",
        AnswerKind::ShortText,
    ),
    (
        "How many squares are nested in this drawing?",
        AnswerKind::Integer,
    ),
    (
        "There are squares inside squares here; count all of them.",
        AnswerKind::Integer,
    ),
    ("Do both discs touch?", AnswerKind::YesNo),
    ("Is there an overlap of the two circles?", AnswerKind::YesNo),
    ("Number of circles in the figure?", AnswerKind::Integer),
    ("How many pentagons have been drawn?", AnswerKind::Integer),
];

const RECEIPTS: &[(&str, AnswerKind)] = &[
    (
        "How much did the customer pay altogether?",
        AnswerKind::Number,
    ),
    ("What total does the receipt state?", AnswerKind::Number),
    ("Which amount was due in the end?", AnswerKind::Number),
    ("On which date was this bought?", AnswerKind::Date),
    ("What day is printed on the bill?", AnswerKind::Date),
    ("Which shop is this invoice from?", AnswerKind::ShortText),
    (
        "Name the company that issued the receipt.",
        AnswerKind::ShortText,
    ),
    ("Read out all the text in the scan.", AnswerKind::FreeText),
];

const STORIES: &[(&str, AnswerKind)] = &[
    (
        "Mira had 41 beads and gave 13 to Jon. How many are left?",
        AnswerKind::Integer,
    ),
    (
        "Six boxes hold 12 eggs each. How many eggs is that in all?",
        AnswerKind::Integer,
    ),
    (
        "A rope of 84 m is cut into 7 equal parts. How long is each?",
        AnswerKind::Number,
    ),
    (
        "Tom earns 9 dollars an hour and works 6 hours. What does he get?",
        AnswerKind::Number,
    ),
    (
        "Anna buys 3 pens at 4 euros and pays with a 20. How much is her change?",
        AnswerKind::Number,
    ),
];

/// Share of the questions of which the first pair asked has the skill.
fn hits(questions: &[(&str, AnswerKind)], images: usize, skill: &str) -> f32 {
    let (policy, prepared) = world();
    let requests: Vec<_> = questions
        .iter()
        .map(|(question, kind)| request(question, kind.clone(), images))
        .collect();
    let requests: Vec<_> = requests.iter().collect();
    let decisions = policy.decide_batch(&prepared, &requests);
    let hits = decisions
        .iter()
        .zip(questions)
        .filter(|(decision, (question, _))| {
            let name = named(decision.as_ref().unwrap());
            let hit = name.ends_with(&format!("@{skill}"));
            if !hit {
                eprintln!("{question}: {name}");
            }
            hit
        });
    hits.count() as f32 / questions.len() as f32
}

#[test]
fn similarity_decides_among_pairs() {
    assert!(hits(DRAWINGS, 1, "diagrams") >= 0.9);
    assert!(hits(RECEIPTS, 1, "texts") >= 0.85);
    assert!(hits(STORIES, 0, "stories") >= 0.8);
    let facts = [(
        "Who painted the ceiling of the Sistine Chapel?",
        AnswerKind::FreeText,
    )];
    assert!(hits(&facts, 0, "plain") >= 1.0);
}

#[test]
fn an_answer_is_taken_when_it_is_sure_or_confirmed() {
    let (policy, prepared) = world();
    let mut request = request("What total does the receipt state?", AnswerKind::Number, 1);
    let mut decide = |history| {
        request.history = history;
        for (index, past) in (0..).zip(&mut request.history) {
            past.index = index;
        }
        named(&policy.decide(&prepared, &request).unwrap())
    };
    let neural = |confidence| answered("neural-reader", "texts", "12.50", confidence);
    let classic = |value, confidence| answered("classic-reader", "texts", value, confidence);
    assert_eq!(decide(vec![]), "neural-reader@texts");
    assert_eq!(decide(vec![neural(0.85)]), "Observation(0)");
    assert_eq!(
        decide(vec![neural(0.5)]),
        "classic-reader@texts",
        "a second opinion"
    );
    assert_eq!(
        decide(vec![neural(0.5), classic("12.5", 0.5)]),
        "Observation(0)"
    );
    // They disagree, and the third pair cannot read: the surer one.
    assert_eq!(
        decide(vec![neural(0.7), classic("1.50", 0.6)]),
        "Observation(0)"
    );
    assert_eq!(
        decide(vec![neural(0.5), classic("1.50", 0.7)]),
        "Observation(1)"
    );
}

#[test]
fn a_failed_pair_waits_for_the_others() {
    let (policy, prepared) = world();
    let mut request = request("What total does the receipt state?", AnswerKind::Number, 1);
    request.history = vec![failed("neural-reader", "texts")];
    let decide = |request: &DecideRequest| named(&policy.decide(&prepared, request).unwrap());
    assert_eq!(decide(&request), "classic-reader@texts");
    request.history = vec![
        failed("neural-reader", "texts"),
        failed_with("classic-reader", "texts", FailureKind::Rejected),
        failed_with("measurer", "diagrams", FailureKind::Rejected),
    ];
    assert_eq!(
        decide(&request),
        "neural-reader@texts",
        "what may have passed is tried again"
    );
}

#[test]
fn the_last_decision_is_the_best_answer() {
    let (policy, prepared) = world();
    let mut request = request("What total does the receipt state?", AnswerKind::Number, 1);
    request.remaining.steps = 1;
    let failure = policy.decide(&prepared, &request).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unavailable);
    request.history = vec![
        answered("neural-reader", "texts", "12.50", 0.2),
        answered("classic-reader", "texts", "99", 0.4),
    ];
    request.history[1].index = 1;
    let decision = policy.decide(&prepared, &request).unwrap();
    assert_eq!(named(&decision), "Observation(1)");
    assert_eq!(decision.alternatives.len(), 2);
}

#[test]
fn the_users_weights_and_the_time_left_count() {
    let (policy, prepared) = world();
    let mut request = request("What total does the receipt state?", AnswerKind::Number, 1);
    let decide = |request: &DecideRequest| named(&policy.decide(&prepared, request).unwrap());
    let mut task = (*request.task).clone();
    task.weights = Weights {
        accuracy: 1.0,
        cost: 0.0,
        latency: 1.0,
    };
    let unhurried = request.clone();
    request.task = Arc::new(task);
    assert_eq!(decide(&request), "classic-reader@texts");
    let hurried = DecideRequest {
        remaining: maestro_core::episode::Remaining {
            time: Duration::from_secs(2),
            ..unhurried.remaining
        },
        ..unhurried
    };
    assert_eq!(
        decide(&hurried),
        "classic-reader@texts",
        "the other is too slow"
    );
}

#[test]
fn money_that_is_not_there_is_not_spent() {
    let (policy, prepared) = world();
    let mut request = request("What total does the receipt state?", AnswerKind::Number, 1);
    request.remaining.cost = Some(MicroUsd(99));
    let failure = policy.decide(&prepared, &request).unwrap_err();
    assert_eq!(failure.kind, FailureKind::BudgetExceeded);
}

#[test]
fn a_batch_decides_as_its_requests_alone_and_probabilities_come_from_the_trace() {
    let (policy, prepared) = world();
    let mut requests: Vec<DecideRequest> = DRAWINGS
        .iter()
        .chain(RECEIPTS)
        .map(|(question, kind)| request(question, kind.clone(), 1))
        .collect();
    for (seed, request) in (0..).zip(&mut requests) {
        request.seed = seed;
        request.mode = ServingMode::Sampled;
    }
    requests[0].history = vec![answered("measurer", "diagrams", "3", 0.7)];
    requests[1].remaining.steps = 1;
    let batch = policy.decide_batch(&prepared, &requests.iter().collect::<Vec<_>>());
    assert!(batch[1].is_err());
    for (request, together) in requests.iter().zip(&batch) {
        let alone = policy.decide(&prepared, request);
        let (Ok(alone), Ok(together)) = (alone, together) else {
            continue;
        };
        assert_eq!(alone.action, together.action);
        assert!((alone.log_prob - together.log_prob).abs() < 1e-4);
        let sum: f32 = together.alternatives.iter().map(|a| a.probability).sum();
        assert!((sum - 1.0).abs() < 1e-5);
        assert!((together.log_prob.exp() as f32 - together.probability).abs() < 1e-6);

        let Some(Trace::Inline(format, bytes)) = &together.trace else {
            panic!("no trace");
        };
        assert_eq!(format, trace::FORMAT);
        assert!(
            bytes.len() < 200 * (1 + together.alternatives.len()),
            "{}",
            bytes.len()
        );
        let trace = ScorerTrace::decode(bytes).unwrap();
        let logits = policy.logits_of(&trace).unwrap();
        let again = Distribution::new(&logits, 1.0).unwrap();
        for (again, stated) in again.probabilities.iter().zip(&together.alternatives) {
            assert!((*again as f32 - stated.probability).abs() < 1e-5);
        }
    }
}

#[test]
fn greedy_decisions_have_log_probability_zero() {
    let (policy, prepared) = world();
    let request = request("Do both discs touch?", AnswerKind::YesNo, 1);
    let decision = policy.decide(&prepared, &request).unwrap();
    assert_eq!(decision.log_prob, 0.0);
    assert_eq!(decision.probability, decision.alternatives[0].probability);
    assert_eq!(decision.revision, 7);
    assert_eq!(decision.catalogue, prepared.snapshot().digest);
}

#[test]
fn artefacts_load_as_the_same_policy_and_damage_is_refused() {
    let (policy, prepared) = world();
    let (again, _) = world();
    assert_eq!(policy.version(), again.version(), "the version is stable");
    let weights = policy.weights().unwrap();
    let load = |manifest: &PolicyManifest, weights: &[u8]| {
        ScorerPolicy::load(&manifest_content(manifest).unwrap(), weights, runtime())
    };
    let loaded = load(policy.manifest(), &weights).unwrap();
    assert_eq!(loaded.version(), policy.version());
    let request = request("Do both discs touch?", AnswerKind::YesNo, 1);
    assert_eq!(
        loaded.decide(&prepared, &request).unwrap(),
        policy.decide(&prepared, &request).unwrap()
    );
    let damaged = load(policy.manifest(), &weights[1..]);
    assert!(matches!(damaged, Err(PolicyError::Weights(_))));
    let mut foreign = policy.manifest().clone();
    foreign.notes.insert(NOTE_EMBEDDER.into(), "another".into());
    let error = load(&foreign, &weights).unwrap_err();
    assert!(error.to_string().contains("another"), "{error}");
    let mut wide = policy.manifest().clone();
    let config = ScorerConfig {
        hidden: 33,
        ..policy.config().clone()
    };
    wide.notes
        .insert(NOTE_CONFIG.into(), serde_json::to_string(&config).unwrap());
    let error = load(&wide, &weights).unwrap_err();
    assert!(matches!(error, PolicyError::Weights(_)), "{error}");
}

/// Gradient steps through the very code that serves: the probability of a pair rises, and every
/// part of the network that starts at zero has a way to leave it.
#[test]
fn the_network_can_be_trained() {
    let (_, prepared) = world();
    let device = Device::flex().autodiff();
    let mut scorer = ScorerConfig::new(prepared.embeddings().dim()).init(&device);
    let request = request("What total does the receipt state?", AnswerKind::Number, 1);
    let actions = possible_actions(&request, prepared.snapshot()).unwrap();
    let question = table().embed(&request.task.question);
    let features = features(&request, &actions, &prepared, &question);
    let wanted = Choice::Invoke(Pair {
        expert: "classic-reader".parse().unwrap(),
        skill: "texts".parse().unwrap(),
    });
    let at = features
        .rows
        .iter()
        .position(|row| row.choice == wanted)
        .unwrap();
    let table = Tensor::<2>::from_data(prepared.table().to_data(), &device);
    let log_prob = |scorer: &Scorer| {
        let batch = Batch::collate(std::slice::from_ref(&features), table.clone(), &device);
        log_softmax(scorer.forward(batch).logits, 1).slice([0..1, at..at + 1])
    };
    let value = |scorer: &Scorer| values(log_prob(scorer)).unwrap()[0];
    let before = value(&scorer);
    for _ in 0..5 {
        let gradients = log_prob(&scorer).sum().backward();
        for parameter in scorer.start_at_zero_mut() {
            let gradient = parameter.val().grad(&gradients).unwrap();
            assert!(gradient.clone().abs().max().into_scalar::<f32>() > 0.0);
            let moved = parameter.val().inner() + gradient.mul_scalar(0.05);
            *parameter = Param::from_tensor(Tensor::from_data(moved.into_data(), &device));
        }
    }
    let after = value(&scorer);
    assert!(after > before + 0.1, "{before} → {after}");
}

#[test]
fn an_explored_decision_logs_the_probability_of_the_mixture() {
    let serving = ServingConfig {
        explore: crate::ExploreConfig {
            share: 0.5,
            temperature: 3.0,
        },
        ..ServingConfig::default()
    };
    let explorer = Runtime::open(DeviceSetting::Cpu, table(), serving).unwrap();
    let (greedy, prepared) = world();
    let explorer = ScorerPolicy::untrained(greedy.config().clone(), explorer).unwrap();
    assert_eq!(explorer.version(), greedy.version());
    let mut request = request("What total does the receipt state?", AnswerKind::Number, 1);
    let first = greedy.decide(&prepared, &request).unwrap();
    assert_eq!(first.log_prob.to_bits(), 0.0f64.to_bits());
    let mut unusual = 0;
    for seed in 0..200 {
        request.seed = seed;
        let decision = explorer.decide(&prepared, &request).unwrap();
        assert_eq!(decision.alternatives, first.alternatives);
        if decision.action == first.action {
            assert!(decision.log_prob.exp() > 0.5);
        } else {
            unusual += 1;
            assert!(decision.log_prob.exp() < 0.5);
        }
    }
    assert!((10..100).contains(&unusual), "{unusual} of 200");
}
