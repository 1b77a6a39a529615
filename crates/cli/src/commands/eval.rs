//! `maestro eval`: policies and baselines on recorded calls.

mod disguise;

use std::{
    fs,
    path::{Path, PathBuf},
};

use maestro_core::{
    recording::{KnownTask, Recording},
    task::{Pair, Weights},
};
use maestro_models::StaticTable;
use maestro_policy::{
    MANIFEST_FILE, Runtime, ScorerConfig, ScorerPolicy, WEIGHTS_FILE,
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
use maestro_policy_worker::builtin;

use self::disguise::Disguise;
use super::{print_json, train};
use crate::{
    arguments::{Encoder, Eval},
    data::DataSet,
    error::CliError,
    report::{self, Curve, Report},
};

/// Name of the policy before any training.
const UNTRAINED: &str = "untrained";
/// Name of the policy that comes with the program.
const BUILTIN: &str = "builtin";
/// The user's weights of cost at which a policy is run for its frontier.
const COST_WEIGHTS: [f32; 6] = [0.1, 0.25, 0.5, 1.0, 2.0, 4.0];
/// Decisions of one call and its answer.
const ONE_CALL: u32 = 2;

/// Measures, prints, and writes the report.
pub(super) fn eval(arguments: &Eval) -> Result<(), CliError> {
    let report = measure(arguments)?;
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

fn measure(arguments: &Eval) -> Result<Report, CliError> {
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
            reason: "no task of these splits and domains has a recorded call that suits it"
                .to_owned(),
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
    Ok(Report {
        data: names(&arguments.data),
        added: names(&arguments.add),
        splits: arguments.split.clone(),
        left_out: parts.tasks - measured.matrix.tasks.len(),
        train_tasks: train.as_ref().map_or(0, |train| train.matrix.tasks.len()),
        paraphrased: parts.paraphrased,
        is_renamed: arguments.rename,
        max_steps,
        weights,
        embedder: runtime.embedder().digest().to_owned(),
        study: Study::of(&measured.matrix, routed, &config),
        curves,
    })
}

/// The tasks to measure on, and those to learn from.
struct Parts {
    measured: Recording,
    /// Number of tasks to measure on, those without a call included.
    tasks: usize,
    train: Option<Recording>,
    /// Descriptions that got other words.
    paraphrased: usize,
}

impl Parts {
    fn read(arguments: &Eval) -> Result<Self, CliError> {
        let disguise = Disguise::read(arguments.paraphrases.as_deref(), arguments.rename)?;
        let mut paraphrased = 0;
        let mut read = |folder: &PathBuf| -> Result<Recording, CliError> {
            let mut recording = DataSet::read(folder)?.recording;
            leave_out(&mut recording, arguments);
            paraphrased += disguise.put_on(&mut recording)?;
            Ok(recording)
        };
        let mut all = Recording::default();
        for folder in &arguments.data {
            all.join(read(folder)?, false)?;
        }
        let part = |is_in: &dyn Fn(&KnownTask) -> bool| Recording {
            catalogue: all.catalogue.clone(),
            tasks: all
                .tasks
                .iter()
                .filter(|t| is_in(&t.task))
                .cloned()
                .collect(),
        };
        let mut measured = part(&|task| {
            let is_asked = arguments.domain.is_empty() || arguments.domain.contains(&task.domain);
            arguments.split.contains(&task.split) && is_asked
        });
        let train = part(&|task| arguments.train_split.contains(&task.split));
        for folder in &arguments.add {
            measured.join(read(folder)?, true)?;
        }
        Ok(Self {
            tasks: measured.tasks.len(),
            measured,
            train: (!train.tasks.is_empty()).then_some(train),
            paraphrased,
        })
    }
}

/// Removes the entries that are to be left out, and their calls.
fn leave_out(recording: &mut Recording, arguments: &Eval) {
    let is_out = |list: &[String], name: &str| list.iter().any(|out| out == name);
    let no_expert = |name: &str| is_out(&arguments.without_expert, name);
    let no_skill = |name: &str| is_out(&arguments.without_skill, name);
    for task in &mut recording.tasks {
        let calls = &mut task.calls;
        calls.retain(|call| {
            !no_expert(call.pair.expert.as_str()) && !no_skill(call.pair.skill.as_str())
        });
    }
    let catalogue = &mut recording.catalogue;
    catalogue
        .experts
        .retain(|name, _| !no_expert(name.as_str()));
    catalogue.skills.retain(|name, _| !no_skill(name.as_str()));
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
        pairs: Option<Vec<Pair>>,
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
        family: is_folder(name).then(|| "policies".to_owned()),
        frontier,
        ..Routed::new(label(name), RouterKind::Policy, play(None)?)
            .with_note(format!("version {}", version.get(..12).unwrap_or(&version)))
    })
}

fn is_folder(name: &str) -> bool {
    ![UNTRAINED, BUILTIN].contains(&name)
}

fn load(name: &str, runtime: &Runtime) -> Result<ScorerPolicy, CliError> {
    if name == UNTRAINED {
        let config = ScorerConfig::new(runtime.embedder().dim());
        return Ok(ScorerPolicy::untrained(config, runtime.clone())?);
    }
    if name == BUILTIN {
        return builtin::shipped(runtime)?.ok_or_else(|| CliError::Argument {
            argument: "--policy",
            reason: "the built-in policy was trained with the encoder `static`".to_owned(),
        });
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
    train::runtime(encoder, arguments.models.as_deref())
}

fn first_folder(policies: &[String]) -> Option<&Path> {
    let folder = policies.iter().find(|name| is_folder(name));
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
mod tests;
