//! Listing and removing owners in a store in memory.

use std::{ops::Bound, sync::Arc};

use crate::{
    key::{
        id::KeyId,
        owner::{Owner, OwnerId},
        state::KeyState,
    },
    store::{
        memory::{MemoryStore, index::Index},
        owner_listing::{OwnerListing, OwnerPageRequest, OwnerRemoval},
        stored_key::StoredKey,
    },
};

impl MemoryStore {
    /// [`KeyRegistry::list_owners`](crate::store::KeyRegistry::list_owners) without a future.
    pub fn list_owners_sync(&self, page: &OwnerPageRequest) -> OwnerListing {
        let index = self.index.read();
        let start = page.cursor().map_or(Bound::Unbounded, Bound::Excluded);
        let owners = index
            .owners
            .range::<OwnerId, _>((start, Bound::Unbounded))
            .filter(|(_, entry)| entry.put)
            .map(|(_, entry)| Arc::clone(&entry.owner))
            .take(page.size() + 1)
            .collect();
        OwnerListing::from_one_more(owners, page)
    }

    /// [`KeyRegistry::remove_owner`](crate::store::KeyRegistry::remove_owner) without a future.
    ///
    /// The time it takes is proportional to the number of the owner's keys.
    pub fn remove_owner_sync(&self, id: &OwnerId) -> OwnerRemoval {
        let mut index = self.index.write();
        let Some(entry) = index.owners.get_mut(id).filter(|entry| entry.put) else {
            return OwnerRemoval::NotFound;
        };
        if entry.owner.state.is_suspended() {
            return OwnerRemoval::Suspended;
        }
        let ids: Vec<KeyId> = entry.order.iter().map(|cursor| cursor.id).collect();
        let is_revoked = |id: &KeyId| {
            let state = index.keys.get(id).map(|stored| stored.record().state());
            matches!(state, Some(KeyState::Revoked { .. }))
        };
        if !ids.iter().all(is_revoked) {
            return OwnerRemoval::HasKeys;
        }
        let bare = Arc::new(Owner::new(id.clone()));
        if let Some(entry) = index.owners.get_mut(id) {
            entry.owner = Arc::clone(&bare);
            entry.put = false;
        }
        self.rejoin(&mut index, &ids, &bare);
        index.forget_owner(id);
        OwnerRemoval::Removed
    }

    /// Joins these keys with another owner of the same id.
    pub(super) fn rejoin(&self, index: &mut Index, ids: &[KeyId], owner: &Arc<Owner>) {
        for id in ids {
            let Some(stored) = index.keys.get_mut(id) else { continue };
            let found = StoredKey::new(stored.record().clone(), Arc::clone(owner));
            // The hashes stay the same, so none can belong to another record.
            let _swapped = self.secrets.swap(Some(stored), Some(&found));
            *stored = found;
        }
    }
}
