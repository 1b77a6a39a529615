use proptest::prelude::*;

use super::*;

#[test]
fn arithmetic_has_its_value() {
    for (text, value) in [
        ("1+2*3", "7"),
        ("(1+2)*3", "9"),
        ("2-3-4", "-5"),
        ("100/10/5", "2"),
        ("-3*-2", "6"),
        ("2--3", "5"),
        ("+5", "5"),
        ("10/3", "3.333333"),
        ("0.1+0.2", "0.3"),
        (".5*4", "2"),
        ("5.*2", "10"),
        ("20%*50", "10"),
        ("(10+10)%*50", "10"),
        ("-50%", "-0.5"),
        ("2(3+4)(1)", "14"),
        ("1-1", "0"),
        ("-0*1", "0"),
    ] {
        assert_eq!(calculate(text).as_deref(), Ok(value), "{text}");
    }
}

#[test]
fn what_is_no_arithmetic_is_refused() {
    use CalculatorError::{Character, Empty, Malformed, NotFinite, TooDeep, TooLong};
    for (text, error) in [
        ("", Empty),
        ("  ", Empty),
        ("1/0", NotFinite),
        ("0/0", NotFinite),
        ("1+", Malformed(2)),
        ("(1", Malformed(2)),
        ("1)", Malformed(1)),
        ("()", Malformed(1)),
        ("1 2", Malformed(2)),
        ("(1)2", Malformed(3)),
        ("1**2", Malformed(2)),
        ("1.2.3", Malformed(0)),
        ("---1", Malformed(1)),
        (
            "sin(1)",
            Character {
                character: 's',
                at: 0,
            },
        ),
        (
            "2^3",
            Character {
                character: '^',
                at: 1,
            },
        ),
    ] {
        assert_eq!(evaluate(text), Err(error), "{text}");
    }
    let long = "1+".repeat(MAX_EXPRESSION_BYTES);
    assert_eq!(evaluate(&long), Err(TooLong(long.len())));
    let deep = format!(
        "{}1{}",
        "(".repeat(MAX_DEPTH + 1),
        ")".repeat(MAX_DEPTH + 1)
    );
    assert_eq!(evaluate(&deep), Err(TooDeep(MAX_DEPTH)));
    assert_eq!(evaluate(&deep[1..deep.len() - 1]), Ok(1.0));
}

#[test]
fn an_expression_is_found_in_what_a_model_writes() {
    for (text, expression) in [
        ("Expression: (3+4)*2", "(3+4)*2"),
        ("**Expression:** 3 + 4", "3 + 4"),
        ("Expression:\n```\n3 × 4\n```", "3 * 4"),
        ("He buys 3 of 12.\n3 x 12 = 36", "3 * 12"),
        ("x = 1,200 ÷ 4", "1200 / 4"),
        ("Expression: 5 apples + 3 apples", "5 + 3"),
        ("Expression: $7.50 * 2.", "7.50 * 2"),
        ("Expression: 8", "8"),
        ("First 1+1.\nThen 2+2 = 4", "2+2"),
        ("<think>9*9</think>\nExpression: 9-8", "9-8"),
        (r"Expression: \frac{6}{3} \times 2", "((6)/(3)) * 2"),
        ("7 = 10 - 3", "10 - 3"),
        ("2 x 3 x 4", "2 * 3 * 4"),
    ] {
        assert_eq!(find_expression(text).as_deref(), Some(expression), "{text}");
    }
    for text in [
        "",
        "No numbers here.",
        "There are 5 of them.",
        "<think>1+1",
        "Expression: none",
    ] {
        assert_eq!(find_expression(text), None, "{text}");
    }
}

#[derive(Debug, Clone)]
enum Tree {
    Number(u32, u32),
    Negative(Box<Tree>),
    Percent(Box<Tree>),
    Operation(Box<Tree>, char, Box<Tree>),
}

impl Tree {
    fn value(&self) -> f64 {
        match self {
            Self::Number(whole, hundredths) => format!("{whole}.{hundredths:02}").parse().unwrap(),
            Self::Negative(tree) => -tree.value(),
            Self::Percent(tree) => tree.value() / 100.0,
            Self::Operation(a, operation, b) => match operation {
                '+' => a.value() + b.value(),
                '-' => a.value() - b.value(),
                '*' => a.value() * b.value(),
                _ => a.value() / b.value(),
            },
        }
    }

    /// Brackets only where they are needed, so that precedence and order are tested.
    fn text(&self, outer: u8) -> String {
        let (text, binding) = match self {
            Self::Number(whole, hundredths) => (format!("{whole}.{hundredths:02}"), 3),
            Self::Negative(tree) => (format!("-{}", tree.text(3)), 0),
            Self::Percent(tree) => (format!("{}%", tree.text(3)), 3),
            Self::Operation(a, operation, b) => {
                let binding = if "+-".contains(*operation) { 1 } else { 2 };
                (
                    format!("{} {operation} {}", a.text(binding), b.text(binding + 1)),
                    binding,
                )
            }
        };
        if binding < outer {
            format!("({text})")
        } else {
            text
        }
    }
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = (0..10_000_u32, 0..100_u32).prop_map(|(whole, part)| Tree::Number(whole, part));
    leaf.prop_recursive(5, 24, 2, |inner| {
        let boxed = inner.prop_map(Box::new);
        prop_oneof![
            1 => boxed.clone().prop_map(Tree::Negative),
            1 => boxed.clone().prop_map(Tree::Percent),
            6 => (boxed.clone(), prop::sample::select(vec!['+', '-', '*', '/']), boxed)
                .prop_map(|(a, operation, b)| Tree::Operation(a, operation, b)),
        ]
    })
}

proptest! {
    #[test]
    fn values_are_those_of_a_reference(tree in tree()) {
        let expected = tree.value();
        match evaluate(&tree.text(0)) {
            Ok(value) => {
                let scale = expected.abs().max(1.0);
                prop_assert!((value - expected).abs() <= 1e-9 * scale, "{} {value} {expected}", tree.text(0));
            }
            Err(error) => {
                prop_assert_eq!(error, CalculatorError::NotFinite);
                prop_assert!(!expected.is_finite());
            }
        }
    }

    #[test]
    fn any_text_is_survived(text in "\\PC{0,80}") {
        let _ = evaluate(&text);
        if let Some(found) = find_expression(&text) {
            prop_assert!(evaluate(&found).is_ok());
        }
    }

    #[test]
    fn any_arithmetic_is_survived(text in "[0-9.()+*/% x=,$\n-]{0,60}") {
        let _ = evaluate(&text);
        if let Some(found) = find_expression(&text) {
            prop_assert!(evaluate(&found).is_ok());
        }
    }

    #[test]
    fn a_labelled_expression_is_found(tree in tree()) {
        let text = tree.text(0);
        prop_assume!(evaluate(&text).is_ok());
        let found = find_expression(&format!("Let me see.\nExpression: {text}\n"));
        let found = found.map(|found| evaluate(&found));
        prop_assert_eq!(found, Some(evaluate(&text)));
    }

    #[test]
    fn numbers_are_printed_shortly(value in -1e9..1e9_f64) {
        let text = format_number(value);
        prop_assert!((text.parse::<f64>().unwrap() - value).abs() <= 1e-6);
        prop_assert!(!text.contains('.') || !text.ends_with(['0', '.']));
    }
}
