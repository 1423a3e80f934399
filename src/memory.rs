//! The embedded store: everything in memory, nothing kept across a restart.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    convert::Infallible,
    fmt,
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use hashbrown::HashTable;
use parking_lot::{RwLock, RwLockWriteGuard};

use crate::{
    Cursor, Found, InsertError, KeyHash, KeyId, KeyRecord, KeyRegistry, KeyStore, Listing, Lookup,
    Owner, OwnerId, Page, ReplaceError,
};

/// A store in memory, shared by reference between threads.
///
/// It holds every key that was inserted until it is dropped, revoked and expired ones too.
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
#[derive(Default)]
#[repr(align(128))]
struct Shard(RwLock<HashTable<Indexed>>);

/// Where one secret's hash leads: 16 bytes, so that the table of a large store stays in
/// the processor's caches and only the record itself is fetched from memory.
struct Indexed {
    /// The word of the digest by which the table is ordered; the record has the rest.
    word: u64,
    found: Found,
}

impl Indexed {
    /// Whether it is this hash that leads here.
    ///
    /// A table branches on what it holds by its nature. That is safe, because nobody can
    /// steer the bytes of the digest of what they send; the proof is the verifier's.
    #[inline]
    fn is(&self, word: u64, hash: &KeyHash) -> bool {
        let same =
            |held: &KeyHash| held.digest() == hash.digest() && held.scheme() == hash.scheme();
        let record = self.found.record();
        self.word == word
            && self.found.is_held()
            && (same(&record.current().hash)
                || record.retiring().iter().any(|retiring| same(&retiring.secret.hash)))
    }
}

#[derive(Default)]
struct Index {
    keys: HashMap<KeyId, Found>,
    order: BTreeSet<Cursor>,
    owners: HashMap<OwnerId, OwnerEntry>,
}

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
    #[inline]
    pub fn find_sync(&self, lookup: &Lookup) -> Option<Found> {
        let before = self.moves.load(Ordering::Acquire);
        let found = self.find_once(lookup);
        // With one candidate there is one shard, and nothing can pass by unseen.
        if found.is_some() || lookup.older().is_empty() {
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
        let found = index.joined(record);
        if !self.swap(None, &found) {
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
        let stored = index.keys.get(&record.id()).cloned().ok_or(ReplaceError::NotFound)?;
        if stored.record().revision().checked_add(1) != Some(record.revision()) {
            return Err(ReplaceError::Conflict);
        }
        let found = index.joined(record);
        if !self.swap(Some(&stored), &found) {
            return Err(ReplaceError::DuplicateSecret);
        }
        index.remove(stored.record());
        index.add(found);
        Ok(())
    }

    /// [`KeyRegistry::get`] without a future.
    pub fn get_sync(&self, id: KeyId) -> Option<Found> {
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
        let ids = entry.order.iter().map(|cursor| cursor.id).collect::<Vec<_>>();
        for id in ids {
            let Some(stored) = index.keys.get_mut(&id) else { continue };
            let found = Found::new(stored.record().clone(), Arc::clone(&owner));
            // The hashes stay the same, so none can be a stranger's.
            let _swapped = self.swap(Some(stored), &found);
            *stored = found;
        }
    }

    #[inline]
    fn find_once(&self, lookup: &Lookup) -> Option<Found> {
        self.find_hash(lookup.current())
            .or_else(|| lookup.older().iter().find_map(|hash| self.find_hash(hash)))
    }

    #[inline]
    fn find_hash(&self, hash: &KeyHash) -> Option<Found> {
        let (at, word) = place(hash);
        let shard = self.shards.get(at)?.0.read();
        shard.find(word, |indexed| indexed.is(word, hash)).map(|indexed| indexed.found.clone())
    }

    /// Makes the secrets of `old` lead nowhere and those of `new` to it, at one moment
    /// for all readers. Where a secret of `new` belongs to another record, nothing
    /// changes and the answer is `false`. The index is locked by the caller.
    fn swap(&self, old: Option<&Found>, new: &Found) -> bool {
        let old_hashes = || old.into_iter().flat_map(|old| old.record().hashes());
        let touched: BTreeSet<usize> =
            old_hashes().chain(new.record().hashes()).map(|hash| place(hash).0).collect();
        // All touched shards are held at once; the index's lock keeps other writers away,
        // and readers hold one shard at a time, so this cannot deadlock.
        let mut tables: BTreeMap<usize, RwLockWriteGuard<'_, HashTable<Indexed>>> = touched
            .into_iter()
            .filter_map(|at| self.shards.get(at).map(|shard| (at, shard.0.write())))
            .collect();
        let strangers = new.record().hashes().any(|hash| {
            let (at, word) = place(hash);
            let there = tables.get(&at).and_then(|table| table.find(word, |it| it.is(word, hash)));
            there.is_some_and(|there| {
                old.is_none_or(|old| old.record().id() != there.found.record().id())
            })
        });
        if strangers {
            return false;
        }
        for hash in old_hashes() {
            let (at, word) = place(hash);
            let Some(table) = tables.get_mut(&at) else { continue };
            if let Ok(entry) = table.find_entry(word, |it| it.is(word, hash)) {
                entry.remove();
            }
        }
        for hash in new.record().hashes() {
            let (at, word) = place(hash);
            let Some(table) = tables.get_mut(&at) else { continue };
            table.insert_unique(word, Indexed { word, found: new.clone() }, |it| it.word);
        }
        self.moves.fetch_add(1, Ordering::Release);
        true
    }
}

impl Index {
    /// A record with its owner as put, or as it stands for one never put.
    fn joined(&self, record: KeyRecord) -> Found {
        let owner = match self.owners.get(record.owner()) {
            Some(entry) => Arc::clone(&entry.owner),
            None => Arc::new(Owner::new(record.owner().clone())),
        };
        Found::new(record, owner)
    }

    fn add(&mut self, found: Found) {
        let cursor = Cursor::of(found.record());
        self.owners
            .entry(found.record().owner().clone())
            .or_insert_with(|| OwnerEntry {
                owner: Arc::clone(found.owner()),
                put: false,
                order: BTreeSet::new(),
            })
            .order
            .insert(cursor);
        self.order.insert(cursor);
        self.keys.insert(cursor.id, found);
    }

    fn remove(&mut self, record: &KeyRecord) {
        let cursor = Cursor::of(record);
        if let Some(entry) = self.owners.get_mut(record.owner()) {
            entry.order.remove(&cursor);
        }
        self.order.remove(&cursor);
        self.keys.remove(&cursor.id);
    }

    fn page(&self, order: &BTreeSet<Cursor>, page: Page) -> Listing {
        let start = page.cursor().map_or(Bound::Unbounded, Bound::Excluded);
        let keys = order
            .range((start, Bound::Unbounded))
            .filter_map(|cursor| self.keys.get(&cursor.id).cloned())
            .take(page.size() + 1)
            .collect();
        Listing::from_one_more(keys, page)
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("keys", &self.len()).finish_non_exhaustive()
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

    async fn get(&self, id: KeyId) -> Result<Option<Found>, Infallible> {
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
/// The digest of a minted key is as good as random and nobody can steer it, so its own bits
/// serve (a host that lets strangers import hashes of their choice lets them slow it down): the table uses the low and the seven highest bits of
/// the first word, the shard is chosen by the second.
#[inline]
fn place(hash: &KeyHash) -> (usize, u64) {
    match hash.digest().as_chunks::<8>().0 {
        [word, [shard, ..], ..] => (usize::from(*shard) % SHARDS, u64::from_le_bytes(*word)),
        _ => (0, 0),
    }
}
