//! Texts that go to experts and come from them. Pure.

use maestro_core::answer::AnswerKind;

use maestro_core::answer::visible;

/// What a reply says beside its thoughts.
pub(crate) fn spoken(reply: &str) -> String {
    visible(reply).trim().to_owned()
}

/// Tells an expert in which form an answer of this kind is wanted. Empty for free text.
pub(crate) fn answer_form(kind: &AnswerKind) -> String {
    match kind {
        AnswerKind::FreeText => String::new(),
        AnswerKind::Integer => "Reply with one whole number in digits.".to_owned(),
        AnswerKind::Number => "Reply with one number in digits.".to_owned(),
        AnswerKind::YesNo => "Reply with yes or no.".to_owned(),
        AnswerKind::Choice { options } => {
            let mut text = "Reply with the letter of one option:".to_owned();
            for (letter, option) in ('A'..).zip(options) {
                text.push_str(&format!("\n{letter}. {option}"));
            }
            text
        }
        AnswerKind::ShortText => "Reply with a name, a word or a short phrase only.".to_owned(),
        AnswerKind::Date => "Reply with a date only.".to_owned(),
        AnswerKind::Set => "Reply with the items only, separated by commas.".to_owned(),
        AnswerKind::Expression => "Reply with one mathematical expression only.".to_owned(),
        AnswerKind::Program => "Reply with the program's source only.".to_owned(),
    }
}

/// Tells an expert which replies there are.
pub(crate) fn one_of<'a>(labels: impl Iterator<Item = &'a str>) -> String {
    let labels: Vec<&str> = labels.collect();
    format!(
        "\n\nReply with exactly one of these: {}.",
        labels.join(", ")
    )
}

/// The kind that a skill's file names; a choice needs the task's own options.
pub(crate) fn named_kind(name: &str, wanted: &AnswerKind) -> AnswerKind {
    match name {
        "integer" => AnswerKind::Integer,
        "number" => AnswerKind::Number,
        "yes_no" => AnswerKind::YesNo,
        "short_text" => AnswerKind::ShortText,
        "date" => AnswerKind::Date,
        "set" => AnswerKind::Set,
        "expression" => AnswerKind::Expression,
        "program" => AnswerKind::Program,
        "choice" if matches!(wanted, AnswerKind::Choice { .. }) => wanted.clone(),
        _ => AnswerKind::FreeText,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thoughts_do_not_count() {
        assert_eq!(spoken("<think>7? no</think> 8"), "8");
        assert_eq!(spoken("7? no</think>8\n"), "8");
        assert_eq!(spoken("<think>never ends"), "");
    }

    #[test]
    fn options_are_lettered_and_every_named_kind_is_its_own() {
        let kind = AnswerKind::Choice {
            options: vec!["red".into(), "blue".into()],
        };
        assert!(answer_form(&kind).ends_with("\nA. red\nB. blue"));
        assert_eq!(named_kind("choice", &kind), kind);
        assert_eq!(
            named_kind("choice", &AnswerKind::Date),
            AnswerKind::FreeText
        );
        for name in [
            "integer",
            "number",
            "yes_no",
            "short_text",
            "date",
            "set",
            "expression",
            "program",
            "free_text",
        ] {
            assert_eq!(named_kind(name, &kind).name(), name);
        }
    }
}
