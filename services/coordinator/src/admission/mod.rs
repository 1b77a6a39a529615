//! From a client's message to an episode that may run: every field checked, images stored.

mod images;

use std::sync::Arc;

use maestro_core::{
    CoreError, RequestId, TenantId, Timestamp,
    episode::{Durability, EpisodeSpec, ServingMode},
    ids::EpisodeId,
    ports::Blobs,
    registry::Snapshot,
    task::{ImageRef, Task, check_image_count},
};
use maestro_proto::v1;
use maestro_wire::{FromProto, UncheckedImage, unchecked_task};

pub use images::{ImageLimits, inspect};

/// The slot that decides where a client names none.
pub const DEFAULT_SLOT: &str = "default";

/// What admission needs of the world.
pub struct Admission {
    /// Where images are kept.
    pub blobs: Arc<dyn Blobs>,
    /// Which images are taken.
    pub limits: ImageLimits,
}

/// A client's task whose images nobody has looked at yet.
pub struct Draft {
    /// The rest of it, without images.
    pub task: Task,
    images: Vec<UncheckedImage>,
}

impl Draft {
    /// Parses all but the images, which takes no time to speak of.
    ///
    /// # Errors
    /// [`CoreError::Invalid`] naming the field.
    pub fn parse(
        task: Option<v1::Task>,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Result<Self, CoreError> {
        let task = task.ok_or_else(|| CoreError::invalid("task", "must be set"))?;
        let in_task = |error: CoreError| error.under("task");
        check_image_count(task.images.len()).map_err(in_task)?;
        let unchecked = unchecked_task(task).map_err(in_task)?;
        let task = unchecked.draft.validate(now).map_err(in_task)?;
        snapshot.check_pinned(&task.constraints).map_err(in_task)?;
        Ok(Self {
            task,
            images: unchecked.images,
        })
    }
}

impl Admission {
    /// Looks at a draft's images and stores those that came with it: none before all were found
    /// valid.
    ///
    /// # Errors
    /// [`CoreError::Invalid`] naming the field, [`CoreError::NotFound`] for an image by a digest
    /// that was never uploaded, or the blob store's own error.
    pub async fn task(&self, draft: Draft) -> Result<Task, CoreError> {
        let images = self.images(draft.images).await;
        Ok(Task {
            images: images.map_err(|error| error.under("task"))?,
            ..draft.task
        })
    }

    async fn images(&self, images: Vec<UncheckedImage>) -> Result<Vec<ImageRef>, CoreError> {
        let mut checked = Vec::with_capacity(images.len());
        for (index, image) in images.iter().enumerate() {
            let field = format!("images[{index}]");
            let (content, stored) = match image {
                UncheckedImage::Content(content) => (content.clone(), None),
                UncheckedImage::Digest(digest) => (self.blobs.get(digest).await?, Some(*digest)),
            };
            let found =
                inspect(&content, &self.limits).map_err(|e| CoreError::invalid(&field, e))?;
            let bytes = content.len() as u64;
            checked.push((found, bytes, stored, content));
        }
        let mut references = Vec::with_capacity(checked.len());
        for (found, bytes, stored, content) in checked {
            let digest = match stored {
                Some(digest) => digest,
                None => self.blobs.put(content).await?,
            };
            references.push(ImageRef {
                digest,
                media_type: found.media_type.to_owned(),
                width: found.width,
                height: found.height,
                bytes,
            });
        }
        Ok(references)
    }
}

/// The episode of an admitted task. `durability` is the default of the method that was called.
///
/// # Errors
/// [`CoreError::Invalid`] naming the option.
pub fn spec(
    tenant: TenantId,
    task: Task,
    options: Option<v1::EpisodeOptions>,
    durability: Durability,
    now: Timestamp,
) -> Result<EpisodeSpec, CoreError> {
    let options = options.unwrap_or_default();
    let request_id = match options.request_id.as_str() {
        "" => None,
        id => Some(RequestId::new(id).map_err(|error| error.under("options"))?),
    };
    let slot = match options.slot.as_str() {
        "" => DEFAULT_SLOT.to_owned(),
        // A slot is part of a registry key, so it follows the rule for names.
        slot => maestro_core::SkillName::new(slot)
            .map_err(|_| CoreError::invalid("options.slot", "is not a name"))?
            .to_string(),
    };
    Ok(EpisodeSpec {
        id: EpisodeId::generate(),
        tenant,
        request_id,
        task: Arc::new(task),
        durability: match options.durability() {
            v1::Durability::Unspecified => durability,
            v1::Durability::Durable => Durability::Durable,
            v1::Durability::Ephemeral => Durability::Ephemeral,
        },
        mode: ServingMode::from_proto(options.mode())?,
        slot,
        seed: if options.seed == 0 {
            rand::random()
        } else {
            options.seed
        },
        created_at: now,
    })
}

#[cfg(test)]
mod tests;
