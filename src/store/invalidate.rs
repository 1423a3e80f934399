//! What caches of a store are told of its changes.

use std::sync::Arc;

use crate::key::{hash::KeyHash, id::KeyId, owner::OwnerId, record::KeyRecord};

/// Is told what changed in a store, and answers no more with what it knew of it before.
///
/// A cache in front of a store implements it; a store that announces its changes, or whatever
/// carries the announcements between processes, calls it. There is no I/O and no waiting here:
/// whoever calls it from a callback, a listener's task or a `Drop` can do so.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use keyward::{key::KeyId, store::{Change, Invalidate}};
///
/// /// Counts the changes, so that what was read before one is known to be old.
/// #[derive(Default)]
/// struct Generation(AtomicU64);
///
/// impl Invalidate for Generation {
///     fn invalidate(&self, _change: &Change) {
///         self.0.fetch_add(1, Ordering::SeqCst);
///     }
/// }
///
/// let generation = Generation::default();
/// generation.invalidate(&Change::key(KeyId::from_bytes([1; 16])));
/// assert_eq!(generation.0.load(Ordering::SeqCst), 1);
/// ```
pub trait Invalidate: Send + Sync {
    /// Forgets what this change may have made untrue.
    ///
    /// It is called once the change can be seen in the store. When it has returned, no answer
    /// that is asked for may rest on what was read before the call, be that a record, its
    /// owner or the absence of one; what was being read during the call counts as read before.
    /// Being told of a change that there was not, or being told twice, costs a query and does
    /// no other harm, so whoever does not know the outcome of a change says that there was one.
    fn invalidate(&self, change: &Change);
}

/// What changed in a store.
///
/// A variant that is not known stands for a change that could concern anything, so it is to be
/// taken as [`Change::Everything`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// A key was added, changed or removed.
    Key {
        /// Which one. It invalidates the record under whichever of its secrets it was found.
        id: KeyId,
        /// The hashes by which the key is found now: of those, what was known before may be
        /// that there is no such key. More of them do no harm. A change that gave the key no
        /// new hash, such as revoking, may leave them out.
        hashes: Vec<KeyHash>,
    },
    /// An owner was put: a tier or quotas, which concern all of its keys.
    Owner {
        /// Which one.
        id: OwnerId,
    },
    /// Anything may have changed: announcements may have been lost, or a change touched more
    /// than can be told.
    Everything,
}

impl Change {
    /// A change that gave the key no new hash: it was revoked, renamed, removed.
    pub const fn key(id: KeyId) -> Self {
        Self::Key { id, hashes: Vec::new() }
    }

    /// Whatever made the key's record what it is now.
    pub fn record(record: &KeyRecord) -> Self {
        Self::Key { id: record.id(), hashes: record.hashes().copied().collect() }
    }

    /// A change of an owner.
    pub const fn owner(id: OwnerId) -> Self {
        Self::Owner { id }
    }
}

impl<I: Invalidate + ?Sized> Invalidate for &I {
    fn invalidate(&self, change: &Change) {
        (**self).invalidate(change);
    }
}

impl<I: Invalidate + ?Sized> Invalidate for Box<I> {
    fn invalidate(&self, change: &Change) {
        (**self).invalidate(change);
    }
}

impl<I: Invalidate + ?Sized> Invalidate for Arc<I> {
    fn invalidate(&self, change: &Change) {
        (**self).invalidate(change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::timestamp::Timestamp,
        key::{
            draft::KeyDraft, grace::Grace, hash::HashScheme, kind::KeyKind, secret::StoredSecret,
        },
    };

    #[test]
    fn a_record_names_all_of_its_hashes() {
        let now = Timestamp::from_unix_secs(1_700_000_000);
        let secret = |number: u8| {
            let hash = KeyHash::new(HashScheme::Sha256Token, [number; 32]);
            StoredSecret::new(hash, KeyKind::from_static("k_"), now)
        };
        let draft = KeyDraft::new("owner".parse().unwrap(), "key".parse().unwrap());
        let id = KeyId::from_bytes([7; 16]);
        let record = KeyRecord::issue(id, draft, secret(1), now).unwrap();
        let record = record.rotate(secret(2), Grace::DAY, now).unwrap();
        let hashes = vec![secret(2).hash, secret(1).hash];
        assert_eq!(Change::record(&record), Change::Key { id, hashes });
        assert_eq!(Change::key(id), Change::Key { id, hashes: vec![] });
    }

    #[test]
    fn what_changed_shows_no_digest() {
        let hash = KeyHash::new(HashScheme::Sha256Token, [0xab; 32]);
        let change = Change::Key { id: KeyId::from_bytes([7; 16]), hashes: vec![hash] };
        let shown = format!("{change:?}");
        assert!(!shown.contains("171") && !shown.contains("abab"), "{shown}");
    }
}
