use proptest::prelude::*;

use super::*;

fn right(reference: &Reference, answers: &[&str]) {
    for answer in answers {
        assert!(reference.matches(answer), "{answer:?} is {reference:?}");
    }
}

fn wrong(reference: &Reference, answers: &[&str]) {
    for answer in answers {
        assert!(
            !reference.matches(answer),
            "{answer:?} is not {reference:?}"
        );
    }
}

fn reference(kind: &AnswerKind, truth: &str) -> Reference {
    Reference::new(kind, truth, &[]).unwrap()
}

fn cities() -> AnswerKind {
    AnswerKind::Choice {
        options: vec!["Oslo".into(), "Bergen".into(), "None of these".into()],
    }
}

#[test]
fn integers_are_exact() {
    let seven = reference(&AnswerKind::Integer, "7");
    right(&seven, &["7", " 7 ", "7.", "7.0", "+7", "７"]);
    wrong(
        &seven,
        &[
            "-7",
            "17",
            "7 or 8",
            "7, 8",
            "7%",
            "seven apples",
            "6.99",
            "",
            "7\n8",
        ],
    );
    let many = reference(&AnswerKind::Integer, "1,234");
    right(&many, &["1234", "1,234"]);
    wrong(&many, &["1,23", "12,34", "1234.5", "1 234 or so"]);
    right(&reference(&AnswerKind::Integer, "-5"), &["-5", "\u{2212}5"]);
    wrong(&reference(&AnswerKind::Integer, "-5"), &["5"]);
}

#[test]
fn numbers_follow_the_convention_of_chart_qa() {
    let share = reference(&AnswerKind::Number, "12%");
    right(&share, &["12%", "12", "12.5", "11.5 %", "0.12"]);
    wrong(&share, &["2", "1", "13", "120", "0.2", "12% or 20%"]);
    let value = reference(&AnswerKind::Number, "$1,200.50");
    right(&value, &["1200.5", "$1,200.50", "1250"]);
    wrong(&value, &["1300", "-1200.50", "1.200,50"]);
    // A year is right or not.
    let year = reference(&AnswerKind::Number, "2016");
    right(&year, &["2016"]);
    wrong(&year, &["2015", "2010", "16"]);
    right(&reference(&AnswerKind::Number, "2,016"), &["2,000"]);
    let zero = reference(&AnswerKind::Number, "0");
    right(&zero, &["0", "-0", "0.0"]);
    wrong(&zero, &["0.01", "nothing"]);
}

#[test]
fn tolerances_are_kept() {
    let number = |tolerance| Reference::Number {
        value: "100".into(),
        tolerance,
    };
    right(&number(Tolerance::Exact), &["100", "100.00"]);
    wrong(&number(Tolerance::Exact), &["100.01", "99.99"]);
    right(&number(Tolerance::Absolute(0.5)), &["100.5"]);
    wrong(&number(Tolerance::Absolute(0.5)), &["100.6"]);
    right(&number(Tolerance::Relative(0.01)), &["101"]);
    wrong(&number(Tolerance::Relative(0.01)), &["102"]);
    assert!(number(Tolerance::Relative(f64::NAN)).validate().is_err());
    let exact = |value: &str| Reference::Number {
        value: value.into(),
        tolerance: Tolerance::Exact,
    };
    wrong(&exact("2000000000"), &["2000000001"]);
    wrong(&exact("0.000000001"), &["0"]);
    right(&exact("12%"), &["12%", "0.12"]);
    wrong(&exact("12"), &["12%", "1²"]);
    let half = Reference::Number {
        value: "50%".into(),
        tolerance: Tolerance::Absolute(1.0),
    };
    right(&half, &["51", "50.5%", "0.505"]);
    wrong(&half, &["0", "1.5", "0.52"]);
}

#[test]
fn yes_and_no_exclude_each_other() {
    let yes = reference(&AnswerKind::YesNo, "Yes");
    right(&yes, &["yes", "Yes.", "YES", "**Yes**", "true"]);
    wrong(
        &yes,
        &[
            "no",
            "not yes, no",
            "yes and no",
            "yes, no",
            "yesterday",
            "maybe",
        ],
    );
}

#[test]
fn a_choice_names_exactly_one_option() {
    let bergen = reference(&cities(), "B");
    right(
        &bergen,
        &[
            "B",
            "b",
            "(B)",
            "B.",
            "B) Bergen",
            "Option B",
            "bergen",
            "B: Bergen.",
        ],
    );
    wrong(
        &bergen,
        &[
            "A",
            "Oslo",
            "A, B, C",
            "A B",
            "B or C",
            "Oslo, Bergen",
            "B) Oslo",
            "Bergen is not in it",
            "D",
            "Be",
            "A) Bergen",
        ],
    );
    wrong(&bergen, &["A Bergen"]);
    let dogs = AnswerKind::Choice {
        options: vec!["a cat".into(), "a dog".into()],
    };
    right(&reference(&dogs, "B"), &["a dog", "dog", "the dog", "B"]);
    // A letter is that of an option before it is the text of another.
    let letters = AnswerKind::Choice {
        options: vec!["B".into(), "A".into()],
    };
    right(&reference(&letters, "A"), &["A"]);
    let error = Reference::new(&cities(), "Paris", &[]).unwrap_err();
    assert!(error.to_string().contains("truth"), "{error}");
}

#[test]
fn short_texts_match_as_a_whole() {
    let name = Reference::new(&AnswerKind::ShortText, "Go-Jek", &["Gojek".into()]).unwrap();
    right(
        &name,
        &["go-jek", "Go Jek", "Gojek.", "\"Go-Jek\"", "the Go-Jek"],
    );
    wrong(
        &name,
        &["e", "Go", "Jek", "Go-Jek and Grab", "Go-Jek, Grab", "-"],
    );
    wrong(
        &reference(&AnswerKind::ShortText, "C"),
        &["C++", "C#", "A, B, C"],
    );
    wrong(&reference(&AnswerKind::ShortText, "-5"), &["5"]);
    wrong(&reference(&AnswerKind::ShortText, "5"), &[".5", "5!"]);
    wrong(&reference(&AnswerKind::ShortText, "72"), &["7²"]);
    let grid = reference(&AnswerKind::ShortText, "4,5");
    right(&grid, &["4,5", "4, 5"]);
    wrong(&grid, &["45", "5,4", "4", "4,5,6"]);
    right(
        &reference(&AnswerKind::ShortText, "two\nlines"),
        &["two lines", "two\n lines"],
    );
}

#[test]
fn sets_have_every_member_once() {
    let colours = reference(&AnswerKind::Set, "red, green, blue");
    right(
        &colours,
        &[
            "Blue, red, green",
            "red; green; blue",
            "red, green and blue",
            "red\ngreen\nblue",
        ],
    );
    wrong(
        &colours,
        &[
            "red, green",
            "red, green, blue, pink",
            "red, red, green, blue",
            "red green blue",
            "red, red, blue",
        ],
    );
    let last = reference(&AnswerKind::Set, "red, green and blue");
    right(&last, &["red, green, blue", "blue, red and green"]);
    let flags = Reference::Set {
        members: vec![
            vec!["black and white".into()],
            vec!["UK".into(), "Britain".into()],
        ],
    };
    right(&flags, &["Britain, black and white", "uk; Black and white"]);
    wrong(&flags, &["UK, Britain", "black, white, UK"]);
}

#[test]
fn dates_are_one_day() {
    let day = reference(&AnswerKind::Date, "12/02/2018");
    right(&day, &["12/02/2018", "2018-02-12", "12 Feb 2018"]);
    wrong(
        &day,
        &[
            "02/12/2018",
            "12/02/2018 or 13/02/2018",
            "2018",
            "tomorrow",
            "not 12/02/2018",
            "12/02/2018 or later",
            "12/02/2018, 20190101",
        ],
    );
}

#[test]
fn expressions_are_equal_by_value() {
    let sum = reference(&AnswerKind::Expression, "x^2 + 2x + 1");
    right(
        &sum,
        &["(x+1)^2", "1 + x*(x+2)", "$x^{2}+2x+1$", "y = x^2+2x+1"],
    );
    wrong(
        &sum,
        &[
            "x^2+2x",
            "(x+1)^3",
            "x",
            "1",
            "x^2 + 2y + 1",
            "x^2 + 2x + 1 or 5",
        ],
    );
    let half = reference(&AnswerKind::Expression, "\\frac{1}{2}");
    right(&half, &["1/2", "0.5", "\\dfrac{2}{4}", "50%", "x = 1/2"]);
    wrong(&half, &["1", "2", "1/3", "0/0", "1/0"]);
    let negative = reference(&AnswerKind::Expression, "-x^2");
    right(&negative, &["-(x^2)", "-x*x", "0 - x^{2}", "(-1)x^2"]);
    wrong(&negative, &["x^2", "(-x)^2"]);
    right(
        &reference(&AnswerKind::Expression, "4-x^2"),
        &["-x^2+4", "(2-x)(2+x)"],
    );
    wrong(
        &reference(&AnswerKind::Expression, "e^{-x^2}"),
        &["e^{x^2}"],
    );
    wrong(&reference(&AnswerKind::Expression, "2^3^2"), &["64"]);
    wrong(
        &reference(&AnswerKind::Expression, "x"),
        &["abs(x)", "\\sqrt{x^2}"],
    );
    right(
        &reference(&AnswerKind::Expression, "\\sin(2x)"),
        &["2 sin(x) cos(x)", "sin(2x)"],
    );
    wrong(&reference(&AnswerKind::Expression, "23/4"), &["2 3/4"]);
    wrong(
        &reference(&AnswerKind::Expression, "[1,2]"),
        &["(1,2)", "12"],
    );
    wrong(&reference(&AnswerKind::Expression, "(1,200)"), &["1200"]);
    wrong(
        &reference(&AnswerKind::Expression, "6.63*10^-34"),
        &["0", "9.1*10^-31"],
    );
    wrong(&reference(&AnswerKind::Expression, "10^10"), &["10^10+1"]);
    right(
        &reference(&AnswerKind::Expression, "\\frac{x^{2}}{2}"),
        &["x^2/2"],
    );
    let root = reference(&AnswerKind::Expression, "2\\sqrt{3}");
    right(&root, &["sqrt(12)", "2*sqrt(3)", "\\sqrt{12}"]);
    wrong(&root, &["3.46", "2", "sqrt(3)"]);
    right(
        &reference(&AnswerKind::Expression, "3xy"),
        &["3*x*y", "y*3x"],
    );
    right(
        &reference(&AnswerKind::Expression, "\\frac{\\pi r^2}{2}"),
        &["0.5 \\pi r^{2}"],
    );
    // Nothing is equal to what has no value.
    wrong(&reference(&AnswerKind::Expression, "1/0"), &["2/0", "5"]);
}

#[test]
fn outputs_are_compared_by_line() {
    let output = Reference::ProgramOutput {
        value: "1\n 2\n".into(),
    };
    assert!(Reference::new(&AnswerKind::Program, "print(1)", &[]).is_err());
    right(&output, &["1\n 2", "1  \n 2\n\n"]);
    wrong(&output, &["1\n2", "1 2", "1\n 2\n3"]);
}

#[test]
fn references_that_match_nothing_are_refused() {
    for (kind, truth) in [
        (AnswerKind::Integer, "many"),
        (AnswerKind::Number, "about 5"),
        (AnswerKind::YesNo, "perhaps"),
        (AnswerKind::ShortText, " . "),
        (AnswerKind::Set, " , "),
        (AnswerKind::Date, "soon"),
        (AnswerKind::Date, "1945-05-08"),
        (AnswerKind::Expression, " "),
    ] {
        assert!(
            Reference::new(&kind, truth, &[]).is_err(),
            "{truth:?} of {}",
            kind.name()
        );
    }
}

fn any_reference() -> impl Strategy<Value = Reference> {
    prop_oneof![
        (-1000i64..1000).prop_map(|value| Reference::Integer { value }),
        (-1e6f64..1e6).prop_map(|value| Reference::Number {
            value: format!("{value:.2}"),
            tolerance: Tolerance::ChartQa
        }),
        any::<bool>().prop_map(|value| Reference::YesNo { value }),
        "[a-z]{2,9}".prop_map(|text| Reference::ShortText {
            accepted: vec![text]
        }),
        "[a-z]{2,5}(, [a-z]{2,5}){0,3}".prop_map(|text| reference(&AnswerKind::Set, &text)),
    ]
}

proptest! {
    #[test]
    fn any_answer_is_right_or_wrong(reference in any_reference(), answer in ".{0,60}") {
        reference.matches(&answer);
        let expression = Reference::Expression { value: answer.clone() };
        expression.matches(&answer);
        reference.matches(&format!("{answer}{answer}"));
    }

    #[test]
    fn what_lists_everything_is_wrong(reference in any_reference()) {
        let all = "yes, no, A, B, C, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, red, green, blue, none of these";
        prop_assert!(!reference.matches(all));
    }

    #[test]
    fn references_survive_storage(reference in any_reference()) {
        let stored = serde_json::to_string(&reference).unwrap();
        prop_assert_eq!(serde_json::from_str::<Reference>(&stored).unwrap(), reference);
    }
}
