//! The limiter as the project's architecture page states it, as simply as that can be said: for each
//! window of a limit a list of what was admitted, scanned in full at each decision.
//!
//! - A window is identified by its limit and its length. One that is not asked stays as it is.
//! - A new one begins with the newest admissions, at most its limit, of the present window that has the
//!   most that are younger than its length; of equals, of the longest.
//! - A ninth that is live is an error. Where a place is needed, idle windows are dropped.
//! - A window keeps its precision. Only counts that an exact one cannot hold make it coarse.
//! - A `now` up to `L` behind a window's latest counts as the latest; further behind, the clock was set
//!   back, and is followed. `L` is the longer of the window and a time that is given.

use std::collections::HashMap;

use keyward::{
    Quota, Quotas, Timestamp,
    limit::{Decision, LimitKey},
    quota::Precision,
};

/// Every limit, and what can still be given back.
#[derive(Default)]
pub(crate) struct Naive {
    /// The shortest time that a `now` may be late, in milliseconds. The server's clock is never late.
    pub(crate) least_late: u64,
    limits: HashMap<LimitKey, Vec<Window>>,
    tickets: HashMap<u64, Vec<(LimitKey, u64, u64)>>,
    next: u64,
}

#[derive(Clone, Debug)]
struct Window {
    span: u64,
    coarse: bool,
    last: u64,
    /// What was admitted in another era cannot be given back.
    era: u64,
    /// Oldest first.
    admitted: Vec<Admitted>,
}

#[derive(Clone, Copy, Debug)]
struct Admitted {
    /// The millisecond, or the segment of a coarse window.
    segment: u64,
    units: u64,
    ticket: u64,
}

/// What is asked of all limits. Without a lease `want` is `need`, `divisor` is 1 and `lease` is 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Take {
    pub(crate) need: u32,
    pub(crate) want: u32,
    pub(crate) divisor: u32,
    pub(crate) lease: u64,
}

impl Take {
    pub(crate) fn one(need: u32) -> Self {
        Self { need, want: need, divisor: 1, lease: 0 }
    }
}

/// A limit would have more than eight live windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany {
    pub(crate) position: usize,
}

/// The decision, the units that were counted, and with what they are given back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decided {
    pub(crate) decision: Decision,
    pub(crate) granted: u32,
    pub(crate) ticket: u64,
}

const MOST_LIVE: usize = 8;
const LARGEST_EXACT: u32 = 65_535;

impl Naive {
    pub(crate) fn take(
        &mut self,
        limits: &[(LimitKey, &Quotas)],
        take: Take,
        now: Timestamp,
    ) -> Result<Decided, TooMany> {
        let (mut after, decided) = self.decide(limits, take, now)?;
        let decided = Decided { ticket: self.next, ..decided };
        self.next += 1;
        if decided.decision.allowed {
            let mut places = Vec::new();
            for ((key, quotas), windows) in limits.iter().zip(&mut after) {
                for quota in quotas.as_slice() {
                    let window = of(windows, quota).unwrap();
                    window.count(decided.granted.into(), take.lease, decided.ticket);
                    places.push((*key, window.span, window.era));
                }
            }
            self.tickets.insert(decided.ticket, places);
        }
        for ((key, _), windows) in limits.iter().zip(after) {
            // A limit that is refused on first sight is not remembered.
            if decided.decision.allowed || self.limits.contains_key(key) {
                self.limits.insert(*key, windows);
            }
        }
        Ok(decided)
    }

    pub(crate) fn peek(
        &mut self,
        limits: &[(LimitKey, &Quotas)],
        cost: u32,
        now: Timestamp,
    ) -> Result<Decision, TooMany> {
        Ok(self.decide(limits, Take::one(cost), now)?.1.decision)
    }

    /// For each limit and window the number that counts, and when the oldest of them leaves.
    pub(crate) fn status(
        &mut self,
        limits: &[(LimitKey, &Quotas)],
        now: Timestamp,
    ) -> Result<Vec<Vec<(u32, u64)>>, TooMany> {
        let mut after = self.decide(limits, Take::one(0), now)?.0;
        let all = limits.iter().zip(&mut after).map(|((_, quotas), windows)| {
            let states = quotas.as_slice().iter().map(|quota| {
                let window = of(windows, quota).unwrap();
                let oldest = window.admitted.first();
                let reset = oldest.map_or(now.as_unix_millis(), |it| window.leaves(it.segment));
                (window.live() as u32, reset)
            });
            states.collect()
        });
        Ok(all.collect())
    }

    /// Gives units of an admission back where it is still remembered.
    pub(crate) fn refund(&mut self, ticket: u64, units: u32) -> bool {
        let mut given = false;
        for (key, span, era) in self.tickets.remove(&ticket).unwrap_or_default() {
            let windows = self.limits.get_mut(&key);
            let window = windows.and_then(|all| all.iter_mut().find(|window| window.span == span));
            let Some(window) = window.filter(|window| window.era == era) else { continue };
            for admitted in &mut window.admitted {
                if admitted.ticket == ticket && admitted.units >= u64::from(units) {
                    admitted.units -= u64::from(units);
                    given = true;
                }
            }
            window.admitted.retain(|admitted| admitted.units > 0);
        }
        given
    }

    pub(crate) fn reset(&mut self, key: LimitKey) -> bool {
        self.limits.remove(&key).is_some()
    }

    /// Decides, and returns the windows of each limit as they are if it is remembered.
    fn decide(
        &mut self,
        limits: &[(LimitKey, &Quotas)],
        take: Take,
        now: Timestamp,
    ) -> Result<(Vec<Vec<Window>>, Decided), TooMany> {
        let millis = now.as_unix_millis();
        let (mut after, mut binding, mut room) = (Vec::new(), None, u64::from(take.want));
        for (position, (key, quotas)) in limits.iter().enumerate() {
            let mut windows = self.limits.get(key).cloned().unwrap_or_default();
            self.fit(&mut windows, quotas, millis).map_err(|()| TooMany { position })?;
            for quota in quotas.as_slice() {
                let (least_late, era) = (self.least_late, self.era());
                let window = of(&mut windows, quota).unwrap();
                window.settle(millis, least_late, era);
                if !window.coarse && quota.limit() > LARGEST_EXACT {
                    window.coarsen(self.era());
                }
                let (limit, live) = (u64::from(quota.limit()), window.live());
                let need = u64::from(take.need);
                let allowed = live + need <= limit;
                room = room.min(limit.saturating_sub(live) / u64::from(take.divisor));
                let awaited = if allowed { 0 } else { live + need - limit - 1 };
                let remaining = limit.saturating_sub(if allowed { live + need } else { live });
                let this = (allowed, remaining, window.unit_leaves(awaited), *quota, position);
                binding = Some(match binding {
                    Some(other) if !binds(this, other) => other,
                    _ => this,
                });
            }
            after.push(windows);
        }
        let (allowed, remaining, instant, quota, position) = binding.unwrap();
        let granted = if allowed { u64::from(take.need).max(room) as u32 } else { 0 };
        let (remaining, reset_at) = (remaining as u32, Timestamp::from_unix_millis(instant));
        let decision = if allowed {
            let remaining = remaining.saturating_sub(granted - take.need);
            Decision::admitted_elsewhere(quota, remaining, reset_at)
        } else {
            Decision::refused_elsewhere(quota, remaining, reset_at, now)
        };
        let decision = decision.with_position(position);
        Ok((after, Decided { decision, granted, ticket: 0 }))
    }

    /// Gives the limit a window for each quota.
    fn fit(&mut self, windows: &mut Vec<Window>, quotas: &Quotas, now: u64) -> Result<(), ()> {
        let asked = |window: &Window| {
            quotas.as_slice().iter().any(|quota| quota.window_millis() == window.span)
        };
        let present = windows.clone();
        let missing = |quota: &&Quota| !present.iter().any(|it| it.span == quota.window_millis());
        let count = quotas.as_slice().iter().filter(missing).count();
        if count > 0 && windows.len() + count > MOST_LIVE {
            let least_late = self.least_late;
            windows.retain(|window| {
                let mut here = window.clone();
                here.settle(now, least_late, 0);
                asked(window) || here.live() > 0
            });
            if windows.len() + count > MOST_LIVE {
                return Err(());
            }
        }
        for quota in quotas.as_slice().iter().filter(missing) {
            let era = self.era();
            windows.push(begin(quota, &present, now, self.least_late, era));
        }
        Ok(())
    }

    fn era(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

/// Whether the first of two windows that must both admit is the one to report.
fn binds(
    (allowed, remaining, instant, ..): (bool, u64, u64, Quota, usize),
    other: (bool, u64, u64, Quota, usize),
) -> bool {
    match (allowed, other.0) {
        (false, true) => true,
        (true, false) => false,
        (true, true) => remaining < other.1 || remaining == other.1 && instant > other.2,
        (false, false) => instant > other.2,
    }
}

fn of<'w>(windows: &'w mut [Window], quota: &Quota) -> Option<&'w mut Window> {
    windows.iter_mut().find(|window| window.span == quota.window_millis())
}

fn effective(last: u64, span: u64, now: u64, least_late: u64) -> u64 {
    if now < last && last - now <= span.max(least_late) { last } else { now }
}

fn begin(quota: &Quota, present: &[Window], now: u64, least_late: u64, era: u64) -> Window {
    let (span, coarse) = (quota.window_millis(), quota.precision() == Precision::Coarse);
    let mut new = Window { span, coarse, last: now, era, admitted: Vec::new() };
    let candidates = present.iter().map(|window| {
        let now = effective(window.last, span, now, least_late);
        let young: Vec<(u64, u64)> = window
            .admitted
            .iter()
            .map(|admitted| (window.stamp(admitted.segment, now), admitted.units))
            .filter(|&(stamp, _)| now.saturating_sub(stamp) < span)
            .collect();
        let count: u64 = young.iter().map(|(_, units)| units).sum();
        (count, window.span, now, young)
    });
    let Some((.., now, young)) = candidates.max_by_key(|(count, span, ..)| (*count, *span)) else {
        return new;
    };
    new.last = now;
    let mut spare = u64::from(quota.limit());
    for (stamp, units) in young.into_iter().rev() {
        let units = units.min(spare);
        spare -= units;
        if units > 0 {
            let segment = stamp / new.grain();
            new.admitted.insert(0, Admitted { segment, units, ticket: u64::MAX });
        }
    }
    new
}

impl Window {
    fn grain(&self) -> u64 {
        if self.coarse { self.span / 256 + 1 } else { 1 }
    }

    /// When a segment no longer counts: a window after its last millisecond.
    fn leaves(&self, segment: u64) -> u64 {
        segment * self.grain() + self.grain() - 1 + self.span
    }

    /// The instant of a segment for a window that begins with it at `now`: its last millisecond, but
    /// not after the latest decision. A lease that lies ahead of that stays as far ahead.
    fn stamp(&self, segment: u64, now: u64) -> u64 {
        let (begins, mut ends) =
            (segment * self.grain(), segment * self.grain() + self.grain() - 1);
        if begins <= self.last {
            ends = ends.min(self.last);
        }
        match ends.checked_sub(self.last) {
            Some(ahead) if ahead > 0 && now < self.last => now + ahead,
            Some(ahead) if ahead > 0 => ends,
            _ => ends.min(now),
        }
    }

    fn live(&self) -> u64 {
        self.admitted.iter().map(|admitted| admitted.units).sum()
    }

    /// Follows the clock, and forgets what no longer counts.
    fn settle(&mut self, now: u64, least_late: u64, era: u64) {
        let now = effective(self.last, self.span, now, least_late);
        if now < self.last {
            let (here, there) = (now / self.grain(), self.last / self.grain());
            for admitted in &mut self.admitted {
                if admitted.segment > here {
                    admitted.segment = here + admitted.segment.saturating_sub(there);
                }
            }
            self.era = era;
        }
        self.last = now;
        let here = self.clone();
        self.admitted.retain(|admitted| here.leaves(admitted.segment) > now);
    }

    fn coarsen(&mut self, era: u64) {
        self.coarse = true;
        self.era = era;
        let grain = self.grain();
        self.admitted.iter_mut().for_each(|admitted| admitted.segment /= grain);
    }

    /// When the unit leaves before which so many others do.
    fn unit_leaves(&self, awaited: u64) -> u64 {
        let mut before = 0;
        for admitted in &self.admitted {
            before += admitted.units;
            if before > awaited {
                return self.leaves(admitted.segment);
            }
        }
        self.leaves(self.last / self.grain())
    }

    fn count(&mut self, units: u64, lease: u64, ticket: u64) {
        let newest = self.admitted.last().map_or(0, |admitted| admitted.segment);
        let segment = newest.max((self.last + lease) / self.grain());
        self.admitted.push(Admitted { segment, units, ticket });
    }
}
