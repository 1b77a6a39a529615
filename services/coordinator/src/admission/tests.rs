use std::io::Cursor;

use image::{GrayImage, ImageFormat};
use maestro_store::{ObjectBlobs, StoreConfig};

use super::*;

fn png(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    GrayImage::new(width, height)
        .write_to(&mut bytes, ImageFormat::Png)
        .unwrap();
    bytes.into_inner()
}

/// A PNG whose header claims a size that its data does not have.
fn claims(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = png(8, 8);
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    let crc = crc32(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                (crc >> 1) ^ 0xEDB8_8320
            } else {
                crc >> 1
            }
        })
    })
}

#[test]
fn good_images_are_described() {
    let found = inspect(&png(640, 480), &ImageLimits::default()).unwrap();
    assert_eq!(
        found,
        Inspected {
            media_type: "image/png",
            width: 640,
            height: 480
        }
    );
}

use super::images::Inspected;

#[test]
fn bad_images_are_refused_with_the_limit() {
    let limits = ImageLimits::default();
    let refused = |content: &[u8]| inspect(content, &limits).unwrap_err();
    assert!(refused(b"").contains("0 bytes"));
    assert!(refused(b"%PDF-1.7 not an image").contains("unknown type"));
    assert!(refused(&claims(10_000, 10_000)).contains("at most 50000000"));
    assert!(refused(&claims(40_000, 2)).contains("at most 16384"));
    assert!(
        refused(&claims(7_000, 7_000)).contains("for each byte"),
        "a decompression bomb"
    );
    assert!(refused(&png(8, 8)[..20]).contains("cannot be read"));
    let small = ImageLimits {
        max_bytes: 10,
        ..limits
    };
    assert!(
        inspect(&png(8, 8), &small)
            .unwrap_err()
            .contains("at most 10")
    );
}

fn admission() -> Admission {
    let store = StoreConfig::new("memory:///".parse().unwrap());
    Admission {
        blobs: Arc::new(ObjectBlobs::open(store).unwrap()),
        limits: ImageLimits::default(),
    }
}

fn task(images: Vec<v1::Image>) -> v1::Task {
    v1::Task {
        question: "How many?".into(),
        images,
        ..v1::Task::default()
    }
}

fn content(content: Vec<u8>) -> v1::Image {
    v1::Image {
        source: Some(v1::image::Source::Content(content.into())),
        ..v1::Image::default()
    }
}

async fn field(task: Option<v1::Task>) -> String {
    let now = Timestamp::now();
    let admitted = match Draft::parse(task, &Snapshot::default(), now) {
        Ok(draft) => admission().task(draft).await,
        Err(error) => Err(error),
    };
    match admitted.unwrap_err() {
        CoreError::Invalid(violation) => violation.field,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn every_bad_field_is_named() {
    assert_eq!(field(None).await, "task");
    assert_eq!(field(Some(v1::Task::default())).await, "task.question");
    let many = vec![content(png(2, 2)); 65];
    assert_eq!(field(Some(task(many))).await, "task.images");
    let second_is_empty = vec![content(png(2, 2)), content(vec![])];
    assert_eq!(field(Some(task(second_is_empty))).await, "task.images[1]");
    let budget = |budget| {
        Some(v1::Task {
            budget: Some(budget),
            ..task(vec![])
        })
    };
    let negative = v1::Budget {
        max_cost_micro_usd: Some(-1),
        ..v1::Budget::default()
    };
    assert_eq!(
        field(budget(negative)).await,
        "task.budget.max_cost_micro_usd"
    );
    let past = prost_types::Timestamp {
        seconds: 1,
        nanos: 0,
    };
    let late = v1::Budget {
        deadline: Some(past),
        ..v1::Budget::default()
    };
    assert_eq!(field(budget(late)).await, "task.budget.deadline");
    let pinned = v1::Constraints {
        pinned: vec![v1::Pair {
            expert: "nobody".into(),
            skill: "nothing".into(),
        }],
        ..v1::Constraints::default()
    };
    let unknown = v1::Task {
        constraints: Some(pinned),
        ..task(vec![])
    };
    assert_eq!(
        field(Some(unknown)).await,
        "task.constraints.pinned[0].expert"
    );
}

#[tokio::test]
async fn images_are_stored_once_and_referred_to() {
    let admission = admission();
    let image = png(4, 4);
    let twice = task(vec![content(image.clone()), content(image.clone())]);
    let snapshot = Snapshot::default();
    let draft = Draft::parse(Some(twice), &snapshot, Timestamp::now()).unwrap();
    assert_eq!(draft.task.images, []);
    let task = admission.task(draft).await.unwrap();
    assert_eq!(task.images[0], task.images[1]);
    assert_eq!(
        admission.blobs.get(&task.images[0].digest).await.unwrap(),
        image
    );
}

#[test]
fn options_are_checked() {
    let task = maestro_core::task::TaskDraft {
        question: "q".into(),
        ..Default::default()
    }
    .validate(Timestamp::now())
    .unwrap();
    let options = |options| {
        spec(
            TenantId::anonymous(),
            task.clone(),
            Some(options),
            Durability::Durable,
            Timestamp::now(),
        )
    };
    let bad = v1::EpisodeOptions {
        request_id: "a/b".into(),
        ..Default::default()
    };
    assert!(
        options(bad)
            .unwrap_err()
            .to_string()
            .contains("options.request_id")
    );
    let bad = v1::EpisodeOptions {
        slot: "No Slot".into(),
        ..Default::default()
    };
    assert!(
        options(bad)
            .unwrap_err()
            .to_string()
            .contains("options.slot")
    );
    let spec = options(v1::EpisodeOptions::default()).unwrap();
    assert_eq!(
        (spec.slot.as_str(), spec.durability),
        (DEFAULT_SLOT, Durability::Durable)
    );
    assert_ne!(spec.seed, 0);
}
