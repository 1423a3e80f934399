//! Change notifications for caches.

use std::sync::Arc;

use crate::key::{hash::KeyHash, id::KeyId, owner::OwnerId, record::KeyRecord};

/// Receives change notifications from a store and stops serving data cached before them.
///
/// A cache in front of a store implements it. A store that announces its changes calls it, or a
/// listener that carries announcements between processes. An implementation does no I/O and does
/// not block, so it can be called from a callback, a task or a `Drop`.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use keyward::{key::KeyId, store::{Change, Invalidate}};
///
/// /// Counts the changes, so that data read before one is known to be old.
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
    /// Discards what this change may have made wrong.
    ///
    /// It is called when the change is visible in the store. After it has returned, no lookup that
    /// begins may be served from data read before the call: a record, its owner, or the absence of
    /// a record. A read in progress during the call counts as before it.
    ///
    /// A notification without a change, or a second one for the same change, costs a query and
    /// does no other harm. So a caller that does not know the outcome of a change reports it.
    fn invalidate(&self, change: &Change);
}

/// What changed in a store.
///
/// An unknown variant may concern anything. Treat it as [`Change::Everything`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// A key was added, changed or removed.
    Key {
        /// The key. Its record is invalidated under all of its secrets and under its id.
        id: KeyId,
        /// The hashes that find the key now. A cache may hold that no key has them. Additional
        /// hashes do no harm. A change that adds no hash, such as a revocation, may omit them.
        hashes: Vec<KeyHash>,
    },
    /// An owner was put, or all of its keys were revoked. This concerns all of its keys.
    Owner {
        /// The owner.
        id: OwnerId,
    },
    /// Anything may have changed: notifications may have been lost, or a change concerned too much
    /// to list.
    Everything,
}

impl Change {
    /// Reports a change that added no hash: the key was revoked, suspended, renamed or
    /// removed.
    pub const fn key(id: KeyId) -> Self {
        Self::Key { id, hashes: Vec::new() }
    }

    /// Reports any change that resulted in this record.
    pub fn record(record: &KeyRecord) -> Self {
        Self::Key { id: record.id(), hashes: record.hashes().copied().collect() }
    }

    /// Reports a change of an owner.
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
    fn a_change_shows_no_digest() {
        let hash = KeyHash::new(HashScheme::Sha256Token, [0xab; 32]);
        let change = Change::Key { id: KeyId::from_bytes([7; 16]), hashes: vec![hash] };
        let shown = format!("{change:?}");
        assert!(!shown.contains("171") && !shown.contains("abab"), "{shown}");
    }
}
