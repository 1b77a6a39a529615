//! From what a decision of the scorer can be computed again.
//!
//! # Layout of `scorer-v1`
//! Integers and floats little-endian; the inputs are those of [`Scorer::head`](crate::Scorer::head).
//!
//! | bytes | content |
//! |---|---|
//! | 2 | `R`: number of actions, in the order of the decision's alternatives |
//! | 2 | `S`: inputs that all actions share (the state), the first of each action |
//! | 2 | `I`: inputs of an action, the `S` included |
//! | 4 | temperature (f32) |
//! | sparse(`S`) | the shared inputs |
//! | `R` × sparse(`I − S`) | the other inputs of each action |
//!
//! sparse(`n`) is `⌈n / 8⌉` bytes in which bit `i` (the lowest first) says whether value `i` is not
//! zero, and the values (f32) that are not.

use crate::error::PolicyError;

/// Name of the layout.
pub const FORMAT: &str = "scorer-v1";

/// The inputs of a decision.
#[derive(Clone, Debug, PartialEq)]
pub struct ScorerTrace {
    /// Temperature of the softmax.
    pub temperature: f32,
    /// Inputs that all actions share.
    pub shared: Vec<f32>,
    /// The other inputs of each action, in the order of the alternatives.
    pub actions: Vec<Vec<f32>>,
}

impl ScorerTrace {
    /// The trace of actions whose first `shared` inputs are the same.
    pub fn new(temperature: f32, shared: usize, inputs: &[&[f32]]) -> Self {
        let state = inputs.first().and_then(|row| row.get(..shared));
        Self {
            temperature,
            shared: state.unwrap_or_default().to_vec(),
            actions: inputs
                .iter()
                .map(|row| row.get(shared..).unwrap_or_default().to_vec())
                .collect(),
        }
    }

    /// All inputs of each action.
    pub fn inputs(&self) -> Vec<Vec<f32>> {
        let join = |own: &Vec<f32>| self.shared.iter().chain(own).copied().collect();
        self.actions.iter().map(join).collect()
    }

    /// The bytes.
    pub fn encode(&self) -> Vec<u8> {
        let own = self.actions.first().map_or(0, Vec::len);
        let mut bytes = Vec::with_capacity(64 + self.actions.len() * 96);
        for count in [
            self.actions.len(),
            self.shared.len(),
            self.shared.len() + own,
        ] {
            let count = u16::try_from(count).unwrap_or(u16::MAX);
            bytes.extend_from_slice(&count.to_le_bytes());
        }
        bytes.extend_from_slice(&self.temperature.to_le_bytes());
        for values in std::iter::once(&self.shared).chain(&self.actions) {
            encode_sparse(values, &mut bytes);
        }
        bytes
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// [`PolicyError::Trace`] where they do not follow the layout to the last byte.
    pub fn decode(bytes: &[u8]) -> Result<Self, PolicyError> {
        let mut reader = Reader(bytes);
        let rows = reader.count()?;
        let shared = reader.count()?;
        let own = reader
            .count()?
            .checked_sub(shared)
            .ok_or(PolicyError::Trace("fewer inputs than shared ones"))?;
        let temperature = f32::from_le_bytes(reader.take()?);
        let shared = reader.sparse(shared)?;
        let actions = (0..rows)
            .map(|_| reader.sparse(own))
            .collect::<Result<_, _>>()?;
        if !reader.0.is_empty() {
            return Err(PolicyError::Trace("bytes are left over"));
        }
        Ok(Self {
            temperature,
            shared,
            actions,
        })
    }
}

fn encode_sparse(values: &[f32], bytes: &mut Vec<u8>) {
    for group in values.chunks(8) {
        let bits = group
            .iter()
            .enumerate()
            .filter(|(_, value)| value.to_bits() != 0)
            .fold(0u8, |bits, (bit, _)| bits | (1 << bit));
        bytes.push(bits);
    }
    for value in values.iter().filter(|value| value.to_bits() != 0) {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], PolicyError> {
        let (head, tail) = self
            .0
            .split_first_chunk::<N>()
            .ok_or(PolicyError::Trace("it is cut short"))?;
        self.0 = tail;
        Ok(*head)
    }

    fn count(&mut self) -> Result<usize, PolicyError> {
        Ok(u16::from_le_bytes(self.take()?).into())
    }

    fn sparse(&mut self, length: usize) -> Result<Vec<f32>, PolicyError> {
        let (bits, tail) = self
            .0
            .split_at_checked(length.div_ceil(8))
            .ok_or(PolicyError::Trace("it is cut short"))?;
        self.0 = tail;
        (0..length)
            .map(|i| {
                if bits[i / 8] & (1 << (i % 8)) == 0 {
                    Ok(0.0)
                } else {
                    Ok(f32::from_le_bytes(self.take()?))
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = f32> {
        prop_oneof![Just(0.0f32), -10.0f32..10.0]
    }

    proptest! {
        #[test]
        fn a_trace_reads_back(
            shared in prop::collection::vec(value(), 0..30),
            actions in (0usize..20).prop_flat_map(|width| prop::collection::vec(
                prop::collection::vec(value(), width), 1..12)),
        ) {
            let trace = ScorerTrace { temperature: 0.7, shared, actions };
            let bytes = trace.encode();
            prop_assert_eq!(ScorerTrace::decode(&bytes).unwrap(), trace);
            prop_assert!(ScorerTrace::decode(&bytes[..bytes.len() - 1]).is_err());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = ScorerTrace::decode(&bytes);
        }
    }
}
