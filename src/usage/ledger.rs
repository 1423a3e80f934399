//! The ledger: counts in memory until the host drains them.

use std::{
    fmt,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use crate::{
    clock::timestamp::Timestamp,
    key::id::KeyId,
    sync::Mutex,
    usage::{
        batch::{Usage, UsageBatch},
        minutes::Minutes,
        waiting::spread,
    },
};

/// Counts requests by key in memory, for the host to save in batches.
///
/// Usage is separate from [`KeyRecord`](crate::key::KeyRecord)s: the ledger has only ids, counts and
/// instants. So saving usage cannot change any other field of a key, restore a revoked one, or
/// compete with a rotation for its revision. Save it in a table of its own, by adding:
/// `requests = requests + $2, last_used_at = GREATEST(last_used_at, $3)`.
///
/// Every request for which [`UsageLedger::record`] returns true is in exactly one place: the ledger
/// or one drained batch. A host that failed to save a batch gives it back. If a save failed and may
/// still have succeeded, giving the batch back may count it twice, and dropping it may lose it; that
/// choice is the host's. A dropped batch is lost, and so are the counts in the ledger when the
/// process ends.
///
/// Keys are kept apart by the minute of their use, so that usage by minute, hour and day is right
/// however late it is saved.
///
/// Recording takes one lock of 64, chosen by the id, and allocates nothing for a key that is already
/// in the ledger in this minute.
///
/// An entry is a key in one minute. At most [`UsageLedger::max_keys`] entries wait to be drained. At
/// this bound keys in the ledger are still counted, in another minute. Requests of other keys are not,
/// and [`UsageLedger::uncounted`] returns their number. An entry takes at most 128 bytes where each
/// lock has more than a thousand entries of a minute. With fewer it takes more, because each minute of
/// a lock has a table of its own. Allocated memory is kept for later entries.
///
/// Ids are hashed without a secret seed, so record only ids of verified keys, which a caller cannot
/// choose.
///
/// ```
/// use keyward::{key::KeyId, usage::UsageLedger, Timestamp};
///
/// let ledger = UsageLedger::new();
/// let (id, now) = (KeyId::from_bytes([1; 16]), Timestamp::from_unix_secs(1_700_000_000));
/// ledger.record(id, now);
/// ledger.record(id, now);
/// assert_eq!(ledger.get(id).requests, 2);
///
/// // Every few seconds, until a batch comes that is not full:
/// let batch = ledger.drain(1_000);
/// assert_eq!(batch.iter().map(|(_, usage)| usage.requests).sum::<u64>(), 2);
/// let saved = false; // the database was away
/// if !saved {
///     let left_over = ledger.give_back(batch);
///     assert!(left_over.is_empty());
/// }
/// assert_eq!(ledger.get(id).requests, 2);
/// ```
pub struct UsageLedger {
    shards: Box<[Shard; SHARDS]>,
    max_keys: usize,
    /// The number of keys in all shards, each counted once a minute, including those that are just
    /// being added or taken out.
    tracked: AtomicUsize,
    uncounted: AtomicU64,
    /// The shard with which the next batch begins.
    turn: AtomicUsize,
}

const SHARDS: usize = 64;

/// A shard on cache lines of its own, so that neighbours do not slow each other down.
#[derive(Default)]
#[repr(align(128))]
struct Shard(Mutex<Minutes>);

impl UsageLedger {
    /// The default maximum number of keys that wait to be drained: 1,048,576.
    pub const DEFAULT_MAX_KEYS: u32 = 1_048_576;

    /// Builds an empty ledger for [`UsageLedger::DEFAULT_MAX_KEYS`].
    pub fn new() -> Self {
        Self::with_max_keys(Self::DEFAULT_MAX_KEYS)
    }

    /// Builds an empty ledger in which at most `max_keys` keys wait to be drained. Zero counts as 1.
    pub fn with_max_keys(max_keys: u32) -> Self {
        Self {
            shards: Box::new(std::array::from_fn(|_| Shard::default())),
            max_keys: max_keys.max(1) as usize,
            tracked: AtomicUsize::new(0),
            uncounted: AtomicU64::new(0),
            turn: AtomicUsize::new(0),
        }
    }

    /// Counts one request of a key at `now`. Returns false if it was not counted, because the ledger is
    /// full and does not hold the key.
    ///
    /// A `now` before the last use leaves the last use unchanged.
    #[inline]
    pub fn record(&self, id: KeyId, now: Timestamp) -> bool {
        let counted = self.add(id, Usage::new(1, Some(now)));
        if !counted {
            self.count_uncounted();
        }
        counted
    }

    /// Takes out the usage of at most `limit` keys. Of the keys that share a lock, earlier ones come
    /// first, and no key waits for ever.
    ///
    /// A batch shorter than `limit` contains everything that waited. It contains a key once for each
    /// minute in which it was used: that of its [`Usage::last_used_at`].
    pub fn drain(&self, limit: usize) -> UsageBatch {
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut batch = Vec::with_capacity(limit.min(self.len()));
        for at in 0..SHARDS {
            if batch.len() >= limit {
                break;
            }
            let Some(shard) = self.shards.get(first.wrapping_add(at) % SHARDS) else { continue };
            let before = batch.len();
            let mut waiting = shard.0.lock();
            while batch.len() < limit
                && let Some(oldest) = waiting.take_oldest()
            {
                batch.push(oldest);
            }
            drop(waiting);
            self.tracked.fetch_sub(batch.len() - before, Ordering::Relaxed);
        }
        UsageBatch(batch)
    }

    /// Takes back a batch that was not saved. Counts are added to newer ones, and the later use remains
    /// the last one.
    ///
    /// Returns the keys for which there is no place, because the ledger is now full of other keys. It
    /// is empty unless the bound is reached, and the host saves it or gives it back later.
    pub fn give_back(&self, batch: UsageBatch) -> UsageBatch {
        let nothing = Usage::default();
        batch.into_iter().filter(|&(id, usage)| usage != nothing && !self.add(id, usage)).collect()
    }

    /// Takes back a batch. Requests for which there is no place count as uncounted.
    pub(super) fn give_back_or_uncount(&self, batch: UsageBatch) {
        for (_, usage) in self.give_back(batch) {
            let add = |uncounted: u64| Some(uncounted.saturating_add(usage.requests));
            let _always = self.uncounted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        }
    }

    /// Returns the usage of a key that is not in a batch. For the total, [`Usage::merge`] it with the
    /// saved usage. A batch that is just being saved is in neither.
    pub fn get(&self, id: KeyId) -> Usage {
        let hash = spread(&id);
        let usage = self.shard(hash).and_then(|shard| shard.0.lock().get(hash, id));
        usage.unwrap_or_default()
    }

    /// Returns the number of keys that wait to be drained, each counted once for each minute in which
    /// it was used.
    pub fn len(&self) -> usize {
        self.tracked.load(Ordering::Relaxed)
    }

    /// Returns whether no key waits to be drained.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the maximum number of keys that wait to be drained.
    pub const fn max_keys(&self) -> usize {
        self.max_keys
    }

    /// Returns the number of requests that were not counted since the ledger was built, because it was
    /// full. If it grows, drain more often or allow more keys.
    pub fn uncounted(&self) -> u64 {
        self.uncounted.load(Ordering::Relaxed)
    }

    #[inline]
    fn add(&self, id: KeyId, usage: Usage) -> bool {
        let hash = spread(&id);
        let Some(shard) = self.shard(hash) else { return false };
        shard.0.lock().add(hash, id, usage, || self.reserve())
    }

    /// Takes one of the places for keys. Returns whether there was one.
    fn reserve(&self) -> bool {
        let reserved = self.tracked.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |tracked| {
            (tracked < self.max_keys).then_some(tracked + 1)
        });
        reserved.is_ok()
    }

    #[cold]
    fn count_uncounted(&self) {
        let add = |uncounted: u64| uncounted.checked_add(1);
        // An error means that the counter is at its maximum, where it stays.
        let _end = self.uncounted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Returns the shard of a hash, chosen by middle bits: tables use the lowest and highest.
    #[inline]
    fn shard(&self, hash: u64) -> Option<&Shard> {
        self.shards.get((hash >> 32) as usize % SHARDS)
    }
}

impl Default for UsageLedger {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for UsageLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UsageLedger")
            .field("keys", &self.len())
            .field("max_keys", &self.max_keys)
            .field("uncounted", &self.uncounted())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_of_uncounted_requests_saturates() {
        let ledger = UsageLedger::with_max_keys(1);
        ledger.uncounted.store(u64::MAX - 1, Ordering::Relaxed);
        assert!(ledger.record(KeyId::from_bytes([0; 16]), Timestamp::ZERO));
        for _ in 0..3 {
            assert!(!ledger.record(KeyId::from_bytes([1; 16]), Timestamp::ZERO));
            assert_eq!(ledger.uncounted(), u64::MAX);
        }
    }
}
