//! The real networks against RapidOCR's readings (`reference/make_reference.py`).

use std::{env, sync::OnceLock, thread};

use image::Rgb;
use serde_json::json;

use super::{geometry::distance, *};

const PICTURES: [(&str, &[u8], &str); 3] = [
    (
        "lines",
        include_bytes!("reference/lines.png"),
        include_str!("reference/lines.json"),
    ),
    (
        "receipt",
        include_bytes!("reference/receipt.png"),
        include_str!("reference/receipt.json"),
    ),
    (
        "skewed",
        include_bytes!("reference/skewed.png"),
        include_str!("reference/skewed.json"),
    ),
];

#[derive(serde::Deserialize)]
struct Reference {
    text: String,
    confidence: f32,
    quad: [[f32; 2]; 4],
}

fn folder() -> PathBuf {
    let models = env::var_os("MAESTRO_MODELS").map_or_else(
        || PathBuf::from(env::var_os("HOME").expect("HOME")).join(".cache/maestro/models"),
        PathBuf::from,
    );
    models.join("pp-ocrv6-small")
}

fn reader() -> &'static PpOcr {
    static READER: OnceLock<PpOcr> = OnceLock::new();
    READER.get_or_init(|| match PpOcr::load(&PpOcrConfig::in_folder(&folder())) {
        Ok(reader) => reader,
        Err(error) => panic!("{error}\n`make test` pulls the models; MAESTRO_MODELS moves them"),
    })
}

fn picture(name: &str) -> RgbImage {
    let (_, bytes, _) = PICTURES.iter().find(|(known, ..)| *known == name).unwrap();
    image::load_from_memory(bytes).unwrap().to_rgb8()
}

#[test]
fn readings_equal_the_reference() {
    for (name, _, reference) in PICTURES {
        let expected: Vec<Reference> = serde_json::from_str(reference).unwrap();
        let found = reader().read(&picture(name)).unwrap();
        assert_eq!(found.len(), expected.len(), "{name}: {found:#?}");
        for line in expected {
            let middle = geometry::centre(&line.quad);
            let same = found
                .iter()
                .min_by_key(|other| distance(geometry::centre(&other.quad), middle) as i64)
                .unwrap();
            assert_eq!(
                same.text.replace(' ', ""),
                line.text.replace(' ', ""),
                "{name}, near {middle:?}"
            );
            assert!(
                (same.confidence - line.confidence).abs() < 0.08,
                "{name}: {same:?}"
            );
            for (ours, theirs) in same.quad.into_iter().zip(line.quad) {
                assert!(
                    distance(ours, theirs) < 8.0,
                    "{name}: {same:?} {:?}",
                    line.quad
                );
            }
        }
    }
}

#[test]
fn a_receipt_reads_row_by_row_with_its_spaces() {
    for name in ["receipt", "skewed"] {
        let lines = reader().read(&picture(name)).unwrap();
        let text: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(
            text,
            [
                "HARBOUR BOOKSHOP",
                "14 Quay Street, Millport",
                "Tel: 555-0142",
                "Date: 03/11/2024",
                "Time: 16:45",
                "2",
                "Field Notebook A5",
                "7.80",
                "1",
                "Atlas of Northern Birds",
                "34.50",
                "6",
                "Pencil HB",
                "4.20",
                "3",
                "Gift wrap, blue",
                "2.25",
                "Subtotal",
                "48.75",
                "Tax 6%",
                "2.93",
                "TOTAL",
                "51.68",
                "Thank you, come again!",
            ],
            "{name}"
        );
    }
}

#[test]
fn text_that_runs_up_or_down_the_page_is_read() {
    let upright = picture("lines");
    for turned in [
        image::imageops::rotate90(&upright),
        image::imageops::rotate270(&upright),
    ] {
        let lines = reader().read(&turned).unwrap();
        assert!(
            lines.iter().any(|line| line.text == "The quick brown fox"),
            "{lines:#?}"
        );
    }
}

#[test]
fn pictures_without_text_have_no_lines() {
    for (width, height) in [(1, 1), (3, 700), (500, 400)] {
        let blank = RgbImage::from_pixel(width, height, Rgb([128; 3]));
        assert_eq!(reader().read(&blank).unwrap(), []);
    }
    let error = reader().read(&RgbImage::new(0, 0)).unwrap_err();
    assert!(matches!(error, OcrError::Image { .. }), "{error}");
}

#[test]
fn threads_share_one_reader() {
    let image = picture("lines");
    let alone = reader().read(&image).unwrap();
    thread::scope(|scope| {
        let calls = [(); 2].map(|()| scope.spawn(|| reader().read(&image).unwrap()));
        for call in calls {
            assert_eq!(call.join().unwrap(), alone);
        }
    });
}

#[test]
fn a_missing_model_is_named() {
    let error = PpOcr::load(&PpOcrConfig::in_folder(Path::new("/nowhere")))
        .err()
        .unwrap();
    assert!(matches!(&error, OcrError::Missing { path, .. } if path.ends_with("det.onnx")));
    assert!(error.to_string().contains("maestro models pull"), "{error}");
}

#[test]
fn what_is_no_model_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"\xff\xff\xff").unwrap();
    let mut config = PpOcrConfig::in_folder(&folder());
    config.detection = file.path().to_path_buf();
    let error = PpOcr::load(&config).err().unwrap();
    assert!(matches!(error, OcrError::Model { .. }), "{error}");
}

#[test]
fn another_dictionary_is_refused_at_the_first_line() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "a\nb\n").unwrap();
    let config = PpOcrConfig {
        dictionary: Some(file.path().to_path_buf()),
        ..PpOcrConfig::in_folder(&folder())
    };
    let error = PpOcr::load(&config)
        .unwrap()
        .read(&picture("lines"))
        .unwrap_err();
    assert!(
        matches!(error, OcrError::Dictionary { characters: 2, .. }),
        "{error}"
    );
}

#[test]
fn settings_are_read_strictly_and_checked() {
    let parse = |more: serde_json::Value| {
        let mut value = json!({ "detection": "d", "recognition": "r" });
        value
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        serde_json::from_value::<PpOcrConfig>(value)
    };
    let config = parse(json!({})).unwrap();
    assert_eq!(
        config.detection_side,
        PpOcrConfig::in_folder(Path::new("")).detection_side
    );
    assert!(parse(json!({ "detector": "x" })).is_err());
    for more in [
        json!({ "detection_side": 64 }),
        json!({ "minimum_confidence": 1.5 }),
    ] {
        let error = PpOcr::load(&parse(more.clone()).unwrap()).err().unwrap();
        let OcrError::Setting { field, .. } = error else {
            panic!("{error}")
        };
        assert!(more.get(field).is_some(), "{field}");
    }
}
