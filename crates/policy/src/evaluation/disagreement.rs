//! What asking again is good for.

use serde::Serialize;

use super::matrix::{Matrix, Outcome};

/// Tasks on which a router asked further and got an answer that differs from its first one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Disagreement {
    /// How many.
    pub tasks: usize,
    /// Mean score of the first answer, which stopping at once would have given.
    pub first: f64,
    /// Mean score of the answer that was given.
    pub chosen: f64,
}

impl Disagreement {
    /// Over a router's outcomes, one a task of the matrix; `None` where no two answers differed.
    pub fn of(matrix: &Matrix, outcomes: &[Outcome]) -> Option<Self> {
        let (mut tasks, mut first, mut chosen) = (0, 0.0, 0.0);
        for (task, outcome) in matrix.tasks.iter().zip(outcomes) {
            let cells = outcome.calls.iter().filter_map(|pair| task.cell(*pair));
            let mut answered = cells.filter_map(|cell| Some((cell.answer.as_ref()?, cell.score)));
            let Some((answer, score)) = answered.next() else {
                continue;
            };
            if answered.any(|(other, _)| other != answer) {
                tasks += 1;
                first += score;
                chosen += outcome.score;
            }
        }
        (tasks > 0).then(|| Self {
            tasks,
            first: first / tasks as f64,
            chosen: chosen / tasks as f64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::{
        matrix::Cell,
        tests::{cell, matrix},
    };

    #[test]
    fn the_first_answer_is_set_against_the_one_that_was_given() {
        let says = |answer: &str, score: f64| {
            Some(Cell {
                answer: Some(answer.to_owned()),
                ..cell(score, 1)
            })
        };
        let silent = Some(Cell {
            answer: None,
            ..cell(0.0, 1)
        });
        let matrix = matrix(vec![
            vec![says("7", 0.0), says("8", 1.0), silent.clone()],
            vec![says("7", 1.0), says("9", 0.0), silent.clone()],
            vec![says("7", 1.0), says("7", 1.0), silent.clone()],
            vec![says("7", 1.0), says("9", 0.0), silent],
        ]);
        let outcome = |calls: &[usize], score: f64| Outcome {
            calls: calls.to_vec(),
            score,
            ..Outcome::default()
        };
        // Put right, put wrong, agreed, and a failure before an answer.
        let outcomes = [
            outcome(&[0, 1], 1.0),
            outcome(&[2, 0, 1], 0.0),
            outcome(&[0, 1], 1.0),
            outcome(&[2, 1], 0.0),
        ];
        let found = Disagreement::of(&matrix, &outcomes).unwrap();
        assert_eq!((found.tasks, found.first, found.chosen), (2, 0.5, 0.5));
        let single = [0, 1, 2, 0].map(|pair| outcome(&[pair], 0.0));
        assert_eq!(Disagreement::of(&matrix, &single), None);
    }
}
