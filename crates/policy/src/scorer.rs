//! The scorer network.
//!
//! For each action it sees the named [columns](crate::features::Column) and how well the question
//! fits the three descriptions behind the action (skill, its best solver, expert). The fit is
//! measured several times, each a bilinear form of the two vectors: one that starts as the plain
//! dot product with a learned low-rank correction (after LoRA, Hu et al., 2021), and some that
//! start at random and in which the state stands beside the question: which description fits may
//! depend on the kind of answer or on the images. The logit is linear in all of these, plus a small perceptron whose output
//! starts at zero. So the untrained network is a readable rule (the weights stand beside the
//! columns), and training can move away from it smoothly.
//!
//! Nothing depends on the number of actions or on their order.

use burn::{
    module::{Module, Param},
    nn::Linear,
    tensor::{Bool, Device, Int, Tensor, TensorData, activation::relu},
};
use serde::{Deserialize, Serialize};

use crate::{
    error::PolicyError,
    features::{COLUMNS, Column, Features, ROLES, STATE_COLUMNS},
    random::SplitMix,
};

/// Logit of an action that is not there.
const MASKED: f32 = -1e9;

/// Shape and starting point of a [`Scorer`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScorerConfig {
    /// Length of the text vectors.
    pub dim: usize,
    /// Rank of each bilinear form.
    pub rank: usize,
    /// Bilinear forms beside the dot product.
    pub forms: usize,
    /// Width of the perceptron.
    pub hidden: usize,
    /// Confidence from which the untrained policy takes an answer, 0 to 1.
    pub accept_confidence: f32,
    /// Logits that the untrained policy gives for one unit of similarity.
    pub similarity_scale: f32,
    /// Size of the forms at the start; at 1 they vary by about 1 over questions. Small ones leave
    /// entries that training does not see to the similarity, large ones learn faster.
    #[serde(default = "small_forms")]
    pub form_scale: f32,
    /// Seed of the random starting weights.
    pub seed: u64,
}

impl ScorerConfig {
    /// The defaults for text vectors of length `dim`.
    pub fn new(dim: usize) -> Self {
        Self {
            dim,
            rank: 16,
            forms: 3,
            hidden: 32,
            accept_confidence: 0.8,
            similarity_scale: 40.0,
            form_scale: small_forms(),
            seed: 0,
        }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`PolicyError::Config`] naming the setting.
    pub fn validate(&self) -> Result<(), PolicyError> {
        let refuse = |field, reason: &str| {
            let reason = reason.to_owned();
            Err(PolicyError::Config { field, reason })
        };
        let sizes = [
            ("dim", self.dim, 8192),
            ("rank", self.rank, 512),
            ("forms", self.forms, 64),
            ("hidden", self.hidden, 4096),
        ];
        for (field, size, most) in sizes {
            if !(1..=most).contains(&size) {
                return refuse(field, &format!("is {size}; must be 1 to {most}"));
            }
        }
        if !(0.0..=1.0).contains(&self.accept_confidence) {
            return refuse("accept_confidence", "must be 0 to 1");
        }
        if !self.similarity_scale.is_finite() || self.similarity_scale < 0.0 {
            return refuse("similarity_scale", "must be finite and not negative");
        }
        if !(0.0..=100.0).contains(&self.form_scale) {
            return refuse("form_scale", "must be 0 to 100");
        }
        Ok(())
    }

    /// Fits of one action that the network measures.
    pub fn fits(&self) -> usize {
        ROLES * (1 + self.forms)
    }

    /// Numbers by which an action is judged: columns, the overall fit of a pair and of an answer's
    /// pair relative to the best pair's, then the single fits.
    pub fn inputs(&self) -> usize {
        COLUMNS + 2 + self.fits()
    }

    /// The untrained network.
    pub fn init(&self, device: &Device) -> Scorer {
        let mut random = SplitMix::new(self.seed);
        let mut matrix = |rows: usize, columns: usize, scale: f32| {
            let values: Vec<f32> = (0..rows * columns)
                .map(|_| random.symmetric() * scale)
                .collect();
            tensor::<2>(values, [rows, columns], device)
        };
        // Text vectors have length 1: with entries of variance 1 a projection has variance 1 too,
        // and by the fourth root a form of `rank` products keeps it.
        let wide = 3.0f32.sqrt() * self.form_scale;
        let even = wide / (self.rank as f32).powf(0.25);
        let width = self.inputs();
        let down = matrix(self.dim, self.rank, wide);
        let question_forms = matrix(self.dim, self.forms * self.rank, even);
        let entry_forms = matrix(self.dim, self.forms * self.rank, even);
        let among = even / (STATE_COLUMNS as f32).sqrt();
        let state_forms = matrix(STATE_COLUMNS, self.forms * self.rank, among);
        let hidden = matrix(width, self.hidden, (width as f32).sqrt().recip());
        let zeros = |rows: usize, columns: usize| {
            tensor::<2>(vec![0.0; rows * columns], [rows, columns], device)
        };
        let linear = |weight: Tensor<2>| {
            let [_, output] = weight.dims();
            let bias = tensor::<1>(vec![0.0; output], [output], device);
            Linear {
                weight: Param::from_tensor(weight),
                bias: Some(Param::from_tensor(bias)),
            }
        };
        Scorer {
            down: Param::from_tensor(down),
            up: Param::from_tensor(zeros(self.rank, ROLES * self.dim)),
            question_forms: Param::from_tensor(question_forms),
            entry_forms: Param::from_tensor(entry_forms),
            state_forms: Param::from_tensor(state_forms),
            mix: Param::from_tensor(tensor::<1>(UNTRAINED_MIX.to_vec(), [ROLES], device)),
            direct: Param::from_tensor(tensor::<2>(self.untrained_weights(), [width, 1], device)),
            hidden: linear(hidden),
            output: linear(zeros(self.hidden, 1)),
        }
    }

    fn untrained_weights(&self) -> Vec<f32> {
        let mut weights: Vec<f32> = Column::ALL.iter().map(|c| c.untrained_weight()).collect();
        let confidence = Column::Confidence.untrained_weight();
        weights[Column::IsAnswer as usize] -= confidence * self.accept_confidence;
        // An answer counts for less the less its pair fits, but less steeply: the pair was the
        // best choice when it was asked.
        weights.extend([self.similarity_scale, self.similarity_scale * 0.5]);
        weights.resize(self.inputs(), 0.0);
        weights
    }
}

fn small_forms() -> f32 {
    0.07
}

/// Share of skill, solver and expert in the untrained overall fit.
const UNTRAINED_MIX: [f32; ROLES] = [0.5, 0.3, 0.2];

/// Requests with their actions, padded to one shape, as tensors.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Vectors of the questions `[requests, dim]`.
    pub questions: Tensor<2>,
    /// Vectors of the descriptions `[entries, dim]`.
    pub entries: Tensor<2>,
    /// Rows of `entries` behind each action `[requests, ROLES, actions]`.
    pub index: Tensor<3, Int>,
    /// Columns `[requests, actions, COLUMNS]`.
    pub columns: Tensor<3>,
    /// True where there is an action `[requests, actions]`.
    pub present: Tensor<2, Bool>,
    /// True for the actions whose best fit is the measure: the pairs, or all where no pair may be
    /// called `[requests, actions]`.
    pub reference: Tensor<2, Bool>,
}

/// Numbers of actions are padded to a multiple of this, so that a device that tunes its kernels by
/// shape meets few.
const ACTION_BUCKET: usize = 8;

impl Batch {
    /// Puts requests together. All refer to the same table of `entries`.
    pub fn collate(features: &[Features], entries: Tensor<2>, device: &Device) -> Self {
        let requests = features.len();
        let most = features.iter().map(|f| f.rows.len()).max().unwrap_or(0);
        let actions = most.max(1).next_multiple_of(ACTION_BUCKET);
        let [_, dim] = entries.dims();
        let mut questions = Vec::with_capacity(requests * dim);
        let mut index = vec![0i32; requests * ROLES * actions];
        let mut columns = vec![0.0f32; requests * actions * COLUMNS];
        let mut present = vec![false; requests * actions];
        let mut reference = vec![false; requests * actions];
        for (r, one) in features.iter().enumerate() {
            questions.extend_from_slice(&one.question);
            let any_pair = one.rows.iter().any(|row| row.is_pair);
            for (a, row) in one.rows.iter().enumerate() {
                let at = r * actions + a;
                present[at] = true;
                reference[at] = row.is_pair || !any_pair;
                columns[at * COLUMNS..(at + 1) * COLUMNS].copy_from_slice(&row.columns);
                for (role, entry) in row.entries.iter().enumerate() {
                    index[(r * ROLES + role) * actions + a] = entry.cast_signed();
                }
            }
        }
        let shape = [requests, actions];
        Self {
            questions: tensor(questions, [requests, dim], device),
            entries,
            index: Tensor::from_data(TensorData::new(index, [requests, ROLES, actions]), device),
            columns: tensor(columns, [requests, actions, COLUMNS], device),
            present: Tensor::from_data(TensorData::new(present, shape), device),
            reference: Tensor::from_data(TensorData::new(reference, shape), device),
        }
    }
}

/// What a forward pass gives.
#[derive(Clone, Debug)]
pub struct Scores {
    /// Logits `[requests, actions]`; very low where there is no action.
    pub logits: Tensor<2>,
    /// What [`Scorer::head`] judged `[requests, actions, inputs]`.
    pub inputs: Tensor<3>,
}

/// See the module's documentation.
#[derive(Module, Debug)]
pub struct Scorer {
    down: Param<Tensor<2>>,
    up: Param<Tensor<2>>,
    question_forms: Param<Tensor<2>>,
    entry_forms: Param<Tensor<2>>,
    state_forms: Param<Tensor<2>>,
    mix: Param<Tensor<1>>,
    direct: Param<Tensor<2>>,
    hidden: Linear,
    output: Linear,
}

impl Scorer {
    /// Scores every action of a batch.
    pub fn forward(&self, batch: Batch) -> Scores {
        let [requests, actions] = batch.present.dims();
        let fits = self.fits(&batch);
        let plain = fits.clone().slice([0..requests, 0..ROLES, 0..actions]);
        let mix = self.mix.val().reshape([1, ROLES, 1]);
        let overall = (plain * mix).sum_dim(1).reshape([requests, actions]);
        let best = overall
            .clone()
            .mask_fill(batch.reference.bool_not(), MASKED)
            .max_dim(1);
        // Padding reads the zero vector; its value is masked below.
        let relative = (overall - best).reshape([requests, actions, 1]);
        let column = |column: Column| {
            let at = column as usize;
            batch
                .columns
                .clone()
                .slice([0..requests, 0..actions, at..at + 1])
        };
        let of_pair = relative.clone() * column(Column::IsPair);
        let of_answer = relative * column(Column::IsAnswer);
        let inputs = Tensor::cat(
            vec![
                batch.columns.clone(),
                of_pair,
                of_answer,
                fits.swap_dims(1, 2),
            ],
            2,
        );
        let [_, _, width] = inputs.dims();
        let logits = self
            .head(inputs.clone().reshape([requests * actions, width]))
            .reshape([requests, actions])
            .mask_fill(batch.present.bool_not(), MASKED);
        Scores { logits, inputs }
    }

    /// Logits of actions from their inputs, `[actions, inputs]` to `[actions]`. What a trace holds
    /// is enough for it.
    pub fn head(&self, inputs: Tensor<2>) -> Tensor<1> {
        let [actions, _] = inputs.dims();
        let direct = inputs.clone().matmul(self.direct.val());
        let bent = self.output.forward(relu(self.hidden.forward(inputs)));
        (direct + bent).reshape([actions])
    }

    /// Fits of the question with each description of each action, `[requests, fits, actions]`:
    /// the corrected dot product by role, then each form by role.
    fn fits(&self, batch: &Batch) -> Tensor<3> {
        let [requests, dim] = batch.questions.dims();
        let [entries, _] = batch.entries.dims();
        let rank = self.down.dims()[1];
        let forms = self.entry_forms.dims()[1] / rank;
        let question = batch.questions.clone();
        let table = batch.entries.clone();

        let correction = question
            .clone()
            .matmul(self.down.val())
            .matmul(self.up.val());
        let by_role = correction.reshape([requests, ROLES, dim])
            + question.clone().reshape([requests, 1, dim]);
        let dots = by_role
            .reshape([requests * ROLES, dim])
            .matmul(table.clone().transpose())
            .reshape([requests, ROLES, entries]);

        // The state is the same in every row of a request.
        let state = batch
            .columns
            .clone()
            .slice([0..requests, 0..1, 0..STATE_COLUMNS])
            .reshape([requests, STATE_COLUMNS]);
        let left = (question.matmul(self.question_forms.val())
            + state.matmul(self.state_forms.val()))
        .reshape([requests, forms, rank])
        .swap_dims(0, 1);
        let right = table
            .matmul(self.entry_forms.val())
            .reshape([entries, forms, rank])
            .swap_dims(0, 1)
            .swap_dims(1, 2);
        let bilinear = left.matmul(right).swap_dims(0, 1);

        let mut all = vec![dots.gather(2, batch.index.clone())];
        for form in 0..forms {
            let one = bilinear
                .clone()
                .slice([0..requests, form..form + 1, 0..entries])
                .expand([requests, ROLES, entries]);
            all.push(one.gather(2, batch.index.clone()));
        }
        Tensor::cat(all, 1)
    }
}

#[cfg(test)]
impl Scorer {
    /// The linear weights and the parts whose starting point is zero.
    pub(crate) fn start_at_zero_mut(&mut self) -> [&mut Param<Tensor<2>>; 3] {
        [&mut self.direct, &mut self.up, &mut self.output.weight]
    }
}

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), device)
}
