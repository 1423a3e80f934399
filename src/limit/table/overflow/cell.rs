//! One cell: the admissions of one or more keys in a window, counted by thirds of it.
//!
//! Fewer than three thirds lie within the window. With one that is ending and one that has begun,
//! four counts are enough. Each third counts until its last millisecond has left the window.

use crate::limit::window::{effective, lateness};

/// A tag, the number of the newest third, and four counts with the newest first.
pub(super) type Cell = [u32; 4];

/// The length of the thirds of a window, and the requests that one unit of a count represents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    pub(super) window: u64,
    /// More than one only if the limit does not fit into 16 bits. A cost is rounded up, and a full
    /// count exceeds the limit.
    pub(super) scale: u32,
}

/// Requests that stop counting together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    /// The last millisecond in which one of them can have been admitted.
    pub(super) end: u64,
    pub(super) units: u32,
}

const FULL: u32 = u16::MAX as u32;

impl Grid {
    /// Returns the grid of a window of this length under this limit.
    pub(super) const fn new(window: u64, limit: u32) -> Self {
        Self { window, scale: limit / FULL + 1 }
    }

    /// Returns the length of a third.
    pub(super) const fn third(&self) -> u64 {
        self.window / 3 + 1
    }

    /// Returns the last millisecond of the third that contains `now`.
    pub(super) const fn end_of(&self, now: u64) -> u64 {
        (now / self.third() + 1) * self.third() - 1
    }

    /// Returns the effective time of `now` for this cell. See [`effective`].
    pub(super) const fn effective(&self, cell: &Cell, now: u64) -> u64 {
        effective(self.newest(cell, now) * self.third(), self.window, now)
    }

    /// Returns the effective time of `now` for a key that counts here: not before any admission of
    /// this cell, none of which is later than `last`.
    ///
    /// The cell knows the third of its newest admission, and not the instant.
    pub(super) fn latest(&self, cell: &Cell, now: u64, last: u64) -> u64 {
        if self.stepped(cell, now) {
            return now;
        }
        let start = self.newest(cell, now) * self.third();
        now.max(self.end_of(start).min(last)).max(start)
    }

    /// Returns whether `now` is so far behind that the clock was set back.
    pub(super) const fn stepped(&self, cell: &Cell, now: u64) -> bool {
        let start = self.newest(cell, now) * self.third();
        start > now && start - now > lateness(self.window)
    }

    /// Returns the first instant at which nothing of this cell counts, as seen at `now`.
    pub(super) const fn end(&self, cell: &Cell, now: u64) -> u64 {
        (self.newest(cell, now) + 1) * self.third() - 1 + self.window
    }

    /// Returns what counts at the effective time `now`. After a step of the clock everything counts
    /// as of `now`.
    pub(super) fn buckets(&self, cell: &Cell, now: u64) -> impl Iterator<Item = Bucket> {
        let (cell, grid) = (*cell, *self);
        let newest = grid.newest(&cell, now);
        let stepped = newest * grid.third() > now;
        (0..4_u32).filter_map(move |slot| {
            let end = match stepped {
                true => grid.end_of(now),
                // A third before the epoch holds nothing.
                false => ((newest + 1).checked_sub(slot.into())? * grid.third()).checked_sub(1)?,
            };
            let units = count(&cell, slot).saturating_mul(grid.scale);
            (units > 0 && end + grid.window > now).then_some(Bucket { end, units })
        })
    }

    /// Returns the number of requests that count at the effective time of `now`.
    pub(super) fn live(&self, cell: &Cell, now: u64) -> u32 {
        let now = self.effective(cell, now);
        self.buckets(cell, now).fold(0, |sum, bucket| sum.saturating_add(bucket.units))
    }

    /// Follows a clock that was set back: everything counts as of `now`.
    pub(super) fn settle(&self, cell: &mut Cell, now: u64) {
        if self.stepped(cell, now) {
            let sum = (0..4).map(|slot| count(cell, slot)).sum::<u32>().min(FULL);
            let [tag, ..] = *cell;
            *cell = [tag, self.number(now), sum, 0];
        }
    }

    /// Counts `cost` requests at the effective time of `now`.
    pub(super) fn add(&self, cell: &mut Cell, cost: u32, now: u64) {
        // A cell that was never charged has no time.
        if let [tag, _, 0, 0] = *cell {
            *cell = self.claimed(tag, now);
        }
        self.settle(cell, now);
        let now = self.effective(cell, now);
        let shift = now / self.third() - self.newest(cell, now);
        let old = |slot: u64| match slot.checked_sub(shift) {
            Some(slot @ 0..4) => count(cell, slot as u32),
            _ => 0,
        };
        let newest = (old(0) + cost.div_ceil(self.scale)).min(FULL);
        let [tag, ..] = *cell;
        *cell = [tag, self.number(now), newest | old(1) << 16, old(2) | old(3) << 16];
    }

    /// Returns an empty cell with this tag.
    pub(super) const fn claimed(&self, tag: u32, now: u64) -> Cell {
        [tag, self.number(now), 0, 0]
    }

    const fn number(&self, now: u64) -> u32 {
        (now / self.third()) as u32
    }

    /// Returns the full number of the newest third: the one with these low bits that is nearest to
    /// the third of `now`.
    const fn newest(&self, cell: &Cell, now: u64) -> u64 {
        let [_, number, ..] = *cell;
        let present = now / self.third();
        let ahead = number.wrapping_sub(present as u32) as i32;
        present.saturating_add_signed(ahead as i64)
    }
}

fn count(cell: &Cell, slot: u32) -> u32 {
    let [_, _, newer, older] = *cell;
    let pair = if slot < 2 { newer } else { older };
    pair >> (16 * (slot % 2)) & FULL
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a log: a cell counts at least what the log counts, until no later than a third
        /// and a millisecond after it, whatever the order of `now`.
        #[test]
        fn a_cell_counts_at_least_the_log(
            window in 1_u64..5_000,
            steps in prop::collection::vec((-400_i64..900, 0_u32..4), 1..80),
        ) {
            let grid = Grid::new(window, 10);
            let mut cell: Cell = [0; 4];
            let (mut log, mut now, mut last) = (Vec::new(), 1_767_323_045_678_u64, 0);
            for (step, cost) in steps {
                now = now.saturating_add_signed(step);
                if cost > 0 {
                    grid.add(&mut cell, cost, now);
                    last = last.max(now);
                    log.push((last, cost));
                }
                let now = last.max(now);
                let within = |span: u64| -> u32 {
                    log.iter().filter(|(at, _)| at + span > now).map(|(_, cost)| cost).sum()
                };
                let (exact, late) = (within(window), within(window + 2 * grid.third()));
                let live = grid.live(&cell, now);
                prop_assert!(grid.effective(&cell, now) >= now);
                prop_assert!((exact..=late).contains(&live), "{live} is not in {exact}..={late}");
            }
        }
    }

    #[test]
    fn after_a_step_everything_counts_as_of_now() {
        let grid = Grid::new(3_000, 10);
        let (now, year) = (1_767_323_045_678, 365 * 86_400_000);
        let mut cell: Cell = [0; 4];
        grid.add(&mut cell, 2, now + year);
        assert_eq!(grid.live(&cell, now), 2);
        grid.add(&mut cell, 1, now);
        assert_eq!(grid.live(&cell, now), 3);
        assert_eq!(grid.live(&cell, now + 3_000 + grid.third()), 0);
    }

    #[test]
    fn large_limits_count_in_larger_units() {
        let grid = Grid::new(1_000, u32::MAX);
        let mut cell: Cell = [0; 4];
        grid.add(&mut cell, 1, 5_000);
        assert_eq!(grid.live(&cell, 5_000), grid.scale);
        grid.add(&mut cell, u32::MAX, 5_000);
        assert!(u64::from(grid.live(&cell, 5_000)) >= u64::from(u32::MAX) - u64::from(grid.scale));
    }
}
