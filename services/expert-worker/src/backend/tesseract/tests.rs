use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Instant};

use image::Rgb;
use proptest::prelude::*;

use super::*;

const HEADER: &str = "level\tpage_num\tblock_num\tpar_num\tline_num\tword_num\tleft\ttop\twidth\theight\tconf\ttext\n";

fn reader(program: &Path, timeout: Duration) -> Tesseract {
    let config = TesseractConfig {
        program: program.into(),
        timeout,
        ..Default::default()
    };
    Tesseract::new(config).unwrap()
}

fn white() -> RgbImage {
    RgbImage::from_pixel(60, 40, Rgb([255; 3]))
}

/// A shell script in place of the program, in a folder of its own.
fn script(body: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("program");
    fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    (folder, path)
}

#[test]
fn words_of_a_line_are_joined_and_other_rows_skipped() {
    let table = format!(
        "{HEADER}1\t1\t0\t0\t0\t0\t0\t0\t100\t80\t-1\t\n\
         4\t1\t1\t1\t1\t0\t5\t5\t60\t12\t-1\t\n\
         5\t1\t1\t1\t1\t1\t5\t6\t20\t10\t90.5\tTotal\n\
         5\t1\t1\t1\t1\t2\t30\t5\t35\t12\t80.5\t12.30\n\
         5\t1\t1\t1\t2\t1\t5\t30\t20\t10\t95\t \n\
         5\t1\t1\t1\t3\t1\t5\t50\t20\t10\t70\tThanks\n"
    );
    let lines = parse_table(&table).unwrap();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0].text, "Total 12.30");
    assert!((lines[0].confidence - 0.855).abs() < 1e-5);
    assert_eq!(lines[0].word_confidences, [0.905, 0.805]);
    assert_eq!(
        lines[0].quad,
        [[5.0, 5.0], [65.0, 5.0], [65.0, 17.0], [5.0, 17.0]]
    );
    assert_eq!(lines[1].text, "Thanks");
    assert_eq!(parse_table(HEADER).unwrap(), []);
}

#[test]
fn what_is_no_table_is_refused() {
    for (table, reason) in [
        (String::new(), "header"),
        ("Segmentation fault".to_owned(), "header"),
        (format!("{HEADER}5\t1\t1"), "columns"),
        (
            format!("{HEADER}5\t1\t1\t1\t1\t1\tx\t6\t20\t10\t90.5\tTotal"),
            "number",
        ),
    ] {
        let error = parse_table(&table).unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let field = |config| match Tesseract::new(config) {
        Err(OcrError::Setting { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    let config = TesseractConfig::default;
    assert_eq!(
        field(TesseractConfig {
            page_segmentation: 2,
            ..config()
        }),
        "page_segmentation"
    );
    assert_eq!(
        field(TesseractConfig {
            languages: vec![],
            ..config()
        }),
        "languages"
    );
    let flag = vec!["--help".to_owned()];
    assert_eq!(
        field(TesseractConfig {
            languages: flag,
            ..config()
        }),
        "languages"
    );
    assert_eq!(
        field(TesseractConfig {
            timeout: Duration::ZERO,
            ..config()
        }),
        "timeout"
    );
}

#[test]
fn a_configuration_is_read_strictly() {
    let config: TesseractConfig =
        serde_json::from_str(r#"{"languages": ["deu", "eng"], "timeout_ms": 1500}"#).unwrap();
    assert_eq!(config.languages, ["deu", "eng"]);
    assert_eq!(config.timeout, Duration::from_millis(1500));
    assert!(serde_json::from_str::<TesseractConfig>(r#"{"timeout": 3}"#).is_err());
}

#[tokio::test]
async fn a_slow_program_is_killed_at_the_deadline() {
    let (folder, program) = script("echo $$ > \"$(dirname \"$0\")/pid\"; exec sleep 60");
    let start = Instant::now();
    let error = reader(&program, Duration::from_millis(400))
        .read(&white())
        .await
        .unwrap_err();
    assert!(matches!(error, OcrError::Timeout(_)), "{error}");
    assert!(start.elapsed() < Duration::from_secs(10));
    assert_ends(&folder).await;
}

#[tokio::test]
async fn a_dropped_call_kills_its_program() {
    let (folder, program) = script("echo $$ > \"$(dirname \"$0\")/pid\"; exec sleep 60");
    let tesseract = reader(&program, Duration::from_secs(60));
    let image = white();
    let call = timeout(Duration::from_millis(400), tesseract.read(&image));
    assert!(call.await.is_err());
    assert_ends(&folder).await;
}

/// Waits until the process that wrote `pid` is gone or a zombie.
async fn assert_ends(folder: &tempfile::TempDir) {
    let pid = fs::read_to_string(folder.path().join("pid")).unwrap();
    let status = format!("/proc/{}/stat", pid.trim());
    for _ in 0..100 {
        match fs::read_to_string(&status) {
            Ok(stat) if !stat.contains(") Z ") => {}
            _ => return,
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("process {pid} still runs");
}

#[tokio::test]
async fn endless_output_is_cut_off() {
    let (_folder, program) = script("exec cat /dev/zero");
    let error = reader(&program, Duration::from_secs(60))
        .read(&white())
        .await
        .unwrap_err();
    assert!(
        matches!(&error, OcrError::Output(reason) if reason.contains("more than")),
        "{error}"
    );
}

#[tokio::test]
async fn a_failing_program_is_quoted() {
    // More than a pipe holds, so the rest must be drained.
    let (_folder, program) =
        script("echo 'no such language' >&2; head -c 200000 /dev/zero >&2; exit 3");
    let error = reader(&program, Duration::from_secs(60))
        .read(&white())
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("no such language") && text.contains('3'),
        "{text}"
    );
    let missing = reader(Path::new("/nonexistent/tesseract"), Duration::from_secs(1));
    let error = missing.read(&white()).await.unwrap_err();
    assert!(matches!(error, OcrError::Program { .. }), "{error}");
}

#[tokio::test]
async fn an_image_without_pixels_is_refused() {
    let tesseract = Tesseract::new(TesseractConfig::default()).unwrap();
    let error = tesseract.read(&RgbImage::new(0, 7)).await.unwrap_err();
    assert!(
        matches!(
            error,
            OcrError::Image {
                width: 0,
                height: 7,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn the_real_program_reads_a_receipt() {
    let tesseract = Tesseract::new(TesseractConfig::default()).unwrap();
    tesseract
        .warm_up()
        .await
        .expect("install Debian's tesseract-ocr and tesseract-ocr-eng");
    let picture = image::load_from_memory(include_bytes!("../ocr/reference/receipt.png")).unwrap();
    let lines = tesseract.read(&picture.to_rgb8()).await.unwrap();
    let text: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
    assert!(text.contains(&"HARBOUR BOOKSHOP"), "{text:#?}");
    assert!(text.contains(&"TOTAL 51.68"), "{text:#?}");
    assert!(
        lines
            .iter()
            .all(|line| (0.3..=1.0).contains(&line.confidence)),
        "{lines:#?}"
    );
    let total = lines
        .iter()
        .find(|line| line.text.starts_with("TOTAL"))
        .unwrap();
    let [[left, top], _, [right, bottom], _] = total.quad;
    assert!(
        left > 20.0 && right < 440.0 && top > 490.0 && bottom < 560.0,
        "{total:?}"
    );

    assert_eq!(tesseract.read(&white()).await.unwrap(), []);

    let config = TesseractConfig {
        languages: vec!["tlh_missing".to_owned()],
        ..Default::default()
    };
    let error = Tesseract::new(config).unwrap().warm_up().await.unwrap_err();
    assert!(error.to_string().contains("tlh_missing"), "{error}");
}

proptest! {
    #[test]
    fn no_input_makes_the_parser_fail_other_than_by_an_error(rows in "[0-9a-z\t\n.-]{0,200}") {
        if let Ok(lines) = parse_table(&format!("{HEADER}{rows}")) {
            for line in lines {
                prop_assert!(!line.text.trim().is_empty());
                prop_assert!((0.0..=1.0).contains(&line.confidence));
            }
        }
    }

    #[test]
    fn every_word_is_in_one_line(
        words in prop::collection::vec((0u8..3, 0u16..500, 0u16..500, "[A-Za-z0-9]{1,8}"), 0..20),
    ) {
        let mut sorted = words;
        sorted.sort_by_key(|word| word.0);
        let rows: String = sorted
            .iter()
            .map(|(line, x, y, text)| format!("5\t1\t1\t1\t{line}\t1\t{x}\t{y}\t9\t9\t88\t{text}\n"))
            .collect();
        let lines = parse_table(&format!("{HEADER}{rows}")).unwrap();
        let expected: Vec<&str> = sorted.iter().map(|word| word.3.as_str()).collect();
        let found: Vec<&str> = lines.iter().flat_map(|line| line.text.split(' ')).collect();
        prop_assert_eq!(found, expected);
        for line in lines {
            let [tl, _, br, _] = line.quad;
            prop_assert!(br[0] - tl[0] >= 9.0 && br[1] - tl[1] >= 9.0);
        }
    }
}
