//! Where newcomers are counted while every place in the table is taken by a key that is
//! not idle.
//!
//! A *cell* of 16 bytes is a small coarse window: a fingerprint, and the requests admitted
//! in each of the last four thirds of the window, each third counted until its last
//! millisecond has left. A newcomer has a cell of its own as long as one of eight is free
//! (two lines of four, chosen by its hash), and otherwise shares one with others. Either
//! way the cell counts at least what the newcomer was admitted, so no limit is exceeded
//! and none is reset; sharing, and thirds, only refuse too early.

use crate::{
    limit::{
        key::{KeyedHash, LimitKey},
        tracked::Tracked,
        window::Window,
    },
    quota::{Quota, Quotas},
};

/// How many quotas can have cells at once. One decision on several keys of several windows
/// may exceed it.
pub(super) const MAX_SETS: usize = 8;

/// Cells per entry of the table: at nine times the cap two thirds are in use, up to which
/// every newcomer still finds one of its own.
const CELLS_PER_ENTRY: u32 = 12;

/// One shared cell for so many entries of the table, in each set.
const ENTRIES_PER_SHARED_CELL: u32 = 4;

const LINE: usize = 4;

/// The cells of one shard.
#[derive(Debug)]
pub(super) struct Overflow {
    /// The lines of private cells, allocated when first needed. A cell is `[tag, number of
    /// the newest third, two counts, two counts]`, newest count first: a plain array, so
    /// that the system provides zeroed ones, which are free.
    cells: Box<[[u32; 4]]>,
    sets: Vec<Set>,
    max_entries: u32,
}

/// The cells of one quota.
#[derive(Debug)]
struct Set {
    quota: Quota,
    /// Part of the tags of its private cells, distinct among the sets.
    number: u32,
    /// The latest `now` at which a cell was charged.
    last: u64,
    shared: Box<[[u32; 4]]>,
}

/// Where a newcomer is counted under one quota.
#[derive(Clone, Copy)]
enum Place {
    Private(usize),
    Shared(usize),
}

impl Overflow {
    pub(super) fn new(max_entries: u32) -> Self {
        Self { cells: Box::default(), sets: Vec::new(), max_entries }
    }

    /// The windows with which a newcomer begins: those of an empty key, with whatever it may
    /// have been admitted here.
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
                    // An admission that lies in the future of a third's end is not known of.
                    let units = thirds.units(cell, age, now).saturating_mul(thirds.scale);
                    window.count(quota, thirds.end(age, now).min(now), units);
                }
            }
            window
        })
    }

    /// Whether a newcomer could be counted here.
    pub(super) fn has_set_for(&self, quotas: &Quotas) -> bool {
        let known = |quota: &Quota| self.sets.iter().any(|set| set.quota == *quota);
        self.sets.len() < MAX_SETS || quotas.as_slice().iter().all(known)
    }

    /// Drops the sets in which nothing counts for any `now` up to one window behind.
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

    /// Counts a newcomer's admission.
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

    /// The cell in which a newcomer may have been counted; or else, if it is `to_count`, the
    /// one in which it will be.
    ///
    /// While its shared cell counts, a newcomer stays with it, because it may have been
    /// counted there; only then may it claim a private one.
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

    /// Whether anything counts in a private cell, of whichever set.
    fn counts(&self, cell: &[u32; 4], now: u64) -> bool {
        let set = self.sets.iter().find(|set| set.owns(cell));
        set.is_some_and(|set| Thirds::of(&set.quota).counts(cell, now))
    }

    /// The first cell of the line that `hash` chooses.
    fn line(&self, hash: u32) -> usize {
        spread(hash, self.cells.len() / LINE) * LINE
    }
}

impl Set {
    /// What marks a private cell as that of a key: 27 bits of its hash. Two keys that agree
    /// in them and in their line share the cell.
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

/// How the cells of one quota are read. Fewer than three thirds lie within the window, so
/// with one ending and one begun four counts are enough.
struct Thirds {
    third: u64,
    window: u64,
    /// How many requests one unit of a count stands for: more than one only where a limit
    /// does not fit into 16 bits. A cost is rounded up, and a full count exceeds the limit.
    scale: u32,
}

impl Thirds {
    fn of(quota: &Quota) -> Self {
        let window = quota.window_millis();
        Self { third: window / 3 + 1, window, scale: quota.limit() / FULL + 1 }
    }

    /// Effective time: a `now` up to a window behind the newest third counts as its begin,
    /// and one further behind makes the newest third that of `now`.
    fn effective(&self, cell: [u32; 4], now: u64) -> u64 {
        let ahead = cell[1].wrapping_sub((now / self.third) as u32) as i32;
        if (1..=3).contains(&ahead) { (now / self.third + ahead as u64) * self.third } else { now }
    }

    /// The units that still count at `now`, as effective, of the third that began `age`
    /// thirds ago.
    fn units(&self, cell: [u32; 4], age: u64, now: u64) -> u32 {
        if self.end(age, now) + self.window <= now {
            return 0;
        }
        let newest = ((now / self.third) as u32).wrapping_sub(cell[1]);
        if newest > i32::MAX as u32 {
            // The clock has stepped back: what counted then counts as of now.
            return if age == 0 { (0..4).map(|slot| count(cell, slot)).sum() } else { 0 };
        }
        let slot = age.wrapping_sub(u64::from(newest));
        if slot < 4 { count(cell, slot as u32) } else { 0 }
    }

    /// The last millisecond of the third that began `age` thirds ago.
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
        // A shared cell keeps the tag of whoever came first; it is not looked at.
        *cell = [tag, (now / self.third) as u32, a | b << 16, c | d << 16];
    }
}

const FULL: u32 = u16::MAX as u32;

fn count(cell: [u32; 4], slot: u32) -> u32 {
    let [_, _, newer, older] = cell;
    let pair = if slot < 2 { newer } else { older };
    pair >> (16 * (slot % 2)) & FULL
}
