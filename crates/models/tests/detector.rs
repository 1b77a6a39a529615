//! The object detector against OpenCV's implementation of Darknet: a small random network, and
//! the real YOLOv3-tiny.
//!
//! YOLOv3-tiny stands in `$MAESTRO_MODELS/yolov3-tiny` (by default
//! `~/.cache/maestro/models/yolov3-tiny`); without it its tests fail rather than pass unseen.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, too"
)]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use image::RgbImage;
use maestro_models::detector::{DetectOptions, DetectedObject};
use maestro_models::{DeviceSetting, ModelError, ObjectDetector};
use serde::Deserialize;

fn reference(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/reference/detector")
        .join(name)
}

fn scene(name: &str) -> RgbImage {
    image::open(reference(name)).unwrap().to_rgb8()
}

fn load(folder: &Path) -> Result<ObjectDetector, ModelError> {
    ObjectDetector::load(folder, &DeviceSetting::Cpu.open().unwrap())
}

fn yolo() -> ObjectDetector {
    let cache = env::var_os("MAESTRO_MODELS").map_or_else(
        || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache/maestro/models"),
        PathBuf::from,
    );
    let folder = cache.join("yolov3-tiny");
    assert!(
        folder.join("network.weights").is_file(),
        "YOLOv3-tiny is not in {}: run `maestro models pull` (`make test` does), or set MAESTRO_MODELS",
        folder.display()
    );
    load(&folder).unwrap()
}

/// Rows of class, confidence, left, top, right, bottom, none suppressed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reference {
    threshold: f32,
    found: Vec<[f32; 6]>,
}

/// Every object of the reference is found where it is there, and no other. Objects just below the
/// threshold there may be just above it here.
fn assert_same(detector: &ObjectDetector, image: &RgbImage, reference_name: &str) {
    let json = fs::read(reference(reference_name)).unwrap();
    let reference: Reference = serde_json::from_slice(&json).unwrap();
    assert!(reference.found.len() >= 5);
    let near = 1e-4;
    let options = DetectOptions {
        threshold: reference.threshold - near,
        // No overlap is larger: nothing is suppressed.
        overlap: 1.0,
        more_sizes: Vec::new(),
    };
    let found = detector.detect(image, &options).unwrap();
    let same = |object: &DetectedObject, [class, confidence, rest @ ..]: &[f32; 6]| {
        let bounds = &object.bounds;
        let edges = [bounds.left, bounds.top, bounds.right, bounds.bottom];
        object.label == detector.labels()[*class as usize]
            && (object.confidence - confidence).abs() < near
            && edges.iter().zip(rest).all(|(a, b)| (a - b).abs() < 0.05)
    };
    for row in &reference.found {
        assert!(found.iter().any(|o| same(o, row)), "{row:?} of {found:?}");
    }
    for object in &found {
        assert!(
            object.confidence < reference.threshold + near
                || reference.found.iter().any(|row| same(object, row)),
            "{object:?} is not in the reference"
        );
    }
}

#[test]
fn a_network_of_every_layer_finds_what_opencv_finds() {
    let detector = load(&reference("small")).unwrap();
    assert_same(&detector, &scene("small/scene.png"), "small.json");
}

#[test]
fn yolov3_tiny_finds_what_opencv_finds() {
    assert_same(&yolo(), &scene("scene.png"), "yolov3-tiny.json");
}

#[test]
fn an_image_is_looked_at_in_other_sizes_too() {
    let detector = load(&reference("small")).unwrap();
    let image = scene("small/scene.png");
    let find = |more_sizes: &[usize]| {
        let options = DetectOptions {
            threshold: 0.4,
            more_sizes: more_sizes.to_vec(),
            ..DetectOptions::default()
        };
        detector.detect(&image, &options)
    };
    let (once, twice) = (find(&[]).unwrap(), find(&[96]).unwrap());
    assert!(twice.len() > once.len(), "{} {}", twice.len(), once.len());
    for object in &twice {
        let bounds = &object.bounds;
        assert!(0.0 <= bounds.left && bounds.right <= 64.0, "{bounds:?}");
        assert!(0.0 <= bounds.top && bounds.bottom <= 32.0, "{bounds:?}");
    }
    assert!(twice.is_sorted_by(|a, b| a.confidence >= b.confidence));
    assert!(!detector.accepts(62));
    assert!(find(&[62]).unwrap_err().to_string().contains("62"));
}

#[test]
fn an_image_of_any_size_is_taken() {
    let detector = load(&reference("small")).unwrap();
    let options = DetectOptions::default();
    for (width, height) in [(0, 0), (1, 1), (1, 900), (700, 3)] {
        let image = RgbImage::new(width, height);
        detector.detect(&image, &options).unwrap();
    }
}

#[test]
fn a_folder_that_does_not_fit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let copy = |name: &str| {
        let to = folder.path().join(name);
        fs::copy(reference("small").join(name), to).unwrap();
    };
    let write = |name: &str, content: &[u8]| fs::write(folder.path().join(name), content).unwrap();
    let refused = || load(folder.path()).unwrap_err().to_string();
    copy("network.cfg");
    copy("labels.txt");
    assert!(
        refused().contains("network.weights"),
        "a missing file is named"
    );
    let weights = fs::read(reference("small/network.weights")).unwrap();
    write("network.weights", &weights[..weights.len() - 4]);
    assert!(refused().contains("too short"));
    write("network.weights", &[weights.as_slice(), &[0; 4]].concat());
    assert!(refused().contains("left over"));
    copy("network.weights");
    load(folder.path()).unwrap();
    write("labels.txt", b"disc\nbar\n");
    assert!(refused().contains("names 2 classes, the network has 3"));
}
