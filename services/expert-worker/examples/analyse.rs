//! Measures the image analyses on recorded diagram questions:
//! `analyse TASKS.jsonl SPLIT SUBTASK` prints the accuracy and the misses; the subtask `classify`
//! prints how the pictures of every subtask are classified.
#![expect(clippy::print_stdout, reason = "a command-line tool prints its result")]

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::path::Path;

use image::RgbImage;
use maestro_expert_worker::backend::analysis::{
    AnalysisError, circle_contact, classify, count_circles, count_pentagons, flatten, grid_size,
    line_intersections, nested_squares,
};
use serde::Deserialize;

/// One line of the tasks file; other fields are not needed here.
#[derive(Debug, Deserialize)]
struct Task {
    split: String,
    subtask: String,
    prompt: String,
    image: String,
    answer: String,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, split, subtask] = arguments.as_slice() else {
        return Err("usage: analyse TASKS.jsonl SPLIT SUBTASK|classify".into());
    };
    let file = Path::new(file);
    let folder = file.parent().unwrap_or(Path::new("."));
    let mut tasks = Vec::new();
    for line in std::fs::read_to_string(file)?.lines() {
        let task: Task = serde_json::from_str(line)?;
        if task.split == *split {
            tasks.push(task);
        }
    }
    if subtask == "classify" {
        kinds(folder, &tasks)
    } else {
        accuracy(folder, &tasks, subtask)
    }
}

fn open(folder: &Path, task: &Task) -> Result<RgbImage, image::ImageError> {
    Ok(flatten(&image::open(folder.join(&task.image))?))
}

fn kinds(folder: &Path, tasks: &[Task]) -> Result<(), Box<dyn Error>> {
    let mut seen: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    let mut images = HashMap::new();
    for task in tasks {
        let about = if task.prompt.contains("pentagon") {
            " (pentagons)"
        } else {
            ""
        };
        images
            .entry(&task.image)
            .or_insert((task, format!("{}{about}", task.subtask)));
    }
    for (task, subtask) in images.into_values() {
        let kind = match classify(&open(folder, task)?) {
            Ok(found) => format!("{:?}", found.value),
            Err(error) => error.to_string(),
        };
        seen.entry((subtask, kind))
            .or_default()
            .push(task.image.clone());
    }
    for ((subtask, kind), images) in seen {
        println!(
            "{subtask:30} {kind:16} {:5}  e.g. {}",
            images.len(),
            images[0]
        );
    }
    Ok(())
}

fn accuracy(folder: &Path, tasks: &[Task], subtask: &str) -> Result<(), Box<dyn Error>> {
    let (mut right, mut total, mut sure, mut sure_right) = (0, 0, 0, 0);
    let started = std::time::Instant::now();
    let mut known: HashMap<(String, bool), (String, f32, String)> = HashMap::new();
    for task in tasks.iter().filter(|t| t.subtask == subtask) {
        let variant = task.prompt.contains("pentagon") || task.prompt.contains("overlapping");
        let key = (task.image.clone(), variant);
        if !known.contains_key(&key) {
            known.insert(key.clone(), solve(&open(folder, task)?, subtask, variant)?);
        }
        let (answer, confidence, evidence) = &known[&key];
        let hit = *answer == task.answer;
        total += 1;
        right += usize::from(hit);
        if *confidence >= 0.8 {
            sure += 1;
            sure_right += usize::from(hit);
        }
        if !hit {
            println!(
                "miss {} want {} got {answer} at {confidence:.2}: {evidence}",
                task.image, task.answer
            );
        }
    }
    println!(
        "{subtask}: {right} of {total} right ({:.2} %); of {sure} with confidence >= 0.8, {sure_right}; \
         {:.1} ms an image",
        100.0 * f64::from(right as u32) / f64::from(total.max(1)),
        started.elapsed().as_secs_f64() * 1000.0 / known.len().max(1) as f64,
    );
    Ok(())
}

fn solve(
    image: &RgbImage,
    subtask: &str,
    variant: bool,
) -> Result<(String, f32, String), Box<dyn Error>> {
    let text =
        |r: Result<_, AnalysisError>| r.unwrap_or_else(|e| ("none".into(), 0.0, e.to_string()));
    let number = |f: maestro_expert_worker::backend::analysis::Finding<u32>| {
        (f.value.to_string(), f.confidence, f.evidence)
    };
    let yes = |b: bool| if b { "Yes" } else { "No" }.to_owned();
    Ok(match subtask {
        "LineIntersection" => text(line_intersections(image).map(number)),
        "NestedSquares" => text(nested_squares(image).map(number)),
        "CountingCircles" if variant => text(count_pentagons(image).map(number)),
        "CountingCircles" => text(count_circles(image).map(number)),
        "CountingRowsAndColumns" => text(grid_size(image).map(|f| {
            (
                format!("{},{}", f.value.0, f.value.1),
                f.confidence,
                f.evidence,
            )
        })),
        "TouchingCircle" => text(circle_contact(image).map(|f| {
            let said = if variant {
                f.value.overlapping
            } else {
                f.value.touching
            };
            (yes(said), f.confidence, f.evidence)
        })),
        _ => return Err(format!("no analysis for subtask {subtask}").into()),
    })
}
