//! The in-memory store. It keeps nothing across a restart.

mod index;
mod owners;
mod secrets;
mod withdraw;

use std::{collections::BTreeSet, convert::Infallible, fmt, sync::Arc};

use crate::{
    clock::timestamp::Timestamp,
    key::{
        id::KeyId,
        owner::{Owner, OwnerChange, OwnerId},
        record::KeyRecord,
        state::Revocation,
    },
    store::{
        KeyRegistry, KeyStore,
        error::{InsertError, ReplaceError},
        listing::{Listing, PageRequest},
        lookup::Lookup,
        memory::{
            index::{Index, OwnerEntry},
            secrets::Secrets,
        },
        owner_listing::{OwnerListing, OwnerPageRequest, OwnerRemoval},
        stored_key::StoredKey,
        withdrawn::Withdrawn,
    },
    sync::RwLock,
};

/// A store in memory, shared by reference between threads.
///
/// It holds every inserted key, revoked and expired ones included, until the key is purged or the
/// store is dropped.
///
/// Finding a key takes one of 64 read locks, chosen by the hash. So readers of different keys
/// seldom use the same lock, and no reader waits for another. Changes are made one at a time. All
/// secrets of a record see a change of it at once.
///
/// Each method of [`KeyStore`] and [`KeyRegistry`] has a twin here that needs no executor. Its
/// name ends in `_sync`.
///
/// ```
/// use keyward::{key::KeyId, MemoryStore};
///
/// let store = MemoryStore::new();
/// assert!(store.find_by_id_sync(KeyId::from_bytes([0; 16])).is_none());
/// assert!(store.is_empty());
/// ```
#[derive(Default)]
pub struct MemoryStore {
    secrets: Secrets,
    /// Guards every change. It is always locked before the secrets.
    index: RwLock<Index>,
}

impl MemoryStore {
    /// Creates a store without keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the number of keys, revoked ones included.
    pub fn len(&self) -> usize {
        self.index.read().len()
    }

    /// Returns whether the store holds no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// [`KeyStore::find`] without a future.
    #[inline]
    pub fn find_sync(&self, lookup: &Lookup) -> Option<StoredKey> {
        let before = self.secrets.moves();
        let found = self.secrets.find(lookup);
        // One candidate needs one shard, and no secret can move past the reader.
        if found.is_some() || lookup.older().is_empty() {
            return found;
        }
        if self.secrets.moves() == before {
            return None;
        }
        // A rehash moved a secret during the search. No change is made under this lock.
        let _index = self.index.read();
        self.secrets.find(lookup)
    }

    /// [`KeyStore::find_by_id`] without a future.
    pub fn find_by_id_sync(&self, id: KeyId) -> Option<StoredKey> {
        self.index.read().get(id).cloned()
    }

    /// [`KeyRegistry::insert`] without a future.
    ///
    /// # Errors
    ///
    /// As [`KeyRegistry::insert_at`].
    pub fn insert_sync(&self, record: KeyRecord) -> Result<(), InsertError<Infallible>> {
        let now = record.created_at();
        self.insert_at_sync(record, now)
    }

    /// [`KeyRegistry::insert_at`] without a future.
    ///
    /// # Errors
    ///
    /// As [`KeyRegistry::insert_at`].
    pub fn insert_at_sync(
        &self,
        record: KeyRecord,
        now: Timestamp,
    ) -> Result<(), InsertError<Infallible>> {
        let mut index = self.index.write();
        if index.get(record.id()).is_some() {
            return Err(InsertError::DuplicateId);
        }
        if index.is_full_for(&record, now) {
            return Err(InsertError::TooManyKeys);
        }
        let found = index.joined(record);
        if !self.secrets.swap(None, Some(&found)) {
            return Err(InsertError::DuplicateSecret);
        }
        index.add(found);
        Ok(())
    }

    /// [`KeyRegistry::replace`] without a future.
    ///
    /// # Errors
    ///
    /// As [`KeyRegistry::replace`].
    pub fn replace_sync(&self, record: KeyRecord) -> Result<(), ReplaceError<Infallible>> {
        let mut index = self.index.write();
        let stored = index.get(record.id()).cloned().ok_or(ReplaceError::NotFound)?;
        if !stored.record().is_same_life(&record) {
            return Err(ReplaceError::NotFound);
        }
        if !stored.record().is_followed_by(&record) {
            return Err(ReplaceError::Conflict);
        }
        let found = index.joined(record);
        if !self.secrets.swap(Some(&stored), Some(&found)) {
            return Err(ReplaceError::DuplicateSecret);
        }
        index.remove(stored.record());
        index.add(found);
        Ok(())
    }

    /// [`KeyRegistry::purge`] without a future.
    ///
    /// It removes the keys that ended first. The time it takes is proportional to what it
    /// removes, whatever the store holds. Meanwhile changes and listings wait, and `find` does
    /// not.
    pub fn purge_sync(&self, ended_before: Timestamp, limit: u16) -> Vec<KeyId> {
        let mut index = self.index.write();
        let ended = index.ended(ended_before, usize::from(limit));
        for id in &ended {
            let Some(found) = index.get(*id).cloned() else { continue };
            // Without a new record no hash can belong to another one.
            let _swapped = self.secrets.swap(Some(&found), None);
            index.remove(found.record());
            index.forget_owner(found.record().owner());
        }
        ended
    }

    /// [`KeyRegistry::list`] without a future.
    pub fn list_sync(&self, owner: &OwnerId, page: PageRequest) -> Listing {
        let index = self.index.read();
        match index.owners.get(owner) {
            Some(entry) => index.page(&entry.order, page),
            None => Listing::default(),
        }
    }

    /// [`KeyRegistry::list_all`] without a future.
    pub fn list_all_sync(&self, page: PageRequest) -> Listing {
        let index = self.index.read();
        index.page(&index.order, page)
    }

    /// [`KeyRegistry::owner`] without a future.
    pub fn owner_sync(&self, id: &OwnerId) -> Option<Arc<Owner>> {
        let index = self.index.read();
        index.owners.get(id).filter(|entry| entry.put).map(|entry| Arc::clone(&entry.owner))
    }

    /// [`KeyRegistry::put_owner`] without a future.
    ///
    /// Each key holds its owner, so that finding a key needs no second search. So the time this
    /// takes is proportional to the number of the owner's keys.
    pub fn put_owner_sync(&self, owner: Owner) {
        self.change_owner_with(&owner.id.clone(), |there| match there {
            Some(there) => Owner { state: there.state, ..owner },
            None => owner,
        });
    }

    /// [`KeyRegistry::change_owner`] without a future. It takes as long as
    /// [`MemoryStore::put_owner_sync`].
    pub fn change_owner_sync(&self, owner: &OwnerId, change: OwnerChange) {
        self.change_owner_with(owner, |there| match there {
            Some(there) => there.clone().changed(change),
            None => Owner::new(owner.clone()).changed(change),
        });
    }

    /// Puts what `change` makes of an owner, or of none if it was never put.
    fn change_owner_with(&self, id: &OwnerId, change: impl FnOnce(Option<&Owner>) -> Owner) {
        let mut index = self.index.write();
        let there = index.owners.get(id).filter(|entry| entry.put);
        let owner = Arc::new(change(there.map(|entry| &*entry.owner)));
        let entry = index.owners.entry(id.clone()).or_insert_with(|| OwnerEntry {
            owner: Arc::clone(&owner),
            put: true,
            order: BTreeSet::new(),
            ends: BTreeSet::new(),
        });
        entry.owner = Arc::clone(&owner);
        entry.put = true;
        let ids = entry.order.iter().map(|cursor| cursor.id).collect::<Vec<_>>();
        self.rejoin(&mut index, &ids, &owner);
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("keys", &self.len()).finish_non_exhaustive()
    }
}

impl KeyStore for MemoryStore {
    type Error = Infallible;

    async fn find(&self, lookup: &Lookup) -> Result<Option<StoredKey>, Infallible> {
        Ok(self.find_sync(lookup))
    }

    async fn find_by_id(&self, id: KeyId) -> Result<Option<StoredKey>, Infallible> {
        Ok(self.find_by_id_sync(id))
    }

    #[inline]
    fn try_find(&self, lookup: &Lookup) -> Option<Result<Option<StoredKey>, Infallible>> {
        Some(Ok(self.find_sync(lookup)))
    }
}

impl KeyRegistry for MemoryStore {
    async fn insert_at(
        &self,
        record: KeyRecord,
        now: Timestamp,
    ) -> Result<(), InsertError<Infallible>> {
        self.insert_at_sync(record, now)
    }

    async fn replace(&self, record: KeyRecord) -> Result<(), ReplaceError<Infallible>> {
        self.replace_sync(record)
    }

    async fn revoke(
        &self,
        id: KeyId,
        within: Option<&OwnerId>,
        revocation: Revocation,
    ) -> Result<Option<Withdrawn>, Infallible> {
        Ok(self.revoke_sync(id, within, revocation))
    }

    async fn revoke_all(
        &self,
        owner: &OwnerId,
        revocation: Revocation,
    ) -> Result<Vec<KeyId>, Infallible> {
        Ok(self.revoke_all_sync(owner, revocation))
    }

    async fn suspend(
        &self,
        id: KeyId,
        within: Option<&OwnerId>,
        now: Timestamp,
    ) -> Result<Option<Withdrawn>, Infallible> {
        Ok(self.suspend_sync(id, within, now))
    }

    async fn purge(&self, ended_before: Timestamp, limit: u16) -> Result<Vec<KeyId>, Infallible> {
        Ok(self.purge_sync(ended_before, limit))
    }

    async fn list(&self, owner: &OwnerId, page: PageRequest) -> Result<Listing, Infallible> {
        Ok(self.list_sync(owner, page))
    }

    async fn list_all(&self, page: PageRequest) -> Result<Listing, Infallible> {
        Ok(self.list_all_sync(page))
    }

    async fn owner(&self, id: &OwnerId) -> Result<Option<Arc<Owner>>, Infallible> {
        Ok(self.owner_sync(id))
    }

    async fn put_owner(&self, owner: Owner) -> Result<(), Infallible> {
        self.put_owner_sync(owner);
        Ok(())
    }

    async fn list_owners(&self, page: OwnerPageRequest) -> Result<OwnerListing, Infallible> {
        Ok(self.list_owners_sync(&page))
    }

    async fn remove_owner(&self, id: &OwnerId) -> Result<OwnerRemoval, Infallible> {
        Ok(self.remove_owner_sync(id))
    }

    async fn change_owner(&self, owner: &OwnerId, change: OwnerChange) -> Result<(), Infallible> {
        self.change_owner_sync(owner, change);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::key::{
        draft::KeyDraft,
        grace::Grace,
        hash::{HashScheme, KeyHash},
        kind::KeyKind,
        secret::StoredSecret,
    };

    #[test]
    fn a_purge_leaves_nothing_behind() {
        let now = Timestamp::from_unix_secs(1_700_000_000);
        let store = MemoryStore::new();
        let secret = |number: u8| {
            let hash = KeyHash::new(HashScheme::Sha256Token, [number; 32]);
            StoredSecret::new(hash, KeyKind::from_static("k_"), now)
        };
        store.put_owner_sync(Owner::new("put".parse().unwrap()));
        for n in 0..100 {
            let owner = if n % 10 == 0 { "put".to_owned() } else { format!("owner {n}") };
            let draft = KeyDraft::new(owner.parse().unwrap(), "key".parse().unwrap());
            let id = KeyId::from_bytes([n; 16]);
            let mut record = KeyRecord::issue(id, draft, secret(n), now).unwrap();
            store.insert_sync(record.clone()).unwrap();
            for end in [500, 900, 100 + u64::from(n)] {
                record = record.expire_at(now + Duration::from_millis(end), now).unwrap();
                store.replace_sync(record.clone()).unwrap();
            }
            record = record.rotate(secret(n + 100), Grace::DAY, now).unwrap();
            store.replace_sync(record.clone()).unwrap();
            if n % 3 == 0 {
                store.replace_sync(record.revoke(now).unwrap()).unwrap();
            }
        }
        assert_eq!(store.index.read().ends.len(), 100, "one end a key, however often it moved");
        let mut purged = Vec::new();
        loop {
            let some = store.purge_sync(now + Duration::from_millis(200), 7);
            purged.extend_from_slice(&some);
            if some.len() < 7 {
                break;
            }
        }
        assert_eq!(purged.len(), 100);
        // The keys that ended first are purged first: the revoked ones, then by expiry.
        let rank = |id: &KeyId| match id.as_bytes()[0] {
            revoked if revoked % 3 == 0 => 0,
            expired => expired,
        };
        assert!(purged.is_sorted_by_key(rank));
        let index = store.index.read();
        assert!(index.keys.is_empty() && index.order.is_empty() && index.ends.is_empty());
        let owners: Vec<&str> = index.owners.keys().map(OwnerId::as_str).collect();
        assert_eq!(owners, ["put"], "an owner that was put stays, the others are forgotten");
        assert!(index.owners.values().all(|entry| entry.order.is_empty()));
        assert!(store.secrets.is_empty());
    }
}
