//! The server of leases as simply as it can be said: a list of grants, scanned in full.

use std::collections::VecDeque;

/// What was counted of one limit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) last: u64,
    pub(crate) grants: VecDeque<(u64, u32)>,
    /// The control: grants are stamped at the instant of the grant.
    pub(crate) stamps_now: bool,
}

/// What is asked: of these, what, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Take {
    pub(crate) need: u32,
    pub(crate) want: u32,
    pub(crate) divisor: u32,
    pub(crate) lease: u64,
}

impl Model {
    /// The reply of the script, of `limit` per `span` at `now`, without a receipt's era.
    pub(crate) fn take(&mut self, limit: u32, span: u64, take: Take, now: u64) -> Vec<u8> {
        let clock = now;
        let now = now.max(self.last);
        assert!(now - clock <= span, "the model knows no longer step");
        self.last = now;
        while self.grants.front().is_some_and(|&(stamp, _)| stamp + span <= now) {
            self.grants.pop_front();
        }
        let live: u32 = self.grants.iter().map(|(_, units)| units).sum();
        if live + take.need > limit {
            let mut awaited = live + take.need - limit;
            let leaves = self.grants.iter().find(|(_, units)| {
                let found = awaited <= *units;
                awaited = awaited.saturating_sub(*units);
                found
            });
            let instant = leaves.map_or(now, |(stamp, _)| *stamp) + span;
            let remaining = limit.saturating_sub(live);
            return packed(&decided(0, remaining, instant, clock, 0));
        }
        let granted = take.need.max(take.want.min((limit - live) / take.divisor));
        let instant = self.grants.front().map_or(now, |(stamp, _)| *stamp) + span;
        let newest = self.grants.back().map_or(0, |(stamp, _)| *stamp);
        let stamp = newest.max(now + if self.stamps_now { 0 } else { take.lease });
        match self.grants.back_mut() {
            Some((newest, units)) if *newest == stamp => *units += granted,
            _ => self.grants.push_back((stamp, granted)),
        }
        let decided = decided(1, limit - live - take.need, instant, clock, granted);
        [packed(&decided), packed(&[(0, 4), (stamp, 6)])].concat()
    }

    /// Gives units of a stamp back.
    pub(crate) fn back(&mut self, stamp: u64, units: u32) -> bool {
        let Some(at) = self.grants.iter().position(|grant| *grant == (stamp, grant.1)) else {
            return false;
        };
        let left = &mut self.grants[at].1;
        if *left < units {
            return false;
        }
        *left -= units;
        if *left == 0 {
            self.grants.remove(at);
        }
        true
    }
}

/// What begins a reply: numbers, and how many bytes each has.
fn decided(code: u64, remaining: u32, instant: u64, clock: u64, granted: u32) -> [(u64, usize); 7] {
    let (remaining, granted) = (remaining.into(), granted.into());
    [(code, 1), (0, 2), (0, 1), (remaining, 4), (instant, 6), (clock, 6), (granted, 4)]
}

fn packed(numbers: &[(u64, usize)]) -> Vec<u8> {
    let bytes = |&(number, bytes): &(u64, usize)| number.to_le_bytes().into_iter().take(bytes);
    numbers.iter().flat_map(bytes).collect()
}
