//! Revoking and suspending in a store in memory.

use crate::{
    clock::timestamp::Timestamp,
    key::{id::KeyId, owner::OwnerId, state::KeyState},
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
        now: Timestamp,
    ) -> Option<Withdrawn> {
        self.withdraw(&mut self.index.write(), id, within, KeyState::Revoked { since: now })
    }

    /// [`KeyRegistry::suspend`](crate::store::KeyRegistry::suspend) without a future.
    pub fn suspend_sync(
        &self,
        id: KeyId,
        within: Option<&OwnerId>,
        now: Timestamp,
    ) -> Option<Withdrawn> {
        self.withdraw(&mut self.index.write(), id, within, KeyState::Suspended { since: now })
    }

    /// [`KeyRegistry::revoke_all`](crate::store::KeyRegistry::revoke_all) without a future.
    ///
    /// The time it takes is proportional to the number of the owner's keys.
    pub fn revoke_all_sync(&self, owner: &OwnerId, now: Timestamp) -> Vec<KeyId> {
        let mut index = self.index.write();
        let Some(entry) = index.owners.get(owner) else { return Vec::new() };
        let mut ids: Vec<KeyId> = entry.order.iter().map(|cursor| cursor.id).collect();
        let revoked = KeyState::Revoked { since: now };
        ids.retain(|id| self.withdraw(&mut index, *id, None, revoked) == Some(Withdrawn::Now));
        ids
    }

    fn withdraw(
        &self,
        index: &mut Index,
        id: KeyId,
        within: Option<&OwnerId>,
        state: KeyState,
    ) -> Option<Withdrawn> {
        let stored = index.get(id)?.clone();
        let record = stored.record();
        if within.is_some_and(|owner| owner != record.owner()) {
            return None;
        }
        let state = match (record.state(), state) {
            (KeyState::Revoked { .. }, _) => return Some(Withdrawn::RevokedBefore),
            (first @ KeyState::Suspended { .. }, KeyState::Suspended { .. }) => first,
            (_, state) => state,
        };
        let found = index.joined(record.in_state(state));
        // The hashes stay the same, so none can belong to another record.
        let _swapped = self.secrets.swap(Some(&stored), Some(&found));
        index.remove(record);
        index.add(found);
        Some(Withdrawn::Now)
    }
}
