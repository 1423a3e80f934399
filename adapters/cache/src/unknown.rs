//! The hashes that no key has.

use keyward::{Timestamp, key::KeyHash, store::Lookup};
use moka::sync::Cache;

use crate::{
    changes::Changes,
    digest::{Digest, Seeded, cache},
    held::Absent,
};

/// The absent hashes. They are apart from the secrets, so that random keys cannot evict real ones.
pub(crate) struct Unknown(Cache<Digest, Absent, Seeded>);

impl Unknown {
    pub(crate) fn new(max: u32) -> Self {
        Self(cache(max))
    }

    /// Returns whether none of the hashes has a key. Absence is cached by hash, because another
    /// verifier may look one of them up together with others.
    pub(crate) fn covers(
        &self,
        lookup: &Lookup,
        changes: &Changes,
        now: impl Fn() -> Timestamp,
    ) -> bool {
        let is_absent = |hash: &KeyHash| {
            self.0.get(&Digest(*hash)).is_some_and(|absent| absent.serves(changes, now()))
        };
        lookup.hashes().all(is_absent)
    }

    pub(crate) fn put(&self, hash: &KeyHash, absent: Absent) {
        self.0.insert(Digest(*hash), absent);
    }

    pub(crate) fn len(&self) -> u64 {
        self.0.run_pending_tasks();
        self.0.entry_count()
    }
}
