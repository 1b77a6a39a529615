//! What a decision needs of the registry, made ready once per change.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use maestro_core::registry::Snapshot;

use crate::embeddings::Embeddings;

/// A snapshot with the vectors of its descriptions, on a device.
#[derive(Clone, Debug)]
pub struct Prepared {
    snapshot: Arc<Snapshot>,
    embeddings: Arc<Embeddings>,
    table: Tensor<2>,
}

impl Prepared {
    /// Puts the vectors of a snapshot's catalogue onto a device.
    pub fn new(snapshot: Arc<Snapshot>, embeddings: Embeddings, device: &Device) -> Self {
        let shape = [embeddings.rows(), embeddings.dim()];
        let data = TensorData::new(embeddings.matrix().to_vec(), shape);
        let table = Tensor::from_data(data, device);
        Self {
            snapshot,
            embeddings: Arc::new(embeddings),
            table,
        }
    }

    /// The same vectors under a snapshot of the same catalogue, in which only what serves has
    /// changed; `None` for another catalogue.
    pub fn renew(&self, snapshot: &Arc<Snapshot>) -> Option<Self> {
        let same = self.snapshot.digest.is_some() && self.snapshot.digest == snapshot.digest;
        same.then(|| Self {
            snapshot: Arc::clone(snapshot),
            ..self.clone()
        })
    }

    /// The snapshot.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// The vectors.
    pub fn embeddings(&self) -> &Embeddings {
        &self.embeddings
    }

    /// The vectors as a matrix `[rows, dim]`.
    pub fn table(&self) -> &Tensor<2> {
        &self.table
    }
}
