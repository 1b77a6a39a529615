//! Many writes in one transaction. Pure.
//!
//! Each write is a transaction of its own inside the batch's, so that one whose comparison fails
//! leaves its neighbours alone. etcd evaluates all comparisons before it writes anything, and
//! refuses a transaction that puts a key twice, so writes of one batch have no key in common.

use std::collections::HashSet;

use etcd_client::{Compare, CompareOp, DeleteOptions, Txn, TxnOp, TxnOpResponse, TxnResponse};

/// Most operations of a transaction, by etcd's default (`--max-txn-ops`). etcd counts those of the
/// outer transaction and those of the largest inner one.
const MAX_OPS: usize = 128;

/// Most bytes of a transaction. etcd's default (`--max-request-bytes`) is 1.5 MiB; what is left
/// covers the encoding and the comparisons.
pub(super) const MAX_BYTES: usize = 1 << 20;

/// Bytes that an operation takes beside its key and its value.
const OVERHEAD: usize = 32;

/// One write: what must hold, what is then put and deleted, and what is read where it does not.
#[derive(Clone, Debug, Default)]
pub(super) struct Write {
    compares: Vec<Compare>,
    puts: Vec<TxnOp>,
    looks: Vec<TxnOp>,
    keys: Vec<String>,
    bytes: usize,
}

impl Write {
    /// Nothing must stand under `key`.
    pub(super) fn absent(mut self, key: &str) -> Self {
        self.bytes += key.len() + OVERHEAD;
        self.compares
            .push(Compare::version(key, CompareOp::Equal, 0));
        self
    }

    /// Something must stand under `key`.
    pub(super) fn present(mut self, key: &str) -> Self {
        self.bytes += key.len() + OVERHEAD;
        self.compares
            .push(Compare::version(key, CompareOp::Greater, 0));
        self
    }

    /// What stands under `key` must not have changed since `revision`.
    pub(super) fn unchanged(mut self, key: &str, revision: i64) -> Self {
        self.bytes += key.len() + OVERHEAD;
        self.compares
            .push(Compare::mod_revision(key, CompareOp::Equal, revision));
        self
    }

    pub(super) fn put(mut self, key: String, value: Vec<u8>) -> Self {
        self.bytes += key.len() + value.len() + OVERHEAD;
        self.puts.push(TxnOp::put(key.as_str(), value, None));
        self.keys.push(key);
        self
    }

    pub(super) fn delete(mut self, key: String) -> Self {
        self.bytes += key.len() + OVERHEAD;
        self.puts.push(TxnOp::delete(key.as_str(), None));
        self.keys.push(key);
        self
    }

    /// Deletes everything under `prefix`. No other write of a batch may put anything there.
    pub(super) fn delete_all(mut self, prefix: String) -> Self {
        self.bytes += prefix.len() + OVERHEAD;
        let all = DeleteOptions::new().with_prefix();
        self.puts.push(TxnOp::delete(prefix.as_str(), Some(all)));
        self.keys.push(prefix);
        self
    }

    /// Reads `key` where the write does not happen.
    pub(super) fn else_read(mut self, key: &str) -> Self {
        self.bytes += key.len() + OVERHEAD;
        self.looks.push(TxnOp::get(key, None));
        self
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// As etcd counts: the longest of its three lists.
    fn ops(&self) -> usize {
        self.compares
            .len()
            .max(self.puts.len())
            .max(self.looks.len())
    }

    fn into_op(self) -> TxnOp {
        let txn = Txn::new()
            .when(self.compares)
            .and_then(self.puts)
            .or_else(self.looks);
        TxnOp::txn(txn)
    }
}

/// Sizes of a batch that grows.
#[derive(Debug, Default)]
pub(super) struct Filling {
    writes: usize,
    largest: usize,
    bytes: usize,
    keys: HashSet<String>,
}

impl Filling {
    /// Takes a write in if it fits; an empty batch takes any.
    pub(super) fn take(&mut self, write: &Write) -> bool {
        let largest = self.largest.max(write.ops());
        let fits = self.writes + 1 + largest <= MAX_OPS
            && self.bytes + write.bytes <= MAX_BYTES
            && write.keys.iter().all(|key| !self.keys.contains(key));
        if self.writes > 0 && !fits {
            return false;
        }
        self.writes += 1;
        self.largest = largest;
        self.bytes += write.bytes;
        self.keys.extend(write.keys.iter().cloned());
        true
    }
}

/// The transaction of a batch: nothing of it happens unless `fence` holds.
pub(super) fn transaction(fence: Compare, writes: impl IntoIterator<Item = Write>) -> Txn {
    let writes: Vec<TxnOp> = writes.into_iter().map(Write::into_op).collect();
    Txn::new().when([fence]).and_then(writes)
}

/// What stands under a key that was read because a write did not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) value: Vec<u8>,
    /// Revision of its last change.
    pub(super) revision: i64,
}

/// What came of one write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It happened, at this revision.
    Written(i64),
    /// It did not; what was to be read then, in the order of [`Write::else_read`].
    Refused(Vec<Option<Seen>>),
}

/// What came of each write of a batch whose fence held.
pub(super) fn outcomes(response: &TxnResponse) -> Vec<Outcome> {
    let revision = response.header().map_or(0, |header| header.revision());
    response
        .op_responses()
        .iter()
        .map(|one| match one {
            TxnOpResponse::Txn(inner) if inner.succeeded() => Outcome::Written(revision),
            TxnOpResponse::Txn(inner) => {
                Outcome::Refused(inner.op_responses().iter().map(seen).collect())
            }
            TxnOpResponse::Put(_) | TxnOpResponse::Get(_) | TxnOpResponse::Delete(_) => {
                Outcome::Refused(vec![])
            }
        })
        .collect()
}

fn seen(response: &TxnOpResponse) -> Option<Seen> {
    let TxnOpResponse::Get(found) = response else {
        return None;
    };
    let pair = found.kvs().first()?;
    Some(Seen {
        value: pair.value().to_vec(),
        revision: pair.mod_revision(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn write(key: &str, puts: usize, bytes: usize) -> Write {
        let write = Write::default().absent(key).else_read(key);
        (0..puts).fold(write, |write, index| {
            write.put(format!("{key}/{index}"), vec![0; bytes])
        })
    }

    #[test]
    fn writes_of_one_key_go_into_different_batches() {
        let mut filling = Filling::default();
        assert!(filling.take(&write("a", 2, 10)));
        assert!(filling.take(&write("b", 2, 10)));
        assert!(!filling.take(&write("a", 1, 10)));
        let deletion = Write::default().delete("b/1".into());
        assert!(!filling.take(&deletion));
        assert!(filling.take(&write("c", 2, 10)));
    }

    #[test]
    fn one_write_is_always_taken() {
        assert!(Filling::default().take(&write("a", 1, 2 * MAX_BYTES)));
    }

    proptest! {
        /// Whatever comes, a batch of several stays within what etcd takes.
        #[test]
        fn a_batch_stays_within_the_limits(
            sizes in prop::collection::vec((0usize..8, 0usize..40_000), 1..200),
        ) {
            let mut filling = Filling::default();
            let taken: Vec<Write> = sizes
                .iter()
                .enumerate()
                .map(|(index, (puts, bytes))| write(&index.to_string(), *puts, *bytes))
                .filter(|write| filling.take(write))
                .collect();
            let largest = taken.iter().map(Write::ops).max().unwrap_or(0);
            prop_assert!(taken.len() == 1 || taken.len() + largest <= MAX_OPS);
            let bytes: usize = taken.iter().map(Write::bytes).sum();
            prop_assert!(taken.len() == 1 || bytes <= MAX_BYTES);
        }
    }
}
