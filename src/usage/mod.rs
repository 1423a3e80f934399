//! How often each key was used and when last, until the host saves it.

use std::{
    collections::VecDeque,
    fmt,
    iter::Copied,
    slice,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    vec,
};

use hashbrown::HashTable;
use parking_lot::Mutex;

use crate::{clock::timestamp::Timestamp, key::id::KeyId};

/// Counts requests by key in memory, for the host to save in batches.
///
/// Usage is kept apart from [`KeyRecord`](crate::key::KeyRecord)s: the ledger deals in ids, counts
/// and instants alone, so saving usage cannot touch any other field of a key, bring back a
/// revoked one, or compete with a rotation for its revision. Save it in a table of its own,
/// by adding: `requests = requests + $2, last_used_at = GREATEST(last_used_at, $3)`.
///
/// Every request that [`UsageLedger::record`] says it counted is in exactly one place: the
/// ledger, or one drained batch. A host that failed to save a batch gives it back. Whether
/// to give back one whose saving may have succeeded after all is the host's choice between
/// counting twice and not at all. A batch that is dropped is lost, and so is what the ledger
/// holds when the process ends.
///
/// Recording takes one lock of 64, chosen by the id, and allocates nothing for a key that is
/// in the ledger already. At most [`UsageLedger::max_keys`] keys wait to be drained. At this
/// bound keys in the ledger are counted as before; requests of others are not, and
/// [`UsageLedger::uncounted`] says how many those were. Thousands of keys take at most 128
/// bytes each, and what was once allocated is kept for the next ones.
///
/// Ids are hashed without a secret seed: record those of verified keys, which were issued
/// here and not chosen by a caller.
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
    /// How many keys are in all shards, or are just being added or taken out.
    tracked: AtomicUsize,
    uncounted: AtomicU64,
    /// The shard with which the next batch begins.
    turn: AtomicUsize,
}

const SHARDS: usize = 64;

/// On cache lines of its own, so that neighbours do not slow each other down.
#[derive(Default)]
#[repr(align(128))]
struct Shard(Mutex<Waiting>);

/// How often a key was used, and when last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// How many requests there were; it stays at `u64::MAX` rather than overflow.
    pub requests: u64,
    /// The latest instant of one; `None` if there was none.
    pub last_used_at: Option<Timestamp>,
}

impl Usage {
    /// So many requests, the last one then.
    pub const fn new(requests: u64, last_used_at: Option<Timestamp>) -> Self {
        Self { requests, last_used_at }
    }

    /// Both together: counts add up, and the later use is the last one.
    ///
    /// For a listing, what was saved and what [`UsageLedger::get`] returns.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            // `None` is less than any instant.
            last_used_at: self.last_used_at.max(other.last_used_at),
        }
    }
}

impl UsageLedger {
    /// How many keys wait to be drained at most, unless it is set: 1,048,576.
    pub const DEFAULT_MAX_KEYS: u32 = 1_048_576;

    /// An empty ledger for [`UsageLedger::DEFAULT_MAX_KEYS`].
    pub fn new() -> Self {
        Self::with_max_keys(Self::DEFAULT_MAX_KEYS)
    }

    /// An empty ledger in which at most `max_keys` keys wait to be drained. Zero counts as 1.
    pub fn with_max_keys(max_keys: u32) -> Self {
        Self {
            shards: Box::new(std::array::from_fn(|_| Shard::default())),
            max_keys: max_keys.max(1) as usize,
            tracked: AtomicUsize::new(0),
            uncounted: AtomicU64::new(0),
            turn: AtomicUsize::new(0),
        }
    }

    /// Counts one request of a key at `now`. The answer is whether it was counted: it is not
    /// where the ledger is full and does not hold the key.
    ///
    /// A `now` that is earlier than another request's leaves the last use as it is.
    #[inline]
    pub fn record(&self, id: KeyId, now: Timestamp) -> bool {
        let counted = self.add(id, Usage::new(1, Some(now)));
        if !counted {
            self.count_uncounted();
        }
        counted
    }

    /// Takes out the usage of at most `limit` keys, those that came first before those that
    /// came later, as far as they share a lock; every key's turn comes.
    ///
    /// A batch that is shorter than `limit` was all there was. It holds each key once.
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

    /// Takes back a batch that was not saved: counts add to those that came meanwhile, and
    /// the later use remains the last one.
    ///
    /// The answer is what there is no place for, because the ledger is full of other keys
    /// now: empty unless the bound is reached. It is the host's to save or to give back later.
    pub fn give_back(&self, batch: UsageBatch) -> UsageBatch {
        let nothing = Usage::default();
        batch.into_iter().filter(|&(id, usage)| usage != nothing && !self.add(id, usage)).collect()
    }

    /// What was counted for a key and is not in a batch. For how often it was used in all,
    /// [`Usage::merge`] it with what was saved; a batch just being saved is in neither.
    pub fn get(&self, id: KeyId) -> Usage {
        let hash = spread(&id);
        let usage = self.shard(hash).and_then(|shard| shard.0.lock().get(hash, id));
        usage.unwrap_or_default()
    }

    /// How many keys wait to be drained.
    pub fn len(&self) -> usize {
        self.tracked.load(Ordering::Relaxed)
    }

    /// Whether no key waits to be drained.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The most keys that wait to be drained.
    pub const fn max_keys(&self) -> usize {
        self.max_keys
    }

    /// How many requests were not counted since the ledger was made, because it was full. If
    /// this grows, drain more often or allow more keys.
    pub fn uncounted(&self) -> u64 {
        self.uncounted.load(Ordering::Relaxed)
    }

    #[inline]
    fn add(&self, id: KeyId, usage: Usage) -> bool {
        let hash = spread(&id);
        let Some(shard) = self.shard(hash) else { return false };
        shard.0.lock().add(hash, id, usage, || self.reserve())
    }

    /// Takes one of the places for keys, if there is one.
    fn reserve(&self) -> bool {
        let reserved = self.tracked.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |tracked| {
            (tracked < self.max_keys).then_some(tracked + 1)
        });
        reserved.is_ok()
    }

    #[cold]
    fn count_uncounted(&self) {
        let add = |uncounted: u64| uncounted.checked_add(1);
        // An error is a counter that stands at its end, where it stays.
        let _end = self.uncounted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Chosen by bits of which the tables use neither the lowest nor the highest.
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

/// The usage of some keys, taken out of a [`UsageLedger`] to be saved.
///
/// It cannot be cloned, so that it is not counted twice by mistake. One that was saved in
/// part is taken apart, and what remains collected into a batch to give back.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use = "what was drained is saved, given back, or lost"]
pub struct UsageBatch(Vec<(KeyId, Usage)>);

impl UsageBatch {
    /// How many keys it has.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The keys with their usage.
    pub fn iter(&self) -> Copied<slice::Iter<'_, (KeyId, Usage)>> {
        self.0.iter().copied()
    }
}

impl IntoIterator for UsageBatch {
    type Item = (KeyId, Usage);
    type IntoIter = vec::IntoIter<(KeyId, Usage)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a UsageBatch {
    type Item = (KeyId, Usage);
    type IntoIter = Copied<slice::Iter<'a, (KeyId, Usage)>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl FromIterator<(KeyId, Usage)> for UsageBatch {
    fn from_iter<I: IntoIterator<Item = (KeyId, Usage)>>(usages: I) -> Self {
        Self(usages.into_iter().collect())
    }
}

/// The keys of one shard in the order in which they came.
///
/// Taking out the oldest first is what gives every key its turn: a table alone is emptied in
/// the order of its hashes, and a key behind busy ones might never leave it.
#[derive(Default)]
struct Waiting {
    queue: VecDeque<(KeyId, Usage)>,
    /// The number of the key at the head of the queue, counted from the beginning of time.
    head: u64,
    /// The numbers of the keys, by their ids' hashes.
    numbers: HashTable<u64>,
}

impl Waiting {
    /// Adds to what was counted for a key. One that is not there yet needs a place.
    #[inline]
    fn add(&mut self, hash: u64, id: KeyId, usage: Usage, place: impl FnOnce() -> bool) -> bool {
        if let Some(at) = self.find(hash, id)
            && let Some((_, counted)) = self.queue.get_mut(at)
        {
            *counted = counted.merge(usage);
            return true;
        }
        if !place() {
            return false;
        }
        let number = self.head.wrapping_add(self.queue.len() as u64);
        self.queue.push_back((id, usage));
        let (queue, head) = (&self.queue, self.head);
        self.numbers.insert_unique(hash, number, |&number| {
            queue.get(position(number, head)).map_or(0, |(id, _)| spread(id))
        });
        true
    }

    fn get(&self, hash: u64, id: KeyId) -> Option<Usage> {
        self.queue.get(self.find(hash, id)?).map(|&(_, usage)| usage)
    }

    fn take_oldest(&mut self) -> Option<(KeyId, Usage)> {
        let oldest = self.queue.pop_front()?;
        let number = self.head;
        if let Ok(entry) = self.numbers.find_entry(spread(&oldest.0), |&held| held == number) {
            entry.remove();
        }
        self.head = number.wrapping_add(1);
        Some(oldest)
    }

    /// Where a key stands in the queue.
    #[inline]
    fn find(&self, hash: u64, id: KeyId) -> Option<usize> {
        let is_it = |&number: &u64| {
            self.queue.get(position(number, self.head)).is_some_and(|(held, _)| *held == id)
        };
        self.numbers.find(hash, is_it).map(|&number| position(number, self.head))
    }
}

/// The place in the queue of the key with this number.
#[inline]
const fn position(number: u64, head: u64) -> usize {
    number.wrapping_sub(head) as usize
}

/// A hash that spreads ids over shards and slots: both halves multiplied, and the product
/// folded. Random ids need none, but a host may have taken over the numbers of its rows.
#[inline]
fn spread(id: &KeyId) -> u64 {
    let bits = u128::from_le_bytes(*id.as_bytes());
    // The fraction of pi in hexadecimal, so that no half of an id is likely to make a zero.
    let (low, high) = (bits as u64 ^ 0x243f_6a88_85a3_08d3, (bits >> 64) as u64);
    let product = u128::from(low) * u128::from(high ^ 0x1319_8a2e_0370_7344);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structured_ids_are_spread() {
        let families: [fn(u128) -> u128; 5] =
            [|i| i, |i| i << 64, |i| i << 116, |i| (i << 116).swap_bytes(), |i| i << 20 | i << 84];
        for (family, id) in families.iter().enumerate() {
            for shift in [0, 32, 57] {
                // 4,096 ids in 64 places: 64 each on average, and all in one if a hash is bad.
                let mut places = [0; 64];
                for i in 0..4_096 {
                    let id = KeyId::from_bytes(id(i).to_le_bytes());
                    places[(spread(&id) >> shift) as usize % 64] += 1;
                }
                let most = places.iter().max().unwrap();
                assert!(*most <= 192, "family {family}, shift {shift}: {most} in one place");
            }
        }
    }

    #[test]
    fn the_count_of_the_uncounted_stays_at_its_end() {
        let ledger = UsageLedger::with_max_keys(1);
        ledger.uncounted.store(u64::MAX - 1, Ordering::Relaxed);
        assert!(ledger.record(KeyId::from_bytes([0; 16]), Timestamp::ZERO));
        for _ in 0..3 {
            assert!(!ledger.record(KeyId::from_bytes([1; 16]), Timestamp::ZERO));
            assert_eq!(ledger.uncounted(), u64::MAX);
        }
    }

    /// What the documentation says of a key's memory, after much coming and going.
    #[test]
    fn a_key_takes_at_most_128_bytes() {
        let mut waiting = Waiting::default();
        for keys in [1_025_u64, 1_792, 1_793, 2_049, 3_584, 3_585] {
            for i in 0..20 * keys {
                if waiting.queue.len() as u64 >= keys {
                    waiting.take_oldest();
                }
                let id = KeyId::from_bytes((u128::from(i) * 0x9e37_79b9).to_le_bytes());
                assert!(waiting.add(spread(&id), id, Usage::new(1, None), || true));
            }
            let queue = waiting.queue.capacity() * size_of::<(KeyId, Usage)>();
            let bytes = queue + waiting.numbers.allocation_size();
            assert!(bytes as u64 <= 128 * keys, "{} for each of {keys}", bytes as u64 / keys);
        }
    }
}
