//! Accuracy on generated words with a ringed letter and maps of routes: look by look, and hand by
//! hand of the writing, against asserted floors.

use super::lettering::{HANDS, Hand, ringed_word, underground};
use super::synthetic::{Dice, LOOKS, Look};
use super::tests::assert_accuracy;
use super::*;

/// Looks by hand: every look in the plain hand, and the plain look in every hand.
fn variations() -> impl Iterator<Item = (Look, Hand)> {
    let looks = LOOKS.into_iter().map(|look| (look, HANDS[0]));
    let hands = HANDS.into_iter().map(|hand| {
        let look = Look {
            name: hand.name,
            ..LOOKS[0]
        };
        (look, hand)
    });
    looks.chain(hands.skip(1))
}

fn hand_of(look: &Look) -> Hand {
    let named = HANDS.into_iter().find(|hand| hand.name == look.name);
    named.unwrap_or(HANDS[0])
}

#[test]
fn ringed_letters_are_found_in_every_look_and_hand() {
    let looks: Vec<Look> = variations().map(|(look, _)| look).collect();
    let solve = |image: &RgbImage| {
        highlighted_character(image).map(|found| Finding {
            value: (found.value.index, found.value.characters.len()),
            confidence: found.confidence,
            evidence: found.evidence,
        })
    };
    let draw = |look: &Look, dice: &mut Dice| ringed_word(look, &hand_of(look), dice);
    assert_accuracy("ringed letter", (0.85, 0.6), &looks, draw, solve);
}

#[test]
fn routes_are_found_in_every_look_and_hand() {
    let looks: Vec<Look> = variations().map(|(look, _)| look).collect();
    let solve = |image: &RgbImage| {
        route_map(image).map(|found| {
            let mut routes: Vec<[usize; 2]> =
                found.value.routes.iter().map(|r| r.stations).collect();
            routes.sort_unstable();
            Finding {
                value: routes,
                confidence: found.confidence,
                evidence: found.evidence,
            }
        })
    };
    let draw = |look: &Look, dice: &mut Dice| underground(look, &hand_of(look), dice);
    assert_accuracy("routes", (0.85, 0.6), &looks, draw, solve);
}

#[test]
fn a_drawing_without_a_mark_or_names_has_nothing_to_find() {
    let plain = scenes::writing(&LOOKS[0], &mut Dice::new(3), 1);
    assert!(matches!(
        highlighted_character(&plain),
        Err(AnalysisError::NotFound(_))
    ));
    assert!(matches!(route_map(&plain), Err(AnalysisError::NotFound(_))));
}
