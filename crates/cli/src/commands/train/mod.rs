//! `maestro train`: a policy from recorded calls, or from episodes of a running Maestro.

mod facts;
mod live;
mod source;
mod view;

use std::{fs, path::Path, sync::Arc};

use maestro_models::{DeviceSetting, TextEmbedder};
use maestro_policy::{
    Runtime, ScorerConfig, ServingConfig,
    learning::{
        Environment, PreparedWorld, ReplayEnvironment, Rewording, Run, Trained, TrainingConfig,
    },
    replay::{Terms, World},
    write_folder,
};
use maestro_policy_worker::config::EncoderSetting;

use self::{facts::Facts, view::View};
use crate::{
    arguments::{Encoder, Train},
    error::CliError,
    local::models,
};

/// Trains until the end; a run that was stopped goes on.
pub(super) async fn train(arguments: Train) -> Result<(), CliError> {
    let config = config(&arguments)?;
    let runtime = runtime(arguments.encoder, arguments.models.as_deref())?;
    let seed = config.learner.seed;
    let training = Training {
        scorer: config.scorer.config(runtime.embedder().dim(), seed),
        arguments,
        config,
        runtime,
    };
    match training.arguments.live.clone() {
        Some(endpoint) => live::train(training, &endpoint).await,
        None => blocking(move || training.replay()).await,
    }
}

/// Runs what computes for long off the runtime's own threads.
async fn blocking(
    work: impl FnOnce() -> Result<(), CliError> + Send + 'static,
) -> Result<(), CliError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| CliError::start("training")(error.to_string()))?
}

/// A run as the command line describes it.
struct Training {
    arguments: Train,
    config: TrainingConfig,
    scorer: ScorerConfig,
    runtime: Runtime,
}

impl Training {
    fn replay(&self) -> Result<(), CliError> {
        let config = &self.config;
        let rewording = Rewording::new(config.rewording, source::paraphrases(&self.arguments)?);
        let mut facts = Facts::default();
        let (mut learned, mut held_out) = (Vec::new(), Vec::new());
        let terms = Terms {
            max_steps: config.max_steps,
            ..Terms::default()
        };
        for folder in &self.arguments.data {
            let recording = source::read(folder, &self.arguments)?.recording;
            facts.add_catalogue(&recording.catalogue);
            facts.add_recorded(&recording.tasks)?;
            let share = self.arguments.held_out;
            let (learn, hold) = source::divided(recording, share, config.learner.seed);
            let world = World::new(learn, &terms)?;
            learned.push(PreparedWorld::new(world, &self.runtime, &rewording)?);
            if !hold.tasks.is_empty() {
                let world = World::new(hold, &terms)?;
                let plain = Rewording::none();
                held_out.push(PreparedWorld::new(world, &self.runtime, &plain)?);
            }
        }
        let threads = self
            .arguments
            .threads
            .or_else(|| std::thread::available_parallelism().ok().map(usize::from))
            .unwrap_or(1);
        let mut environment =
            ReplayEnvironment::new(learned, config.scenario, threads, &self.runtime)?;
        self.run(&mut environment, &held_out, facts)
    }

    /// Trains and writes the policy.
    fn run(
        &self,
        environment: &mut dyn Environment,
        held_out: &[PreparedWorld],
        facts: Facts,
    ) -> Result<(), CliError> {
        let run = Run {
            config: &self.config,
            scorer: &self.scorer,
            held_out,
            folder: &self.arguments.out,
            runtime: &self.runtime,
        };
        let view = View::new(self.config.learner.iterations, self.arguments.json);
        let trained = run.train(environment, |metrics| view.show(metrics))?;
        view.finish();
        self.write(&trained, facts)
    }

    fn write(&self, trained: &Trained, facts: Facts) -> Result<(), CliError> {
        let notes = facts.notes(trained, &self.config, &self.arguments)?;
        let (scorer, folder) = (&trained.scorer, &self.arguments.out);
        let version = write_folder(folder, scorer, &self.scorer, &self.runtime, notes)?;
        println!("policy {version}");
        Ok(())
    }
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
