//! One vector per description, kept by content.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use maestro_core::{Digest, ExpertName, SkillName, registry::Catalogue};
use maestro_models::TextEmbedder;

use crate::error::PolicyError;

/// Row of the zero vector: stands for an entry that is no longer in the catalogue.
pub const NO_ENTRY: u32 = 0;

/// The rows of a skill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkillRows {
    /// Row of its own description.
    pub skill: u32,
    /// Rows of its solvers' descriptions.
    pub solvers: Range<u32>,
}

/// Vectors of all descriptions of one catalogue, as the rows of one matrix. Row [`NO_ENTRY`] is
/// zero.
#[derive(Clone, Debug)]
pub struct Embeddings {
    dim: usize,
    vectors: Vec<f32>,
    experts: BTreeMap<ExpertName, u32>,
    skills: BTreeMap<SkillName, SkillRows>,
}

impl Embeddings {
    fn empty(dim: usize) -> Self {
        Self {
            dim,
            vectors: vec![0.0; dim],
            experts: BTreeMap::new(),
            skills: BTreeMap::new(),
        }
    }

    fn push(&mut self, vector: &[f32]) -> u32 {
        let row = self.rows();
        self.vectors.extend_from_slice(vector);
        u32::try_from(row).unwrap_or(NO_ENTRY)
    }

    /// Length of a vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.vectors.len() / self.dim.max(1)
    }

    /// All rows, one after the other.
    pub fn matrix(&self) -> &[f32] {
        &self.vectors
    }

    /// The vector of a row; empty for a row that is not there.
    pub fn row(&self, row: u32) -> &[f32] {
        let start = row as usize * self.dim;
        self.vectors.get(start..start + self.dim).unwrap_or(&[])
    }

    /// Row of an expert's description, [`NO_ENTRY`] for one that is not in the catalogue.
    pub fn expert(&self, name: &ExpertName) -> u32 {
        self.experts.get(name).copied().unwrap_or(NO_ENTRY)
    }

    /// Rows of a skill, `None` for one that is not in the catalogue.
    pub fn skill(&self, name: &SkillName) -> Option<&SkillRows> {
        self.skills.get(name)
    }

    /// Dot product of a vector with a row.
    pub fn similarity(&self, vector: &[f32], row: u32) -> f32 {
        self.row(row).iter().zip(vector).map(|(a, b)| a * b).sum()
    }
}

/// Embeds descriptions and keeps the vectors by the digest of their text, so that a change of the
/// catalogue costs only what changed.
pub struct EmbeddingCache {
    embedder: Arc<dyn TextEmbedder>,
    vectors: HashMap<Digest, Arc<[f32]>>,
}

impl EmbeddingCache {
    /// An empty cache over an embedder.
    pub fn new(embedder: Arc<dyn TextEmbedder>) -> Self {
        Self {
            embedder,
            vectors: HashMap::new(),
        }
    }

    /// Vectors held.
    pub fn len(&self) -> usize {
        self.vectors.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.vectors.is_empty()
    }

    /// The vectors of `catalogue`. Embeds the texts that the last catalogue did not have, in one
    /// call, and forgets those that this one does not have.
    ///
    /// # Errors
    /// [`PolicyError::Model`]; the cache stays as it was.
    pub fn embed(&mut self, catalogue: &Catalogue) -> Result<Embeddings, PolicyError> {
        let texts: Vec<(Digest, &str)> = descriptions(catalogue)
            .map(|text| (Digest::of(text.as_bytes()), text))
            .collect();
        let mut missing: Vec<(Digest, &str)> = texts
            .iter()
            .filter(|(digest, _)| !self.vectors.contains_key(digest))
            .copied()
            .collect();
        missing.sort_unstable();
        missing.dedup();
        let new: Vec<&str> = missing.iter().map(|(_, text)| *text).collect();
        let new = if new.is_empty() {
            Vec::new()
        } else {
            self.embedder.embed(&new)?
        };
        let mut kept: HashMap<Digest, Arc<[f32]>> = missing
            .iter()
            .map(|(digest, _)| *digest)
            .zip(new.into_iter().map(Arc::from))
            .collect();
        for (digest, _) in &texts {
            if let Some(vector) = self.vectors.get(digest) {
                kept.insert(*digest, Arc::clone(vector));
            }
        }
        self.vectors = kept;
        Ok(self.lay_out(catalogue))
    }

    fn lay_out(&self, catalogue: &Catalogue) -> Embeddings {
        let mut embeddings = Embeddings::empty(self.embedder.dim());
        let vector = |text: &str| {
            self.vectors
                .get(&Digest::of(text.as_bytes()))
                .cloned()
                .unwrap_or_else(|| vec![0.0; self.embedder.dim()].into())
        };
        for (name, expert) in &catalogue.experts {
            let row = embeddings.push(&vector(&expert.description));
            embeddings.experts.insert(name.clone(), row);
        }
        for (name, skill) in &catalogue.skills {
            let own = embeddings.push(&vector(&skill.description));
            for solver in &skill.solvers {
                embeddings.push(&vector(&solver.description));
            }
            let end = u32::try_from(embeddings.rows()).unwrap_or(own + 1);
            let rows = SkillRows {
                skill: own,
                solvers: own + 1..end,
            };
            embeddings.skills.insert(name.clone(), rows);
        }
        embeddings
    }
}

fn descriptions(catalogue: &Catalogue) -> impl Iterator<Item = &str> {
    let experts = catalogue.experts.values().map(|expert| &expert.description);
    let skills = catalogue.skills.values().flat_map(|skill| {
        let solvers = skill.solvers.iter().map(|solver| &solver.description);
        std::iter::once(&skill.description).chain(solvers)
    });
    experts.chain(skills).map(String::as_str)
}

/// Vectors of recent questions: the steps of an episode ask about the same one. Holds at most two
/// generations of `capacity` texts; the older goes when the younger is full.
pub(crate) struct QuestionCache {
    capacity: usize,
    generations: Mutex<[HashMap<String, Arc<[f32]>>; 2]>,
}

impl QuestionCache {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            generations: Mutex::default(),
        }
    }

    /// The vectors of `questions`, in their order.
    pub(crate) fn embed(
        &self,
        embedder: &dyn TextEmbedder,
        questions: &[&str],
    ) -> Result<Vec<Arc<[f32]>>, PolicyError> {
        let mut found: Vec<Option<Arc<[f32]>>> = {
            let generations = self
                .generations
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let find = |question: &&str| {
                generations
                    .iter()
                    .find_map(|generation| generation.get(*question).cloned())
            };
            questions.iter().map(find).collect()
        };
        let missing: Vec<usize> = (0..questions.len())
            .filter(|&i| found[i].is_none())
            .collect();
        if !missing.is_empty() {
            let texts: Vec<&str> = missing.iter().map(|&i| questions[i]).collect();
            for (&i, vector) in missing.iter().zip(embedder.embed(&texts)?) {
                let vector: Arc<[f32]> = vector.into();
                self.insert(questions[i], &vector);
                found[i] = Some(vector);
            }
        }
        Ok(found.into_iter().flatten().collect())
    }

    fn insert(&self, question: &str, vector: &Arc<[f32]>) {
        let mut generations = self
            .generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if generations[0].len() >= self.capacity {
            generations.swap(0, 1);
            generations[0].clear();
        }
        generations[0].insert(question.to_owned(), Arc::clone(vector));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use maestro_models::ModelError;

    use super::*;
    use crate::features::tests::{expert, skill};

    /// Counts what it embeds; a text's vector is its length and 1.
    #[derive(Default)]
    struct Counting(AtomicUsize);

    impl TextEmbedder for Counting {
        fn dim(&self) -> usize {
            2
        }
        fn digest(&self) -> &str {
            "counting"
        }
        fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, ModelError> {
            self.0.fetch_add(texts.len(), Ordering::Relaxed);
            Ok(texts
                .iter()
                .map(|text| vec![text.len() as f32, 1.0])
                .collect())
        }
    }

    #[test]
    fn only_what_changed_is_embedded_and_what_is_gone_is_forgotten() {
        let counting = Arc::new(Counting::default());
        let mut cache = EmbeddingCache::new(counting.clone());
        let mut catalogue = Catalogue::default();
        let one = expert("one", "reads", &["ocr"]);
        catalogue.experts.insert(one.name.clone(), one);
        let read = skill("read", "reading", &["ocr"], &["totals", "dates and times"]);
        catalogue.skills.insert(read.name.clone(), read.clone());
        let embeddings = cache.embed(&catalogue).unwrap();
        assert_eq!(counting.0.load(Ordering::Relaxed), 4);
        let rows = embeddings.skill(&read.name).unwrap();
        assert_eq!(embeddings.row(rows.skill), [7.0, 1.0]);
        let solvers: Vec<_> = rows
            .solvers
            .clone()
            .map(|row| embeddings.row(row)[0])
            .collect();
        assert_eq!(solvers, [6.0, 15.0]);
        assert_eq!(embeddings.row(NO_ENTRY), [0.0, 0.0]);

        let two = expert("two", "reads", &["ocr"]);
        catalogue.experts.insert(two.name.clone(), two);
        cache.embed(&catalogue).unwrap();
        assert_eq!(counting.0.load(Ordering::Relaxed), 4, "the text was known");
        catalogue.skills.clear();
        cache.embed(&catalogue).unwrap();
        assert_eq!(cache.len(), 1);
    }

    #[test]
    fn questions_are_embedded_once_and_bounded() {
        let counting = Counting::default();
        let cache = QuestionCache::new(2);
        cache.embed(&counting, &["a", "bb"]).unwrap();
        let again = cache.embed(&counting, &["bb", "ccc", "a"]).unwrap();
        assert_eq!(
            again.iter().map(|v| v[0]).collect::<Vec<_>>(),
            [2.0, 3.0, 1.0]
        );
        assert_eq!(counting.0.load(Ordering::Relaxed), 3);
        for i in 0..100 {
            cache.embed(&counting, &[&"x".repeat(i)]).unwrap();
        }
        let generations = cache.generations.lock().unwrap();
        assert!(generations.iter().all(|generation| generation.len() <= 2));
    }
}
