//! Where answers are held: bounded, and free to lose any of them at any time.

use std::{
    hash::{BuildHasher, Hash, Hasher, RandomState},
    num::NonZeroU32,
    sync::Arc,
};

use keyward::{KeyHash, Lookup, Timestamp};
use moka::{ops::compute::Op, sync::Cache};
use parking_lot::RwLock;

use crate::{
    changes::Changes,
    held::{Absent, Known},
};

/// The records by the hashes of their secrets.
///
/// `moka` keeps the bound and chooses what stays. In front of it a table holds what was asked
/// for last, one record a place, because asking `moka` takes several times as long as
/// `MemoryStore` does: it reads a clock and writes down each question. What is held in either is
/// judged by its own stamps, so neither need be told of any change.
pub(crate) struct Secrets {
    last: Box<[RwLock<Option<Last>>]>,
    all: Cache<Digest, Arc<Known>, Seeded>,
}

struct Last {
    word: u64,
    known: Arc<Known>,
}

const MAX_PLACES: u32 = 65_536;

impl Secrets {
    pub(crate) fn new(max: NonZeroU32) -> Self {
        let places = max.get().min(MAX_PLACES).next_power_of_two();
        Self { last: (0..places).map(|_| RwLock::new(None)).collect(), all: cache(max) }
    }

    /// The record that has this secret, if it can still be answered.
    #[inline]
    pub(crate) fn get<R>(
        &self,
        hash: &KeyHash,
        changes: &Changes,
        now: impl Fn() -> Timestamp,
        then: impl Fn(&Known) -> R,
    ) -> Option<R> {
        let word = word(hash);
        let place = self.place(word);
        if let Some(place) = place.and_then(RwLock::try_read)
            && let Some(last) = &*place
            && last.word == word
            && last.known.has(hash)
            && last.known.serves(changes, now())
        {
            return Some(then(&last.known));
        }
        // The place is taken before `moka` is asked, so that what is put there is never older
        // than what `put` has put meanwhile.
        let mut place = place.and_then(RwLock::try_write);
        let known = self.all.get(&Digest(*hash))?;
        if !known.serves(changes, now()) {
            return None;
        }
        let answer = then(&known);
        let replaced = place.as_mut().and_then(|place| place.replace(Last { word, known }));
        // A record is freed here, outside of the lock.
        drop(place);
        drop(replaced);
        Some(answer)
    }

    /// Holds a record under all of its secrets, unless a later revision is there already: of
    /// two queries under way the one that read earlier may end later.
    pub(crate) fn put(&self, known: &Arc<Known>, changes: &Changes, now: Timestamp) {
        let record = known.found().record();
        for hash in record.hashes() {
            let newer = |there: &Known| {
                let held = there.found().record();
                held.id() == record.id()
                    && held.revision() > record.revision()
                    && there.serves(changes, now)
            };
            self.all.entry(Digest(*hash)).and_compute_with(|there| match there {
                Some(there) if newer(there.value()) => Op::Nop,
                _ => Op::Put(Arc::clone(known)),
            });
            let word = word(hash);
            let Some(mut place) = self.place(word).map(RwLock::write) else { continue };
            if place.as_ref().is_some_and(|last| last.known.has(hash) && newer(&last.known)) {
                continue;
            }
            let replaced = place.replace(Last { word, known: Arc::clone(known) });
            drop(place);
            drop(replaced);
        }
    }

    /// How many secrets are held, once what is pending has been done.
    pub(crate) fn len(&self) -> u64 {
        self.all.run_pending_tasks();
        self.all.entry_count()
    }

    /// Only keys that there are come here, so the digest's own bits can choose.
    #[inline]
    fn place(&self, word: u64) -> Option<&RwLock<Option<Last>>> {
        self.last.get((word as usize) & (self.last.len() - 1))
    }
}

/// The hashes that no key has.
pub(crate) struct Unknown(Cache<Digest, Absent, Seeded>);

impl Unknown {
    pub(crate) fn new(max: NonZeroU32) -> Self {
        Self(cache(max))
    }

    /// Whether none of the hashes asked for has a key. It is held by hash, since another
    /// verifier may ask for one of them together with others.
    pub(crate) fn covers(
        &self,
        lookup: &Lookup,
        changes: &Changes,
        now: impl Fn() -> Timestamp,
    ) -> bool {
        let is_absent = |hash: &KeyHash| {
            self.0.get(&Digest(*hash)).is_some_and(|absent| absent.serves(changes, now()))
        };
        lookup.hashes().all(is_absent)
    }

    pub(crate) fn put(&self, hash: &KeyHash, absent: Absent) {
        self.0.insert(Digest(*hash), absent);
    }

    pub(crate) fn len(&self) -> u64 {
        self.0.run_pending_tasks();
        self.0.entry_count()
    }
}

fn cache<V: Clone + Send + Sync + 'static>(max: NonZeroU32) -> Cache<Digest, V, Seeded> {
    Cache::builder().max_capacity(u64::from(max.get())).build_with_hasher(Seeded::new())
}

/// The first word of a digest, which is as good as random.
#[inline]
pub(crate) fn word(hash: &KeyHash) -> u64 {
    hash.digest().first_chunk().map_or(0, |word| u64::from_le_bytes(*word))
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Digest(KeyHash);

impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(word(&self.0));
    }
}

/// Hashes one word with a multiplication under a random key.
///
/// Anybody can look for tokens whose digests agree in a few bits, and have them remembered as
/// unknown. What agrees under a key that is not known cannot be looked for, but for digests
/// whose whole first words agree.
#[derive(Clone, Copy)]
struct Seeded {
    xor: u64,
    factor: u64,
}

impl Seeded {
    fn new() -> Self {
        let random = RandomState::new();
        Self { xor: random.hash_one(0), factor: random.hash_one(1) | 1 }
    }
}

impl BuildHasher for Seeded {
    type Hasher = Folded;

    #[inline]
    fn build_hasher(&self) -> Folded {
        Folded { seeded: *self, state: 0 }
    }
}

struct Folded {
    seeded: Seeded,
    state: u64,
}

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    #[inline]
    fn write_u64(&mut self, word: u64) {
        let wide = u128::from(self.state ^ word ^ self.seeded.xor);
        let product = wide * u128::from(self.seeded.factor);
        self.state = (product >> 64) as u64 ^ product as u64;
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.state
    }
}
