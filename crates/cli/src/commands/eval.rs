//! `maestro eval`: policies and baselines on recorded calls.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use maestro_core::{recording::Recording, task::Weights};
use maestro_models::{DeviceSetting, StaticTable, TextEmbedder};
use maestro_policy::{
    Runtime, ScorerConfig, ScorerPolicy, ServingConfig,
    evaluation::{
        baselines::{self, Asked},
        frontier::Point,
        matrix::Matrix,
        metrics::Metrics,
        policy::play,
        study::{Routed, RouterKind, Study, StudyConfig},
    },
    learning::{METRICS_FILE, PreparedWorld, Rewording, ScenarioConfig},
    parse_manifest,
    replay::{Terms, World},
};
use maestro_policy_worker::config::EncoderSetting;

use super::print_json;
use crate::{
    arguments::{Encoder, Eval},
    data::DataSet,
    error::CliError,
    local::models,
    report::{self, Curve, Report},
};

/// Files of a policy's folder.
const MANIFEST_FILE: &str = "policy.json";
const WEIGHTS_FILE: &str = "policy.safetensors";
/// Name of the policy before any training.
const UNTRAINED: &str = "untrained";
/// The user's weights of cost at which a policy is run for its frontier.
const COST_WEIGHTS: [f32; 4] = [0.1, 0.25, 0.5, 1.0];
/// Decisions of one call and its answer.
const ONE_CALL: u32 = 2;

/// Measures, prints, and writes the report.
pub(super) fn eval(arguments: &Eval) -> Result<(), CliError> {
    let weights = parse_weights(arguments.weights.as_deref().unwrap_or_default())?;
    let runtime = runtime(arguments)?;
    let parts = Parts::read(arguments)?;
    let max_steps = if arguments.one_call {
        ONE_CALL
    } else {
        arguments.max_steps
    };
    let terms = Terms {
        max_steps,
        weights,
        ..Terms::default()
    };
    let measured = Measured::new(parts.measured, None, &terms, &runtime)?;
    if measured.matrix.tasks.is_empty() {
        return Err(CliError::Argument {
            argument: "--split",
            reason: "no task of these splits has a recorded call that suits it".to_owned(),
        });
    }
    let pairs = measured.matrix.pairs.clone();
    let train = match parts.train {
        Some(train) if !arguments.quick => {
            Some(Measured::new(train, Some(pairs), &terms, &runtime)?)
        }
        _ => None,
    };

    let mut routed = Vec::new();
    let mut curves = Vec::new();
    for name in &arguments.policy {
        let policy = load(name, &runtime)?;
        routed.push(run(name, &policy, &measured, &terms, &runtime)?);
        curves.extend(Curve::read(
            &label(name),
            &Path::new(name).join(METRICS_FILE),
        )?);
    }
    routed.extend(baselines::all(
        measured.asked(),
        train.as_ref().map(Measured::asked),
        arguments.seeds,
        runtime.device(),
    )?);
    let config = StudyConfig {
        reward: ScenarioConfig::default().reward_of(&weights),
        ..StudyConfig::default()
    };
    let report = Report {
        data: names(&arguments.data),
        added: names(&arguments.add),
        splits: arguments.split.clone(),
        left_out: parts.tasks - measured.matrix.tasks.len(),
        train_tasks: train.as_ref().map_or(0, |train| train.matrix.tasks.len()),
        max_steps,
        weights,
        embedder: runtime.embedder().digest().to_owned(),
        study: Study::of(&measured.matrix, routed, &config),
        curves,
    };
    if let Some(path) = &arguments.html {
        fs::write(path, report::html(&report)?).map_err(CliError::file(path))?;
    }
    if arguments.json {
        print_json(&report)
    } else {
        print!("{}", report::table(&report));
        Ok(())
    }
}

/// The tasks to measure on, and those to learn from.
struct Parts {
    measured: Recording,
    /// Number of tasks to measure on, those without a call included.
    tasks: usize,
    train: Option<Recording>,
}

impl Parts {
    fn read(arguments: &Eval) -> Result<Self, CliError> {
        let mut all = Recording::default();
        for folder in &arguments.data {
            all.join(DataSet::read(folder)?.recording, false)?;
        }
        let part = |splits: &[String]| {
            let is_in = |split: &String| splits.contains(split);
            let tasks = all.tasks.iter().filter(|task| is_in(&task.task.split));
            Recording {
                catalogue: all.catalogue.clone(),
                tasks: tasks.cloned().collect(),
            }
        };
        let mut measured = part(&arguments.split);
        let train = part(&arguments.train_split);
        for folder in &arguments.add {
            measured.join(DataSet::read(folder)?.recording, true)?;
        }
        Ok(Self {
            tasks: measured.tasks.len(),
            measured,
            train: (!train.tasks.is_empty()).then_some(train),
        })
    }
}

/// Tasks made ready for every kind of router.
struct Measured {
    world: PreparedWorld,
    matrix: Matrix,
    vectors: Vec<Vec<f32>>,
}

impl Measured {
    /// Over the given pairs, or all.
    fn new(
        recording: Recording,
        pairs: Option<Vec<maestro_core::task::Pair>>,
        terms: &Terms,
        runtime: &Runtime,
    ) -> Result<Self, CliError> {
        let world = World::new(recording, terms)?;
        let matrix = match pairs {
            Some(pairs) => Matrix::over(pairs, &world),
            None => Matrix::of(&world),
        };
        let world = PreparedWorld::new(world, runtime, &Rewording::none())?;
        let vectors = (0..matrix.tasks.len()).map(|task| world.question(task).to_vec());
        Ok(Self {
            vectors: vectors.collect(),
            world,
            matrix,
        })
    }

    fn asked(&self) -> Asked<'_> {
        Asked {
            matrix: &self.matrix,
            vectors: &self.vectors,
        }
    }
}

fn run(
    name: &str,
    policy: &ScorerPolicy,
    measured: &Measured,
    terms: &Terms,
    runtime: &Runtime,
) -> Result<Routed, CliError> {
    let play = |weights: Option<Weights>| {
        let scorer = policy.scorer();
        play(scorer, &measured.world, runtime, &measured.matrix, weights)
    };
    let mut frontier = Vec::with_capacity(COST_WEIGHTS.len());
    for cost in COST_WEIGHTS {
        let weights = Weights {
            cost,
            ..terms.weights
        };
        let outcomes = play(Some(weights))?;
        let config = StudyConfig::default();
        let rare = Default::default();
        let point: Point = Metrics::of(&measured.matrix, &outcomes, &config.reward, &rare).point();
        frontier.push(point);
    }
    let version = policy.version().to_string();
    Ok(Routed {
        family: (name != UNTRAINED).then(|| "policies".to_owned()),
        frontier,
        ..Routed::new(label(name), RouterKind::Policy, play(None)?)
            .with_note(format!("version {}", version.get(..12).unwrap_or(&version)))
    })
}

fn load(name: &str, runtime: &Runtime) -> Result<ScorerPolicy, CliError> {
    if name == UNTRAINED {
        let config = ScorerConfig::new(runtime.embedder().dim());
        return Ok(ScorerPolicy::untrained(config, runtime.clone())?);
    }
    let [manifest, weights] = [MANIFEST_FILE, WEIGHTS_FILE].map(|file| {
        let path = Path::new(name).join(file);
        fs::read(&path).map_err(CliError::file(path))
    });
    Ok(ScorerPolicy::load(&manifest?, &weights?, runtime.clone())?)
}

/// Device and embedder: as asked for, else as the first policy needs it.
fn runtime(arguments: &Eval) -> Result<Runtime, CliError> {
    let encoder = match (arguments.encoder, first_folder(&arguments.policy)) {
        (Some(encoder), _) => encoder,
        (None, Some(folder)) => encoder_of(folder)?,
        (None, None) => Encoder::Static,
    };
    let setting = match encoder {
        Encoder::Static => EncoderSetting::Static,
        Encoder::Minilm => {
            EncoderSetting::Minilm(models::folder(arguments.models.clone())?.join("minilm"))
        }
    };
    let embedder: Arc<dyn TextEmbedder> = setting
        .load(DeviceSetting::Cpu)
        .map_err(|error| CliError::start("text encoder")(error.to_string()))?;
    Ok(Runtime::open(
        DeviceSetting::Cpu,
        embedder,
        ServingConfig::default(),
    )?)
}

fn first_folder(policies: &[String]) -> Option<&Path> {
    let folder = policies.iter().find(|name| *name != UNTRAINED);
    folder.map(Path::new)
}

/// The encoder that a policy was made for. One that is neither is refused when it is loaded.
fn encoder_of(folder: &Path) -> Result<Encoder, CliError> {
    let path = folder.join(MANIFEST_FILE);
    let bytes = fs::read(&path).map_err(CliError::file(path))?;
    let manifest = parse_manifest(&bytes)?;
    let table = StaticTable::bundled().map_err(maestro_policy::PolicyError::from)?;
    let is_table = manifest.notes.values().any(|note| note == table.digest());
    Ok(if is_table {
        Encoder::Static
    } else {
        Encoder::Minilm
    })
}

/// Reads `cost=0.5,latency=0.2`.
fn parse_weights(text: &str) -> Result<Weights, CliError> {
    let refuse = |part: &str, reason: &str| {
        Err(CliError::Argument {
            argument: "--weights",
            reason: format!("{part:?} {reason}"),
        })
    };
    let mut weights = Weights::default();
    for part in text.split(',').filter(|part| !part.trim().is_empty()) {
        let Some((name, value)) = part.split_once('=') else {
            return refuse(part, "is not NAME=WEIGHT");
        };
        let weight = match value.trim().parse::<f32>() {
            Ok(weight) if weight.is_finite() && weight >= 0.0 => weight,
            _ => return refuse(part, "has no weight that is a number and not negative"),
        };
        match name.trim() {
            "accuracy" => weights.accuracy = weight,
            "cost" => weights.cost = weight,
            "latency" => weights.latency = weight,
            _ => return refuse(part, "is none of accuracy, cost and latency"),
        }
    }
    Ok(weights)
}

/// How a policy is called in tables: its folder's name.
fn label(name: &str) -> String {
    let last = Path::new(name).file_name();
    last.map_or_else(
        || name.to_owned(),
        |last| last.to_string_lossy().into_owned(),
    )
}

fn names(folders: &[PathBuf]) -> Vec<String> {
    let name = |folder: &PathBuf| label(&folder.to_string_lossy());
    folders.iter().map(name).collect()
}

#[cfg(test)]
#[path = "eval_tests.rs"]
mod tests;
