//! The nearest neighbours of a question decide (RouterBench, arXiv 2403.12031, section 4.2;
//! LLMRouterBench finds it hard to beat).

use std::collections::HashMap;

use burn::tensor::{Device, Tensor, TensorData};

use super::predicted::{Expected, Predictions};
use crate::{error::PolicyError, evaluation::matrix::Matrix, random::SplitMix, values};

/// Numbers of neighbours that are tried.
pub const NEIGHBOURS: [usize; 14] = [1, 2, 3, 5, 10, 15, 20, 30, 50, 75, 100, 150, 200, 300];
/// Parts of the cross-validation.
const FOLDS: usize = 5;
/// Questions whose similarities are computed in one pass.
const PASS: usize = 256;

/// A router that expects of each pair what it did on the `k` most similar training questions,
/// on average over those that it suits; where it suits none of them, over all training questions.
#[derive(Clone, Debug)]
pub struct Knn<'t> {
    train: &'t Matrix,
    /// Unit vectors of the training questions.
    vectors: &'t [Vec<f32>],
    k: usize,
    device: Device,
}

impl<'t> Knn<'t> {
    /// A router of `k` neighbours.
    pub fn new(train: &'t Matrix, vectors: &'t [Vec<f32>], k: usize, device: &Device) -> Self {
        Self {
            train,
            vectors,
            k,
            device: device.clone(),
        }
    }

    /// The router whose `k` of [`NEIGHBOURS`] scores highest in a five-fold cross-validation over
    /// the training tasks, in which tasks of one group stay together; among equals the smallest.
    ///
    /// # Errors
    /// [`PolicyError::Execution`] where similarities could not be computed.
    pub fn tuned(
        train: &'t Matrix,
        vectors: &'t [Vec<f32>],
        seed: u64,
        device: &Device,
    ) -> Result<Self, PolicyError> {
        let folds = folds(train, seed);
        let most = NEIGHBOURS.into_iter().max().unwrap_or(1);
        let mut knn = Self::new(train, vectors, most, device);
        let near = knn.nearest(vectors, |one, other| folds[one] != folds[other])?;
        let mut best = f64::NEG_INFINITY;
        for k in NEIGHBOURS {
            let accuracy = knn.predictions(&near, k).accuracy(train);
            if accuracy > best {
                (best, knn.k) = (accuracy, k);
            }
        }
        Ok(knn)
    }

    /// Number of neighbours.
    pub fn k(&self) -> usize {
        self.k
    }

    /// What it expects of each pair on questions with these unit vectors.
    ///
    /// # Errors
    /// [`PolicyError::Execution`] where similarities could not be computed.
    pub fn predict(&self, questions: &[Vec<f32>]) -> Result<Predictions, PolicyError> {
        let near = self.nearest(questions, |_, _| true)?;
        Ok(self.predictions(&near, self.k))
    }

    fn predictions(&self, near: &[Vec<usize>], k: usize) -> Predictions {
        let pairs = self.train.pairs.len();
        let overall: Vec<Option<Expected>> = (0..pairs)
            .map(|pair| {
                self.train.means(pair).map(|means| Expected {
                    score: means.score,
                    cost: means.cost,
                })
            })
            .collect();
        let expect = |near: &Vec<usize>, pair: usize| {
            let near = near.iter().take(k);
            let cells = near.filter_map(|task| self.train.tasks[*task].cell(pair));
            let (mut count, mut sum) = (0.0, Expected::default());
            for cell in cells {
                count += 1.0;
                sum.score += cell.score;
                sum.cost += cell.cost.as_usd();
            }
            let mean = || Expected {
                score: sum.score / count,
                cost: sum.cost / count,
            };
            (count > 0.0).then(mean).or(overall[pair])
        };
        let rows = near.iter();
        let row = |near: &Vec<usize>| (0..pairs).map(|pair| expect(near, pair)).collect();
        Predictions(rows.map(row).collect())
    }

    /// For each question the places of the `k` nearest training tasks of those that it may see,
    /// nearest first; among equals the earlier.
    fn nearest(
        &self,
        questions: &[Vec<f32>],
        may_see: impl Fn(usize, usize) -> bool,
    ) -> Result<Vec<Vec<usize>>, PolicyError> {
        let all = matrix(self.vectors, &self.device).transpose();
        let mut found = Vec::with_capacity(questions.len());
        for (pass, part) in questions.chunks(PASS).enumerate() {
            let similarities = values(matrix(part, &self.device).matmul(all.clone()))?;
            let rows = similarities.chunks_exact(self.vectors.len().max(1));
            for (row, similarities) in rows.enumerate() {
                let question = pass * PASS + row;
                let mut seen: Vec<(f32, usize)> = similarities
                    .iter()
                    .copied()
                    .zip(0..)
                    .filter(|(_, task)| may_see(question, *task))
                    .collect();
                let nearer = |one: &(f32, usize), other: &(f32, usize)| {
                    other.0.total_cmp(&one.0).then(one.1.cmp(&other.1))
                };
                if self.k < seen.len() {
                    seen.select_nth_unstable_by(self.k, nearer);
                    seen.truncate(self.k);
                }
                seen.sort_unstable_by(nearer);
                found.push(seen.into_iter().map(|(_, task)| task).collect());
            }
        }
        Ok(found)
    }
}

/// Vectors of one length as the rows of a matrix.
pub(super) fn matrix(vectors: &[Vec<f32>], device: &Device) -> Tensor<2> {
    let dim = vectors.first().map_or(0, Vec::len);
    let data = TensorData::new(vectors.concat(), [vectors.len(), dim]);
    Tensor::from_data(data, device)
}

/// The fold of each task, by its group where it has one.
fn folds(train: &Matrix, seed: u64) -> Vec<usize> {
    let mut groups: HashMap<&str, usize> = HashMap::new();
    let tasks = train.tasks.iter().enumerate();
    let fold = |key: usize| SplitMix::keyed(&[seed, 0xf01d, key as u64]).below(FOLDS);
    tasks
        .map(|(place, task)| match &task.group {
            Some(group) => *groups.entry(group).or_insert_with(|| fold(place)),
            None => fold(place),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::tests::{cell, matrix as table};

    fn train() -> (Matrix, Vec<Vec<f32>>) {
        // Questions on a circle; the first pair is right on one half of it, the second on the other.
        let angle = |place: usize| place as f32 / 40.0 * std::f32::consts::TAU;
        let vectors = (0..40)
            .map(|p| vec![angle(p).cos(), angle(p).sin()])
            .collect();
        let right = |is: bool| Some(cell(f64::from(u8::from(is)), 10));
        let rows = (0..40).map(|p| vec![right(p < 20), right(p >= 20), None]);
        (table(rows.collect()), vectors)
    }

    #[test]
    fn neighbours_decide() {
        let (train, vectors) = train();
        let device = Device::flex();
        let knn = Knn::tuned(&train, &vectors, 0, &device).unwrap();
        assert!(knn.k() <= 10, "{}", knn.k());
        let asked = vec![vec![0.0, 1.0], vec![0.0, -1.0]];
        let expected = knn.predict(&asked).unwrap();
        let scores = |row: usize| expected.0[row].iter().map(|e| e.map(|e| e.score));
        assert!(scores(0).eq([Some(1.0), Some(0.0), None]));
        assert!(scores(1).eq([Some(0.0), Some(1.0), None]));
        let test = table(vec![
            vec![
                Some(cell(1.0, 10)),
                Some(cell(0.0, 10)),
                Some(cell(1.0, 1))
            ];
            2
        ]);
        let routed = expected.route(&test, 0.0);
        assert_eq!(routed[0].calls, [0], "the unknown third is not called");
        assert_eq!(routed[1].calls, [1]);
    }

    #[test]
    fn no_question_is_its_own_neighbour_in_cross_validation() {
        let (train, vectors) = train();
        let folds = folds(&train, 3);
        let knn = Knn::new(&train, &vectors, 5, &Device::flex());
        let near = knn.nearest(&vectors, |a, b| folds[a] != folds[b]).unwrap();
        for (task, near) in near.iter().enumerate() {
            assert_eq!(near.len(), 5);
            assert!(near.iter().all(|other| folds[*other] != folds[task]));
        }
        let nearest = knn.nearest(&vectors[..1], |_, _| true).unwrap();
        assert_eq!(nearest[0], [0, 1, 39, 2, 38]);
    }
}
