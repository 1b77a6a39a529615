//! Measures counting on recorded questions, from the detections that the example `detect` of the
//! expert worker printed:
//!
//! ```text
//! cargo run -p maestro-skill-runner --example count -- TASKS.jsonl SPLIT found.jsonl
//! ```
//!
//! Prints the accuracy by count band and its mean over the bands: for every constant answer, for
//! the bare detector at usual thresholds, and for the tool `count-objects`, over one pass and over
//! the closer look; then how often the tool is right by the confidence that it states.
#![expect(clippy::print_stdout, reason = "an example prints its results")]

use std::{collections::HashMap, error::Error, fs, path::Path};

use maestro_core::expert_call::Detection;
use maestro_skill_runner::tools::count::{self, Count, Thing};
use serde::Deserialize;

const BANDS: [&str; 5] = ["0", "1", "2", "3", "4+"];

/// A line of the tasks; other fields are not needed here.
#[derive(Deserialize)]
struct Task {
    split: String,
    prompt: String,
    image: String,
    answer: String,
    count_band: String,
}

/// A line of the detections.
#[derive(Deserialize)]
struct Found {
    file: String,
    how: String,
    seconds: f64,
    detections: Vec<Detection>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [tasks, split, found] = arguments.as_slice() else {
        return Err("usage: count TASKS.jsonl SPLIT FOUND.jsonl".into());
    };
    let tasks: Vec<Task> = lines(tasks)?;
    let tasks: Vec<Task> = tasks.into_iter().filter(|t| t.split == *split).collect();
    let mut things: HashMap<(String, String), Vec<Thing>> = HashMap::new();
    let mut seconds: HashMap<String, Vec<f64>> = HashMap::new();
    for found in lines::<Found>(found)? {
        seconds
            .entry(found.how.clone())
            .or_default()
            .push(found.seconds);
        let thing = |found: Detection| Thing {
            label: found.label,
            confidence: found.confidence,
            bounds: found.bounds,
        };
        let key = (name(&found.file).to_owned(), found.how);
        things.insert(key, found.detections.into_iter().map(thing).collect());
    }
    let seen = |task: &Task, how: &str| -> Result<&[Thing], String> {
        let key = (name(&task.image).to_owned(), how.to_owned());
        let things = things.get(&key);
        things
            .map(Vec::as_slice)
            .ok_or_else(|| format!("{key:?} was not looked at"))
    };

    println!(
        "{:28} {}   mean    all",
        "",
        BANDS.map(|b| format!("{b:>6}")).join("")
    );
    for constant in 0..=4 {
        let answers = vec![constant.to_string(); tasks.len()];
        row(&format!("always {constant}"), &tasks, &answers);
    }
    for threshold in [0.25, 0.5] {
        let answers = tasks
            .iter()
            .map(|task| Ok(bare(&task.prompt, seen(task, "network")?, threshold)))
            .collect::<Result<Vec<_>, String>>()?;
        row(&format!("network, threshold {threshold}"), &tasks, &answers);
    }
    for how in ["expert", "closely"] {
        let counts = tasks
            .iter()
            .map(|task| Ok(count::count(&task.prompt, seen(task, how)?)))
            .collect::<Result<Vec<_>, String>>()?;
        let answers: Vec<String> = counts
            .iter()
            .map(|count| {
                count
                    .as_ref()
                    .map_or_else(String::new, |c| c.value.to_string())
            })
            .collect();
        row(&format!("count-objects, {how}"), &tasks, &answers);
        if how == "closely" {
            reliability(&tasks, &counts);
        }
    }
    for (how, seconds) in seconds {
        let mean = seconds.iter().sum::<f64>() / seconds.len() as f64;
        println!("{how}: {mean:.2} s an image, {} images", seconds.len());
    }
    Ok(())
}

fn lines<T: for<'a> Deserialize<'a>>(path: &str) -> Result<Vec<T>, Box<dyn Error>> {
    let text = fs::read_to_string(path)?;
    let lines = text.lines().map(serde_json::from_str);
    Ok(lines.collect::<Result<_, _>>()?)
}

/// The name of an image's file: the folders may be others.
fn name(path: &str) -> &str {
    Path::new(path)
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or(path)
}

/// What a detector's user counts: the objects of the class at a threshold.
fn bare(question: &str, things: &[Thing], threshold: f32) -> String {
    let class = count::class_asked(question);
    let counted = things.iter().filter(|thing| {
        thing.confidence >= threshold && count::class_of_label(&thing.label) == class
    });
    counted.count().to_string()
}

fn share(right: usize, all: usize) -> f64 {
    right as f64 / all.max(1) as f64
}

/// Accuracy by band, its mean over the bands, and over all tasks.
fn row(title: &str, tasks: &[Task], answers: &[String]) {
    let bands = BANDS.map(|band| {
        let of_band = tasks
            .iter()
            .zip(answers)
            .filter(|(t, _)| t.count_band == band);
        let right = of_band.clone().filter(|(t, answer)| t.answer == **answer);
        share(right.count(), of_band.count())
    });
    let right = tasks
        .iter()
        .zip(answers)
        .filter(|(t, answer)| t.answer == **answer);
    let shown = bands.map(|share| format!("{share:6.2}")).join("");
    let mean = bands.iter().sum::<f64>() / bands.len() as f64;
    println!(
        "{title:28} {shown}  {mean:.3}  {:.3}",
        share(right.count(), tasks.len())
    );
}

/// How often the answers of like confidence are right.
fn reliability(tasks: &[Task], counts: &[Option<Count>]) {
    for (from, to) in [(0.0, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 1.01)] {
        let these = tasks.iter().zip(counts).filter_map(|(task, count)| {
            let count = count.as_ref()?;
            (from..to)
                .contains(&count.confidence)
                .then_some((count.value.to_string() == task.answer, count.confidence))
        });
        let all = these.clone().count();
        let right = these.clone().filter(|(right, _)| *right).count();
        let stated: f32 = these.map(|(_, confidence)| confidence).sum();
        println!(
            "  stated {:.2} on average: right {:.2} of {all}",
            stated / all.max(1) as f32,
            share(right, all)
        );
    }
}
