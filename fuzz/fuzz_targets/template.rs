//! Templates of foreign skills, over a context such as a workflow has. Rendering ends and is
//! bounded, whatever the template.
#![no_main]

use libfuzzer_sys::fuzz_target;
use maestro_skills::Template;
use serde_json::json;

/// Longest rendered text, as `maestro-skills` documents it.
const MAX_RENDERED_BYTES: usize = 256 << 10;

fuzz_target!(|source: &str| {
    let context = json!({
        "query": "How many rows has the table?",
        "answer_kind": "integer",
        "options": ["three", "four"],
        "image_count": 2,
        "read": {
            "text": "Total 4.50", "value": "4.50", "confidence": 0.5, "texts": ["a", "b"],
            "regions": [{"text": "Total", "bounds": [0, 1, 20, 30], "confidence": 0.9}],
        },
    });
    let context = context.as_object().expect("an object");
    for template in [Template::parse(source), Template::parse_expression(source)].into_iter().flatten() {
        if let Ok(text) = template.render(context) {
            assert!(text.len() <= MAX_RENDERED_BYTES);
        }
        let _ = template.value(context);
        let _ = template.is_true(context);
    }
});
