//! The embedded store: everything in memory, nothing kept across a restart.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    convert::Infallible,
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use hashbrown::{HashTable, hash_table::Entry as TableEntry};
use parking_lot::{RwLock, RwLockWriteGuard};

use crate::{
    Cursor, Found, InsertError, KeyHash, KeyId, KeyRecord, KeyRegistry, KeyStore, Listing, Lookup,
    Owner, OwnerId, Page, ReplaceError,
};

/// A store in memory, shared by reference between threads.
///
/// Finding a key takes one read lock of 64, chosen by the hash, so readers of different
/// keys do not meet and no reader waits for another. Changes are made one at a time; a
/// change of a record is seen by all its secrets at once.
///
/// Each method of [`KeyStore`] and [`KeyRegistry`] has a plain twin here that needs no
/// executor, with `_sync` in its name.
///
/// ```
/// use keyward::{KeyId, MemoryStore};
///
/// let store = MemoryStore::new();
/// assert!(store.get_sync(KeyId::from_bytes([0; 16])).is_none());
/// assert!(store.is_empty());
/// ```
#[derive(Debug)]
pub struct MemoryStore {
    shards: Box<[Shard; SHARDS]>,
    /// Guards every change, and is always locked before the shards.
    index: RwLock<Index>,
    /// Counts the changes of hashes, so that a reader of several candidates can tell
    /// whether one moved from a shard not yet read to one already read.
    moves: AtomicU64,
}

const SHARDS: usize = 64;

/// A part of the secrets on cache lines of its own, so that neighbours do not slow each
/// other down.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(RwLock<HashTable<Indexed>>);

/// One secret's hash and what it leads to.
#[derive(Debug)]
struct Indexed {
    hash: KeyHash,
    found: Found,
}

#[derive(Debug, Default)]
struct Index {
    keys: HashMap<KeyId, Arc<KeyRecord>>,
    order: BTreeSet<Cursor>,
    owners: HashMap<OwnerId, OwnerEntry>,
}

#[derive(Debug)]
struct OwnerEntry {
    owner: Arc<Owner>,
    /// Whether the host put this owner, or it stands for one that was never put.
    put: bool,
    order: BTreeSet<Cursor>,
}

impl MemoryStore {
    /// A store without keys.
    pub fn new() -> Self {
        Self {
            shards: Box::new(std::array::from_fn(|_| Shard::default())),
            index: RwLock::default(),
            moves: AtomicU64::new(0),
        }
    }

    /// How many keys the store holds, revoked ones included.
    pub fn len(&self) -> usize {
        self.index.read().keys.len()
    }

    /// Whether the store holds no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// [`KeyStore::find`] without a future.
    pub fn find_sync(&self, lookup: &Lookup) -> Option<Found> {
        let before = self.moves.load(Ordering::Acquire);
        let found = self.find_once(lookup);
        // With one candidate there is one shard, and nothing can pass by unseen.
        if found.is_some() || lookup.hashes().len() == 1 {
            return found;
        }
        if self.moves.load(Ordering::Acquire) == before {
            return None;
        }
        // A rehash moved a secret meanwhile; with changes held off the answer is certain.
        let _index = self.index.read();
        self.find_once(lookup)
    }

    /// [`KeyRegistry::insert`] without a future.
    ///
    /// # Errors
    ///
    /// As [`KeyRegistry::insert`].
    pub fn insert_sync(&self, record: KeyRecord) -> Result<(), InsertError<Infallible>> {
        let mut index = self.index.write();
        if index.keys.contains_key(&record.id()) {
            return Err(InsertError::DuplicateId);
        }
        let record = Arc::new(record);
        let owner = index.owner_of(&record);
        let found = Found { record: Arc::clone(&record), owner };
        if !self.swap(None, found) {
            return Err(InsertError::DuplicateSecret);
        }
        index.add(record);
        Ok(())
    }

    /// [`KeyRegistry::replace`] without a future.
    ///
    /// # Errors
    ///
    /// As [`KeyRegistry::replace`].
    pub fn replace_sync(&self, record: KeyRecord) -> Result<(), ReplaceError<Infallible>> {
        let mut index = self.index.write();
        let stored = index.keys.get(&record.id()).ok_or(ReplaceError::NotFound)?;
        if stored.revision().checked_add(1) != Some(record.revision()) {
            return Err(ReplaceError::Conflict);
        }
        let stored = Arc::clone(stored);
        let record = Arc::new(record);
        let owner = index.owner_of(&record);
        if !self.swap(Some(&stored), Found { record: Arc::clone(&record), owner }) {
            return Err(ReplaceError::DuplicateSecret);
        }
        index.remove(&stored);
        index.add(record);
        Ok(())
    }

    /// [`KeyRegistry::get`] without a future.
    pub fn get_sync(&self, id: KeyId) -> Option<Arc<KeyRecord>> {
        self.index.read().keys.get(&id).cloned()
    }

    /// [`KeyRegistry::list`] without a future.
    pub fn list_sync(&self, owner: &OwnerId, page: Page) -> Listing {
        let index = self.index.read();
        match index.owners.get(owner) {
            Some(entry) => index.page(&entry.order, page),
            None => Listing::default(),
        }
    }

    /// [`KeyRegistry::list_all`] without a future.
    pub fn list_all_sync(&self, page: Page) -> Listing {
        let index = self.index.read();
        index.page(&index.order, page)
    }

    /// [`KeyRegistry::owner`] without a future.
    pub fn owner_sync(&self, id: &OwnerId) -> Option<Arc<Owner>> {
        let index = self.index.read();
        index.owners.get(id).filter(|entry| entry.put).map(|entry| Arc::clone(&entry.owner))
    }

    /// [`KeyRegistry::put_owner`] without a future. It takes time in proportion to the
    /// owner's keys, each of which holds its owner, so that finding one need not ask.
    pub fn put_owner_sync(&self, owner: Owner) {
        let mut index = self.index.write();
        let owner = Arc::new(owner);
        let entry = index.owners.entry(owner.id.clone()).or_insert_with(|| OwnerEntry {
            owner: Arc::clone(&owner),
            put: true,
            order: BTreeSet::new(),
        });
        entry.owner = Arc::clone(&owner);
        entry.put = true;
        let order = entry.order.iter().map(|cursor| cursor.id).collect::<Vec<_>>();
        for record in order.iter().filter_map(|id| index.keys.get(id)) {
            let found = Found { record: Arc::clone(record), owner: Arc::clone(&owner) };
            // The hashes stay the same, so none can be a stranger's.
            let _swapped = self.swap(Some(record), found);
        }
    }

    fn find_once(&self, lookup: &Lookup) -> Option<Found> {
        lookup.hashes().iter().find_map(|hash| {
            let (at, slot) = place(hash);
            let shard = self.shards.get(at)?.0.read();
            shard.find(slot, |indexed| indexed.hash == *hash).map(|indexed| indexed.found.clone())
        })
    }

    /// Makes the secrets of `old` lead nowhere and those of `new` to it, at one moment
    /// for all readers. Where a secret of `new` belongs to another record, nothing
    /// changes and the answer is `false`. The index is locked by the caller.
    fn swap(&self, old: Option<&KeyRecord>, new: Found) -> bool {
        let old_hashes = old.into_iter().flat_map(KeyRecord::hashes);
        let touched: BTreeSet<usize> =
            old_hashes.chain(new.record.hashes()).map(|hash| place(hash).0).collect();
        // All touched shards are held at once; the index's lock keeps other writers away,
        // and readers hold one shard at a time, so this cannot deadlock.
        let mut tables: BTreeMap<usize, RwLockWriteGuard<'_, HashTable<Indexed>>> = touched
            .into_iter()
            .filter_map(|at| self.shards.get(at).map(|shard| (at, shard.0.write())))
            .collect();
        let strangers = new.record.hashes().any(|hash| {
            let (at, slot) = place(hash);
            tables
                .get(&at)
                .and_then(|table| table.find(slot, |indexed| indexed.hash == *hash))
                .is_some_and(|indexed| old.is_none_or(|old| old.id() != indexed.found.record.id()))
        });
        if strangers {
            return false;
        }
        for hash in old.into_iter().flat_map(KeyRecord::hashes) {
            let (at, slot) = place(hash);
            if let Some(Ok(entry)) = tables
                .get_mut(&at)
                .map(|table| table.find_entry(slot, |indexed| indexed.hash == *hash))
            {
                entry.remove();
            }
        }
        for hash in new.record.hashes() {
            let (at, slot) = place(hash);
            let Some(table) = tables.get_mut(&at) else { continue };
            let entry = table.entry(
                slot,
                |indexed| indexed.hash == *hash,
                |indexed| place(&indexed.hash).1,
            );
            if let TableEntry::Vacant(vacant) = entry {
                vacant.insert(Indexed { hash: *hash, found: new.clone() });
            }
        }
        self.moves.fetch_add(1, Ordering::Release);
        true
    }
}

impl Index {
    /// The owner of a record, as put or as it stands for one never put.
    fn owner_of(&self, record: &KeyRecord) -> Arc<Owner> {
        match self.owners.get(record.owner()) {
            Some(entry) => Arc::clone(&entry.owner),
            None => Arc::new(Owner::new(record.owner().clone())),
        }
    }

    fn add(&mut self, record: Arc<KeyRecord>) {
        let cursor = Cursor::of(&record);
        let owner = self.owner_of(&record);
        self.owners
            .entry(record.owner().clone())
            .or_insert_with(|| OwnerEntry { owner, put: false, order: BTreeSet::new() })
            .order
            .insert(cursor);
        self.order.insert(cursor);
        self.keys.insert(record.id(), record);
    }

    fn remove(&mut self, record: &KeyRecord) {
        let cursor = Cursor::of(record);
        if let Some(entry) = self.owners.get_mut(record.owner()) {
            entry.order.remove(&cursor);
        }
        self.order.remove(&cursor);
        self.keys.remove(&record.id());
    }

    fn page(&self, order: &BTreeSet<Cursor>, page: Page) -> Listing {
        let start = page.cursor().map_or(Bound::Unbounded, Bound::Excluded);
        let records = order
            .range((start, Bound::Unbounded))
            .filter_map(|cursor| self.keys.get(&cursor.id).cloned())
            .take(page.size() + 1)
            .collect();
        Listing::from_one_more(records, page)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl KeyStore for MemoryStore {
    type Error = Infallible;

    async fn find(&self, lookup: &Lookup) -> Result<Option<Found>, Infallible> {
        Ok(self.find_sync(lookup))
    }
}

impl KeyRegistry for MemoryStore {
    async fn insert(&self, record: KeyRecord) -> Result<(), InsertError<Infallible>> {
        self.insert_sync(record)
    }

    async fn replace(&self, record: KeyRecord) -> Result<(), ReplaceError<Infallible>> {
        self.replace_sync(record)
    }

    async fn get(&self, id: KeyId) -> Result<Option<Arc<KeyRecord>>, Infallible> {
        Ok(self.get_sync(id))
    }

    async fn list(&self, owner: &OwnerId, page: Page) -> Result<Listing, Infallible> {
        Ok(self.list_sync(owner, page))
    }

    async fn list_all(&self, page: Page) -> Result<Listing, Infallible> {
        Ok(self.list_all_sync(page))
    }

    async fn owner(&self, id: &OwnerId) -> Result<Option<Arc<Owner>>, Infallible> {
        Ok(self.owner_sync(id))
    }

    async fn put_owner(&self, owner: Owner) -> Result<(), Infallible> {
        self.put_owner_sync(owner);
        Ok(())
    }
}

/// The shard of a hash, and its hash within the shard's table.
///
/// A digest is as good as random already and nobody can steer the digests that are
/// stored, so its own bits serve: the table uses the low and the seven highest bits of
/// the first word, the shard is chosen by the second.
fn place(hash: &KeyHash) -> (usize, u64) {
    let [word, shard, ..] = hash.digest().as_chunks::<8>().0 else { return (0, 0) };
    (usize::from(shard[0]) % SHARDS, u64::from_le_bytes(*word))
}
