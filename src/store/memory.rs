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
    clock::timestamp::Timestamp,
    key::{
        hash::KeyHash,
        id::KeyId,
        owner::{Owner, OwnerId},
        record::KeyRecord,
    },
    store::{
        Cursor, InsertError, KeyRegistry, KeyStore, Listing, PageRequest, ReplaceError, StoredKey,
        lookup::Lookup,
    },
};

/// A store in memory, shared by reference between threads.
///
/// It holds every key that was inserted, revoked and expired ones too, until they are purged
/// or it is dropped.
///
/// Finding a key takes one read lock of 64, chosen by the hash, so readers of different
/// keys do not meet and no reader waits for another. Changes are made one at a time; a
/// change of a record is seen by all its secrets at once.
///
/// Each method of [`KeyStore`] and [`KeyRegistry`] has a plain twin here that needs no
/// executor, with `_sync` in its name.
///
/// ```
/// use keyward::{key::KeyId, MemoryStore};
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
    found: StoredKey,
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
    keys: HashMap<KeyId, StoredKey>,
    order: BTreeSet<Cursor>,
    /// The keys that have ended or are going to, by when.
    ends: BTreeSet<(Timestamp, KeyId)>,
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
    pub fn find_sync(&self, lookup: &Lookup) -> Option<StoredKey> {
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
        if !self.swap(None, Some(&found)) {
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
        if !self.swap(Some(&stored), Some(&found)) {
            return Err(ReplaceError::DuplicateSecret);
        }
        index.remove(stored.record());
        index.add(found);
        Ok(())
    }

    /// [`KeyRegistry::purge`] without a future.
    ///
    /// Those that ended first go first. It takes time in proportion to what it removes,
    /// whatever the store holds, and meanwhile holds off changes and listings, but not `find`.
    pub fn purge_sync(&self, ended_before: Timestamp, limit: u16) -> Vec<KeyId> {
        let mut index = self.index.write();
        let end = (ended_before, KeyId::from_bytes([0; 16]));
        let ended = index.ends.range(..end).take(usize::from(limit)).map(|(_, id)| *id);
        let ended: Vec<KeyId> = ended.collect();
        for id in &ended {
            let Some(found) = index.keys.get(id).cloned() else { continue };
            // Without a new record there is no stranger to meet.
            let _swapped = self.swap(Some(&found), None);
            index.remove(found.record());
            index.forget_owner(found.record().owner());
        }
        ended
    }

    /// [`KeyRegistry::get`] without a future.
    pub fn get_sync(&self, id: KeyId) -> Option<StoredKey> {
        self.index.read().keys.get(&id).cloned()
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
            let found = StoredKey::new(stored.record().clone(), Arc::clone(&owner));
            // The hashes stay the same, so none can be a stranger's.
            let _swapped = self.swap(Some(stored), Some(&found));
            *stored = found;
        }
    }

    #[inline]
    fn find_once(&self, lookup: &Lookup) -> Option<StoredKey> {
        self.find_hash(lookup.current())
            .or_else(|| lookup.older().iter().find_map(|hash| self.find_hash(hash)))
    }

    #[inline]
    fn find_hash(&self, hash: &KeyHash) -> Option<StoredKey> {
        let (at, word) = place(hash);
        let shard = self.shards.get(at)?.0.read();
        shard.find(word, |indexed| indexed.is(word, hash)).map(|indexed| indexed.found.clone())
    }

    /// Makes the secrets of `old` lead nowhere and those of `new` to it, at one moment
    /// for all readers; either may be missing. Where a secret of `new` belongs to another record, nothing
    /// changes and the answer is `false`. The index is locked by the caller.
    fn swap(&self, old: Option<&StoredKey>, new: Option<&StoredKey>) -> bool {
        let old_hashes = || old.into_iter().flat_map(|old| old.record().hashes());
        let new_hashes =
            || new.into_iter().flat_map(|new| new.record().hashes().map(move |hash| (hash, new)));
        let touched: BTreeSet<usize> =
            old_hashes().chain(new_hashes().map(|(hash, _)| hash)).map(|it| place(it).0).collect();
        // All touched shards are held at once; the index's lock keeps other writers away,
        // and readers hold one shard at a time, so this cannot deadlock.
        let mut tables: BTreeMap<usize, RwLockWriteGuard<'_, HashTable<Indexed>>> = touched
            .into_iter()
            .filter_map(|at| self.shards.get(at).map(|shard| (at, shard.0.write())))
            .collect();
        let strangers = new_hashes().any(|(hash, _)| {
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
        for (hash, new) in new_hashes() {
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
    fn joined(&self, record: KeyRecord) -> StoredKey {
        let owner = match self.owners.get(record.owner()) {
            Some(entry) => Arc::clone(&entry.owner),
            None => Arc::new(Owner::new(record.owner().clone())),
        };
        StoredKey::new(record, owner)
    }

    fn add(&mut self, found: StoredKey) {
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
        self.ends.extend(found.record().ends_at().map(|at| (at, cursor.id)));
        self.keys.insert(cursor.id, found);
    }

    fn remove(&mut self, record: &KeyRecord) {
        let cursor = Cursor::of(record);
        if let Some(entry) = self.owners.get_mut(record.owner()) {
            entry.order.remove(&cursor);
        }
        self.order.remove(&cursor);
        if let Some(at) = record.ends_at() {
            self.ends.remove(&(at, cursor.id));
        }
        self.keys.remove(&cursor.id);
    }

    /// Drops what stands for an owner that was never put and has no key any more.
    fn forget_owner(&mut self, owner: &OwnerId) {
        if self.owners.get(owner).is_some_and(|entry| !entry.put && entry.order.is_empty()) {
            self.owners.remove(owner);
        }
    }

    fn page(&self, order: &BTreeSet<Cursor>, page: PageRequest) -> Listing {
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

    async fn find(&self, lookup: &Lookup) -> Result<Option<StoredKey>, Infallible> {
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

    async fn purge(&self, ended_before: Timestamp, limit: u16) -> Result<Vec<KeyId>, Infallible> {
        Ok(self.purge_sync(ended_before, limit))
    }

    async fn get(&self, id: KeyId) -> Result<Option<StoredKey>, Infallible> {
        Ok(self.get_sync(id))
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::key::{
        draft::KeyDraft, grace::Grace, hash::HashScheme, kind::KeyKind, secret::StoredSecret,
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
        // Those that ended first went first: the revoked, then by expiry.
        let rank = |id: &KeyId| match id.as_bytes()[0] {
            revoked if revoked % 3 == 0 => 0,
            expired => expired,
        };
        assert!(purged.is_sorted_by_key(rank));
        let index = store.index.read();
        assert!(index.keys.is_empty() && index.order.is_empty() && index.ends.is_empty());
        let owners: Vec<&str> = index.owners.keys().map(OwnerId::as_str).collect();
        assert_eq!(owners, ["put"], "an owner that was put stays, the others stood for keys");
        assert!(index.owners.values().all(|entry| entry.order.is_empty()));
        assert!(store.shards.iter().all(|shard| shard.0.read().is_empty()));
    }
}
