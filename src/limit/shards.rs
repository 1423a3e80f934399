//! All locks of the limiter, and nothing else.
//!
//! Keys are spread over a power of two of [`Book`]s, each behind its own lock on its own
//! cache lines. A decision on one key waits for one lock. A decision on several keys
//! takes the locks of all their shards at once, in ascending order, so that two such
//! decisions never wait for each other in a circle.

use std::sync::Arc;

use super::{
    book::{Book, MAX_ENTRIES},
    key::{KeyedHash, LimitKey},
};
use sync::{Mutex, MutexGuard, lock};

/// The most keys that are locked at once.
pub(super) const MAX_LOCKED: usize = 4;

pub(super) struct Shards {
    shards: Box<[Shard]>,
    /// The number of shards is two to this power.
    bits: u32,
    hash: KeyedHash,
}

/// Two lines of 64 bytes, because processors fetch them in pairs.
#[repr(align(128))]
struct Shard(Mutex<Book>);

impl Shards {
    pub(super) fn new(bits: u32, entries_per_shard: u32, seed: [u8; 16]) -> Self {
        let hash = KeyedHash::new(seed);
        let shared = Arc::new(hash);
        let entries = entries_per_shard.min(MAX_ENTRIES);
        let book = |_| Shard(Mutex::new(Book::new(entries, Arc::clone(&shared))));
        Self { shards: (0..1_usize << bits).map(book).collect(), bits, hash }
    }

    /// The one hash of a call: the shard, the place in its index and the tag all come from it.
    #[inline]
    pub(super) fn hash(&self, key: &LimitKey) -> u64 {
        self.hash.place(key)
    }

    /// Acts on the shard of `hash` under its lock.
    #[inline]
    pub(super) fn with<R>(&self, hash: u64, act: impl FnOnce(&mut Book) -> R) -> Option<R> {
        let shard = self.shards.get(self.shard_of(hash))?;
        Some(act(&mut lock(&shard.0)))
    }

    /// Acts on the shards of all `hashes`, at most [`MAX_LOCKED`], under all their locks.
    pub(super) fn with_all<R>(
        &self,
        hashes: impl Iterator<Item = u64>,
        act: impl FnOnce(&mut Locked<'_>) -> R,
    ) -> R {
        let mut wanted = [usize::MAX; MAX_LOCKED];
        for (slot, hash) in wanted.iter_mut().zip(hashes) {
            *slot = self.shard_of(hash);
        }
        wanted.sort_unstable();
        let mut locked = Locked { shards: self, guards: [const { None }; MAX_LOCKED] };
        let mut previous = usize::MAX;
        for (slot, at) in locked.guards.iter_mut().zip(wanted) {
            if at != previous
                && let Some(shard) = self.shards.get(at)
            {
                *slot = Some((at, lock(&shard.0)));
            }
            previous = at;
        }
        act(&mut locked)
    }

    /// Acts on one shard after another, never holding two locks.
    pub(super) fn for_each(&self, mut act: impl FnMut(&mut Book)) {
        for shard in &self.shards {
            act(&mut lock(&shard.0));
        }
    }

    pub(super) fn count(&self) -> usize {
        self.shards.len()
    }

    /// The top bits of the universal hash as it is. The index takes mixed ones, because
    /// within a shard the top bits are equal for all keys.
    #[inline]
    fn shard_of(&self, hash: u64) -> usize {
        (hash >> 1 >> (63 - self.bits)) as usize
    }
}

/// The shards of one decision.
pub(super) struct Locked<'a> {
    shards: &'a Shards,
    guards: [Option<(usize, MutexGuard<'a, Book>)>; MAX_LOCKED],
}

impl Locked<'_> {
    /// The book of `hash`, which is one of those that were locked.
    pub(super) fn book(&mut self, hash: u64) -> Option<&mut Book> {
        let at = self.shards.shard_of(hash);
        self.guards
            .iter_mut()
            .flatten()
            .find(|(locked, _)| *locked == at)
            .map(|(_, guard)| &mut **guard)
    }
}

/// The shim: real locks, which cannot be poisoned, or those of a model checker.
#[cfg(not(all(test, keyward_loom)))]
mod sync {
    pub(super) use parking_lot::{Mutex, MutexGuard};

    #[inline]
    pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock()
    }
}

#[cfg(all(test, keyward_loom))]
mod sync {
    pub(super) use loom::sync::{Mutex, MutexGuard};

    pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
