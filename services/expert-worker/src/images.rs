//! The images of calls: fetched by digest, decoded once, kept for a while.

use std::{io::Cursor, sync::Arc, time::Duration};

use bytes::Bytes;
use image::{DynamicImage, ImageDecoder, ImageReader, RgbImage};
use maestro_core::{
    CoreError, Digest,
    episode::{Failure, FailureKind},
    ports::Blobs,
};
use maestro_telemetry::{Counter, Label};
use moka::future::Cache;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::backend::analysis::flatten;

/// How long a decoded image is kept after its last use.
const IDLE: Duration = Duration::from_secs(300);

/// Which images are decoded and how many are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImageConfig {
    /// Most pixels of one image.
    pub max_pixels: u64,
    /// Most memory that decoding one image may take, in bytes.
    pub max_decode_bytes: u64,
    /// Images decoded at once; further ones wait.
    pub max_decoding: usize,
    /// Most memory for decoded images that are kept, in bytes; the least used go first.
    pub cache_bytes: u64,
}

impl Default for ImageConfig {
    fn default() -> Self {
        Self {
            max_pixels: 50_000_000,
            max_decode_bytes: 256 * 1024 * 1024,
            max_decoding: 2,
            cache_bytes: 256 * 1024 * 1024,
        }
    }
}

/// An image as its file stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedImage {
    /// Media type by the content: `image/png`, …
    pub media_type: &'static str,
    /// The file.
    pub content: Bytes,
}

/// Gives backends the images of their calls, in the form that each needs.
pub struct Images {
    blobs: Arc<dyn Blobs>,
    config: ImageConfig,
    decoded: Cache<Digest, Arc<RgbImage>>,
    decoding: Arc<Semaphore>,
}

impl Images {
    /// Images of a blob store.
    pub fn new(blobs: Arc<dyn Blobs>, config: ImageConfig) -> Self {
        let decoded = Cache::builder()
            .max_capacity(config.cache_bytes)
            .time_to_idle(IDLE)
            .weigher(|_: &Digest, image: &Arc<RgbImage>| {
                u32::try_from(image.as_raw().len()).unwrap_or(u32::MAX)
            })
            .build();
        Self {
            blobs,
            config,
            decoded,
            decoding: Arc::new(Semaphore::new(config.max_decoding)),
        }
    }

    /// The file as it stands.
    ///
    /// # Errors
    /// [`FailureKind::Rejected`] where there is none or it is no image,
    /// [`FailureKind::Unavailable`] where the store cannot be asked.
    pub async fn encoded(&self, digest: &Digest) -> Result<EncodedImage, Failure> {
        let content = self.fetch(digest).await?;
        let format = image::guess_format(&content)
            .map_err(|_| refused(digest, "is of no known image type"))?;
        Ok(EncodedImage {
            media_type: format.to_mime_type(),
            content,
        })
    }

    /// The pixels, transparency blended over white. Several callers that want the same image
    /// share one decoding.
    ///
    /// # Errors
    /// As [`Self::encoded`]; [`FailureKind::Rejected`] for one that cannot be decoded within the
    /// limits.
    pub async fn pixels(&self, digest: &Digest) -> Result<Arc<RgbImage>, Failure> {
        let entry = self
            .decoded
            .entry(*digest)
            .or_try_insert_with(self.decode(digest))
            .await
            .map_err(|failure| Failure::clone(&failure))?;
        Counter::CacheRequests.increment(&[Label::Cache("images"), Label::Hit(!entry.is_fresh())]);
        Ok(entry.into_value())
    }

    async fn decode(&self, digest: &Digest) -> Result<Arc<RgbImage>, Failure> {
        let content = self.fetch(digest).await?;
        let defect =
            |what: &str| Failure::new(FailureKind::ExpertFailed, format!("image decoding {what}"));
        let place = Arc::clone(&self.decoding)
            .acquire_owned()
            .await
            .map_err(|_| defect("is closed"))?;
        let config = self.config;
        let decoded = tokio::task::spawn_blocking(move || {
            // Kept to the end: an abandoned decoding still takes its memory.
            let _place = place;
            decode(&content, &config)
        });
        match decoded.await {
            Ok(Ok(image)) => Ok(Arc::new(image)),
            Ok(Err(reason)) => Err(refused(digest, &reason)),
            Err(_) => Err(defect("ended by a defect")),
        }
    }

    async fn fetch(&self, digest: &Digest) -> Result<Bytes, Failure> {
        self.blobs.get(digest).await.map_err(|error| match error {
            CoreError::NotFound { .. } => refused(digest, "is not in the blob store"),
            CoreError::DataLoss(_) => refused(digest, "is damaged in the blob store"),
            CoreError::DeadlineExceeded(reason) => Failure::new(FailureKind::Timeout, reason),
            // The model has not begun, so the call may go elsewhere.
            other => Failure::new(FailureKind::Unavailable, other.to_string()),
        })
    }
}

fn refused(digest: &Digest, reason: &str) -> Failure {
    let message = format!("image {} {reason}", digest.short());
    Failure::new(FailureKind::Rejected, message)
}

/// Decodes under the limits. The header is held against them before any pixel is unpacked.
fn decode(content: &[u8], config: &ImageConfig) -> Result<RgbImage, String> {
    let cannot = |error: &dyn std::error::Error| format!("cannot be decoded: {error}");
    let mut reader = ImageReader::new(Cursor::new(content))
        .with_guessed_format()
        .map_err(|error| cannot(&error))?;
    let mut limits = image::Limits::default();
    limits.max_alloc = Some(config.max_decode_bytes);
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder().map_err(|error| cannot(&error))?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 || pixels > config.max_pixels {
        return Err(format!(
            "has {width} x {height} pixels; must have 1 to {}",
            config.max_pixels
        ));
    }
    limits
        .reserve(decoder.total_bytes())
        .and_then(|()| decoder.set_limits(limits))
        .map_err(|error| cannot(&error))?;
    let image = DynamicImage::from_decoder(decoder).map_err(|error| cannot(&error))?;
    Ok(match image {
        // Already what is wanted: no copy.
        DynamicImage::ImageRgb8(image) => image,
        image => flatten(&image),
    })
}

#[cfg(test)]
mod tests {
    use image::{ImageFormat, Rgb, Rgba, RgbaImage};
    use maestro_store::{ObjectBlobs, StoreConfig};

    use super::*;

    fn encode(image: &DynamicImage, format: ImageFormat) -> Bytes {
        let mut content = Cursor::new(Vec::new());
        image.write_to(&mut content, format).unwrap();
        content.into_inner().into()
    }

    fn images(config: ImageConfig) -> (Images, Arc<ObjectBlobs>) {
        let store = StoreConfig::new("memory://".parse().unwrap());
        let blobs = Arc::new(ObjectBlobs::open(store).unwrap());
        (Images::new(Arc::clone(&blobs) as _, config), blobs)
    }

    #[tokio::test]
    async fn an_image_is_decoded_once_over_white() {
        let (images, blobs) = images(ImageConfig::default());
        let image = RgbaImage::from_fn(4, 2, |x, _| {
            Rgba([10, 20, 30, if x == 0 { 0 } else { 255 }])
        });
        let content = encode(&DynamicImage::ImageRgba8(image), ImageFormat::Png);
        let digest = blobs.put(content.clone()).await.unwrap();
        let first = images.pixels(&digest).await.unwrap();
        assert_eq!(first.dimensions(), (4, 2));
        assert_eq!(*first.get_pixel(0, 0), Rgb([255, 255, 255]));
        assert_eq!(*first.get_pixel(1, 1), Rgb([10, 20, 30]));
        let second = images.pixels(&digest).await.unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        let encoded = images.encoded(&digest).await.unwrap();
        assert_eq!(encoded.media_type, "image/png");
        assert_eq!(encoded.content, content);
    }

    #[tokio::test]
    async fn what_is_no_image_is_refused() {
        let (images, blobs) = images(ImageConfig::default());
        let text = blobs
            .put(Bytes::from_static(b"no image at all"))
            .await
            .unwrap();
        let absent = Digest::of(b"nobody stored this");
        for digest in [text, absent] {
            let failure = images.pixels(&digest).await.unwrap_err();
            assert_eq!(failure.kind, FailureKind::Rejected);
            assert!(failure.message.contains(&digest.short()), "{failure}");
            assert_eq!(
                images.encoded(&digest).await.unwrap_err().kind,
                failure.kind
            );
        }
    }

    #[test]
    fn limits_hold_before_the_pixels_are_unpacked() {
        let image = DynamicImage::new_rgb8(300, 200);
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Bmp] {
            let content = encode(&image, format);
            assert!(
                decode(&content, &ImageConfig::default()).is_ok(),
                "{format:?}"
            );
            let few = ImageConfig {
                max_pixels: 59_999,
                ..ImageConfig::default()
            };
            assert!(decode(&content, &few).unwrap_err().contains("300 x 200"));
            let tight = ImageConfig {
                max_decode_bytes: 100_000,
                ..ImageConfig::default()
            };
            assert!(decode(&content, &tight).is_err(), "{format:?}");
        }
    }
}
