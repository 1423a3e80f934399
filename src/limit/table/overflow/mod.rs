//! Overflow: counts newcomers while every place in the table is taken by a key that is not idle.
//!
//! A newcomer has a [`Cell`] of its own while one of eight is free: two lines of four, chosen by its
//! hash. Otherwise it counts jointly with others: in its *home*, another cell that its hash chooses,
//! or, while the home is of another window length, in one of a few common cells. In each case the
//! cell counts at least the newcomer's admissions. So no limit is exceeded and none is reset;
//! sharing and thirds only refuse too early.
//!
//! A cell is recycled only after its window and one more, and is zeroed then.

mod cell;

use self::cell::{Bucket, Cell, Grid};
use crate::{
    limit::{
        decision::Binding,
        key::{KeyedHash, LimitKey},
        window::{Verdict, Window, effective, lateness},
    },
    quota::{Quota, quotas::Quotas},
};

/// The number of window lengths that can have cells at once. One decision on several keys of several
/// windows may exceed it by the number of its windows; a tag has room for that.
const MAX_SETS: usize = 24;

/// Cells for each entry of the table. At nine times the cap two thirds are in use, and up to that
/// nearly every newcomer still finds a cell of its own.
const CELLS_PER_ENTRY: u32 = 12;

/// Each set has one common cell for this number of entries of the table.
const ENTRIES_PER_COMMON_CELL: u32 = 4;

const LINE: usize = 4;

/// The bits of a tag: a part of the hash, whether others count here too, and the number of the set.
const HASH_BITS: u32 = 25;
const JOINT: u32 = 1 << HASH_BITS;
const SET_SHIFT: u32 = HASH_BITS + 1;

/// The cells of one shard.
#[derive(Debug)]
pub(super) struct Overflow {
    /// The lines of cells, allocated when first needed. It is a plain array because the system
    /// provides zeroed memory for free.
    cells: Box<[Cell]>,
    sets: Vec<Set>,
    max_entries: u32,
}

/// The cells of one window length.
#[derive(Debug)]
struct Set {
    grid: Grid,
    /// A part of the tags of its cells, different for each set.
    number: u32,
    /// The latest effective time of a charge. No admission that a cell counts is later.
    last: u64,
    common: Box<[Cell]>,
}

/// The cells in which a newcomer may have been counted.
#[derive(Clone, Copy, Debug)]
enum Places {
    Own(usize),
    Joint { home: Option<usize>, common: usize },
}

/// Two instants at which something was new: see `Book::witnesses`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Witnesses {
    pub(super) earlier: u64,
    pub(super) later: u64,
}

impl Overflow {
    pub(super) fn new(max_entries: u32) -> Self {
        Self { cells: Box::default(), sets: Vec::new(), max_entries }
    }

    /// Decides on a newcomer, which begins no earlier than `floor`.
    ///
    /// The wait of a refusal lasts until the cell has let enough go, even if the newcomer should
    /// find an entry before: a wait is never too short.
    pub(super) fn verdict(
        &self,
        hash: &KeyedHash,
        key: &LimitKey,
        quota: &Quota,
        cost: u32,
        begin: Begin,
    ) -> Verdict {
        let window = quota.window_millis();
        let (now, buckets) = self.counted(hash, key, quota, begin);
        let live = buckets.iter().fold(0_u32, |sum, bucket| sum.saturating_add(bucket.units));
        let excess = u64::from(live) + u64::from(cost);
        if excess <= u64::from(quota.limit()) {
            let grid = Grid::new(window, quota.limit());
            let newest = if begin.in_table { now } else { grid.end_of(now) };
            let oldest = buckets.first().map_or(newest, |bucket| bucket.end.min(newest));
            return Verdict { allowed: true, live, instant: oldest + window };
        }
        let mut excess = excess - u64::from(quota.limit());
        let mut instant = now + window;
        for bucket in &buckets {
            instant = bucket.end + window;
            excess = excess.saturating_sub(bucket.units.into());
            if excess == 0 {
                break;
            }
        }
        Verdict { allowed: false, live, instant }
    }

    /// Builds the first window of a newcomer that gets an entry, with its admissions here.
    pub(super) fn window(
        &self,
        hash: &KeyedHash,
        key: &LimitKey,
        quota: &Quota,
        begin: Begin,
    ) -> Window {
        let (now, buckets) = self.counted(hash, key, quota, begin);
        let mut window = Window::new(quota, now);
        let mut room = quota.limit();
        let mut kept = Vec::new();
        for bucket in buckets.iter().rev() {
            let units = bucket.units.min(room);
            room -= units;
            // No admission is later than `now`, the latest of them, even if its third ends later.
            kept.push((bucket.end.min(now), units));
        }
        for (stamp, units) in kept.into_iter().rev() {
            window.count(quota, stamp, units);
        }
        window
    }

    /// Builds the window of a length that is new to a tracked key, with its admissions here. Returns
    /// `None` if none counts.
    pub(super) fn counted_window(
        &self,
        hash: &KeyedHash,
        key: &LimitKey,
        quota: &Quota,
        begin: Begin,
    ) -> Option<Window> {
        let (_, buckets) = self.counted(hash, key, quota, begin);
        (!buckets.is_empty()).then(|| self.window(hash, key, quota, begin))
    }

    /// Lets the cells of a newcomer follow a clock that was set back.
    pub(super) fn settle(
        &mut self,
        hash: &KeyedHash,
        key: &LimitKey,
        quotas: &Quotas,
        begin: Begin,
    ) {
        for quota in quotas.as_slice() {
            let now = begin.effective(quota.window_millis());
            for at in 0..self.sets.len() {
                let Some((set, grid, places)) = self.places_in(at, hash, key, quota) else {
                    continue;
                };
                let (own, common) = match places {
                    Places::Own(own) => (Some(own), None),
                    Places::Joint { home, common } => (home, Some(common)),
                };
                let cell = own.and_then(|at| self.cells.get_mut(at));
                let set = self.sets.get_mut(set);
                let common = common.zip(set).and_then(|(at, set)| set.common.get_mut(at));
                for cell in cell.into_iter().chain(common) {
                    grid.settle(cell, now);
                }
            }
        }
    }

    /// Returns whether a newcomer could be counted here.
    pub(super) fn has_sets_for(&self, quotas: &Quotas) -> bool {
        self.sets.len() < MAX_SETS
            || quotas.as_slice().iter().all(|quota| self.set_of(&grid_of(quota)).is_some())
    }

    /// Drops each set in which nothing has counted for one window. Returns the end of the last
    /// admission that it has forgotten.
    pub(super) fn drop_idle_sets(&mut self, witnesses: Witnesses) -> u64 {
        let mut end = 0;
        self.sets.iter_mut().for_each(|set| set.follow(witnesses.later));
        for set in self.sets.extract_if(.., |set| set.end() + set.grid.window <= witnesses.earlier)
        {
            end = end.max(set.end());
            for cell in &mut self.cells {
                if set.owns(cell) {
                    *cell = [0; 4];
                }
            }
        }
        if self.sets.is_empty() {
            self.cells = Box::default();
        }
        end
    }

    /// Builds a refusal because there are no cells for the length of a window: until a set may be
    /// dropped.
    pub(super) fn without_set(&self, quotas: &Quotas, now: u64) -> Binding {
        let free = self.sets.iter().map(|set| set.end() + set.grid.window).min();
        let refusal = Binding::without_place(quotas, now);
        Binding { instant: free.unwrap_or_default().max(refusal.instant), ..refusal }
    }

    /// Counts an admission of a newcomer. Returns the end of the last admission that it has
    /// forgotten in a recycled cell.
    pub(super) fn record(
        &mut self,
        hash: &KeyedHash,
        key: &LimitKey,
        quotas: &Quotas,
        cost: u32,
        begin: Begin,
        witnesses: Witnesses,
    ) -> u64 {
        let mut end = 0;
        for quota in quotas.as_slice() {
            if self.cells.is_empty() {
                let lines = self.max_entries.saturating_mul(CELLS_PER_ENTRY).div_ceil(LINE as u32);
                self.cells = vec![[0; 4]; lines as usize * LINE].into_boxed_slice();
            }
            let grid = grid_of(quota);
            let (now, _) = self.counted(hash, key, quota, begin);
            let at = self.set_of(&grid).unwrap_or_else(|| self.add_set(grid, now));
            end = end.max(self.record_in(at, hash, key, cost, now, witnesses));
        }
        end
    }

    fn record_in(
        &mut self,
        at: usize,
        hash: &KeyedHash,
        key: &LimitKey,
        cost: u32,
        now: u64,
        witnesses: Witnesses,
    ) -> u64 {
        let Some(set) = self.sets.get_mut(at) else { return 0 };
        set.follow(witnesses.later);
        set.last = set.last.max(now);
        let (grid, share) = (set.grid, hash.share(key, set.number));
        let tag = set.tag(share);
        let Some(places) = self.places(at, share) else { return 0 };
        let Places::Joint { home, common } = places else {
            let Places::Own(own) = places else { return 0 };
            // Others may count here too. They are forgotten as in any cell that is recycled.
            if self.is_free(own, witnesses) {
                return self.claim(own, &grid, tag, cost, now);
            }
            if let Some(cell) = self.cells.get_mut(own) {
                grid.add(cell, cost, now);
            }
            return 0;
        };
        if self.joint(at, home, common, now) == 0
            && let Some(free) = self.free_cell(share, witnesses)
        {
            return self.claim(free, &grid, tag, cost, now);
        }
        let own_home = self.home(share);
        if let Some(cell) = self.cells.get_mut(own_home)
            && self.sets.get(at).is_some_and(|set| set.owns(cell))
        {
            cell[0] |= JOINT;
            grid.add(cell, cost, now);
        } else if self.is_free(own_home, witnesses) {
            return self.claim(own_home, &grid, tag | JOINT, cost, now);
        } else if let Some(cell) = self.sets.get_mut(at).and_then(|set| set.common.get_mut(common))
        {
            grid.add(cell, cost, now);
        }
        0
    }

    /// Recycles a cell: zeroes it, and counts there. Returns the end of what it counted before.
    fn claim(&mut self, at: usize, grid: &Grid, tag: u32, cost: u32, now: u64) -> u64 {
        let Some(cell) = self.cells.get_mut(at) else { return 0 };
        let before = self.sets.iter().find(|set| set.owns(cell));
        let end = before.map_or(0, |set| set.grid.end(cell, now));
        *cell = grid.claimed(tag, now);
        grid.add(cell, cost, now);
        end
    }

    /// Returns the effective time of a newcomer, which is not before any of its admissions, and what
    /// counts for it then, oldest first.
    fn counted(
        &self,
        hash: &KeyedHash,
        key: &LimitKey,
        quota: &Quota,
        begin: Begin,
    ) -> (u64, Vec<Bucket>) {
        let begun = begin.effective(quota.window_millis());
        let (mut latest, mut cells): (u64, Vec<(Grid, Cell)>) = (begun, Vec::new());
        for at in 0..self.sets.len() {
            let Some((_, grid, places)) = self.places_in(at, hash, key, quota) else { continue };
            let Some(set) = self.sets.get(at) else { continue };
            let (own, common) = match places {
                Places::Own(own) => (Some(own), None),
                Places::Joint { home, common: at } => (home, set.common.get(at)),
            };
            for cell in own.and_then(|at| self.cells.get(at)).into_iter().chain(common) {
                // A cell that was never charged has no time.
                if !matches!(cell, [_, _, 0, 0]) {
                    latest = latest.max(grid.latest(cell, begun, set.last));
                    cells.push((grid, *cell));
                }
            }
        }
        let all = cells.iter().flat_map(|(grid, cell)| grid.buckets(cell, latest));
        let mut buckets: Vec<Bucket> = all.collect();
        buckets.sort_unstable_by_key(|bucket| bucket.end);
        (latest, buckets)
    }

    /// Returns the number of requests that count where a newcomer may have been counted jointly.
    fn joint(&self, set: usize, home: Option<usize>, common: usize, now: u64) -> u32 {
        let Some(set) = self.sets.get(set) else { return 0 };
        let home = home.and_then(|home| self.cells.get(home));
        let cells = home.into_iter().chain(set.common.get(common));
        cells.fold(0, |sum, cell| sum.saturating_add(set.grid.live(cell, now)))
    }

    /// Returns the places of a key in the set at this position, if it is of the quota's window.
    fn places_in(
        &self,
        at: usize,
        hash: &KeyedHash,
        key: &LimitKey,
        quota: &Quota,
    ) -> Option<(usize, Grid, Places)> {
        let set = self.sets.get(at).filter(|set| set.grid.window == quota.window_millis())?;
        Some((at, set.grid, self.places(at, hash.share(key, set.number))?))
    }

    fn places(&self, set: usize, share: u64) -> Option<Places> {
        let set = self.sets.get(set)?;
        let tag = set.tag(share);
        let counts_others = |cell: &Cell| set.owns(cell) && cell[0] & JOINT != 0;
        let home = self.home(share);
        let home = self.cells.get(home).is_some_and(counts_others).then_some(home);
        // A home may lie in the key's lines and have its tag. The common cell counts beside it.
        let lines = self.lines(share).into_iter().flat_map(|first| first..first + LINE);
        let mut own = lines.filter(|&at| Some(at) != home);
        if let Some(own) =
            own.find(|&at| self.cells.get(at).is_some_and(|cell| cell[0] & !JOINT == tag))
        {
            return Some(Places::Own(own));
        }
        let common = spread(share.rotate_left(40) as u32, set.common.len());
        Some(Places::Joint { home, common })
    }

    /// Returns a free cell of the line that has more of them.
    fn free_cell(&self, share: u64, witnesses: Witnesses) -> Option<usize> {
        let free = self.lines(share).map(|first| {
            let mut free = (first..first + LINE).filter(|&at| self.is_free(at, witnesses));
            free.next().map(|at| (1 + free.count(), at))
        });
        free.into_iter().flatten().max_by_key(|&(count, _)| count).map(|(_, at)| at)
    }

    /// Returns whether a cell was never used, or its window and one more have passed.
    fn is_free(&self, at: usize, witnesses: Witnesses) -> bool {
        let Some(cell) = self.cells.get(at) else { return false };
        let Some(set) = self.sets.iter().find(|set| set.owns(cell)) else { return true };
        let end = set.grid.end(cell, witnesses.earlier);
        end + set.grid.window <= witnesses.earlier
    }

    fn set_of(&self, grid: &Grid) -> Option<usize> {
        self.sets.iter().position(|set| set.grid == *grid)
    }

    fn add_set(&mut self, grid: Grid, now: u64) -> usize {
        let numbers = 1..=self.sets.len() as u32 + 1;
        let free = |number: &u32| self.sets.iter().all(|set| set.number != *number);
        let number = numbers.into_iter().find(free).unwrap_or(1);
        let cells = self.max_entries.div_ceil(ENTRIES_PER_COMMON_CELL) as usize;
        let common = vec![[0; 4]; cells].into_boxed_slice();
        self.sets.push(Set { grid, number, last: now, common });
        self.sets.len() - 1
    }

    /// Returns the first cells of the two lines that the hash chooses.
    fn lines(&self, share: u64) -> [usize; 2] {
        let line = |hash: u32| spread(hash, self.cells.len() / LINE) * LINE;
        [line(share as u32), line((share >> 32) as u32)]
    }

    fn home(&self, share: u64) -> usize {
        spread(share.rotate_left(20) as u32, self.cells.len())
    }
}

/// When a newcomer begins, and where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begin {
    pub(super) now: u64,
    /// It begins no earlier, unless the clock was set back.
    pub(super) floor: u64,
    /// Whether the table has a place for it.
    pub(super) in_table: bool,
}

impl Begin {
    fn effective(&self, window: u64) -> u64 {
        effective(self.floor, window, self.now)
    }
}

impl Set {
    /// Returns the tag of a key's own cell. Two keys with the same tag and line share the cell.
    fn tag(&self, share: u64) -> u32 {
        (share >> 16) as u32 & (JOINT - 1) | self.number << SET_SHIFT
    }

    fn owns(&self, cell: &Cell) -> bool {
        cell[0] >> SET_SHIFT == self.number
    }

    /// Follows a clock that was set back, as seen by the later of two witnesses.
    fn follow(&mut self, later: u64) {
        if self.last > later.saturating_add(lateness(self.grid.window)) {
            self.last = later;
        }
    }

    /// Returns the first instant at which nothing of this set counts.
    fn end(&self) -> u64 {
        self.grid.end_of(self.last) + self.grid.window
    }
}

fn grid_of(quota: &Quota) -> Grid {
    Grid::new(quota.window_millis(), quota.limit())
}

/// Scales 32 bits of a hash to a number below `len`.
fn spread(hash: u32, len: usize) -> usize {
    ((u64::from(hash) * len as u64) >> 32) as usize
}
