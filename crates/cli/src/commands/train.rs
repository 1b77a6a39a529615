//! `maestro train`: a policy from recorded calls.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    path::Path,
    sync::Arc,
};

use indicatif::{ProgressBar, ProgressStyle};
use maestro_core::{Digest, Timestamp, recording::Recording, task::Weights};
use maestro_models::{DeviceSetting, TextEmbedder};
use maestro_policy::{
    NOTE_DESCRIPTIONS, Runtime, ServingConfig,
    learning::{
        IterationMetrics, PreparedWorld, ReplayEnvironment, Rewording, Run, Trained, TrainingConfig,
    },
    manifest, manifest_content,
    replay::{Terms, World},
    weights,
};
use maestro_policy_worker::config::EncoderSetting;

use super::print_json;
use crate::{
    arguments::{Encoder, Train},
    data::DataSet,
    error::CliError,
    local::models,
};

/// File of a policy's folder with its manifest; the digest of its bytes is the version.
pub(crate) const MANIFEST_FILE: &str = "policy.json";
/// File of a policy's folder with its weights.
pub(crate) const WEIGHTS_FILE: &str = "policy.safetensors";

/// Trains until the end; a run that was stopped goes on.
pub(super) fn train(arguments: &Train) -> Result<(), CliError> {
    let config = config(arguments)?;
    let runtime = runtime(arguments.encoder, arguments.models.as_deref())?;
    let recordings = arguments
        .data
        .iter()
        .map(|folder| recording(folder, arguments))
        .collect::<Result<Vec<_>, _>>()?;
    let facts = Facts::of(&recordings, arguments);
    let rewording = Rewording::new(config.rewording, paraphrases(arguments)?);
    let (mut learned, mut held_out) = (Vec::new(), Vec::new());
    for recording in recordings {
        let (learn, hold) = divided(recording, arguments.held_out, config.learner.seed);
        let terms = Terms {
            max_steps: config.max_steps,
            weights: Weights::default(),
            ..Terms::default()
        };
        learned.push(PreparedWorld::new(
            World::new(learn, &terms)?,
            &runtime,
            &rewording,
        )?);
        if !hold.tasks.is_empty() {
            let world = World::new(hold, &terms)?;
            held_out.push(PreparedWorld::new(world, &runtime, &Rewording::none())?);
        }
    }
    let threads = arguments
        .threads
        .or_else(|| std::thread::available_parallelism().ok().map(usize::from))
        .unwrap_or(1);
    let scenario = config.scenario;
    let mut environment = ReplayEnvironment::new(learned, scenario, threads, &runtime)?;
    let scorer = config
        .scorer
        .config(runtime.embedder().dim(), config.learner.seed);
    let run = Run {
        config: &config,
        scorer: &scorer,
        start: None,
        held_out: &held_out,
        folder: &arguments.out,
        runtime: &runtime,
    };
    let view = View::new(config.learner.iterations, arguments.json);
    let trained = run.train(&mut environment, |metrics| view.show(metrics))?;
    view.bar.finish();
    let notes = facts.notes(&trained, &config)?;
    let made = manifest(&trained.scorer, &scorer, &runtime, Timestamp::now(), notes)?;
    let content = manifest_content(&made)?;
    let write = |name: &str, bytes: &[u8]| {
        let path = arguments.out.join(name);
        fs::write(&path, bytes).map_err(CliError::file(path))
    };
    write(WEIGHTS_FILE, &weights(&trained.scorer)?)?;
    write(MANIFEST_FILE, &content)?;
    println!("policy {}", Digest::of(&content));
    Ok(())
}

fn config(arguments: &Train) -> Result<TrainingConfig, CliError> {
    let mut config = match &arguments.config {
        None => TrainingConfig::default(),
        Some(path) => {
            let text = fs::read_to_string(path).map_err(CliError::file(path))?;
            serde_saphyr::from_str(&text).map_err(|error| CliError::Content {
                path: path.clone(),
                reason: error.to_string(),
            })?
        }
    };
    if let Some(seed) = arguments.seed {
        config.learner.seed = seed;
    }
    if let Some(iterations) = arguments.iterations {
        config.learner.iterations = iterations;
    }
    config.validate()?;
    if !(0.0..1.0).contains(&arguments.held_out) {
        return Err(CliError::Argument {
            argument: "--held-out",
            reason: format!("is {}; must be 0 up to 1", arguments.held_out),
        });
    }
    Ok(config)
}

/// Device and embedder on this machine's processor.
pub(crate) fn runtime(encoder: Encoder, models: Option<&Path>) -> Result<Runtime, CliError> {
    let setting = match encoder {
        Encoder::Static => EncoderSetting::Static,
        Encoder::Minilm => {
            EncoderSetting::Minilm(models::folder(models.map(Path::to_owned))?.join("minilm"))
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

/// The part of a folder's recording that is learned from.
fn recording(folder: &Path, arguments: &Train) -> Result<Recording, CliError> {
    let mut recording = DataSet::read(folder)?.recording;
    let is_out = |list: &[String], name: &str| list.iter().any(|out| out == name);
    recording.tasks.retain(|task| {
        arguments.split.contains(&task.task.split)
            && !is_out(&arguments.without_domain, &task.task.domain)
    });
    for task in &mut recording.tasks {
        task.calls.retain(|call| {
            !is_out(&arguments.without_expert, call.pair.expert.as_str())
                && !is_out(&arguments.without_skill, call.pair.skill.as_str())
        });
    }
    let catalogue = &mut recording.catalogue;
    catalogue
        .experts
        .retain(|name, _| !is_out(&arguments.without_expert, name.as_str()));
    catalogue
        .skills
        .retain(|name, _| !is_out(&arguments.without_skill, name.as_str()));
    Ok(recording)
}

/// Divides by groups of tasks: the part to learn from and the part that is held out.
fn divided(mut recording: Recording, share: f64, seed: u64) -> (Recording, Recording) {
    let is_held = |task: &maestro_core::recording::RecordedTask| {
        let group = task.task.group.as_deref().unwrap_or(&task.task.id);
        let digest = Digest::of(format!("{seed} {group}").as_bytes());
        let head = digest.as_bytes().iter().take(4);
        let place = head.fold(0u32, |sum, byte| (sum << 8) | u32::from(*byte));
        f64::from(place) < share * f64::from(u32::MAX)
    };
    let (held, learned) = recording.tasks.drain(..).partition(is_held);
    let with = |tasks| Recording {
        catalogue: recording.catalogue.clone(),
        tasks,
    };
    (with(learned), with(held))
}

/// Other words by the digest of the text. The last of each is kept for evaluations.
fn paraphrases(arguments: &Train) -> Result<HashMap<Digest, Vec<String>>, CliError> {
    let Some(path) = &arguments.paraphrases else {
        return Ok(HashMap::new());
    };
    let text = fs::read_to_string(path).map_err(CliError::file(path))?;
    let mut found = HashMap::new();
    for (index, line) in text.lines().enumerate() {
        let Reworded {
            digest,
            mut paraphrases,
        } = serde_json::from_str(line).map_err(|error| CliError::Content {
            path: path.clone(),
            reason: format!("line {}: {error}", index + 1),
        })?;
        paraphrases.pop();
        found.insert(digest, paraphrases);
    }
    Ok(found)
}

/// A line of a file of paraphrases.
#[derive(serde::Deserialize)]
struct Reworded {
    digest: Digest,
    paraphrases: Vec<String>,
}

/// What a manifest says about its data.
struct Facts {
    data: String,
    data_digest: Digest,
    catalogues: String,
    descriptions: BTreeSet<Digest>,
    tasks: usize,
}

impl Facts {
    fn of(recordings: &[Recording], arguments: &Train) -> Self {
        let mut names: Vec<String> = arguments
            .data
            .iter()
            .map(|folder| {
                let name = folder.file_name().unwrap_or(folder.as_os_str());
                name.to_string_lossy().into_owned()
            })
            .collect();
        names.extend(arguments.without_expert.iter().map(|e| format!("-{e}@*")));
        names.extend(arguments.without_skill.iter().map(|s| format!("-*@{s}")));
        names.extend(arguments.without_domain.iter().map(|d| format!("-{d}")));
        let content: Vec<u8> = recordings
            .iter()
            .flat_map(|recording| &recording.tasks)
            .flat_map(|task| serde_json::to_vec(task).unwrap_or_default())
            .collect();
        let catalogues: BTreeSet<String> = recordings
            .iter()
            .map(|recording| recording.catalogue.digest().to_string())
            .collect();
        let descriptions = recordings
            .iter()
            .flat_map(|recording| {
                let experts = recording.catalogue.experts.values();
                let skills = recording.catalogue.skills.values();
                experts
                    .map(|e| &e.description)
                    .chain(skills.map(|s| &s.description))
            })
            .map(|text| Digest::of(text.as_bytes()))
            .collect();
        Self {
            data: names.join(","),
            data_digest: Digest::of(&content),
            catalogues: catalogues.into_iter().collect::<Vec<_>>().join(","),
            descriptions,
            tasks: recordings.iter().map(|r| r.tasks.len()).sum(),
        }
    }

    fn notes(
        self,
        trained: &Trained,
        config: &TrainingConfig,
    ) -> Result<BTreeMap<String, String>, CliError> {
        let descriptions: Vec<String> = self.descriptions.iter().map(ToString::to_string).collect();
        let mut notes = BTreeMap::from([
            ("training".to_owned(), "grpo".to_owned()),
            ("data".to_owned(), self.data),
            ("data_digest".to_owned(), self.data_digest.to_string()),
            ("catalogues".to_owned(), self.catalogues),
            ("tasks".to_owned(), self.tasks.to_string()),
            ("seed".to_owned(), config.learner.seed.to_string()),
            ("iteration".to_owned(), trained.iteration.to_string()),
            ("settings".to_owned(), serde_json::to_string(config)?),
            (NOTE_DESCRIPTIONS.to_owned(), descriptions.join(",")),
        ]);
        if let Some(validation) = trained.validation {
            notes.insert("metrics".to_owned(), serde_json::to_string(&validation)?);
        }
        Ok(notes)
    }
}

/// The live view.
struct View {
    bar: ProgressBar,
    json: bool,
}

impl View {
    fn new(iterations: u64, json: bool) -> Self {
        let bar = if json {
            ProgressBar::hidden()
        } else {
            ProgressBar::new(iterations)
        };
        let template = "{bar:30} {pos}/{len} {elapsed}/{duration}  {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self { bar, json }
    }

    fn show(&self, metrics: &IterationMetrics) -> bool {
        if self.json {
            return print_json(metrics).is_ok();
        }
        self.bar.set_position(metrics.iteration);
        self.bar.set_message(format!(
            "reward {:.3}  right {:.1} %  calls {:.2}  {:.2} s  entropy {:.2}  {:.0} episodes/s",
            metrics.reward,
            metrics.accuracy * 100.0,
            metrics.calls,
            metrics.latency,
            metrics.entropy,
            metrics.episodes_per_second,
        ));
        if let Some(held) = metrics.validation {
            self.bar.println(format!(
                "iteration {}: held out reward {:.3}, right {:.1} %, {:.2} calls, {:.2} s, ${:.6}",
                metrics.iteration,
                held.reward,
                held.accuracy * 100.0,
                held.calls,
                held.latency,
                held.cost,
            ));
        }
        true
    }
}
