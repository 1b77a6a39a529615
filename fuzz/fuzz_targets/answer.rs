//! Replies of experts, read for every kind of answer. The first byte chooses the kind.
#![no_main]

use libfuzzer_sys::fuzz_target;
use maestro_core::answer::{
    AnswerKind, calculator,
    extract::{Form, extract},
    visible,
};

fn kind(choice: u8) -> AnswerKind {
    match choice % 10 {
        0 => AnswerKind::FreeText,
        1 => AnswerKind::Integer,
        2 => AnswerKind::Number,
        3 => AnswerKind::YesNo,
        4 => AnswerKind::Choice { options: vec!["an apple".into(), "a pear".into(), "neither".into()] },
        5 => AnswerKind::ShortText,
        6 => AnswerKind::Date,
        7 => AnswerKind::Set,
        8 => AnswerKind::Expression,
        _ => AnswerKind::Program,
    }
}

fuzz_target!(|input: (u8, &str)| {
    let (choice, text) = input;
    let kind = kind(choice);
    let shown = visible(text);
    assert!(!shown.contains("<think>"));
    if let Ok(found) = extract(text, &Form::from(&kind)) {
        assert!((0.0..=1.0).contains(&found.confidence));
        assert!(text.get(found.span.clone()).is_some(), "the span lies on characters of the text");
    }
    if let Some(expression) = calculator::find_expression(text) {
        let _ = calculator::calculate(&expression);
    }
});
