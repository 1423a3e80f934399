//! The secrets of a store in memory by hash, in shards with a lock each.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::sync::{RwLock, RwLockWriteGuard};
use hashbrown::HashTable;

use crate::{
    key::hash::KeyHash,
    store::{lookup::Lookup, stored_key::StoredKey},
};

const SHARDS: usize = 64;

pub(super) struct Secrets {
    shards: Box<[Shard; SHARDS]>,
    /// Counts the changes of hashes. A reader of several candidates learns from it whether a
    /// secret moved from a shard that it had yet to read to one that it had read.
    moves: AtomicU64,
}

/// Part of the secrets, on cache lines of its own, so that neighbours do not slow each other
/// down.
#[derive(Default)]
#[repr(align(128))]
struct Shard(RwLock<HashTable<Entry>>);

/// The record of one hash: 16 bytes, so that the table of a large store fits in the caches of the
/// processor and only the record itself is fetched from memory.
struct Entry {
    /// The word of the digest by which the table is ordered; the record has the rest.
    word: u64,
    found: StoredKey,
}

impl Entry {
    /// Returns whether this is the entry of a hash.
    #[inline]
    fn is(&self, word: u64, hash: &KeyHash) -> bool {
        self.word == word && self.found.is_held() && self.found.record().holds(hash)
    }
}

impl Default for Secrets {
    fn default() -> Self {
        Self {
            shards: Box::new(std::array::from_fn(|_| Shard::default())),
            moves: AtomicU64::new(0),
        }
    }
}

impl Secrets {
    /// Returns the number of changes so far.
    #[inline]
    pub(super) fn moves(&self) -> u64 {
        self.moves.load(Ordering::Acquire)
    }

    /// Returns the record of the first hash that has one. Each shard is read by itself.
    #[inline]
    pub(super) fn find(&self, lookup: &Lookup) -> Option<StoredKey> {
        self.find_hash(lookup.current())
            .or_else(|| lookup.older().iter().find_map(|hash| self.find_hash(hash)))
    }

    #[inline]
    fn find_hash(&self, hash: &KeyHash) -> Option<StoredKey> {
        let (at, word) = place(hash);
        let shard = self.shards.get(at)?.0.read();
        shard.find(word, |entry| entry.is(word, hash)).map(|entry| entry.found.clone())
    }

    /// Removes the secrets of `old` and adds those of `new`, at one moment for all readers. Either
    /// may be missing. Returns `false` and changes nothing if another record has a secret of
    /// `new`. The caller has locked the index.
    pub(super) fn swap(&self, old: Option<&StoredKey>, new: Option<&StoredKey>) -> bool {
        let old_hashes = || old.into_iter().flat_map(|old| old.record().hashes());
        let new_hashes =
            || new.into_iter().flat_map(|new| new.record().hashes().map(move |hash| (hash, new)));
        let touched: BTreeSet<usize> =
            old_hashes().chain(new_hashes().map(|(hash, _)| hash)).map(|it| place(it).0).collect();
        // All touched shards are locked at once. The lock of the index excludes other writers, and
        // a reader locks one shard at a time, so this cannot deadlock.
        let mut tables: BTreeMap<usize, RwLockWriteGuard<'_, HashTable<Entry>>> = touched
            .into_iter()
            .filter_map(|at| self.shards.get(at).map(|shard| (at, shard.0.write())))
            .collect();
        let taken = new_hashes().any(|(hash, _)| {
            let (at, word) = place(hash);
            let there = tables.get(&at).and_then(|table| table.find(word, |it| it.is(word, hash)));
            there.is_some_and(|there| {
                old.is_none_or(|old| old.record().id() != there.found.record().id())
            })
        });
        if taken {
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
            table.insert_unique(word, Entry { word, found: new.clone() }, |it| it.word);
        }
        self.moves.fetch_add(1, Ordering::Release);
        true
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| shard.0.read().is_empty())
    }
}

/// Returns the shard of a hash, and the word by which the shard's table is ordered.
///
/// The digest of a minted key is as good as random and nobody can choose it, so its own bits
/// serve. A host that lets strangers import hashes of their choice lets them slow it down. The
/// table uses the low bits and the seven highest bits of the first word; the second word chooses
/// the shard.
#[inline]
fn place(hash: &KeyHash) -> (usize, u64) {
    match hash.digest().as_chunks::<8>().0 {
        [word, [shard, ..], ..] => (usize::from(*shard) % SHARDS, u64::from_le_bytes(*word)),
        _ => (0, 0),
    }
}
