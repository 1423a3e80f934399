//! The cached records by the hashes of their secrets.

use std::sync::Arc;

use keyward::{Timestamp, key::KeyHash};
use moka::{ops::compute::Op, sync::Cache};
use parking_lot::RwLock;

use crate::{
    changes::Changes,
    digest::{Digest, Seeded, cache, word},
    held::Known,
};

/// The records by the hashes of their secrets. Any entry may be lost at any time.
///
/// `moka` enforces the bound and chooses what stays. Before it a table contains the secrets that
/// were looked up recently, because a lookup in `moka` takes several times as long as one in
/// `MemoryStore`: it reads a clock and records each access. An entry of either carries its own
/// stamps, so neither needs to be told of a change.
pub(crate) struct Secrets {
    recent: Box<[Line]>,
    all: Cache<Digest, Arc<Known>, Seeded>,
}

/// Some of the recent secrets, on one cache line together with their lock.
#[derive(Default)]
#[repr(align(64))]
struct Line(RwLock<Slots>);

#[derive(Default)]
struct Slots {
    slots: [Option<Slot>; 3],
    /// Counts the secrets that found no free slot.
    turned_away: u8,
}

struct Slot {
    word: u64,
    known: Arc<Known>,
}

const MAX_LINES: u32 = 65_536;
/// One of this many secrets that find a line full takes the slot of another. So if a line has
/// more than three secrets in use, most of the three stay and are found at once.
const PATIENCE: u8 = 16;

impl Secrets {
    pub(crate) fn new(max: u32) -> Self {
        let lines = max.div_ceil(2).min(MAX_LINES).next_power_of_two();
        Self { recent: (0..lines).map(|_| Line::default()).collect(), all: cache(max) }
    }

    /// Calls `then` with the record that has this secret, if it is cached and may be served. It
    /// never waits for a lock.
    #[inline]
    pub(crate) fn get<R>(
        &self,
        hash: &KeyHash,
        changes: &Changes,
        now: impl Fn() -> Timestamp,
        then: impl Fn(&Known) -> R,
    ) -> Option<R> {
        let word = word(hash);
        let line = self.line(word);
        if let Some(slots) = line.and_then(|line| line.0.try_read())
            && let Some(slot) = slots.find(word, hash)
            && slot.known.serves(changes, now())
        {
            return Some(then(&slot.known));
        }
        // The line is locked before `moka` is read, so that what is written to it is never older
        // than what `put` has written meanwhile.
        let mut slots = line.and_then(|line| line.0.try_write());
        let known = self.all.get(&Digest(*hash))?;
        if !known.serves(changes, now()) {
            return None;
        }
        let answer = then(&known);
        let replaced = slots.as_mut().and_then(|slots| slots.put(Slot { word, known }, PATIENCE));
        // A record is freed after the lock is released.
        drop(slots);
        drop(replaced);
        Some(answer)
    }

    /// Caches a record under all of its secrets, unless a later revision is cached.
    pub(crate) fn put(&self, known: &Arc<Known>, changes: &Changes, now: Timestamp) {
        let record = known.found().record();
        for hash in record.hashes() {
            self.all.entry(Digest(*hash)).and_compute_with(|there| match there {
                Some(there) if there.value().is_newer(record, changes, now) => Op::Nop,
                _ => Op::Put(Arc::clone(known)),
            });
            let word = word(hash);
            let Some(mut slots) = self.line(word).map(|line| line.0.write()) else { continue };
            let there = slots.find(word, hash);
            if there.is_some_and(|slot| slot.known.is_newer(record, changes, now)) {
                continue;
            }
            let replaced = slots.put(Slot { word, known: Arc::clone(known) }, 1);
            drop(slots);
            drop(replaced);
        }
    }

    /// Returns the number of cached secrets, after `moka` has done its pending work.
    pub(crate) fn len(&self) -> u64 {
        self.all.run_pending_tasks();
        self.all.entry_count()
    }

    /// Returns the line of a hash. Only hashes of real keys are stored, so the digest's own bits
    /// can choose it.
    #[inline]
    fn line(&self, word: u64) -> Option<&Line> {
        self.recent.get((word as usize) & (self.recent.len() - 1))
    }
}

impl Slots {
    #[inline]
    fn find(&self, word: u64, hash: &KeyHash) -> Option<&Slot> {
        let is = |slot: &&Slot| slot.word == word && slot.known.found().record().holds(hash);
        self.slots.iter().flatten().find(is)
    }

    /// Writes to the slot of the same secret, or to a free one. If there is neither, one of
    /// `patience` calls writes to the slot of another secret. Returns what is no longer there.
    fn put(&mut self, slot: Slot, patience: u8) -> Option<Slot> {
        let same = |there: &Option<Slot>| there.as_ref().is_some_and(|it| it.word == slot.word);
        let at = self.slots.iter().position(same);
        let at = at.or_else(|| self.slots.iter().position(Option::is_none)).unwrap_or_else(|| {
            self.turned_away = self.turned_away.wrapping_add(1);
            usize::from(self.turned_away / patience) % self.slots.len()
        });
        let is_full = self.slots.get(at).is_some_and(|it| it.is_some() && !same(it));
        if is_full && !self.turned_away.is_multiple_of(patience) {
            return Some(slot);
        }
        self.slots.get_mut(at)?.replace(slot)
    }
}
