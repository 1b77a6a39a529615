use std::collections::BTreeSet;

use clap::Parser;
use maestro_core::{
    MicroUsd,
    answer::{AnswerKind, ExtractedAnswer},
    episode::Observation,
    grading::Reference,
    recording::{CATALOGUE_FILE, RecordedCall, RecordedResult, RecordedTask, TASKS_FILE},
    registry::{CallBounds, Catalogue, Descriptor, ImageNeed, SkillHeader},
};
use maestro_policy::{evaluation::study::Row, manifest, manifest_content, weights as weights_of};

use std::sync::Arc;

use maestro_models::DeviceSetting;
use maestro_policy::ServingConfig;

use super::*;
use crate::arguments::{Arguments, Command};

fn expert(name: &str, description: &str) -> Descriptor {
    let text = format!(
        r#"{{"name":"{name}","description":"{description}","capabilities":["chat"],
        "modalities":["text"],"price":null,"limits":{{}},"typical_latency_ms":null,
        "backend":null}}"#
    );
    serde_json::from_str(&text).unwrap()
}

fn catalogue(experts: &[Descriptor]) -> Catalogue {
    let skill = SkillHeader {
        hedge: false,
        name: "direct".parse().unwrap(),
        description: "Passes the question on".into(),
        bundle: maestro_core::Digest::of(b""),
        requires: BTreeSet::new(),
        helpers: BTreeSet::new(),
        optional_helpers: BTreeSet::new(),
        images: ImageNeed::Optional,
        expert_reads_images: true,
        answer_kinds: BTreeSet::new(),
        direct: true,
        bounds: CallBounds::default(),
        solvers: Vec::new(),
    };
    let mut catalogue = Catalogue::default();
    catalogue.skills.insert(skill.name.clone(), skill);
    for expert in experts {
        catalogue
            .experts
            .insert(expert.name.clone(), expert.clone());
    }
    catalogue
}

fn call(expert: &str, result: RecordedResult, cost: u64) -> RecordedCall {
    RecordedCall {
        pair: Pair {
            expert: expert.parse().unwrap(),
            skill: "direct".parse().unwrap(),
        },
        result,
        cost: MicroUsd(cost),
        latency_ms: cost,
    }
}

fn said(value: i64, confidence: f32) -> RecordedResult {
    RecordedResult::Observed(Box::new(Observation {
        answer: Some(ExtractedAnswer {
            value: value.to_string(),
            confidence,
        }),
        ..Observation::default()
    }))
}

/// Sums, which `adder` gets right, and colours, which `painter` does; both answer both.
fn task(place: i64, split: &str) -> RecordedTask {
    let is_sum = place % 2 == 0;
    let question = if is_sum {
        format!("Add {place} and {} please, what is the sum?", place + 1)
    } else {
        format!("How many colours of paint are on palette {place}?")
    };
    let truth = place * 2 + 1;
    let (sum, paint) = if is_sum { (truth, 0) } else { (0, truth) };
    RecordedTask {
        task: KnownTask {
            id: format!("{split}-{place}"),
            split: split.into(),
            domain: if is_sum { "sums <&>" } else { "colours" }.into(),
            group: None,
            question,
            images: Vec::new(),
            answer_kind: AnswerKind::Integer,
            reference: Some(Reference::Integer { value: truth }),
        },
        calls: vec![
            call("adder", said(sum, 0.9), 20),
            call("painter", said(paint, 0.6), 40),
        ],
    }
}

fn write(folder: &Path, catalogue: &Catalogue, tasks: &[RecordedTask]) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join(CATALOGUE_FILE), catalogue.content()).unwrap();
    let lines: Vec<String> = tasks
        .iter()
        .map(|task| serde_json::to_string(task).unwrap())
        .collect();
    fs::write(folder.join(TASKS_FILE), lines.join("\n")).unwrap();
}

/// A recording, an added expert's, and an untrained policy's folder with a metrics file.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let pool = [
            expert("adder", "Adds numbers and finds sums"),
            expert("painter", "Knows colours and paint"),
        ];
        let mut tasks: Vec<RecordedTask> = (0..40).map(|at| task(at, "train")).collect();
        tasks.extend((40..60).map(|at| task(at, "val")));
        write(&place.path("pool"), &catalogue(&pool), &tasks);
        let added: Vec<RecordedTask> = (40..60)
            .map(|at| RecordedTask {
                calls: vec![call("sage", RecordedResult::Graded(1.0), 90)],
                ..task(at, "val")
            })
            .collect();
        let sage = [expert("sage", "Knows sums and colours of paint alike")];
        write(&place.path("more"), &catalogue(&sage), &added);
        for seed in ["one", "two"] {
            place.write_policy(seed);
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write_policy(&self, name: &str) {
        let table = Arc::new(StaticTable::bundled().unwrap());
        let runtime = Runtime::open(DeviceSetting::Cpu, table, ServingConfig::default()).unwrap();
        let config = ScorerConfig::new(runtime.embedder().dim());
        let policy = ScorerPolicy::untrained(config.clone(), runtime.clone()).unwrap();
        let now = maestro_core::Timestamp::UNIX_EPOCH;
        let notes = Default::default();
        let made = manifest(policy.scorer(), &config, &runtime, now, notes).unwrap();
        let folder = self.path(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(MANIFEST_FILE), manifest_content(&made).unwrap()).unwrap();
        fs::write(
            folder.join(WEIGHTS_FILE),
            weights_of(policy.scorer()).unwrap(),
        )
        .unwrap();
        let line = |iteration: u64| {
            let metrics = maestro_policy::learning::IterationMetrics {
                iteration,
                reward: 0.1 * iteration as f64,
                ..Default::default()
            };
            serde_json::to_string(&metrics).unwrap()
        };
        let lines: Vec<String> = (1..=5).map(line).collect();
        fs::write(folder.join(METRICS_FILE), lines.join("\n")).unwrap();
    }

    fn arguments(&self, more: &[&str]) -> Eval {
        let pool = self.path("pool");
        let given = ["maestro", "eval", pool.to_str().unwrap()];
        let parsed = Arguments::try_parse_from(given.iter().chain(more)).unwrap();
        match parsed.command {
            Command::Eval(eval) => eval,
            other => panic!("{other:?}"),
        }
    }
}

fn row<'r>(report: &'r Report, name: &str) -> &'r Row {
    let rows = &report.study.rows;
    rows.iter().find(|row| row.name == name).unwrap_or_else(|| {
        let names: Vec<_> = rows.iter().map(|row| &row.name).collect();
        panic!("{name} is not among {names:?}")
    })
}

#[test]
fn a_report_holds_every_router_and_its_plots() {
    let place = Place::new();
    let (one, two) = (place.path("one"), place.path("two"));
    let html = place.path("report.html");
    let arguments = place.arguments(&[
        "--policy",
        one.to_str().unwrap(),
        "--policy",
        two.to_str().unwrap(),
        "--policy",
        "untrained",
        "--seeds",
        "2",
        "--html",
        html.to_str().unwrap(),
    ]);
    eval(&arguments).unwrap();
    let report = measure(&arguments).unwrap();
    assert_eq!((report.study.tasks, report.train_tasks), (20, 40));
    let accuracy = |name: &str| row(&report, name).metrics.accuracy;
    assert_eq!(accuracy("adder@direct"), 0.5);
    assert_eq!(accuracy("kNN"), 1.0);
    assert_eq!(accuracy("oracle"), 1.0);
    assert_eq!(accuracy("best pair per domain"), 1.0);
    // The surer of two that disagree is right on every sum only.
    assert_eq!(accuracy("majority vote"), 0.5);
    assert_eq!(row(&report, "kNN").gap_closed, Some(1.0));
    // The files hold the untrained policy, so all three do the same.
    assert_eq!(accuracy("one"), accuracy("untrained"));
    let families: Vec<_> = report
        .study
        .families
        .iter()
        .map(|f| (f.name.as_str(), f.seeds))
        .collect();
    assert_eq!(families, [("MLP", 2), ("policies", 2)]);

    let table = report::table(&report);
    for name in [
        "one",
        "kNN",
        "MLP, seed 1",
        "policies, 2 seeds: mean ± sd",
        "cheapest first",
    ] {
        assert!(table.contains(name), "{name} is missing:\n{table}");
    }
    let page = fs::read_to_string(&html).unwrap();
    for part in [
        "Learning curves",
        "Cost and quality",
        "Calibration of stopping",
    ] {
        assert!(page.contains(part), "{part} is missing");
    }
    assert!(page.contains("sums &lt;&amp;&gt;") && !page.contains("sums <&>"));
    assert!(
        !page.contains("src=") && !page.contains("href="),
        "it refers to others"
    );
    let drawings: Vec<&str> = page
        .split("<svg")
        .skip(1)
        .filter_map(|rest| rest.split("</svg>").next())
        .collect();
    // The frontier, two curves for each of two policies, and a heat map for each router.
    assert!(drawings.len() > 9, "{} drawings", drawings.len());
    for drawing in drawings {
        let opened = drawing.matches('<').count();
        let closed = drawing.matches("/>").count() + 2 * drawing.matches("</").count();
        assert_eq!(opened, closed, "every element is closed");
        assert!(
            !drawing.contains("NaN") && !drawing.contains("inf"),
            "{drawing}"
        );
    }
}

#[test]
fn added_experts_are_for_the_measured_tasks_only() {
    let place = Place::new();
    let more = place.path("more");
    let report = measure(&place.arguments(&["--add", more.to_str().unwrap()])).unwrap();
    assert_eq!(report.study.pairs, 3);
    assert_eq!(report.study.best_single, "sage@direct");
    let sage = |row: &Row| {
        let place = row
            .confusion
            .pairs
            .iter()
            .position(|name| name == "sage@direct");
        row.confusion
            .counts
            .iter()
            .map(|counts| counts[place.unwrap()])
            .sum::<usize>()
    };
    assert_eq!(sage(row(&report, "kNN")), 0, "nothing has learned of it");
    assert_eq!(sage(row(&report, "sage@direct")), 20);
}

#[test]
fn options_change_what_is_measured() {
    let place = Place::new();
    let one = place.path("one");
    let one = ["--policy", one.to_str().unwrap()];
    let with = |more: &[&str]| measure(&place.arguments(&[&one[..], more].concat())).unwrap();
    let single = with(&["--one-call", "--quick"]);
    assert_eq!(single.max_steps, 2);
    assert_eq!(row(&single, "one").metrics.calls, 1.0);
    assert!(single.study.rows.iter().all(|row| row.name != "kNN"));
    let half = with(&["--domain", "colours", "--quick"]);
    assert_eq!(half.study.tasks, 10);
    let alone = with(&["--without-expert", "adder", "--quick"]);
    assert_eq!((alone.study.pairs, alone.study.tasks), (1, 20));
    // What a policy does depends on no name.
    let renamed = with(&["--rename", "--quick"]);
    assert!(renamed.is_renamed && !renamed.study.best_single.contains("adder"));
    let plain = with(&["--quick"]);
    assert_eq!(row(&renamed, "one").metrics, row(&plain, "one").metrics);
}

#[test]
fn paraphrases_replace_descriptions() {
    let place = Place::new();
    let digest = maestro_core::Digest::of(b"Knows colours and paint");
    let line = format!(r#"{{"digest":"{digest}","paraphrases":["An artist","A dauber"]}}"#);
    let path = place.path("words.jsonl");
    fs::write(&path, line).unwrap();
    let path = path.to_str().unwrap();
    let report = measure(&place.arguments(&["--quick", "--paraphrases", path])).unwrap();
    assert_eq!(report.paraphrased, 1);
}

#[test]
fn bad_arguments_are_named() {
    let place = Place::new();
    let refused = |more: &[&str]| measure(&place.arguments(more)).unwrap_err().to_string();
    assert!(refused(&["--split", "none"]).contains("--split"));
    assert!(refused(&["--weights", "cost=-1"]).contains("not negative"));
    assert!(refused(&["--weights", "speed=1"]).contains("none of"));
    assert!(refused(&["--policy", "/nowhere"]).contains("policy.json"));
    assert_eq!(
        parse_weights("cost=0.5, latency=2").unwrap(),
        Weights {
            cost: 0.5,
            latency: 2.0,
            ..Weights::default()
        }
    );
}
