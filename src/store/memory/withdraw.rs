//! Revoking and suspending in a store in memory.

use crate::{
    clock::timestamp::Timestamp,
    key::{
        id::KeyId,
        owner::OwnerId,
        record::KeyRecord,
        state::{KeyState, Revocation},
    },
    store::{
        memory::{MemoryStore, index::Index},
        withdrawn::Withdrawn,
    },
};

impl MemoryStore {
    /// [`KeyRegistry::revoke`](crate::store::KeyRegistry::revoke) without a future.
    pub fn revoke_sync(
        &self,
        id: KeyId,
        within: Option<&OwnerId>,
        revocation: impl Into<Revocation>,
    ) -> Option<Withdrawn> {
        let revocation = revocation.into();
        self.withdraw(&mut self.index.write(), id, within, |record| record.withdrawn(revocation))
    }

    /// [`KeyRegistry::suspend`](crate::store::KeyRegistry::suspend) without a future.
    pub fn suspend_sync(
        &self,
        id: KeyId,
        within: Option<&OwnerId>,
        now: Timestamp,
    ) -> Option<Withdrawn> {
        self.withdraw(&mut self.index.write(), id, within, |record| record.held_back(now))
    }

    /// [`KeyRegistry::revoke_all`](crate::store::KeyRegistry::revoke_all) without a future.
    ///
    /// The time it takes is proportional to the number of the owner's keys.
    pub fn revoke_all_sync(
        &self,
        owner: &OwnerId,
        revocation: impl Into<Revocation>,
    ) -> Vec<KeyId> {
        let revocation = revocation.into();
        let mut index = self.index.write();
        let Some(entry) = index.owners.get(owner) else { return Vec::new() };
        let mut ids: Vec<KeyId> = entry.order.iter().map(|cursor| cursor.id).collect();
        ids.retain(|id| {
            let revoked = |record: &KeyRecord| record.withdrawn(revocation.clone());
            self.withdraw(&mut index, *id, None, revoked) == Some(Withdrawn::Now)
        });
        ids
    }

    /// Replaces a record that is not revoked by what `change` makes of it.
    fn withdraw(
        &self,
        index: &mut Index,
        id: KeyId,
        within: Option<&OwnerId>,
        change: impl FnOnce(&KeyRecord) -> KeyRecord,
    ) -> Option<Withdrawn> {
        let stored = index.get(id)?.clone();
        let record = stored.record();
        if within.is_some_and(|owner| owner != record.owner()) {
            return None;
        }
        if matches!(record.state(), KeyState::Revoked { .. }) {
            return Some(Withdrawn::RevokedBefore);
        }
        let found = index.joined(change(record));
        // The hashes stay the same, so none can belong to another record.
        let _swapped = self.secrets.swap(Some(&stored), Some(&found));
        index.remove(record);
        index.add(found);
        Some(Withdrawn::Now)
    }
}
