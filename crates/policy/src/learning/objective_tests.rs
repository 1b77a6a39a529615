use burn::tensor::{Device, TensorData};

use super::*;
use crate::values;

const EXACT: ObjectiveConfig = ObjectiveConfig {
    clip_low: 0.2,
    clip_high: 0.3,
    truncation: 2.0,
    entropy_floor: 0.0,
    entropy_weight: 0.0,
};

struct Case {
    logits: Vec<f32>,
    actions: usize,
    taken: Vec<i32>,
    advantages: Vec<f32>,
    old: Vec<f32>,
    behaviour: Vec<f32>,
    episodes: usize,
}

impl Case {
    fn parts(&self, logits: &[f32], device: &Device) -> Parts {
        let states = logits.len() / self.actions;
        let shape = [states, self.actions];
        let count = [self.taken.len()];
        let vector = |v: &[f32]| Tensor::from_data(TensorData::new(v.to_vec(), count), device);
        Parts {
            logits: Tensor::from_data(TensorData::new(logits.to_vec(), shape), device),
            present: Tensor::from_data(TensorData::new(vec![true; logits.len()], shape), device),
            taken: Tensor::from_data(TensorData::new(self.taken.clone(), count), device),
            advantages: vector(&self.advantages),
            old: vector(&self.old),
            behaviour: vector(&self.behaviour),
            episodes: self.episodes,
        }
    }

    fn found(&self, logits: &[f32], config: &ObjectiveConfig) -> [f64; 4] {
        let found = objective(&self.parts(logits, &Device::flex()), config);
        [found.loss, found.entropy, found.clipped, found.divergence]
            .map(|tensor| f64::from(values(tensor).unwrap()[0]))
    }
}

fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-5, "{found} for {expected}");
}

/// Two states of two actions, with probabilities 1/2, 1/2 and 3/4, 1/4; two episodes, the second
/// of two decisions.
fn case() -> Case {
    let ln = |p: f32| p.ln();
    Case {
        logits: vec![0.0, 0.0, 3f32.ln(), 0.0],
        actions: 2,
        taken: vec![0, 1, 3],
        advantages: vec![0.5, -0.5, -0.5],
        // Ratios: 0.5 / 0.25 = 2, beyond 1.3; 0.5 / 0.5 = 1; 0.25 / 0.5 = 0.5, beyond 0.8.
        old: vec![ln(0.25), ln(0.5), ln(0.5)],
        behaviour: vec![ln(0.25), ln(0.5), ln(0.5)],
        episodes: 2,
    }
}

#[test]
fn the_loss_is_that_computed_by_hand() {
    let case = case();
    // min(2·½, 1.3·½) = 0.65; min(−½, −½) = −½; min(0.5·−½, 0.8·−½) = −0.4. Over two episodes.
    let [loss, entropy, clipped, divergence] = case.found(&case.logits, &EXACT);
    close(loss, -(0.65 - 0.5 - 0.4) / 2.0);
    let binary = |p: f64| -(p * p.ln() + (1.0 - p) * (1.0 - p).ln());
    close(entropy, (binary(0.5) + binary(0.75)) / 2.0);
    close(clipped, 2.0 / 3.0);
    close(divergence, -(2f64.ln() + 0.0 + 0.5f64.ln()) / 3.0);
}

#[test]
fn old_decisions_weigh_by_a_truncated_ratio() {
    let mut case = case();
    // π_old / π_behaviour: 5 (truncated to 2), 1/2 and 1.
    case.behaviour = vec![0.05f32.ln(), 1f32.ln(), 0.5f32.ln()];
    let [loss, ..] = case.found(&case.logits, &EXACT);
    close(loss, -(2.0 * 0.65 - 0.5 * 0.5 - 0.4) / 2.0);
}

#[test]
fn missing_entropy_costs() {
    let case = case();
    let config = ObjectiveConfig {
        entropy_floor: 1.0,
        entropy_weight: 0.3,
        ..EXACT
    };
    let [plain, entropy, ..] = case.found(&case.logits, &EXACT);
    let [loss, ..] = case.found(&case.logits, &config);
    close(loss, plain + 0.3 * (1.0 - entropy));
    let lower = ObjectiveConfig {
        entropy_floor: 0.1,
        ..config
    };
    close(case.found(&case.logits, &lower)[0], plain);
}

#[test]
fn actions_that_are_not_there_change_nothing() {
    let case = case();
    let wider = Case {
        logits: vec![0.0, 0.0, -1e9, 3f32.ln(), 0.0, -1e9],
        actions: 3,
        taken: vec![0, 1, 4],
        ..self::case()
    };
    let mut parts = wider.parts(&wider.logits, &Device::flex());
    let present = vec![true, true, false, true, true, false];
    parts.present = Tensor::from_data(TensorData::new(present, [2, 3]), &Device::flex());
    let config = ObjectiveConfig {
        entropy_floor: 1.0,
        entropy_weight: 0.3,
        ..EXACT
    };
    let found = values(objective(&parts, &config).loss).unwrap()[0];
    close(f64::from(found), case.found(&case.logits, &config)[0]);
}

#[test]
fn the_gradient_is_that_of_finite_differences() {
    // Away from the kinks of min, clip and max.
    let ln = |p: f32| p.ln();
    let case = Case {
        logits: vec![0.3, -0.2, 0.5, 1.1, 0.4, -0.6],
        actions: 3,
        taken: vec![0, 1, 5, 3],
        advantages: vec![0.5, -0.5, 0.7, -0.2],
        old: vec![ln(0.33), ln(0.22), ln(0.12), ln(0.9)],
        behaviour: vec![ln(0.3), ln(0.2), ln(0.02), ln(0.9)],
        episodes: 3,
    };
    let config = ObjectiveConfig {
        entropy_floor: 1.5,
        entropy_weight: 0.2,
        ..EXACT
    };
    let device = Device::flex().autodiff();
    let mut parts = case.parts(&case.logits, &device);
    parts.logits = parts.logits.require_grad();
    let gradients = objective(&parts, &config).loss.backward();
    let gradient = values(parts.logits.grad(&gradients).unwrap()).unwrap();
    let step = 1e-2;
    for place in 0..case.logits.len() {
        let at = |by: f32| {
            let mut logits = case.logits.clone();
            logits[place] += by;
            case.found(&logits, &config)[0]
        };
        let slope = (at(step) - at(-step)) / (2.0 * f64::from(step));
        let found = f64::from(gradient[place]);
        assert!((found - slope).abs() < 2e-3, "{place}: {found} for {slope}");
    }
}
