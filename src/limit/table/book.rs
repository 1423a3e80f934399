//! The keys of one shard: when an entry is forgotten, and where a newcomer is counted while every
//! place is taken. It knows no lock.
//!
//! Entries lie densely in a vector, and the index in `index` finds them. When an entry is
//! forgotten, the last one moves into its place and the gap in the index closes. So churn leaves no
//! tombstones and never makes the table grow. A general hash map would double at its cap, which is
//! why this is none.

use std::{num::NonZeroU32, sync::Arc};

use crate::{
    limit::{
        decision::{Binding, MAX_LIMITS, WindowStatus},
        key::{KeyedHash, LimitKey},
        table::{
            overflow::{Begin, Overflow, Witnesses},
            tracked::{Stamps, TooManyWindows, Tracked},
        },
        window::{LONGEST_WAIT, Verdict},
    },
    quota::{Quota, quotas::Quotas},
};

/// The most keys of one shard: an index slot has 24 bits for the entry.
pub(in crate::limit) const MAX_ENTRIES: u32 = (1 << 24) - 2;

/// The tracked keys of one shard, and the overflow cells of the others.
///
/// `repr(C)` keeps the order of declaration, so that a decision touches the cache line of the lock
/// only.
#[derive(Debug)]
#[repr(C)]
pub(in crate::limit) struct Book {
    /// `tag << 24 | entry + 1`, or zero if empty. The length is a power of two.
    pub(super) index: Box<[u32]>,
    pub(super) entries: Vec<Entry>,
    pub(super) hash: Arc<KeyedHash>,
    pub(super) max_entries: u32,
    /// The entry that the sweep of idle keys visits next.
    hand: usize,
    /// The latest two different instants at which a key or a shape was new: see
    /// [`Book::witnesses`].
    arrivals: [u64; 2],
    /// No window that was forgotten here counted anything at this instant or later. A key that
    /// begins anew begins no earlier.
    floor: u64,
    /// The latest era: each new one is one more.
    era: u32,
    overflow: Overflow,
}

/// A key and its windows: one cache line.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Entry {
    /// The parts of a [`LimitKey`], separate so that `era` fills the line.
    body: [u64; 2],
    head: NonZeroU32,
    /// Changes when stamps handed out before lose their meaning, so that an old ticket cannot take
    /// back the charge of another request.
    era: u32,
    tracked: Tracked,
}

const _: () = assert!(size_of::<Entry>() == 64, "an entry is one cache line");

impl Entry {
    pub(super) const fn key(&self) -> LimitKey {
        LimitKey { body: self.body, head: self.head }
    }
}

/// The place and time at which an admission was counted.
#[derive(Debug)]
pub(in crate::limit) struct Receipt {
    era: u32,
    stamps: Stamps,
}

impl Book {
    pub(super) fn new(max_entries: u32, hash: Arc<KeyedHash>) -> Self {
        let max_entries = max_entries.clamp(1, MAX_ENTRIES);
        Self {
            index: Box::default(),
            entries: Vec::new(),
            hash,
            max_entries,
            hand: 0,
            arrivals: [0; 2],
            floor: 0,
            era: 0,
            overflow: Overflow::new(max_entries),
        }
    }

    pub(in crate::limit) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Decides, and charges if allowed: the short path of a tracked key with one exact window.
    /// Returns `None` and changes nothing where [`Book::check_slowly`] is needed.
    #[inline]
    pub(in crate::limit) fn check(
        &mut self,
        hash: u64,
        key: &LimitKey,
        quota: &Quota,
        cost: u32,
        now: u64,
    ) -> Option<Verdict> {
        let at = self.find(hash, key)?;
        match &mut self.entries.get_mut(at)?.tracked {
            Tracked::One(window) => window.check(quota, cost, now),
            Tracked::Many(_) => None,
        }
    }

    /// Decides, and charges if allowed: [`Book::judge`] and [`Book::record`] in one.
    #[cold]
    pub(in crate::limit) fn check_slowly(
        &mut self,
        hash: u64,
        key: &LimitKey,
        quotas: &Quotas,
        cost: u32,
        now: u64,
    ) -> Result<Binding, TooManyWindows> {
        let binding = self.judge(hash, key, quotas, cost, now)?;
        if binding.allowed {
            self.record(hash, key, quotas, cost, now);
        }
        Ok(binding)
    }

    /// Decides by the key's windows, which follow the clock. Charges nothing.
    pub(in crate::limit) fn judge(
        &mut self,
        hash: u64,
        key: &LimitKey,
        quotas: &Quotas,
        cost: u32,
        now: u64,
    ) -> Result<Binding, TooManyWindows> {
        if let Some(at) = self.find(hash, key) {
            return self.judge_tracked(at, key, quotas, cost, now);
        }
        let witnesses = self.sweep(now);
        let begin = self.begin(now);
        self.overflow.settle(&self.hash, key, quotas, begin);
        let binding = self.judge_newcomer(key, quotas, cost, begin);
        if binding.allowed && !begin.in_table && !self.overflow.has_sets_for(quotas) {
            self.floor = self.floor.max(self.overflow.drop_idle_sets(witnesses));
            if !self.overflow.has_sets_for(quotas) {
                return Ok(self.overflow.without_set(quotas, now));
            }
        }
        Ok(binding)
    }

    fn judge_tracked(
        &mut self,
        at: usize,
        key: &LimitKey,
        quotas: &Quotas,
        cost: u32,
        now: u64,
    ) -> Result<Binding, TooManyWindows> {
        let begin = self.begin(now);
        let counted = |quota: &Quota| self.overflow.counted_window(&self.hash, key, quota, begin);
        let Some(entry) = self.entries.get_mut(at) else { return Err(TooManyWindows) };
        let (mut earlier, mut floor) = (0, 0);
        if quotas.as_slice().iter().any(|quota| entry.tracked.of(quota).is_none()) {
            earlier = witnesses(&mut self.arrivals, now).earlier;
            floor = self.floor;
            let dropped = entry.tracked.fit(quotas, now, earlier, floor, counted)?;
            self.floor = self.floor.max(dropped.unwrap_or_default());
        }
        if entry.tracked.settle(quotas, now) {
            entry.era = next_era(&mut self.era);
        }
        entry.tracked.judge(quotas, cost, now, earlier, floor, counted)
    }

    /// Returns the decision of [`Book::judge`] and changes nothing.
    pub(in crate::limit) fn peek(
        &self,
        hash: u64,
        key: &LimitKey,
        quotas: &Quotas,
        cost: u32,
        now: u64,
    ) -> Result<Binding, TooManyWindows> {
        let Witnesses { earlier, .. } = witnesses(&mut self.arrivals.clone(), now);
        let counted =
            |quota: &Quota| self.overflow.counted_window(&self.hash, key, quota, self.begin(now));
        match self.find(hash, key).and_then(|at| self.entries.get(at)) {
            Some(entry) => entry.tracked.judge(quotas, cost, now, earlier, self.floor, counted),
            None => Ok(self.judge_newcomer(key, quotas, cost, self.begin(now))),
        }
    }

    /// Returns the state of each window, and changes nothing.
    pub(in crate::limit) fn status(
        &self,
        hash: u64,
        key: &LimitKey,
        quotas: &Quotas,
        now: u64,
    ) -> Result<Vec<WindowStatus>, TooManyWindows> {
        // Under such a quota a cost of 0 is always allowed, and the instant is that of the oldest.
        let unlimited =
            |quota: &Quota| Quota::from_parts(u32::MAX, quota.window_millis(), quota.precision());
        let tracked = self.find(hash, key).and_then(|at| self.entries.get(at));
        let counted =
            |quota: &Quota| self.overflow.counted_window(&self.hash, key, quota, self.begin(now));
        let state = |quota: &Quota| {
            let asked = unlimited(quota);
            let verdict = match tracked {
                Some(entry) => entry.tracked.verdict(quota, &asked, now, self.floor, counted),
                None => self.overflow.verdict(&self.hash, key, &asked, 0, self.begin(now)),
            };
            WindowStatus::of(quota, verdict, now)
        };
        if let Some(entry) = tracked {
            let Witnesses { earlier, .. } = witnesses(&mut self.arrivals.clone(), now);
            entry.tracked.room(quotas, earlier)?;
        }
        Ok(quotas.as_slice().iter().map(state).collect())
    }

    /// Decides by the admissions that a newcomer may have in overflow.
    fn judge_newcomer(&self, key: &LimitKey, quotas: &Quotas, cost: u32, begin: Begin) -> Binding {
        let bindings = quotas.as_slice().iter().map(|quota| {
            let verdict = self.overflow.verdict(&self.hash, key, quota, cost, begin);
            Binding::of(quota, verdict, cost)
        });
        bindings.reduce(Binding::and).unwrap_or_else(|| Binding::without_place(quotas, begin.now))
    }

    /// Returns when a newcomer begins, and whether the table has a place for every key of one
    /// decision, as each is judged before any is recorded.
    fn begin(&self, now: u64) -> Begin {
        let in_table = self.entries.len() + MAX_LIMITS <= self.max_entries as usize;
        Begin { now, floor: self.floor, in_table }
    }

    /// Charges a request that [`Book::judge`] allowed at the same `now` under the same lock. Returns
    /// `None` if it was counted in overflow, where a charge cannot be taken back.
    pub(in crate::limit) fn record(
        &mut self,
        hash: u64,
        key: &LimitKey,
        quotas: &Quotas,
        cost: u32,
        now: u64,
    ) -> Option<Receipt> {
        let at = match self.find(hash, key) {
            Some(at) => Some(at),
            None => self.insert(hash, key, quotas, now),
        };
        let Some(entry) = at.and_then(|at| self.entries.get_mut(at)) else {
            let [previous, latest] = self.arrivals;
            let witnesses =
                Witnesses { earlier: previous.min(latest), later: previous.max(latest) };
            let begin = self.begin(now);
            let end = self.overflow.record(&self.hash, key, quotas, cost, begin, witnesses);
            self.floor = self.floor.max(end);
            return None;
        };
        let stamps = entry.tracked.record(quotas, cost, now);
        Some(Receipt { era: entry.era, stamps })
    }

    /// Takes a charge back in each window where it still counts. Returns whether any did.
    pub(in crate::limit) fn refund(
        &mut self,
        hash: u64,
        key: &LimitKey,
        receipt: &Receipt,
        cost: u32,
    ) -> bool {
        self.find(hash, key)
            .and_then(|at| self.entries.get_mut(at))
            .filter(|entry| entry.era == receipt.era)
            .is_some_and(|entry| entry.tracked.refund(&receipt.stamps, cost))
    }

    /// Forgets a key. Returns whether it was tracked.
    pub(in crate::limit) fn reset(&mut self, hash: u64, key: &LimitKey) -> bool {
        let found = self.find(hash, key);
        if let Some(at) = found {
            self.remove(at);
        }
        found.is_some()
    }

    /// Drops idle entries among the next few. Entries in the future of the clock follow it. Returns
    /// the two witnesses.
    fn sweep(&mut self, now: u64) -> Witnesses {
        let witnesses @ Witnesses { earlier, later } = witnesses(&mut self.arrivals, now);
        // Both witnesses are behind, and none of them is later than a wait can make it.
        if self.floor > later.saturating_add(LONGEST_WAIT) {
            self.floor = later;
        }
        for _ in 0..if self.is_full() { SWEEP_WHEN_FULL } else { SWEEP } {
            if self.hand >= self.entries.len() {
                self.hand = 0;
            }
            let Some(entry) = self.entries.get_mut(self.hand) else { break };
            if entry.tracked.idle(earlier) {
                self.floor = self.floor.max(entry.tracked.end());
                self.remove(self.hand);
                continue;
            }
            if entry.tracked.follow(later) {
                entry.era = next_era(&mut self.era);
            }
            self.hand += 1;
        }
        witnesses
    }

    /// Inserts an entry for a newcomer, which inherits its admissions in overflow. Returns `None` if
    /// all places are taken by keys that are not idle.
    fn insert(&mut self, hash: u64, key: &LimitKey, quotas: &Quotas, now: u64) -> Option<usize> {
        if self.is_full() {
            return None;
        }
        let tracked = Tracked::with(quotas, |quota| {
            self.overflow.window(&self.hash, key, quota, self.begin(now))
        });
        self.make_room();
        let at = self.entries.len();
        let era = next_era(&mut self.era);
        self.entries.push(Entry { body: key.body, head: key.head, era, tracked });
        self.link(hash, at);
        Some(at)
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= self.max_entries as usize
    }
}

/// The number of entries that an insertion visits in search of idle ones: more than one, so that
/// the sweep outruns the insertions.
const SWEEP: usize = 2;
const SWEEP_WHEN_FULL: usize = 4;

/// Returns the earlier and the later of two witnesses of the time: `now`, and the latest other
/// instant at which something was new.
///
/// One bad `now` must not forget the limits of others. So a window is forgotten if both witnesses
/// find it idle, and it is in the future if both are behind it.
fn witnesses(arrivals: &mut [u64; 2], now: u64) -> Witnesses {
    let [previous, latest] = *arrivals;
    if now != latest {
        *arrivals = [latest, now];
    }
    let other = if now == latest { previous } else { latest };
    Witnesses { earlier: now.min(other), later: now.max(other) }
}

/// Begins a new era.
fn next_era(era: &mut u32) -> u32 {
    *era = era.wrapping_add(1);
    *era
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_767_323_045_678;

    fn quotas() -> Quotas {
        Quotas::single(Quota::per_second(3))
    }

    proptest! {
        /// Under any churn the index finds exactly the keys that were entered and not removed.
        #[test]
        fn the_index_agrees_with_a_map(steps in prop::collection::vec((0..60_u8, any::<bool>()), 1..400)) {
            let hash = Arc::new(KeyedHash::new([1; 16]));
            let mut book = Book::new(40, Arc::clone(&hash));
            let mut model = HashMap::new();
            for (number, enter) in steps {
                let key = LimitKey::key([number; 16]);
                let place = hash.place(&key);
                if !enter {
                    prop_assert_eq!(book.reset(place, &key), model.remove(&number).is_some());
                } else if book.find(place, &key).is_none() && model.len() < 40 {
                    let receipt = book.record(place, &key, &quotas(), 1, NOW);
                    model.insert(number, receipt.unwrap().era);
                }
                prop_assert_eq!(book.len(), model.len());
                for number in 0..60 {
                    let key = LimitKey::key([number; 16]);
                    let found = book.find(hash.place(&key), &key);
                    let era = found.and_then(|at| book.entries.get(at)).map(|entry| entry.era);
                    prop_assert_eq!(era, model.get(&number).copied());
                }
            }
        }
    }

    /// One bad `now` neither forgets anybody nor leaves anybody in the future for ever.
    #[test]
    fn one_bad_now_does_not_poison_the_sweep() {
        let hash = Arc::new(KeyedHash::new([1; 16]));
        let mut book = Book::new(4, Arc::clone(&hash));
        let mut check = |number: u8, now: u64| {
            let key = LimitKey::key([number; 16]);
            book.check_slowly(hash.place(&key), &key, &quotas(), 3, now).unwrap().allowed
        };
        let year = 365 * 86_400_000;
        assert!(check(1, NOW));
        // A newcomer a year ahead, then one in the present: the first key is still limited.
        assert!(check(2, NOW + year));
        assert!(check(3, NOW + 1));
        assert!(!check(1, NOW + 999), "forgotten");
        assert!(check(1, NOW + 1_000));
        // The key that was left a year ahead is swept like any other: its place is free.
        for step in 0..20_u64 {
            check(4 + step as u8, NOW + 10_000 * (step + 1));
        }
        let key = LimitKey::key([2; 16]);
        assert_eq!(book.find(hash.place(&key), &key), None);
    }
}
