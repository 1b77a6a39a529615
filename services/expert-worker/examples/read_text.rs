//! Reads the text of images with both readers and says how long each took.
//!
//!     cargo run --release -p maestro-expert-worker --example read_text -- MODELS IMAGE...
//!
//! MODELS is the folder with `det.onnx` and `rec.onnx`. Each image gives one JSON object a reader.

use std::{error::Error, io::Write, path::Path, time::Instant};

use image::RgbImage;
use maestro_expert_worker::backend::{
    ocr::{PpOcr, PpOcrConfig, TextLine},
    tesseract::{Tesseract, TesseractConfig},
};
use serde_json::json;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let models = arguments.next().ok_or("usage: read_text MODELS IMAGE...")?;
    let networks = PpOcr::load(&PpOcrConfig::in_folder(Path::new(&models)))?;
    networks.warm_up()?;
    let program = Tesseract::new(TesseractConfig::default())?;
    program.warm_up().await?;
    for file in arguments {
        let image: RgbImage = image::open(&file)?.into_rgb8();
        let start = Instant::now();
        report(&file, "pp-ocr", start, &networks.read(&image)?)?;
        let start = Instant::now();
        report(&file, "tesseract", start, &program.read(&image).await?)?;
    }
    Ok(())
}

fn report(
    file: &str,
    reader: &str,
    start: Instant,
    lines: &[TextLine],
) -> Result<(), Box<dyn Error>> {
    let seconds = start.elapsed().as_secs_f64();
    let object = json!({ "file": file, "reader": reader, "seconds": seconds, "lines": lines });
    writeln!(std::io::stdout(), "{object}")?;
    Ok(())
}
