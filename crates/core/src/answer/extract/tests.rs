use proptest::prelude::*;

use super::*;

fn value(text: &str, form: &Form) -> Option<String> {
    extract(text, form).ok().map(|found| found.value)
}

fn options() -> Form {
    Form::Choice {
        options: ["Paris", "London", "New York", "New York City"]
            .map(String::from)
            .to_vec(),
    }
}

#[test]
fn numbers_are_read() {
    for (text, expected) in [
        ("5", "5"),
        ("The answer is 5.", "5"),
        ("There are 3 groups of 4.\nFinal answer: 12 apples", "12"),
        ("<think>maybe 7</think>The final answer is **8**.", "8"),
        (r"So \boxed{42} it is, not 41.", "42"),
        ("3 * 4 = 12", "12"),
        ("$1,234.50", "1234.50"),
        ("Answer: -3", "-3"),
        ("#### 18", "18"),
        (r#"{"answer": "6"}"#, "6"),
        ("<answer>9</answer>", "9"),
        ("three", "3"),
        ("There are four circles.", "4"),
        ("It has 7 lines.\nI am sure.", "7"),
        ("10 - 4 = 6.00", "6"),
    ] {
        assert_eq!(
            value(text, &Form::Number).as_deref(),
            Some(expected),
            "{text}"
        );
    }
    assert_eq!(value("3.5", &Form::Integer), None);
    assert_eq!(value("Room B2", &Form::Integer), None);
}

#[test]
fn two_answers_are_none() {
    for text in [
        "5 or 6",
        "The answer is 5. No, the answer is 6.",
        r"\boxed{1} \boxed{2}",
        "There are 3 red\nand 4 blue ones.\nHm.",
    ] {
        assert!(
            matches!(
                extract(text, &Form::Integer),
                Err(ExtractError::Conflict(..))
            ),
            "{text}"
        );
    }
    assert!(matches!(
        extract("Yes and no.", &Form::YesNo),
        Err(ExtractError::Missing(_)) | Ok(_)
    ));
    assert!(extract("Answer: B) Paris", &options()).is_err());
    assert_eq!(
        value("The answer is 5. Again: the answer is 5.0", &Form::Number).as_deref(),
        Some("5")
    );
}

#[test]
fn yes_and_no_are_read() {
    for (text, expected) in [
        ("Yes", "Yes"),
        ("no.", "No"),
        ("No, there is no overlap, yes, none.", "No"),
        ("The circles touch, so the answer is: yes.", "Yes"),
        ("Looking at them there is no gap.\nYes.", "Yes"),
        ("False", "No"),
    ] {
        assert_eq!(
            value(text, &Form::YesNo).as_deref(),
            Some(expected),
            "{text}"
        );
    }
    assert_eq!(
        value("There is no gap between the circles at all", &Form::YesNo),
        None
    );
}

#[test]
fn choices_are_read() {
    for (text, expected) in [
        ("B", "B"),
        ("(b)", "B"),
        ("B) London", "B"),
        ("The answer is **C**.", "C"),
        ("The correct answer is option D.", "D"),
        ("london", "B"),
        ("It is New York City.", "D"),
        ("A. Paris is the capital.", "A"),
    ] {
        assert_eq!(value(text, &options()).as_deref(), Some(expected), "{text}");
    }
    for text in ["E", "A city in France", "I do not know"] {
        assert_eq!(value(text, &options()), None, "{text}");
    }
}

#[test]
fn pairs_are_read() {
    for (text, expected) in [
        ("4,5", "4,5"),
        ("(4, 5)", "4,5"),
        ("4 x 5", "4,5"),
        ("The grid has 4 rows and 5 columns.", "4,5"),
        ("There are 5 columns and 4 rows.", "4,5"),
        ("Rows: 4, columns: 5", "4,5"),
        ("The answer is 4 by 5.", "4,5"),
    ] {
        assert_eq!(
            value(text, &Form::Pair).as_deref(),
            Some(expected),
            "{text}"
        );
    }
    assert_eq!(value("4", &Form::Pair), None);
    assert!(extract("4,5 or 5,4", &Form::Pair).is_err());
}

#[test]
fn texts_and_dates_are_read() {
    assert_eq!(
        value("\"Hello World.\"", &Form::ShortText).as_deref(),
        Some("Hello World")
    );
    assert_eq!(
        value("Well.\nAnswer: J. Smith Ltd.", &Form::ShortText).as_deref(),
        Some("J. Smith Ltd.")
    );
    assert_eq!(value("Some talk.\nMore talk.", &Form::ShortText), None);
    assert_eq!(
        value("It was on 12/03/2018 at noon.", &Form::Date).as_deref(),
        Some("12/03/2018")
    );
    assert!(extract("12/03/2018 or 13/03/2018", &Form::Date).is_err());
    assert_eq!(
        value("12/03/2018, that is 12 Mar 2018", &Form::Date).as_deref(),
        Some("12/03/2018")
    );
    assert_eq!(
        value("[\"red\", \"blue\"]", &Form::Set).as_deref(),
        Some("red, blue")
    );
    assert_eq!(
        value("Expression: 3 × 4", &Form::Expression).as_deref(),
        Some("3 * 4")
    );
    assert_eq!(
        value("<think>x</think>\n Hello ", &Form::FreeText).as_deref(),
        Some("Hello")
    );
    assert_eq!(
        value("Here:\n```python\nx = 1\n```\nDone", &Form::Program).as_deref(),
        Some("x = 1\n")
    );
    assert_eq!(value("<think>all cut", &Form::FreeText), None);
}

#[test]
fn patterns_are_valid() {
    assert_eq!(MARKS.len(), 4);
    assert!(SAYINGS.is_some());
    assert_eq!(values::pair_patterns(), 5);
}

#[test]
fn every_kind_has_a_form() {
    assert_eq!(Form::from(&AnswerKind::Integer), Form::Integer);
    assert_eq!(Form::from(&AnswerKind::Program), Form::Program);
}

fn forms() -> impl Strategy<Value = Form> {
    prop::sample::select(vec![
        Form::Integer,
        Form::Number,
        Form::YesNo,
        options(),
        Form::ShortText,
        Form::Date,
        Form::Pair,
        Form::Set,
        Form::Expression,
        Form::FreeText,
        Form::Program,
    ])
}

proptest! {
    #[test]
    fn any_text_is_survived(text in "(\\PC|\n|<think>|</think>|answer is |answer: |[0-9]|yes|no|[A-D]\\)){0,40}", form in forms()) {
        if let Ok(found) = extract(&text, &form) {
            prop_assert!(text.get(found.span.clone()).is_some());
            prop_assert!((0.0..=1.0).contains(&found.confidence));
            prop_assert!(!found.value.is_empty());
        }
    }

    #[test]
    fn a_final_answer_is_read(value in -99_999..99_999_i64, thought in "[a-z0-9 ]{0,30}") {
        for text in [
            format!("<think>{thought}</think>{value}"),
            format!("<think>{thought}</think>Some words.\nFinal answer: {value}"),
            format!("{thought}</think>\n\\boxed{{{value}}}"),
            format!("The answer is {value}."),
        ] {
            let found = extract(&text, &Form::Integer);
            prop_assert_eq!(found.map(|found| found.value), Ok(value.to_string()), "{}", text);
        }
    }

    #[test]
    fn two_different_claims_are_refused(a in 0..1000_u32, b in 0..1000_u32) {
        prop_assume!(a != b);
        let text = format!("The answer is {a}. Wait, the answer is {b}.");
        prop_assert!(matches!(extract(&text, &Form::Integer), Err(ExtractError::Conflict(..))));
    }

    #[test]
    fn the_span_holds_a_number(value in 0..1_000_000_u32, before in "[a-z ]{0,20}") {
        let text = format!("{before}\nAnswer: {value}");
        let found = extract(&text, &Form::Integer).unwrap();
        prop_assert_eq!(&text[found.span], value.to_string());
    }
}
