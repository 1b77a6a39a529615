use std::time::Instant;

use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::{AdamWConfig, GradientsParams, ModuleOptimizer},
    tensor::{Device, Tensor},
};

use super::{
    advantage::is_telling,
    batch::{Lesson, parts},
    config::LearnerConfig,
    environment::{Acting, Environment, Group, GroupRequest},
    metrics::IterationMetrics,
    objective::objective,
};
use crate::{error::PolicyError, random::SplitMix, scorer::Scorer, values};

/// How many times as many groups as wanted are sampled at most.
const RESAMPLING: usize = 3;

/// Trains a scorer.
///
/// All that is random depends on the seed and on how many tasks were taken, so a run that goes on
/// from a checkpoint does what one that was never interrupted does.
pub struct Learner {
    pub(super) config: LearnerConfig,
    pub(super) scorer: Scorer,
    pub(super) optimiser: ModuleOptimizer,
    /// Updates of the acting policy.
    pub(super) version: u64,
    /// Tasks taken.
    pub(super) position: u64,
    device: Device,
}

impl Learner {
    /// Starts from a network.
    ///
    /// # Errors
    /// [`PolicyError::Config`] naming the setting.
    pub fn new(
        config: LearnerConfig,
        scorer: &Scorer,
        device: &Device,
    ) -> Result<Self, PolicyError> {
        config.validate()?;
        Ok(Self {
            scorer: scorer.clone().to_device(&device.clone().autodiff()).train(),
            optimiser: optimiser(&config),
            config,
            version: 0,
            position: 0,
            device: device.clone(),
        })
    }

    /// Updates so far.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether all iterations were made.
    pub fn is_done(&self) -> bool {
        self.version >= self.config.iterations
    }

    /// The network as it acts now.
    pub fn acting(&self) -> Acting {
        Acting {
            scorer: self.scorer.valid(),
            version: self.version,
        }
    }

    /// One iteration: episodes, then updates.
    ///
    /// # Errors
    /// [`PolicyError`] where no episode could be run or the network failed.
    pub fn iterate(
        &mut self,
        environment: &mut dyn Environment,
    ) -> Result<IterationMetrics, PolicyError> {
        let started = Instant::now();
        let mut metrics = IterationMetrics {
            learning_rate: self.config.learning_rate_at(self.version),
            ..IterationMetrics::default()
        };
        let acting = self.acting();
        let (seen, entries) = self.sample(environment, &acting)?;
        metrics.count(&seen);
        let asked = seen.len().max(1) as f64;
        let (groups, stale) = self.worth_learning(seen);
        metrics.stale = stale;
        metrics.telling = groups.len() as f64 / asked;
        let mut lessons = Vec::with_capacity(groups.len());
        for group in groups {
            lessons.push(self.lesson(group, &acting, &entries)?);
        }
        self.update(&lessons, &entries, &mut metrics)?;
        self.version += 1;
        metrics.iteration = self.version;
        metrics.tasks = self.position;
        let seconds = started.elapsed().as_secs_f64().max(1e-9);
        metrics.episodes_per_second = metrics.episodes as f64 / seconds;
        Ok(metrics)
    }

    /// Runs groups until enough of them say something.
    fn sample(
        &mut self,
        environment: &mut dyn Environment,
        acting: &Acting,
    ) -> Result<(Vec<Group>, Tensor<2>), PolicyError> {
        let mut seen: Vec<Group> = Vec::new();
        let mut telling = 0;
        loop {
            let missing = self.config.groups - telling;
            let requests: Vec<GroupRequest> = (0..missing)
                .map(|_| self.next_request(environment.tasks()))
                .collect();
            let rollouts = environment.roll_out(acting, &requests, self.config.group_size)?;
            telling += rollouts.groups.iter().filter(|g| says_something(g)).count();
            seen.extend(rollouts.groups);
            let most = self.config.groups * RESAMPLING;
            if !self.config.dynamic_sampling
                || telling >= self.config.groups
                || seen.len() + (self.config.groups - telling) > most
            {
                return Ok((seen, rollouts.entries));
            }
        }
    }

    /// Tasks come in an order of their own in each pass over the data.
    fn next_request(&mut self, tasks: usize) -> GroupRequest {
        let tasks = tasks.max(1);
        let pass = self.position / tasks as u64;
        let place = (self.position % tasks as u64) as usize;
        // A whole shuffle for one place would be slow; an order that is a bijection is enough.
        let task = permuted(place, tasks, SplitMix::keyed(&[self.config.seed, 1, pass]));
        let seed = SplitMix::keyed(&[self.config.seed, 2, self.position]).next();
        self.position += 1;
        GroupRequest { task, seed }
    }

    /// Drops what is too old or says nothing.
    fn worth_learning(&self, groups: Vec<Group>) -> (Vec<Group>, usize) {
        let oldest = self.version.saturating_sub(self.config.max_staleness);
        let mut stale = 0;
        let kept = groups
            .into_iter()
            .map(|mut group| {
                let before = group.episodes.len();
                group.episodes.retain(|episode| episode.version >= oldest);
                stale += before - group.episodes.len();
                group
            })
            .filter(says_something)
            .take(self.config.groups)
            .collect();
        (kept, stale)
    }

    /// What the acting policy thinks of a group's decisions: where they are its own, what they were
    /// taken with.
    fn lesson(
        &self,
        group: Group,
        acting: &Acting,
        entries: &Tensor<2>,
    ) -> Result<Lesson, PolicyError> {
        let is_fresh = group.episodes.iter().all(|e| e.version == acting.version);
        let mut lesson = Lesson::fresh(group, self.config.advantage);
        if is_fresh {
            return Ok(lesson);
        }
        let parts = parts(&acting.scorer, &[&lesson], entries, &self.device);
        let [states, actions] = parts.logits.dims();
        let log_probs = burn::tensor::activation::log_softmax(parts.logits, 1)
            .reshape([states * actions])
            .select(0, parts.taken);
        let mut log_probs = values(log_probs)?.into_iter().map(f64::from);
        for before in lesson.old.iter_mut().flatten() {
            *before = log_probs.next().unwrap_or(*before);
        }
        Ok(lesson)
    }

    fn update(
        &mut self,
        lessons: &[Lesson],
        entries: &Tensor<2>,
        metrics: &mut IterationMetrics,
    ) -> Result<(), PolicyError> {
        let mut steps = 0.0;
        for epoch in 0..self.config.epochs {
            let mut order: Vec<&Lesson> = lessons.iter().collect();
            let keys = [self.config.seed, 3, self.version, epoch as u64];
            SplitMix::keyed(&keys).shuffle(&mut order);
            for part in order.chunks(self.config.minibatch) {
                let found = self.step(part, entries, metrics.learning_rate)?;
                metrics.entropy += found[0];
                metrics.clipped += found[1];
                metrics.divergence += found[2];
                metrics.gradient_norm += found[3];
                steps += 1.0;
            }
        }
        if steps > 0.0 {
            metrics.entropy /= steps;
            metrics.clipped /= steps;
            metrics.divergence /= steps;
            metrics.gradient_norm /= steps;
        }
        Ok(())
    }

    /// One step of the optimiser; gives entropy, clipped share, divergence and gradient norm.
    fn step(
        &mut self,
        lessons: &[&Lesson],
        entries: &Tensor<2>,
        learning_rate: f64,
    ) -> Result<[f64; 4], PolicyError> {
        let parts = parts(&self.scorer, lessons, entries, &self.device);
        let found = objective(&parts, &self.config.objective);
        let gradients = found.loss.backward();
        let mut gradients = GradientsParams::from_grads(gradients, &self.scorer);
        let norm = limit(&mut gradients, &self.scorer, self.config.max_gradient_norm)?;
        if !norm.is_finite() {
            let message = "the gradients are not numbers".to_owned();
            return Err(PolicyError::Execution(message));
        }
        self.scorer = self
            .optimiser
            .step(learning_rate, self.scorer.clone(), gradients);
        Ok([
            first(found.entropy)?,
            first(found.clipped)?,
            first(found.divergence)?,
            norm,
        ])
    }
}

pub(super) fn optimiser(config: &LearnerConfig) -> ModuleOptimizer {
    AdamWConfig::new()
        .with_weight_decay(config.weight_decay as f32)
        .init()
}

fn says_something(group: &Group) -> bool {
    is_telling(group.episodes.iter().map(|episode| episode.reward))
}

fn first(tensor: Tensor<1>) -> Result<f64, PolicyError> {
    Ok(values(tensor)?.first().copied().map_or(0.0, f64::from))
}

/// The image of `place` under a bijection of `0..count` that the stream decides: an affine map
/// modulo the next power of two, repeated until the image is below `count`.
fn permuted(place: usize, count: usize, mut random: SplitMix) -> usize {
    let size = count.next_power_of_two().max(2) as u64;
    let (odd, shift) = (random.next() | 1, random.next());
    let mut at = place as u64;
    loop {
        at = at.wrapping_mul(odd).wrapping_add(shift) % size;
        // Mixing the high bits into the low ones keeps neighbours apart.
        at ^= (at >> (size.trailing_zeros() / 2 + 1)) % size;
        if (at as usize) < count {
            return at as usize;
        }
    }
}

/// Scales all gradients so that their norm together is at most `most` (Pascanu et al., arXiv
/// 1211.5063); gives the norm before.
fn limit(gradients: &mut GradientsParams, scorer: &Scorer, most: f64) -> Result<f64, PolicyError> {
    struct Squares<'a> {
        gradients: &'a GradientsParams,
        sums: Vec<Tensor<1>>,
    }
    impl ModuleVisitor for Squares<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.gradients.get::<D>(param.id) {
                self.sums.push(gradient.square().sum());
            }
        }
    }
    struct Scale<'a> {
        gradients: &'a mut GradientsParams,
        factor: f64,
    }
    impl ModuleVisitor for Scale<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.gradients.remove::<D>(param.id) {
                let scaled = gradient.mul_scalar(self.factor);
                self.gradients.register(param.id, scaled);
            }
        }
    }
    let mut squares = Squares {
        gradients,
        sums: Vec::new(),
    };
    scorer.visit(&mut squares);
    if squares.sums.is_empty() {
        return Ok(0.0);
    }
    let sum: f32 = values(Tensor::cat(squares.sums, 0))?.into_iter().sum();
    let norm = f64::from(sum).sqrt();
    if norm > most {
        let factor = most / norm;
        scorer.visit(&mut Scale { gradients, factor });
    }
    Ok(norm)
}

#[cfg(test)]
#[path = "learner_tests.rs"]
mod tests;
