//! Overflow: counts newcomers while every place in the table is taken by a key that is not idle.
//!
//! A *cell* of 16 bytes is a small coarse window: a fingerprint, and the number of requests admitted
//! in each of the last four thirds of the window. Each third counts until its last millisecond has
//! left. A newcomer has a cell of its own while one of eight is free (two lines of four, chosen by
//! its hash), and otherwise shares one. In both cases the cell counts at least the newcomer's
//! admissions. So no limit is exceeded and none is reset; sharing and thirds only refuse too early.

use crate::{
    limit::{
        key::{KeyedHash, LimitKey},
        table::tracked::Tracked,
        window::Window,
    },
    quota::{Quota, Quotas},
};

/// The number of quotas that can have cells at once. One decision on several keys of several
/// windows may exceed it.
const MAX_SETS: usize = 8;

/// Cells for each entry of the table. At nine times the cap two thirds are in use, and up to that
/// every newcomer still finds a cell of its own.
const CELLS_PER_ENTRY: u32 = 12;

/// Each set has one shared cell for this number of entries of the table.
const ENTRIES_PER_SHARED_CELL: u32 = 4;

const LINE: usize = 4;

/// The cells of one shard.
#[derive(Debug)]
pub(super) struct Overflow {
    /// The lines of private cells, allocated when first needed. A cell is `[tag, number of the
    /// newest third, two counts, two counts]`, newest count first. It is a plain array because the
    /// system provides zeroed memory for free.
    cells: Box<[[u32; 4]]>,
    sets: Vec<Set>,
    max_entries: u32,
}

/// The cells of one quota.
#[derive(Debug)]
struct Set {
    quota: Quota,
    /// A part of the tags of the private cells, different for each set.
    number: u32,
    /// The latest `now` of a charge.
    last: u64,
    shared: Box<[[u32; 4]]>,
}

/// The cell of a newcomer under one quota.
#[derive(Clone, Copy)]
enum Place {
    Private(usize),
    Shared(usize),
}

impl Overflow {
    pub(super) fn new(max_entries: u32) -> Self {
        Self { cells: Box::default(), sets: Vec::new(), max_entries }
    }

    /// Builds the first windows of a newcomer, with the admissions that it may have here.
    pub(super) fn windows(
        &self,
        hash: &KeyedHash,
        key: &LimitKey,
        quotas: &Quotas,
        now: u64,
    ) -> Tracked {
        if self.sets.is_empty() {
            return Tracked::new(quotas);
        }
        Tracked::with(quotas, |quota| {
            let mut window = Window::new(quota);
            if let Some(set) = self.sets.iter().find(|set| set.quota == *quota)
                && let Some(place) = self.place(set, hash.share(key, set.number), now, false)
                && let Some(cell) = self.cell(set, place)
            {
                let thirds = Thirds::of(quota);
                let now = thirds.effective(cell, now);
                for age in (0..4).rev() {
                    // No admission is later than `now`, even if its third ends later.
                    let units = thirds.units(cell, age, now).saturating_mul(thirds.scale);
                    window.count(quota, thirds.end(age, now).min(now), units);
                }
            }
            window
        })
    }

    /// Returns whether a newcomer could be counted here.
    pub(super) fn has_set_for(&self, quotas: &Quotas) -> bool {
        let known = |quota: &Quota| self.sets.iter().any(|set| set.quota == *quota);
        self.sets.len() < MAX_SETS || quotas.as_slice().iter().all(known)
    }

    /// Drops each set in which nothing counts for any `now` up to one window behind.
    pub(super) fn drop_idle_sets(&mut self, now: u64) {
        let idle = |set: &Set| now.saturating_sub(set.last) >= 3 * set.quota.window_millis();
        for set in self.sets.extract_if(.., |set| idle(set)) {
            for cell in &mut self.cells {
                if set.owns(cell) {
                    *cell = [0; 4];
                }
            }
        }
        if self.sets.is_empty() {
            self.cells = Box::default();
        }
    }

    /// Counts an admission of a newcomer.
    pub(super) fn record(
        &mut self,
        hash: &KeyedHash,
        key: &LimitKey,
        quotas: &Quotas,
        cost: u32,
        now: u64,
    ) {
        for quota in quotas.as_slice() {
            if self.cells.is_empty() {
                let lines = self.max_entries.saturating_mul(CELLS_PER_ENTRY).div_ceil(LINE as u32);
                self.cells = vec![[0; 4]; lines as usize * LINE].into_boxed_slice();
            }
            if !self.sets.iter().any(|set| set.quota == *quota) {
                self.add_set(quota, now);
            }
            let Some(set) = self.sets.iter().find(|set| set.quota == *quota) else { continue };
            let share = hash.share(key, set.number);
            let tag = set.tag(share);
            let Some(place) = self.place(set, share, now, true) else { continue };
            let Some(set) = self.sets.iter_mut().find(|set| set.quota == *quota) else { continue };
            set.last = set.last.max(now);
            let cell = match place {
                Place::Private(at) => self.cells.get_mut(at),
                Place::Shared(at) => set.shared.get_mut(at),
            };
            if let Some(cell) = cell {
                Thirds::of(quota).add(cell, tag, cost, now);
            }
        }
    }

    fn add_set(&mut self, quota: &Quota, now: u64) {
        let numbers = 1..=self.sets.len() as u32 + 1;
        let free = |number: &u32| self.sets.iter().all(|set| set.number != *number);
        let number = numbers.into_iter().find(free).unwrap_or(1);
        let cells = self.max_entries.div_ceil(ENTRIES_PER_SHARED_CELL) as usize;
        let shared = vec![[0; 4]; cells].into_boxed_slice();
        self.sets.push(Set { quota: *quota, number, last: now, shared });
    }

    /// Returns the cell in which a newcomer may have been counted. Without one, returns the cell in
    /// which it will be counted if it is `to_count`.
    ///
    /// While its shared cell counts, a newcomer stays there, because it may have been counted there.
    /// Only afterwards may it claim a private cell.
    fn place(&self, set: &Set, hash: u64, now: u64, to_count: bool) -> Option<Place> {
        let lines = [self.line(hash as u32), self.line((hash >> 32) as u32)];
        let tag = set.tag(hash);
        for first in lines {
            for at in first..first + LINE {
                if self.cells.get(at).is_some_and(|cell| cell[0] == tag && self.counts(cell, now)) {
                    return Some(Place::Private(at));
                }
            }
        }
        let shared = spread(hash.rotate_left(20) as u32, set.shared.len());
        if set.shared.get(shared).is_some_and(|cell| Thirds::of(&set.quota).counts(cell, now)) {
            return Some(Place::Shared(shared));
        }
        if !to_count {
            return None;
        }
        let mut most_free = (0, None);
        for first in lines {
            let mut free = (first..first + LINE)
                .filter(|&at| self.cells.get(at).is_some_and(|cell| !self.counts(cell, now)));
            let some = free.next();
            let count = usize::from(some.is_some()) + free.count();
            if count > most_free.0 {
                most_free = (count, some);
            }
        }
        Some(most_free.1.map_or(Place::Shared(shared), Place::Private))
    }

    fn cell(&self, set: &Set, place: Place) -> Option<[u32; 4]> {
        match place {
            Place::Private(at) => self.cells.get(at).copied(),
            Place::Shared(at) => set.shared.get(at).copied(),
        }
    }

    /// Returns whether anything counts in a private cell of any set.
    fn counts(&self, cell: &[u32; 4], now: u64) -> bool {
        let set = self.sets.iter().find(|set| set.owns(cell));
        set.is_some_and(|set| Thirds::of(&set.quota).counts(cell, now))
    }

    /// Returns the first cell of the line that `hash` chooses.
    fn line(&self, hash: u32) -> usize {
        spread(hash, self.cells.len() / LINE) * LINE
    }
}

impl Set {
    /// Returns the tag of a key's private cell: 27 bits of its hash and the number of the set. Two
    /// keys with the same tag and line share the cell.
    fn tag(&self, hash: u64) -> u32 {
        (hash >> 16) as u32 & 0x07ff_ffff | self.number << 27
    }

    fn owns(&self, cell: &[u32; 4]) -> bool {
        cell[0] >> 27 == self.number
    }
}

/// Scales 32 bits of a hash to a number below `len`.
fn spread(hash: u32, len: usize) -> usize {
    ((u64::from(hash) * len as u64) >> 32) as usize
}

/// Reads and writes the cells of one quota. Fewer than three thirds lie within the window. With one
/// that is ending and one that has begun, four counts are enough.
struct Thirds {
    third: u64,
    window: u64,
    /// The number of requests that one unit of a count represents: more than one only if the limit
    /// does not fit into 16 bits. A cost is rounded up, and a full count exceeds the limit.
    scale: u32,
}

impl Thirds {
    fn of(quota: &Quota) -> Self {
        let window = quota.window_millis();
        Self { third: window / 3 + 1, window, scale: quota.limit() / FULL + 1 }
    }

    /// Returns the effective time. A `now` up to a window behind the newest third counts as the begin
    /// of that third. Further behind, the newest third becomes that of `now`.
    fn effective(&self, cell: [u32; 4], now: u64) -> u64 {
        let ahead = cell[1].wrapping_sub((now / self.third) as u32) as i32;
        if (1..=3).contains(&ahead) { (now / self.third + ahead as u64) * self.third } else { now }
    }

    /// Returns the units of the third that began `age` thirds ago, if they still count at the
    /// effective time `now`.
    fn units(&self, cell: [u32; 4], age: u64, now: u64) -> u32 {
        if self.end(age, now) + self.window <= now {
            return 0;
        }
        let newest = ((now / self.third) as u32).wrapping_sub(cell[1]);
        if newest > i32::MAX as u32 {
            // The clock was set back: everything that counted then counts as of now.
            return if age == 0 { (0..4).map(|slot| count(cell, slot)).sum() } else { 0 };
        }
        let slot = age.wrapping_sub(u64::from(newest));
        if slot < 4 { count(cell, slot as u32) } else { 0 }
    }

    /// Returns the last millisecond of the third that began `age` thirds ago.
    fn end(&self, age: u64, now: u64) -> u64 {
        ((now / self.third + 1) * self.third).saturating_sub(age * self.third + 1)
    }

    fn counts(&self, cell: &[u32; 4], now: u64) -> bool {
        let now = self.effective(*cell, now);
        (0..4).any(|age| self.units(*cell, age, now) > 0)
    }

    fn add(&self, cell: &mut [u32; 4], tag: u32, cost: u32, now: u64) {
        let now = self.effective(*cell, now);
        let units = [0, 1, 2, 3].map(|age| self.units(*cell, age, now));
        let [a, b, c, d] = units.map(|units| units.min(FULL));
        let a = (a + cost.div_ceil(self.scale)).min(FULL);
        // The tag of a shared cell is never read.
        *cell = [tag, (now / self.third) as u32, a | b << 16, c | d << 16];
    }
}

const FULL: u32 = u16::MAX as u32;

fn count(cell: [u32; 4], slot: u32) -> u32 {
    let [_, _, newer, older] = cell;
    let pair = if slot < 2 { newer } else { older };
    pair >> (16 * (slot % 2)) & FULL
}
