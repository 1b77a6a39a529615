//! A perceptron that predicts each pair's score from the question's vector (RouterBench, arXiv
//! 2403.12031, section 4.2). It has one output for each pair of its training, so unlike a policy
//! it can use no other.

use burn::{
    module::{Module, Param},
    nn::Linear,
    optim::{AdamWConfig, GradientsParams},
    tensor::{
        Device, Tensor, TensorData,
        activation::{log_sigmoid, relu, sigmoid},
    },
};

use super::{
    knn::matrix,
    predicted::{Expected, Predictions},
};
use crate::{error::PolicyError, evaluation::matrix::Matrix, random::SplitMix, values};

/// How it is trained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MlpConfig {
    /// Width of the hidden layer.
    pub hidden: usize,
    /// Step size of AdamW.
    pub learning_rate: f64,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// Questions in a step.
    pub batch: usize,
    /// Most passes over the questions.
    pub epochs: usize,
    /// Passes without a better loss on the held part after which it stops.
    pub patience: usize,
    /// Share of the questions that is held back for that.
    pub held: f64,
    /// Seed of the starting weights, of the order and of the held part.
    pub seed: u64,
}

impl Default for MlpConfig {
    fn default() -> Self {
        Self {
            hidden: 128,
            learning_rate: 1e-3,
            weight_decay: 1e-2,
            batch: 64,
            epochs: 100,
            patience: 8,
            held: 0.1,
            seed: 0,
        }
    }
}

#[derive(Module, Debug)]
struct Network {
    hidden: Linear,
    output: Linear,
}

impl Network {
    fn init(dim: usize, pairs: usize, config: &MlpConfig, device: &Device) -> Self {
        let mut random = SplitMix::keyed(&[config.seed, 0x313]);
        let mut linear = |input: usize, output: usize| {
            let scale = (input as f32).sqrt().recip();
            let weights: Vec<f32> = (0..input * output)
                .map(|_| random.symmetric() * scale)
                .collect();
            let weights = TensorData::new(weights, [input, output]);
            Linear {
                weight: Param::from_tensor(Tensor::from_data(weights, device)),
                bias: Some(Param::from_tensor(Tensor::zeros([output], device))),
            }
        };
        Self {
            hidden: linear(dim, config.hidden),
            output: linear(config.hidden, pairs),
        }
    }

    fn forward(&self, questions: Tensor<2>) -> Tensor<2> {
        self.output.forward(relu(self.hidden.forward(questions)))
    }

    /// Cross entropy with scores as probabilities, mean over the recorded calls.
    fn loss(&self, data: Data) -> Tensor<1> {
        let logits = self.forward(data.questions);
        let right = log_sigmoid(logits.clone()) * data.scores.clone();
        let wrong = log_sigmoid(-logits) * (data.scores.neg() + 1.0);
        let count = data.recorded.clone().sum();
        -((right + wrong) * data.recorded).sum() / count
    }
}

/// Questions `[tasks, dim]`; scores, and 1 where there is one `[tasks, pairs]`.
#[derive(Clone)]
struct Data {
    questions: Tensor<2>,
    scores: Tensor<2>,
    recorded: Tensor<2>,
}

impl Data {
    fn of(train: &Matrix, vectors: &[Vec<f32>], places: &[usize], device: &Device) -> Self {
        let pairs = train.pairs.len();
        let questions: Vec<Vec<f32>> = places.iter().map(|place| vectors[*place].clone()).collect();
        let tasks = places.iter().map(|place| &train.tasks[*place]);
        let cells: Vec<_> = tasks.flat_map(|task| &task.cells).collect();
        let table = |value: &dyn Fn(&Option<crate::evaluation::matrix::Cell>) -> f32| {
            let values: Vec<f32> = cells.iter().map(|cell| value(cell)).collect();
            Tensor::from_data(TensorData::new(values, [places.len(), pairs]), device)
        };
        Self {
            questions: matrix(&questions, device),
            scores: table(&|cell| cell.as_ref().map_or(0.0, |cell| cell.score as f32)),
            recorded: table(&|cell| f32::from(u8::from(cell.is_some()))),
        }
    }
}

/// The trained router.
#[derive(Debug)]
pub struct Mlp {
    network: Network,
    /// Mean cost of each pair in training; `None` for one that was not called.
    costs: Vec<Option<f64>>,
    device: Device,
    epochs: usize,
}

impl Mlp {
    /// Trains it, and keeps the weights of the pass with the lowest loss on the held part.
    ///
    /// # Errors
    /// [`PolicyError::Execution`] where the network failed.
    pub fn train(
        train: &Matrix,
        vectors: &[Vec<f32>],
        config: &MlpConfig,
        device: &Device,
    ) -> Result<Self, PolicyError> {
        let mut order: Vec<usize> = (0..train.tasks.len()).collect();
        SplitMix::keyed(&[config.seed, 0x5e1d]).shuffle(&mut order);
        let held = (order.len() as f64 * config.held).ceil() as usize;
        let (held, learned) = order.split_at(held.min(order.len()));
        let mut learned = learned.to_vec();
        let held = Data::of(train, vectors, held, device);

        let differentiable = device.clone().autodiff();
        let dim = vectors.first().map_or(0, Vec::len);
        let mut network = Network::init(dim, train.pairs.len(), config, &differentiable);
        let mut optimiser = AdamWConfig::new()
            .with_weight_decay(config.weight_decay)
            .init();
        let mut best = (f64::INFINITY, network.valid(), 0);
        for epoch in 1..=config.epochs {
            SplitMix::keyed(&[config.seed, 0x0bde, epoch as u64]).shuffle(&mut learned);
            for part in learned.chunks(config.batch.max(1)) {
                let loss = network.loss(Data::of(train, vectors, part, &differentiable));
                let gradients = GradientsParams::from_grads(loss.backward(), &network);
                network = optimiser.step(config.learning_rate, network, gradients);
            }
            let valid = network.valid();
            let loss = first(valid.loss(held.clone()))?;
            if loss < best.0 {
                best = (loss, valid, epoch);
            } else if epoch - best.2 >= config.patience {
                break;
            }
        }
        let costs = (0..train.pairs.len()).map(|pair| Some(train.means(pair)?.cost));
        Ok(Self {
            network: best.1,
            costs: costs.collect(),
            device: device.clone(),
            epochs: best.2,
        })
    }

    /// Passes after which it was best.
    pub fn epochs(&self) -> usize {
        self.epochs
    }

    /// What it expects of each pair on questions with these vectors.
    ///
    /// # Errors
    /// [`PolicyError::Execution`] where the network failed.
    pub fn predict(&self, questions: &[Vec<f32>]) -> Result<Predictions, PolicyError> {
        if questions.is_empty() || self.costs.is_empty() {
            return Ok(Predictions(vec![Vec::new(); questions.len()]));
        }
        let logits = self.network.forward(matrix(questions, &self.device));
        let scores = values(sigmoid(logits))?;
        let expect = |(score, cost): (&f32, &Option<f64>)| {
            cost.map(|cost| Expected {
                score: f64::from(*score),
                cost,
            })
        };
        let rows = scores.chunks_exact(self.costs.len());
        let row = |row: &[f32]| row.iter().zip(&self.costs).map(expect).collect();
        Ok(Predictions(rows.map(row).collect()))
    }
}

fn first(loss: Tensor<1>) -> Result<f64, PolicyError> {
    let values = values(loss)?;
    Ok(values
        .first()
        .map_or(f64::INFINITY, |loss| f64::from(*loss)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::tests::{cell, matrix as table};

    #[test]
    fn it_learns_which_pair_suits_which_question() {
        let angle = |place: usize| place as f32 / 80.0 * std::f32::consts::TAU;
        let vectors: Vec<Vec<f32>> = (0..80)
            .map(|p| vec![angle(p).cos(), angle(p).sin()])
            .collect();
        let right = |is: bool| Some(cell(f64::from(u8::from(is)), 10));
        let rows = (0..80).map(|p| vec![right(p < 40), right(p >= 40)]);
        let train = table(rows.collect());
        let config = MlpConfig {
            hidden: 16,
            learning_rate: 0.02,
            batch: 16,
            ..MlpConfig::default()
        };
        let train_it = || Mlp::train(&train, &vectors, &config, &Device::flex()).unwrap();
        let mlp = train_it();
        let predictions = mlp.predict(&vectors).unwrap();
        assert!(predictions.accuracy(&train) > 0.9);
        assert_eq!(
            train_it().predict(&vectors).unwrap(),
            predictions,
            "same seed"
        );
    }
}
