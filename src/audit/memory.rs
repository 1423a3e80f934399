//! Events in memory.

use std::{collections::BTreeMap, convert::Infallible, fmt};

use crate::{
    audit::{
        entry::AuditEntry,
        store::{AuditCursor, AuditFilter, AuditPage, AuditStore},
    },
    clock::timestamp::Timestamp,
    sync::RwLock,
};

/// An audit store in memory, for tests and for small services. It keeps every entry until it is
/// removed or the store is dropped, and a page of few entries among many reads all of them.
#[derive(Default)]
pub struct MemoryAuditStore(RwLock<Entries>);

#[derive(Default)]
struct Entries {
    by_position: BTreeMap<AuditCursor, AuditEntry>,
    appended: u64,
}

impl MemoryAuditStore {
    /// Creates a store without entries.
    pub fn new() -> Self {
        Self::default()
    }
}

impl AuditStore for MemoryAuditStore {
    type Error = Infallible;

    async fn append(&self, entries: &[AuditEntry]) -> Result<(), Infallible> {
        let mut stored = self.0.write();
        for entry in entries {
            stored.appended += 1;
            let position = AuditCursor { at: entry.at, number: stored.appended };
            stored.by_position.insert(position, entry.clone());
        }
        Ok(())
    }

    async fn page(
        &self,
        filter: &AuditFilter,
        after: Option<AuditCursor>,
        size: u16,
    ) -> Result<AuditPage, Infallible> {
        let stored = self.0.read();
        let end = AuditCursor { at: Timestamp::MAX, number: u64::MAX };
        // No entry has the last number, so a range without it contains all.
        let before = stored.by_position.range(..after.unwrap_or(end)).rev();
        let admitted = before.filter(|(_, entry)| filter.admits(entry));
        let some = admitted.take(AuditPage::size(size) + 1);
        let entries = some.map(|(position, entry)| (*position, entry.clone())).collect();
        Ok(AuditPage::from_one_more(entries, size))
    }

    async fn remove_before(&self, before: Timestamp, limit: u32) -> Result<u64, Infallible> {
        let mut stored = self.0.write();
        let mut removed = 0;
        while removed < u64::from(limit)
            && let Some(first) = stored.by_position.first_entry()
            && first.key().at < before
        {
            first.remove();
            removed += 1;
        }
        Ok(removed)
    }
}

impl fmt::Debug for MemoryAuditStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryAuditStore")
            .field("entries", &self.0.read().by_position.len())
            .finish_non_exhaustive()
    }
}
