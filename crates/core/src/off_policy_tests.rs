//! Hand-computed examples, and a world whose true values are known.

use super::*;

type Step = LoggedStep<&'static str>;

fn step(behaviour: f64, target: f64) -> Step {
    LoggedStep::new(behaviour, target, 0.0, "any", vec![("any", 1.0)]).unwrap()
}

fn one(behaviour: f64, target: f64, reward: f64) -> Trajectory<&'static str> {
    Trajectory {
        steps: vec![step(behaviour, target)],
        reward,
    }
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9
}

/// Weights 2, 0, 2, 2 on rewards 1, 1, 0, 1.
fn four() -> Vec<Trajectory<&'static str>> {
    vec![
        one(0.5, 1.0, 1.0),
        one(0.5, 0.0, 1.0),
        one(0.25, 0.5, 0.0),
        one(0.25, 0.5, 1.0),
    ]
}

#[test]
fn importance_sampling_is_as_computed_by_hand() {
    let weighted: Vec<Weighted> = four().iter().map(Weighted::from).collect();
    let plain = importance_sampling(&weighted).unwrap();
    // Products 2, 0, 0, 2: mean 1, squared deviations 4, so 4 / 3 / 4 under the root.
    assert!(close(plain.value, 1.0));
    assert!(close(plain.std_error, (1.0f64 / 3.0).sqrt()));
    let normalised = self_normalised(&weighted).unwrap();
    assert!(close(normalised.value, 4.0 / 6.0));
    // Deviations 2 (R − 2/3) / 1.5: 4/9, 0, −8/9, 4/9; their mean is 0.
    let squares = (16.0 + 64.0 + 16.0) / 81.0;
    assert!(close(normalised.std_error, f64::sqrt(squares / 3.0 / 4.0)));
    let support = Support::of(&four());
    assert!(close(support.effective, 36.0 / 12.0));
    assert!(close(support.mean_weight, 1.5));
    assert_eq!(support.doubt(), Some(Doubt::Few(3.0)));
}

#[test]
fn the_sequential_correction_is_as_computed_by_hand() {
    let first = LoggedStep::new(0.4, 0.8, 0.0, "q1", vec![("v1", 1.0)]).unwrap();
    let second = LoggedStep::new(0.8, 0.4, 0.0, "q2", vec![("low", 0.5), ("high", 0.5)]).unwrap();
    let trajectory = Trajectory {
        steps: vec![first, second],
        reward: 1.0,
    };
    let q = |cell: &&str| match *cell {
        "q1" => 0.4,
        "v1" => 0.5,
        "q2" => 0.7,
        "low" => 0.2,
        "high" => 1.0,
        other => panic!("{other}"),
    };
    // Last: 0.6 + 0.5 (1 − 0.7) = 0.75. First: 0.5 + 2 (0.75 − 0.4) = 1.2.
    assert!(close(corrected(&trajectory, q), 1.2));
    assert!(close(trajectory.weight(), 1.0));
}

#[test]
fn a_policy_judged_by_its_own_episodes_has_their_mean() {
    let own: Vec<_> = (0..50u8)
        .map(|i| one(0.5, 0.5, f64::from(i % 5 / 4)))
        .collect();
    let weighted: Vec<Weighted> = own.iter().map(Weighted::from).collect();
    for estimate in [
        importance_sampling(&weighted),
        self_normalised(&weighted),
        doubly_robust(&own),
    ] {
        assert!((estimate.unwrap().value - 0.2).abs() < 0.01);
    }
    let support = Support::of(&own);
    assert!(close(support.effective, 50.0) && close(support.mean_weight, 1.0));
    assert_eq!(support.doubt(), None);
    let same = self_normalised(&weighted).unwrap();
    let difference = same.minus(&same).unwrap();
    assert!(close(difference.value, 0.0) && close(difference.std_error, 0.0));
}

#[test]
fn an_action_that_is_never_tried_has_no_support() {
    // Greedy episodes; the target does otherwise in one of four.
    let greedy = |agrees: bool| {
        let target = f64::from(u8::from(agrees));
        let step = LoggedStep::new(1.0, target, 1.0 - target, "any", vec![("other", 1.0)]);
        Trajectory {
            steps: vec![step.unwrap()],
            reward: target,
        }
    };
    let episodes: Vec<_> = (0..200).map(|i| greedy(i % 4 != 0)).collect();
    let support = Support::of(&episodes);
    assert!(close(support.unsupported, 0.25) && close(support.mean_weight, 0.75));
    assert_eq!(support.doubt(), Some(Doubt::Unsupported(0.25)));
    // Weights that are always 1 tell nothing of the rest.
    let wrong = vec![one(0.9, 0.3, 1.0); 100];
    assert!(matches!(
        Support::of(&wrong).doubt(),
        Some(Doubt::Weights { .. })
    ));
}

#[test]
fn what_is_no_probability_is_refused() {
    let refused = |behaviour, target| LoggedStep::new(behaviour, target, 0.0, (), vec![]).is_err();
    assert!(refused(0.0, 0.5) && refused(f64::NAN, 0.5) && refused(1.5, 0.5));
    assert!(refused(0.5, -0.1) && refused(0.5, f64::NAN));
    assert!(!refused(1e-12, 1.0));
    assert_eq!(doubly_robust::<()>(&[]), None);
    assert_eq!(self_normalised(&[]), None);
}

/// Two experts, one for easy tasks; after the first call the policy answers or asks the other.
mod world {
    use super::*;

    pub(super) type Cell = (bool, u8, bool);

    /// Chance of a right answer: `[easy][expert]`.
    const RIGHT: [[f64; 2]; 2] = [[0.2, 0.7], [0.9, 0.8]];

    /// Probability of asking expert 1 first, by easiness, and of asking on, by sureness.
    pub(super) struct Policy {
        pub(super) first: [f64; 2],
        pub(super) on: [f64; 2],
    }

    pub(super) const BEHAVIOUR: Policy = Policy {
        first: [0.4, 0.1],
        on: [0.5, 0.05],
    };
    pub(super) const TARGET: Policy = Policy {
        first: [0.95, 0.05],
        on: [0.9, 0.0],
    };

    fn sure(right: bool) -> f64 {
        if right { 0.8 } else { 0.3 }
    }

    fn of(probability: f64, happens: bool) -> f64 {
        if happens {
            probability
        } else {
            1.0 - probability
        }
    }

    /// The true value, by going through all that can happen.
    pub(super) fn value(policy: &Policy) -> f64 {
        let mut value = 0.0;
        for (easy, rights) in RIGHT.iter().enumerate() {
            for second in [false, true] {
                let asked = usize::from(second);
                for right in [false, true] {
                    for is_sure in [false, true] {
                        let reached = 0.5
                            * of(policy.first[easy], second)
                            * of(rights[asked], right)
                            * of(sure(right), is_sure);
                        let on = policy.on[usize::from(is_sure)];
                        let ends = on * rights[1 - asked] + (1.0 - on) * f64::from(u8::from(right));
                        value += reached * ends;
                    }
                }
            }
        }
        value
    }

    pub(super) struct Dice(u64);

    impl Dice {
        pub(super) fn new(seed: u64) -> Self {
            Self(seed)
        }

        /// SplitMix64.
        fn falls(&mut self, probability: f64) -> bool {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^= z >> 31;
            ((z >> 11) as f64 / (1u64 << 53) as f64) < probability
        }
    }

    /// An episode of the behaviour, made ready to judge the target.
    pub(super) fn episode(dice: &mut Dice) -> Trajectory<Cell> {
        let easy = dice.falls(0.5);
        let by_ease = usize::from(easy);
        let second = dice.falls(BEHAVIOUR.first[by_ease]);
        let asked = usize::from(second);
        let right = dice.falls(RIGHT[by_ease][asked]);
        let is_sure = dice.falls(sure(right));
        let by_sureness = usize::from(is_sure);
        let on = dice.falls(BEHAVIOUR.on[by_sureness]);
        let right = if on {
            dice.falls(RIGHT[by_ease][1 - asked])
        } else {
            right
        };
        let decide = |step: u8, seen: bool, happens, behaviour, target| {
            let cell = |happens: bool| (seen, step, happens);
            let options = vec![(cell(true), target), (cell(false), 1.0 - target)];
            LoggedStep::new(
                of(behaviour, happens),
                of(target, happens),
                0.0,
                cell(happens),
                options,
            )
            .unwrap()
        };
        Trajectory {
            steps: vec![
                decide(
                    0,
                    easy,
                    second,
                    BEHAVIOUR.first[by_ease],
                    TARGET.first[by_ease],
                ),
                decide(
                    1,
                    is_sure,
                    on,
                    BEHAVIOUR.on[by_sureness],
                    TARGET.on[by_sureness],
                ),
            ],
            reward: f64::from(u8::from(right)),
        }
    }
}

#[test]
fn intervals_hold_the_truth_where_the_plain_mean_does_not() {
    const RUNS: u64 = 200;
    const EPISODES: usize = 1_000;
    let truth = world::value(&world::TARGET);
    assert!(truth - world::value(&world::BEHAVIOUR) > 0.05);
    let mut held = [0u32; 4];
    let mut errors = [0.0; 4];
    for run in 0..RUNS {
        let mut dice = world::Dice::new(run);
        let episodes: Vec<_> = (0..EPISODES).map(|_| world::episode(&mut dice)).collect();
        let weighted: Vec<Weighted> = episodes.iter().map(Weighted::from).collect();
        let rewards: Vec<f64> = episodes.iter().map(|episode| episode.reward).collect();
        let estimates = [
            importance_sampling(&weighted),
            self_normalised(&weighted),
            doubly_robust(&episodes),
            Estimate::mean(&rewards),
        ];
        for (place, estimate) in estimates.into_iter().enumerate() {
            let estimate = estimate.unwrap();
            let [low, high] = estimate.interval();
            held[place] += u32::from((low..=high).contains(&truth));
            errors[place] += estimate.std_error / RUNS as f64;
        }
        let support = Support::of(&episodes);
        assert!(support.effective > MIN_EFFECTIVE && support.unsupported == 0.0);
    }
    let [plain, normalised, robust, naive] = held;
    // 95 % of 200 is 190, give or take 3.
    for held in [plain, normalised, robust] {
        assert!((178..=200).contains(&held), "{held} of {RUNS}: {errors:?}");
    }
    assert!(naive < 10, "{naive}");
    assert!(errors[1] < errors[0] && errors[2] < errors[0], "{errors:?}");
}
