//! The cached records by id.

use std::sync::Arc;

use keyward::{Timestamp, key::KeyId, store::StoredKey};
use moka::{ops::compute::Op, sync::Cache};

use crate::{
    changes::Changes,
    digest::{Id, Seeded, cache},
    held::Known,
};

/// The records by id. `moka` enforces the bound.
pub(crate) struct Records(Cache<Id, Arc<Known>, Seeded>);

impl Records {
    pub(crate) fn new(max: u32) -> Self {
        Self(cache(max))
    }

    /// Returns the key with this id, if it is cached and may be served.
    pub(crate) fn get(
        &self,
        id: KeyId,
        changes: &Changes,
        now: impl Fn() -> Timestamp,
    ) -> Option<StoredKey> {
        let known = self.0.get(&Id(id))?;
        known.serves(changes, now()).then(|| known.found().clone())
    }

    /// Caches a record, unless a later revision is cached.
    pub(crate) fn put(&self, known: &Arc<Known>, changes: &Changes, now: Timestamp) {
        let record = known.found().record();
        self.0.entry(Id(record.id())).and_compute_with(|there| match there {
            Some(there) if there.value().is_newer(record, changes, now) => Op::Nop,
            _ => Op::Put(Arc::clone(known)),
        });
    }

    pub(crate) fn len(&self) -> u64 {
        self.0.run_pending_tasks();
        self.0.entry_count()
    }
}
