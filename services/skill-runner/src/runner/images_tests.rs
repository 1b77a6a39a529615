use proptest::prelude::*;

use super::*;

fn crop(bounds: [f64; 4], unit: CropUnit, margin: f32) -> CropBox {
    CropBox {
        bounds,
        unit,
        margin,
    }
}

#[test]
fn crops_are_rounded_outwards_and_clamped() {
    let taken = |c: CropBox| clamp(&c, 100, 50).map(|b| (b.left, b.top, b.width, b.height));
    assert_eq!(
        taken(crop([10.5, 10.0, 20.2, 20.0], CropUnit::Pixels, 0.0)),
        Some((10, 10, 11, 10))
    );
    assert_eq!(
        taken(crop([0.5, 0.5, 1.0, 1.0], CropUnit::Fractions, 0.0)),
        Some((50, 25, 50, 25))
    );
    assert_eq!(
        taken(crop([20.0, 20.0, 10.0, 10.0], CropUnit::Pixels, 0.5)),
        Some((5, 5, 20, 20))
    );
    assert_eq!(
        taken(crop([500.0, 500.0, 600.0, 600.0], CropUnit::Pixels, 0.0)),
        Some((99, 49, 1, 1))
    );
    let (least, most) = (f64::MIN, f64::MAX);
    let whole = crop([least, least, most, most], CropUnit::Fractions, 10.0);
    assert_eq!(taken(whole), Some((0, 0, 100, 50)));
    assert_eq!(
        taken(crop([f64::NAN, 0.0, 1.0, 1.0], CropUnit::Pixels, 0.0)),
        None
    );
}

#[test]
fn a_cut_is_a_png_of_the_part() {
    let mut source = image::RgbImage::new(40, 20);
    source.put_pixel(30, 10, image::Rgb([9, 8, 7]));
    let mut png = Cursor::new(Vec::new());
    source.write_to(&mut png, ImageFormat::Png).unwrap();
    let part = crop([30.0, 10.0, 32.0, 12.0], CropUnit::Pixels, 0.0);
    let mut changes = Changes {
        crop: Some(part),
        ..Changes::none()
    };
    let made = change(png.get_ref(), &changes).unwrap();
    let shown = image::load_from_memory(&made.png).unwrap().to_rgb8();
    assert_eq!((made.size, shown.get_pixel(0, 0).0), ([2, 2], [9, 8, 7]));
    changes.zoom = 4.0;
    assert_eq!(change(png.get_ref(), &changes).unwrap().size, [8, 8]);
    assert!(change(b"no image", &changes).is_err());
}

impl Changes {
    fn none() -> Self {
        Self {
            draw: Vec::new(),
            numbered: false,
            crop: None,
            erase: Vec::new(),
            zoom: 1.0,
        }
    }
}

fn png(width: u32, height: u32) -> Vec<u8> {
    let mut png = Cursor::new(Vec::new());
    image::GrayImage::new(width, height)
        .write_to(&mut png, ImageFormat::Png)
        .unwrap();
    png.into_inner()
}

/// A few bytes whose header promises `side` × `side` pixels of 16 bits and four channels.
fn promising(side: u32) -> Vec<u8> {
    let mut png = png(1, 1);
    png[16..20].copy_from_slice(&side.to_be_bytes());
    png[20..24].copy_from_slice(&side.to_be_bytes());
    png[24..26].copy_from_slice(&[16, 6]);
    let crc = !png[12..29].iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 & 0_u32.wrapping_sub(crc & 1))
        })
    });
    png[29..33].copy_from_slice(&crc.to_be_bytes());
    png
}

#[test]
fn an_image_that_would_take_gigabytes_is_refused_by_its_header() {
    let spec = Tile {
        of: maestro_skills::ImageRef::Task(0),
        size: 64,
        overlap: 0.0,
        most: 16,
    };
    for side in [12_000, 16_000, 60_000, 2_000_000_000] {
        let bomb = promising(side);
        for failure in [
            change(&bomb, &Changes::none()).unwrap_err(),
            tile(&bomb, &spec).unwrap_err(),
        ] {
            assert_eq!(failure.kind, FailureKind::SkillFailed);
            let limits = failure.message.to_lowercase();
            assert!(
                limits.contains("limit") || limits.contains("memory"),
                "{limits}"
            );
        }
    }
}

#[test]
fn tiles_are_cut_where_they_say() {
    let mut image = image::RgbImage::new(100, 60);
    image.put_pixel(99, 59, image::Rgb([1, 2, 3]));
    let mut png = Cursor::new(Vec::new());
    image.write_to(&mut png, ImageFormat::Png).unwrap();
    let spec = Tile {
        of: maestro_skills::ImageRef::Task(0),
        size: 40,
        overlap: 0.25,
        most: 9,
    };
    let made = tile(png.get_ref(), &spec).unwrap();
    let parts: Vec<_> = made.iter().map(|m| (m.part.left, m.part.top)).collect();
    assert_eq!(
        parts,
        [(0, 0), (30, 0), (60, 0), (0, 20), (30, 20), (60, 20)]
    );
    let last = image::load_from_memory(&made[5].png).unwrap().to_rgb8();
    assert_eq!(last.dimensions(), (40, 40));
    assert_eq!(last.get_pixel(39, 39).0, [1, 2, 3]);
}

proptest! {
    #[test]
    fn tiles_cover_the_image_within_their_number(
        width in 1u32..17_000, height in 1u32..17_000, size in 64u32..4097,
        overlap in 0.0f32..0.5, most in 1u32..17,
    ) {
        let spec = Tile { of: maestro_skills::ImageRef::Task(0), size, overlap, most };
        let tiles = tiles(width, height, &spec);
        prop_assert!((1..=most as usize).contains(&tiles.len()));
        // Covered to the right and downwards: each begins where an earlier one has not ended.
        for axis in [0, 1] {
            let span = |t: &PixelBox| if axis == 0 { (t.left, t.width) } else { (t.top, t.height) };
            let mut spans: Vec<_> = tiles.iter().map(span).collect();
            spans.sort_unstable();
            let mut reached = 0;
            for (start, length) in spans {
                prop_assert!(start <= reached && length > 0);
                reached = reached.max(start + length);
            }
            prop_assert_eq!(reached, if axis == 0 { width } else { height });
        }
    }

    #[test]
    fn a_crop_never_leaves_the_image(
        bounds in prop::array::uniform4(prop_oneof![-1e7..1e7f64, any::<f64>(), -1.5..1.5f64]),
        fractions in any::<bool>(), margin in prop_oneof![0.0f32..10.0, any::<f32>()],
        width in 1u32..20_000, height in 1u32..20_000,
    ) {
        let unit = if fractions { CropUnit::Fractions } else { CropUnit::Pixels };
        let finite = bounds.iter().all(|b| b.is_finite()) && margin.is_finite();
        match clamp(&crop(bounds, unit, margin), width, height) {
            Some(part) => {
                prop_assert!(part.width >= 1 && part.height >= 1);
                prop_assert!(part.left + part.width <= width);
                prop_assert!(part.top + part.height <= height);
            }
            None => prop_assert!(!finite),
        }
    }

    #[test]
    fn a_zoom_stays_within_limits(w in 1u32..20_000, h in 1u32..20_000, zoom in 0.001f32..16.0) {
        let [width, height] = scaled(w, h, zoom);
        prop_assert!((1..=MAX_OUTPUT_SIDE).contains(&width));
        prop_assert!((1..=MAX_OUTPUT_SIDE).contains(&height));
    }
}
