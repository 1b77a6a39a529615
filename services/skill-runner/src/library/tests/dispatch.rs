//! Which solver a question gets.

use maestro_core::answer::AnswerKind;

use super::named;

/// The solver that a question gets where the image shows `kind`.
fn solver(skill: &str, question: &str, kind: &AnswerKind, image: Option<&str>) -> String {
    let evidence = image.map(|kind| maestro_skills::Evidence {
        kind: kind.into(),
        confidence: 0.9,
    });
    let chosen = named(skill)
        .dispatch()
        .choose(question, kind, evidence.as_ref());
    chosen.solver.unwrap_or_else(|| "none".to_owned())
}

#[test]
fn diagram_questions_find_their_solver() {
    let integer = AnswerKind::Integer;
    for (question, kind, image, expected) in [
        (
            "How often do the red and blue lines cross?",
            &integer,
            Some("line-paths"),
            "line-intersections",
        ),
        (
            "Tell me how frequently these paths run into each other.",
            &integer,
            Some("LinePaths"),
            "line-intersections",
        ),
        (
            "Intersections of the two curves?",
            &integer,
            None,
            "line-intersections",
        ),
        (
            "What is the size of this?",
            &AnswerKind::ShortText,
            Some("grid"),
            "grid-size",
        ),
        (
            "Count rows and columns",
            &AnswerKind::ShortText,
            None,
            "grid-size",
        ),
        (
            "Into how many rows and columns is the square cut?",
            &AnswerKind::ShortText,
            Some("grid"),
            "grid-size",
        ),
        (
            "How many boxes lie in each other?",
            &integer,
            Some("nested-squares"),
            "nested-squares",
        ),
        ("Number of squares", &integer, None, "nested-squares"),
        (
            "Are the two discs in contact?",
            &AnswerKind::YesNo,
            Some("circle-pair"),
            "circle-touch",
        ),
        (
            "Does one circle cover part of the other?",
            &AnswerKind::YesNo,
            Some("circle-pair"),
            "circle-overlap",
        ),
        (
            "Do these circles intersect in a common area?",
            &AnswerKind::YesNo,
            None,
            "circle-overlap",
        ),
        (
            "Do they overlap?",
            &AnswerKind::YesNo,
            Some("circle-pair"),
            "circle-overlap",
        ),
        (
            "How many circles?",
            &integer,
            Some("circle-pair"),
            "count-circles",
        ),
        (
            "How many shapes are here?",
            &integer,
            Some("circles"),
            "count-circles",
        ),
        (
            "How many shapes are here?",
            &integer,
            Some("pentagons"),
            "count-pentagons",
        ),
        (
            "Count the pentagons",
            &integer,
            Some("circles"),
            "count-pentagons",
        ),
        (
            "How many dogs are there?",
            &integer,
            Some("photograph"),
            "none",
        ),
        ("Who wrote Faust?", &AnswerKind::FreeText, None, "none"),
    ] {
        assert_eq!(
            solver("diagram-reasoning", question, kind, image),
            expected,
            "{question}"
        );
    }
}

#[test]
fn receipt_questions_find_their_solver() {
    for (question, kind, expected) in [
        (
            "How much did the customer have to pay in the end?",
            AnswerKind::Number,
            "receipt-total",
        ),
        (
            "Sum of everything on the bill",
            AnswerKind::FreeText,
            "receipt-total",
        ),
        (
            "What does it come to altogether, how much?",
            AnswerKind::Number,
            "receipt-total",
        ),
        (
            "On which day was this receipt issued?",
            AnswerKind::Date,
            "receipt-date",
        ),
        (
            "When was this bought?",
            AnswerKind::FreeText,
            "receipt-date",
        ),
        (
            "Which company issued this receipt?",
            AnswerKind::ShortText,
            "receipt-company",
        ),
        ("Name the shop.", AnswerKind::ShortText, "receipt-company"),
        ("Transcribe the page.", AnswerKind::FreeText, "plain-text"),
        (
            "What does the sign say?",
            AnswerKind::FreeText,
            "plain-text",
        ),
    ] {
        assert_eq!(
            solver("ocr-problem", question, &kind, None),
            expected,
            "{question}"
        );
    }
}

#[test]
fn questions_to_experts_that_chat_find_their_solver() {
    let free = AnswerKind::FreeText;
    for (skill, question, expected) in [
        ("chart-problem", "How tall is the bar of 2004?", "bar"),
        ("chart-problem", "Which line rises most?", "line"),
        (
            "chart-problem",
            "Which sector of the pie is largest?",
            "pie",
        ),
        ("chart-problem", "What is the share of Norway?", "other"),
        ("perception-problem", "What does she hold?", "zoom"),
        (
            "perception-problem",
            "Read the licence plate far away.",
            "high-resolution",
        ),
        ("text-in-image", "Give the equation in LaTeX.", "formula"),
        (
            "text-in-image",
            "Which address stands on the form?",
            "key-information",
        ),
        (
            "text-in-image",
            "Sum the column in this table of the report.",
            "document",
        ),
        ("text-in-image", "What does it say?", "scene-text"),
        (
            "embodied-scene",
            "What is the outcome of the drawn path?",
            "trajectory-outcome",
        ),
        ("embodied-scene", "Which dot is on the handle?", "pointing"),
        (
            "embodied-scene",
            "Is it the cup of the other view?",
            "multi-view",
        ),
        (
            "embodied-scene",
            "How must the wrist turn?",
            "action-adjustment",
        ),
        (
            "embodied-scene",
            "Does the tower fall?",
            "spatial-mechanics",
        ),
        ("embodied-scene", "What is safe?", "spatial-mechanics"),
    ] {
        assert_eq!(solver(skill, question, &free, None), expected, "{question}");
    }
}

#[derive(serde::Deserialize)]
struct Paraphrase {
    kind: String,
    text: String,
}

#[test]
fn paraphrases_find_the_solver_of_the_original() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/paraphrases/paraphrases.jsonl"
    );
    let content = std::fs::read_to_string(path).unwrap();
    let paraphrases: Vec<Paraphrase> = content
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(paraphrases.len(), 280);
    let mut missed_by_words = 0;
    for Paraphrase { kind, text } in &paraphrases {
        let (skill, image, wanted, expected) = match kind.as_str() {
            "LineIntersection" => (
                "diagram-reasoning",
                "line-paths",
                AnswerKind::Integer,
                "line-intersections",
            ),
            "CountingRowsAndColumns" => (
                "diagram-reasoning",
                "grid",
                AnswerKind::ShortText,
                "grid-size",
            ),
            "NestedSquares" => (
                "diagram-reasoning",
                "nested-squares",
                AnswerKind::Integer,
                "nested-squares",
            ),
            "TouchingCircle.touching" => (
                "diagram-reasoning",
                "circle-pair",
                AnswerKind::YesNo,
                "circle-touch",
            ),
            "TouchingCircle.overlapping" => (
                "diagram-reasoning",
                "circle-pair",
                AnswerKind::YesNo,
                "circle-overlap",
            ),
            "ReceiptTotal" => (
                "ocr-problem",
                "document",
                AnswerKind::Number,
                "receipt-total",
            ),
            "CircledWord" => (
                "diagram-reasoning",
                "marked-text",
                AnswerKind::ShortText,
                "highlighted-character",
            ),
            "SubwayMap" => (
                "diagram-reasoning",
                "route-map",
                AnswerKind::Integer,
                "subway-routes",
            ),
            other => panic!("{other}"),
        };
        // Stations are named by the question.
        let text = &text.replace("{from}", "A").replace("{to}", "D");
        assert_eq!(
            solver(skill, text, &wanted, Some(image)),
            expected,
            "{text}"
        );
        missed_by_words += usize::from(solver(skill, text, &wanted, None) != expected);
    }
    assert!(
        missed_by_words <= 4,
        "{missed_by_words} of 280 by words alone"
    );
}
