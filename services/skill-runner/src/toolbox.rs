//! Joins the deterministic tools to the steps of workflows: arguments in, results out.

use maestro_core::{
    answer::{
        AnswerKind, ExtractedAnswer, calculator,
        extract::{self, Form},
    },
    episode::{Failure, FailureKind},
    expert_call::Detection,
};
use maestro_skills::Tool;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value as Json, json};

use crate::{
    runner::{StepOutput, json_text, note},
    tools::{code, count, diagram, receipt},
};

/// A region of text as the step of a reader gives it; what tools don't need is ignored.
#[derive(Debug, Deserialize)]
struct Region {
    text: String,
    confidence: f32,
    quad: [[f32; 2]; 4],
    #[serde(default)]
    word_confidences: Vec<f32>,
}

/// Runs a tool. Its result has `value`, and where the tool says so `confidence` and `evidence`.
///
/// # Errors
/// An argument that the tool cannot read, or nothing found.
pub(crate) fn run(tool: Tool, arguments: &Map<String, Json>) -> Result<StepOutput, Failure> {
    match tool {
        Tool::Calculator => calculate(&argument(arguments, "expression")),
        Tool::FindExpression => find_expression(&argument(arguments, "text")),
        Tool::FindCode => find_code(&argument(arguments, "text")),
        Tool::ReceiptField => {
            let regions = arguments.get("regions").cloned().unwrap_or_default();
            receipt_field(&argument(arguments, "field"), regions)
        }
        Tool::CountObjects => {
            let detections = arguments.get("detections").cloned().unwrap_or_default();
            count_objects(&argument(arguments, "question"), detections)
        }
        Tool::MarkedCharacter => marked_character(arguments),
        Tool::CountRoutes => count_routes(arguments),
    }
}

/// Reads an answer of a kind out of a text; none where it holds none or claims several.
pub(crate) fn extract(kind: &AnswerKind, text: &str) -> Option<ExtractedAnswer> {
    let found = extract::extract(text, &Form::from(kind)).ok()?;
    Some(ExtractedAnswer {
        value: found.value,
        confidence: found.confidence,
    })
}

fn argument(arguments: &Map<String, Json>, name: &str) -> String {
    arguments.get(name).map(json_text).unwrap_or_default()
}

fn failure(message: impl Into<String>) -> Failure {
    Failure::new(FailureKind::SkillFailed, message)
}

fn calculate(expression: &str) -> Result<StepOutput, Failure> {
    let value = calculator::calculate(expression)
        .map_err(|error| failure(format!("calculator: {error}")))?;
    let evidence = note("calculation", format!("{expression} = {value}"));
    Ok(StepOutput {
        value: json!({ "value": value }),
        images: Vec::new(),
        evidence: vec![evidence],
    })
}

fn find_expression(text: &str) -> Result<StepOutput, Failure> {
    let expression = calculator::find_expression(text)
        .ok_or_else(|| failure("the reply holds no arithmetic expression"))?;
    Ok(StepOutput {
        value: json!({ "value": expression }),
        ..StepOutput::default()
    })
}

fn find_code(text: &str) -> Result<StepOutput, Failure> {
    let code = code::find(text).ok_or_else(|| failure("the reply holds no program"))?;
    Ok(StepOutput {
        value: json!({ "value": code }),
        ..StepOutput::default()
    })
}

fn receipt_field(field: &str, regions: Json) -> Result<StepOutput, Failure> {
    let regions: Vec<Region> = serde_json::from_value(regions)
        .map_err(|error| failure(format!("receipt-field: regions: {error}")))?;
    let lines: Vec<receipt::Line> = regions
        .into_iter()
        .map(|region| receipt::Line {
            text: region.text,
            confidence: region.confidence,
            quad: region.quad,
            word_confidences: region.word_confidences,
        })
        .collect();
    let found = match field {
        "total" => receipt::total(&lines),
        "date" => receipt::date(&lines),
        "company" => receipt::company(&lines),
        other => {
            return Err(failure(format!(
                "receipt-field: there is no field {other:?}"
            )));
        }
    };
    let found = found.ok_or_else(|| failure(format!("no {field} was found on the receipt")))?;
    let value = json!({
        "value": found.value, "confidence": found.confidence, "evidence": found.evidence,
    });
    let evidence = note("receipt", format!("{field}: {}", found.evidence));
    Ok(StepOutput {
        value,
        images: Vec::new(),
        evidence: vec![evidence],
    })
}

fn count_objects(question: &str, detections: Json) -> Result<StepOutput, Failure> {
    let detections: Vec<Detection> = serde_json::from_value(detections)
        .map_err(|error| failure(format!("count-objects: detections: {error}")))?;
    let things: Vec<count::Thing> = detections
        .into_iter()
        .map(|found| count::Thing {
            label: found.label,
            confidence: found.confidence,
            bounds: found.bounds,
        })
        .collect();
    let counted = count::count(question, &things)
        .ok_or_else(|| failure("the question names nothing that detectors know"))?;
    let evidence = note("count", counted.evidence.clone());
    let value = json!({
        "value": counted.value, "confidence": counted.confidence, "evidence": counted.evidence,
        "class": counted.class,
    });
    Ok(StepOutput {
        value,
        images: Vec::new(),
        evidence: vec![evidence],
    })
}

/// A box as the step of an analysis gives it.
#[derive(Debug, Deserialize)]
struct DrawnBox {
    label: String,
    bounds: diagram::Bounds,
}

fn list<T: DeserializeOwned>(arguments: &Map<String, Json>, name: &str) -> Result<Vec<T>, Failure> {
    let value = arguments.get(name).cloned().unwrap_or_default();
    serde_json::from_value(value).map_err(|error| failure(format!("{name}: {error}")))
}

/// The texts read, and the boxes of one label.
fn readings_and_boxes(
    arguments: &Map<String, Json>,
    label: &str,
) -> Result<(Vec<diagram::Reading>, Vec<diagram::Bounds>), Failure> {
    let reading = |region: Region| {
        let along = |axis: usize| region.quad.map(|corner| corner[axis]);
        let least = |axis| along(axis).into_iter().fold(f32::INFINITY, f32::min);
        let most = |axis| along(axis).into_iter().fold(f32::NEG_INFINITY, f32::max);
        let bounds = [least(0), least(1), most(0), most(1)];
        diagram::Reading {
            text: region.text,
            bounds,
        }
    };
    let regions: Vec<Region> = list(arguments, "regions")?;
    let boxes: Vec<DrawnBox> = list(arguments, "boxes")?;
    let wanted = boxes.into_iter().filter(|b| b.label == label);
    Ok((
        regions.into_iter().map(reading).collect(),
        wanted.map(|b| b.bounds).collect(),
    ))
}

fn picked(found: diagram::Picked) -> StepOutput {
    let evidence = note("drawing", found.evidence.clone());
    StepOutput {
        value: json!({
            "value": found.value, "confidence": found.confidence, "evidence": found.evidence,
        }),
        images: Vec::new(),
        evidence: vec![evidence],
    }
}

/// `place` is "place,count" or the place alone, counted from 1.
fn marked_character(arguments: &Map<String, Json>) -> Result<StepOutput, Failure> {
    let (readings, pieces) = readings_and_boxes(arguments, "character")?;
    let place = argument(arguments, "place");
    let first = place.split(',').next().unwrap_or_default().trim();
    let index = first.parse::<usize>().ok().and_then(|n| n.checked_sub(1));
    let index = index.ok_or_else(|| failure(format!("{place:?} is no place of a character")))?;
    diagram::marked_character(&readings, &pieces, index)
        .map(picked)
        .ok_or_else(|| failure("no letter was read at the marked place"))
}

fn count_routes(arguments: &Map<String, Json>) -> Result<StepOutput, Failure> {
    let (readings, boxes) = readings_and_boxes(arguments, "station")?;
    let question = argument(arguments, "question");
    diagram::count_routes(&question, &readings, &boxes, &argument(arguments, "routes"))
        .map(picked)
        .map_err(|error| failure(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(tool: Tool, arguments: &Json) -> Result<StepOutput, Failure> {
        run(tool, arguments.as_object().unwrap())
    }

    #[test]
    fn the_calculator_shows_its_work() {
        let output = call(Tool::Calculator, &json!({"expression": "2 * (3 + 4)"})).unwrap();
        assert_eq!(output.value["value"], "14");
        assert_eq!(output.evidence[0].text, "2 * (3 + 4) = 14");
        assert!(call(Tool::Calculator, &json!({"expression": "two"})).is_err());
        assert!(call(Tool::Calculator, &json!({})).is_err());
    }

    #[test]
    fn receipts_are_read_from_regions() {
        let region = |text: &str, y: f32| {
            json!({"text": text, "confidence": 0.9, "bounds": [0, 0, 1, 1],
                "quad": [[10.0, y], [200.0, y], [200.0, y + 12.0], [10.0, y + 12.0]]})
        };
        let regions = json!([
            region("CORNER BAKERY LTD", 10.0),
            region("Bread 4.50", 60.0),
            region("TOTAL 4.50", 90.0),
            region("Date: 14/02/2024", 120.0)
        ]);
        let find = |field: &str| {
            call(
                Tool::ReceiptField,
                &json!({"field": field, "regions": regions}),
            )
        };
        assert_eq!(find("total").unwrap().value["value"], "4.50");
        assert!(
            find("date").unwrap().value["value"]
                .as_str()
                .unwrap()
                .contains("2024")
        );
        assert!(find("colour").unwrap_err().message.contains("colour"));
        let broken = json!({"field": "total", "regions": "text"});
        assert!(call(Tool::ReceiptField, &broken).is_err());
    }

    #[test]
    fn objects_are_counted_from_detections() {
        let found = |label: &str, left: f32| json!({"label": label, "confidence": 0.9, "bounds": [left, 0.0, left + 5.0, 5.0]});
        let detections = json!([found("dog", 0.0), found("dog", 10.0), found("cat", 20.0)]);
        let count = |question: &str| {
            call(
                Tool::CountObjects,
                &json!({"question": question, "detections": detections}),
            )
        };
        let dogs = count("How many puppies?").unwrap();
        assert_eq!(
            (&dogs.value["value"], &dogs.value["class"]),
            (&json!(2), &json!("dog"))
        );
        assert_eq!(dogs.evidence[0].label, "count");
        assert!(count("How many dragons?").is_err());
        let broken = json!({"question": "How many dogs?", "detections": "many"});
        assert!(call(Tool::CountObjects, &broken).is_err());
    }
}
