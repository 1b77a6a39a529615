//! Whether a write may happen, given what stands there. Pure.

use maestro_core::{CoreError, ports::PutMode};

use crate::{codec::Stored, keys::Key};

/// What stands under a key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Existing {
    /// Nothing.
    Absent,
    /// Something that this version cannot read.
    Unreadable,
    /// An entry.
    Readable(Box<Stored>),
}

impl Existing {
    fn summary(&self) -> String {
        match self {
            Self::Absent => "nothing".into(),
            Self::Unreadable => "an entry that cannot be read".into(),
            Self::Readable(stored) => stored.summary(),
        }
    }

    fn says(&self, stored: &Stored) -> bool {
        matches!(self, Self::Readable(existing) if existing.says_the_same(stored))
    }
}

/// What a permitted write does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    /// The entry is written.
    Needed,
    /// The same entry stands there already.
    Superfluous,
}

/// Decides on writing a lasting entry.
///
/// # Errors
/// [`CoreError::Conflict`] where something else stands there and must not be replaced.
pub(crate) fn put(
    key: &Key,
    existing: &Existing,
    new: &Stored,
    mode: PutMode,
) -> Result<Write, CoreError> {
    match (existing, mode) {
        _ if existing.says(new) => Ok(Write::Superfluous),
        (Existing::Absent, _) | (_, PutMode::Replace) => Ok(Write::Needed),
        (_, PutMode::Create) => Err(conflict(key, existing.summary(), new.summary())),
    }
}

/// Decides on replacing an entry that is expected to be as `expected` says.
///
/// # Errors
/// [`CoreError::Conflict`] where it is not.
pub(crate) fn swap(
    key: &Key,
    existing: &Existing,
    expected: Option<&Stored>,
    new: &Stored,
) -> Result<Write, CoreError> {
    let as_expected = match expected {
        Some(expected) => existing.says(expected),
        None => *existing == Existing::Absent,
    };
    if !as_expected {
        return Err(conflict(key, existing.summary(), new.summary()));
    }
    Ok(if existing.says(new) {
        Write::Superfluous
    } else {
        Write::Needed
    })
}

/// Decides on registering an instance under the lease `ours` (first the present one, then earlier
/// ones of this process) where `holder` is the lease of what stands there. A lease of 0 is none.
///
/// # Errors
/// [`CoreError::Conflict`] where another process holds the identifier.
pub(crate) fn claim(
    key: &Key,
    existing: &Existing,
    holder: i64,
    ours: &[i64],
    new: &Stored,
) -> Result<Write, CoreError> {
    match existing {
        Existing::Absent => Ok(Write::Needed),
        _ if !ours.contains(&holder) => Err(conflict(key, existing.summary(), new.summary())),
        _ if ours.first() == Some(&holder) && existing.says(new) => Ok(Write::Superfluous),
        _ => Ok(Write::Needed),
    }
}

/// The error for a write that was refused.
pub(crate) fn conflict(key: &Key, existing: String, refused: String) -> CoreError {
    CoreError::Conflict {
        kind: key.kind(),
        name: key.name(),
        existing,
        refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::tests::{expert, instance, key, policy};

    fn sides(error: &CoreError) -> (&str, &str) {
        match error {
            CoreError::Conflict {
                existing, refused, ..
            } => (existing, refused),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn creation_refuses_only_what_differs() {
        let (old, new) = (expert("e", "old"), expert("e", "new"));
        let key = key(&old);
        let existing = Existing::Readable(Box::new(old.clone()));
        assert_eq!(
            put(&key, &Existing::Absent, &new, PutMode::Create).unwrap(),
            Write::Needed
        );
        assert_eq!(
            put(&key, &existing, &old, PutMode::Create).unwrap(),
            Write::Superfluous
        );
        assert_eq!(
            put(&key, &existing, &old, PutMode::Replace).unwrap(),
            Write::Superfluous
        );
        assert_eq!(
            put(&key, &existing, &new, PutMode::Replace).unwrap(),
            Write::Needed
        );
        let error = put(&key, &existing, &new, PutMode::Create).unwrap_err();
        let (existing, refused) = sides(&error);
        assert!(
            existing.contains("old") && refused.contains("new"),
            "{error}"
        );
    }

    #[test]
    fn what_cannot_be_read_is_replaced_only_on_demand() {
        let new = expert("e", "new");
        let key = key(&new);
        assert!(put(&key, &Existing::Unreadable, &new, PutMode::Create).is_err());
        let replaced = put(&key, &Existing::Unreadable, &new, PutMode::Replace).unwrap();
        assert_eq!(replaced, Write::Needed);
    }

    #[test]
    fn a_swap_needs_the_expected_entry() {
        let (a, b) = (policy("a"), policy("b"));
        let key = key(&a);
        let existing = Existing::Readable(Box::new(a.clone()));
        assert_eq!(
            swap(&key, &Existing::Absent, None, &a).unwrap(),
            Write::Needed
        );
        assert_eq!(swap(&key, &existing, Some(&a), &b).unwrap(), Write::Needed);
        assert_eq!(
            swap(&key, &existing, Some(&a), &a).unwrap(),
            Write::Superfluous
        );
        assert!(swap(&key, &existing, None, &b).is_err());
        assert!(swap(&key, &existing, Some(&b), &a).is_err());
        assert!(swap(&key, &Existing::Absent, Some(&a), &b).is_err());
        assert!(swap(&key, &Existing::Unreadable, None, &b).is_err());
    }

    #[test]
    fn an_instance_is_claimed_from_oneself_only() {
        let (old, new) = (instance("e", "i", 1), instance("e", "i", 2));
        let key = key(&old);
        let existing = Existing::Readable(Box::new(old.clone()));
        assert_eq!(
            claim(&key, &Existing::Absent, 0, &[5], &new).unwrap(),
            Write::Needed
        );
        assert_eq!(
            claim(&key, &existing, 5, &[5, 4], &old).unwrap(),
            Write::Superfluous
        );
        assert_eq!(
            claim(&key, &existing, 4, &[5, 4], &old).unwrap(),
            Write::Needed
        );
        assert_eq!(
            claim(&key, &existing, 5, &[5, 4], &new).unwrap(),
            Write::Needed
        );
        let error = claim(&key, &existing, 6, &[5, 4], &new).unwrap_err();
        let (existing, refused) = sides(&error);
        assert!(
            existing.contains("capacity 1") && refused.contains("capacity 2"),
            "{error}"
        );
    }
}
