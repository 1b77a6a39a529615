//! The port [`maestro_core::ports::Blobs`] over `BlobService`: the client ([`RemoteBlobs`]) and the
//! server ([`blob_service`]).

mod client;
mod server;

pub use client::{BlobClientConfig, RemoteBlobs};
pub use server::{BlobLimits, blob_service};

use bytes::Bytes;

/// Size of a chunk on the wire.
const CHUNK_BYTES: usize = 256 * 1024;

/// `content` in chunks, without copying; one empty chunk for no content.
fn chunks(content: &Bytes) -> impl Iterator<Item = Bytes> + Send + use<> {
    let content = content.clone();
    let count = content.len().div_ceil(CHUNK_BYTES).max(1);
    (0..count).map(move |index| {
        let start = index * CHUNK_BYTES;
        content.slice(start..content.len().min(start + CHUNK_BYTES))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn chunks_join_to_the_content(length in 0usize..3 * CHUNK_BYTES) {
            let content = Bytes::from(vec![7; length]);
            let parts: Vec<Bytes> = chunks(&content).collect();
            prop_assert!(parts.iter().all(|part| part.len() <= CHUNK_BYTES));
            prop_assert_eq!(parts.concat(), content);
        }
    }

    #[test]
    fn no_content_is_one_empty_chunk() {
        assert_eq!(chunks(&Bytes::new()).collect::<Vec<_>>(), [Bytes::new()]);
    }
}
