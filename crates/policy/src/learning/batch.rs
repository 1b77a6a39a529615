use burn::tensor::{Device, Int, Tensor, TensorData};

use super::{
    advantage::{Advantage, advantages},
    environment::Group,
    objective::Parts,
};
use crate::{
    features::Features,
    scorer::{Batch, Scorer},
};

/// Groups with what the policy before the update thought of their decisions.
pub(super) struct Lesson {
    pub(super) group: Group,
    pub(super) advantages: Vec<f64>,
    /// By episode and decision.
    pub(super) old: Vec<Vec<f64>>,
}

impl Lesson {
    /// The lesson of a group that was run by the policy which is now trained.
    pub(super) fn fresh(group: Group, kind: Advantage) -> Self {
        let rewards: Vec<f64> = group.episodes.iter().map(|e| e.reward).collect();
        let old = group
            .episodes
            .iter()
            .map(|episode| episode.decisions.iter().map(|d| d.log_prob).collect())
            .collect();
        Self {
            advantages: advantages(&rewards, kind),
            old,
            group,
        }
    }
}

/// The decisions of several lessons as the objective needs them, under a network.
pub(super) fn parts(
    scorer: &Scorer,
    lessons: &[&Lesson],
    entries: &Tensor<2>,
    device: &Device,
) -> Parts {
    let states: Vec<Features> = lessons
        .iter()
        .flat_map(|lesson| lesson.group.states.iter().cloned())
        .collect();
    let batch = Batch::collate(&states, entries.clone(), device);
    let [_, actions] = batch.present.dims();
    let (mut taken, mut advantage) = (Vec::<i32>::new(), Vec::<f32>::new());
    let (mut old, mut behaviour) = (Vec::<f32>::new(), Vec::<f32>::new());
    let mut episodes = 0;
    let mut first = 0;
    for lesson in lessons {
        for ((episode, before), worth) in lesson
            .group
            .episodes
            .iter()
            .zip(&lesson.old)
            .zip(&lesson.advantages)
        {
            episodes += 1;
            for (decided, before) in episode.decisions.iter().zip(before) {
                let place = (first + decided.state) * actions + decided.action;
                taken.push(i32::try_from(place).unwrap_or(i32::MAX));
                advantage.push(*worth as f32);
                old.push(*before as f32);
                behaviour.push(decided.log_prob as f32);
            }
        }
        first += lesson.group.states.len();
    }
    let count = taken.len();
    let vector = |values: Vec<f32>| Tensor::from_data(TensorData::new(values, [count]), device);
    let taken: Tensor<1, Int> = Tensor::from_data(TensorData::new(taken, [count]), device);
    let present = batch.present.clone();
    Parts {
        logits: scorer.forward(batch).logits,
        present,
        taken,
        advantages: vector(advantage),
        old: vector(old),
        behaviour: vector(behaviour),
        episodes,
    }
}
