//! What a model thinks aloud is no part of its answer.

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// The text with everything from `<think>` to `</think>` turned to blanks, so that positions stay
/// those of the original. A `</think>` without a beginning blanks all before it (servers cut the
/// first tag off), a `<think>` without an end all behind it (the model was cut short).
pub fn visible(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(close) = rest.find(CLOSE) {
        let end = close + CLOSE.len();
        let start = rest[..close].find(OPEN).unwrap_or(0);
        result.push_str(&rest[..start]);
        blank(&mut result, &rest[start..end]);
        rest = &rest[end..];
    }
    let open = rest.find(OPEN).unwrap_or(rest.len());
    result.push_str(&rest[..open]);
    blank(&mut result, &rest[open..]);
    result
}

/// As many bytes as `text` has; its lines end where they did.
fn blank(result: &mut String, text: &str) {
    result.extend(
        text.bytes()
            .map(|byte| if byte == b'\n' { '\n' } else { ' ' }),
    );
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn thoughts_are_blanked() {
        assert_eq!(visible("<think>\n5?</think>6").trim(), "6");
        assert_eq!(visible("5? </think> 6").trim(), "6");
        assert_eq!(visible("6 <think> or 7").trim(), "6");
        assert_eq!(
            visible("a<think>b</think>c<think>d</think>e")
                .split_whitespace()
                .collect::<String>(),
            "ace"
        );
    }

    proptest! {
        #[test]
        fn positions_stay(text in "(<think>|</think>|[a-zé\n]){0,12}") {
            let shown = visible(&text);
            prop_assert_eq!(shown.len(), text.len());
            prop_assert!(!shown.contains("think>"));
            for (at, c) in shown.char_indices().filter(|(_, c)| !c.is_whitespace()) {
                prop_assert!(text[at..].starts_with(c));
            }
        }
    }
}
