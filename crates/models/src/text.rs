//! The port for text embeddings.

use crate::ModelError;

/// Turns texts into vectors whose dot product is their similarity.
///
/// Both the full [encoder](crate::SentenceEncoder) and the distilled
/// [table](crate::StaticTable) implement it, so that a setting can swap one for the other.
pub trait TextEmbedder: Send + Sync {
    /// Length of every vector.
    fn dim(&self) -> usize;

    /// SHA-256 in hex of everything that decides the vectors. Two embedders of one digest give
    /// the same vectors (up to the device's rounding), so embeddings may be cached under it and
    /// a policy version may carry it.
    fn digest(&self) -> &str;

    /// One vector a text, in the order of the texts; each of length 1, or all zeros for a text
    /// in which the embedder finds nothing to embed.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] or [`ModelError::Execution`].
    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, ModelError>;
}

/// Scales a vector to length 1; one of length (nearly) 0 becomes all zeros.
pub(crate) fn normalise(vector: &mut [f32]) {
    let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    let factor = if norm > 1e-12 { norm.recip() } else { 0.0 };
    for x in vector {
        *x *= factor;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_normalised_vector_has_length_one(
            mut vector in proptest::collection::vec(-10.0_f32..10.0, 1..300)
        ) {
            prop_assume!(vector.iter().any(|x| x.abs() > 1e-3));
            normalise(&mut vector);
            let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
            prop_assert!((norm - 1.0).abs() < 1e-4);
        }
    }

    #[test]
    fn zeros_stay_zeros() {
        let mut vector = vec![0.0; 4];
        normalise(&mut vector);
        assert_eq!(vector, [0.0; 4]);
    }
}
