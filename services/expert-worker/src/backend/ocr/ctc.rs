//! From the recogniser's scores to text: greedy decoding of connectionist temporal classification
//! (Graves et al. 2006, section 3.2, "best path").

use super::OcrError;

/// Class of "no character here".
const BLANK: usize = 0;
/// Classes that no dictionary lists: blank, and the space at the end.
const UNLISTED: usize = 2;

/// The characters that the recogniser tells apart, by class.
#[derive(Debug, Clone)]
pub(super) struct Alphabet {
    /// Class 1 is the first of them; the last is the space.
    characters: Vec<String>,
}

impl Alphabet {
    /// Reads a dictionary: one character a line, in the order of the classes.
    pub(super) fn parse(dictionary: &str) -> Self {
        let listed = dictionary
            .strip_suffix('\n')
            .unwrap_or(dictionary)
            .split('\n');
        let characters = listed
            .map(|line| line.strip_suffix('\r').unwrap_or(line).to_owned())
            .chain([" ".to_owned()])
            .collect();
        Self { characters }
    }

    /// Number of classes, blank and space included.
    pub(super) fn classes(&self) -> usize {
        self.characters.len() + 1
    }

    /// Decodes one line from its scores before the softmax: `classes` values for each time step.
    ///
    /// At every step the best class is taken; repetitions and blanks are dropped. The confidence
    /// is the mean probability of the characters kept, 0 if there are none.
    ///
    /// # Errors
    ///
    /// [`OcrError::Dictionary`] unless `classes` is this alphabet's.
    pub(super) fn decode(&self, scores: &[f32], classes: usize) -> Result<(String, f32), OcrError> {
        if classes != self.classes() {
            return Err(OcrError::Dictionary {
                characters: self.classes() - UNLISTED,
                expected: classes.saturating_sub(UNLISTED),
            });
        }
        let mut text = String::new();
        let mut confidences = Vec::new();
        let mut previous = BLANK;
        for step in scores.chunks_exact(classes) {
            let best = index_of_maximum(step);
            if best != BLANK && best != previous {
                text.push_str(&self.characters[best - 1]);
                confidences.push(probability(step, best));
            }
            previous = best;
        }
        let mean = confidences.iter().sum::<f32>() / confidences.len().max(1) as f32;
        Ok((text, mean))
    }
}

/// Index of the largest value, the first of equal ones.
fn index_of_maximum(values: &[f32]) -> usize {
    // Two passes: the first one is a plain reduction, which compiles to vector instructions.
    let maximum = values
        .iter()
        .fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a });
    values
        .iter()
        .position(|&value| value == maximum)
        .unwrap_or(0)
}

/// Softmax of the scores at `class`. It is needed for the characters kept only, a small part of
/// all steps, so the network's own softmax over every class and step is left out.
fn probability(scores: &[f32], class: usize) -> f32 {
    let own = scores[class];
    1.0 / scores.iter().map(|score| (score - own).exp()).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn steps(alphabet: &Alphabet, path: &[usize], score: f32) -> Vec<f32> {
        path.iter()
            .flat_map(|&class| {
                let mut step = vec![0.0; alphabet.classes()];
                step[class] = score;
                step
            })
            .collect()
    }

    #[test]
    fn repetitions_and_blanks_are_dropped_and_spaces_kept() {
        let alphabet = Alphabet::parse("a\nb\n");
        assert_eq!(alphabet.classes(), 4);
        let scores = steps(&alphabet, &[0, 1, 1, 0, 1, 3, 3, 2, 2, 0], 50.0);
        let (text, confidence) = alphabet.decode(&scores, 4).unwrap();
        assert_eq!(text, "aa b");
        assert!((confidence - 1.0).abs() < 1e-6);
    }

    #[test]
    fn confidence_is_the_mean_softmax_of_the_kept_steps() {
        let alphabet = Alphabet::parse("a\r\nb");
        let scores = steps(&alphabet, &[1, 0, 2], 2.0);
        let (text, confidence) = alphabet.decode(&scores, 4).unwrap();
        let expected = 2f32.exp() / (2f32.exp() + 3.0);
        assert_eq!(text, "ab");
        assert!((confidence - expected).abs() < 1e-6);
        assert_eq!(alphabet.decode(&[], 4).unwrap(), (String::new(), 0.0));
    }

    #[test]
    fn characters_that_other_splitters_take_for_line_ends_stay() {
        assert_eq!(Alphabet::parse("\u{3000}\n\u{2028}\n\u{85}\n").classes(), 5);
    }

    #[test]
    fn another_model_s_dictionary_is_refused() {
        let error = Alphabet::parse("a\nb").decode(&[0.0; 10], 5).unwrap_err();
        assert!(
            matches!(
                error,
                OcrError::Dictionary {
                    characters: 2,
                    expected: 3
                }
            ),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn a_text_spelled_out_with_blanks_is_read_back(classes in prop::collection::vec(1usize..=27, 0..30)) {
            let letters: Vec<String> = ('a'..='z').map(String::from).collect();
            let alphabet = Alphabet::parse(&letters.join("\n"));
            let path: Vec<usize> = classes.iter().flat_map(|&class| [class, BLANK]).collect();
            let expected: String =
                classes.iter().map(|&c| if c == 27 { ' ' } else { (b'a' + c as u8 - 1) as char }).collect();
            let (text, _) = alphabet.decode(&steps(&alphabet, &path, 9.0), 28).unwrap();
            prop_assert_eq!(text, expected);
        }

        #[test]
        fn any_scores_give_a_confidence_between_0_and_1(
            scores in prop::collection::vec(-1e4f32..1e4, 0..80),
        ) {
            let (text, confidence) = Alphabet::parse("a\nb\nc").decode(&scores, 5).unwrap();
            prop_assert!((0.0..=1.0).contains(&confidence));
            prop_assert!(text.len() <= scores.len() / 5);
        }
    }
}
