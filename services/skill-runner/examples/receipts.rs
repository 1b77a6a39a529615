//! Reads receipts from the output of a text reader and prints what they say.
//!
//! ```text
//! cargo run -p maestro-skill-runner --example receipts -- page1.json page2.json …
//! ```
//!
//! Each file holds `{"lines": [{"text", "confidence", "quad": [[x, y], …4]}]}`; each line of the
//! output is `{"path", "total", "date", "company"}` with `value`, `confidence` and `evidence`, or
//! null.
#![expect(clippy::print_stdout, reason = "an example prints its results")]

use std::{error::Error, fs};

use maestro_skill_runner::tools::receipt::{self, Field, Line};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Page {
    lines: Vec<Region>,
}

#[derive(Deserialize)]
struct Region {
    text: String,
    confidence: f32,
    quad: [[f32; 2]; 4],
    #[serde(default)]
    word_confidences: Vec<f32>,
}

fn main() -> Result<(), Box<dyn Error>> {
    for path in std::env::args().skip(1) {
        let page: Page = serde_json::from_str(&fs::read_to_string(&path)?)?;
        let line = |region: Region| Line {
            text: region.text,
            confidence: region.confidence,
            quad: region.quad,
            word_confidences: region.word_confidences,
        };
        let lines: Vec<Line> = page.lines.into_iter().map(line).collect();
        let found = json!({
            "path": path,
            "total": shown(receipt::total(&lines)),
            "date": shown(receipt::date(&lines)),
            "company": shown(receipt::company(&lines)),
        });
        println!("{found}");
    }
    Ok(())
}

fn shown(field: Option<Field>) -> Value {
    field.map_or(Value::Null, |field| {
        json!({ "value": field.value, "confidence": field.confidence, "evidence": field.evidence })
    })
}
