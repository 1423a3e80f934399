//! Exact precision: a ring of stamps, one for each admitted request.

use super::{INLINE, Stamps, Verdict, Window, effective, wrap};
use crate::quota::Quota;

impl Window {
    /// Views, decides, settles and, if allowed, charges in one pass over an exact ring: the path of
    /// nearly all requests. Returns `None` and changes nothing in the rare cases: coarse precision,
    /// another length, a clock that was set back, a ring that must grow. The quota is exact.
    #[inline]
    pub(in crate::limit) fn check(
        &mut self,
        quota: &Quota,
        cost: u32,
        now: u64,
    ) -> Option<Verdict> {
        let ask = Ask { span: quota.window_millis(), limit: quota.limit(), cost, now };
        match &mut self.stamps {
            Stamps::Inline { span, head, len, slots } if u64::from(*span) == ask.span => {
                let (mut at, mut used) = ((*head).into(), (*len).into());
                let verdict = ask.of(slots, &mut at, &mut used, &mut self.last)?;
                (*head, *len) = (at as u8, used as u8);
                Some(verdict)
            }
            Stamps::Spilled { span, head, len, slots } if u64::from(*span) == ask.span => {
                let (mut at, mut used) = (*head as usize, *len as usize);
                let verdict = ask.of(slots, &mut at, &mut used, &mut self.last)?;
                (*head, *len) = (at as u32, used as u32);
                Some(verdict)
            }
            _ => None,
        }
    }

    /// Returns the stamps, or `None` if the precision is coarse.
    #[inline]
    pub(super) fn ring(&self) -> Option<Ring<'_>> {
        match &self.stamps {
            Stamps::Inline { head, len, slots, .. } => {
                Some(Ring { slots, head: (*head).into(), len: (*len).into() })
            }
            Stamps::Spilled { head, len, slots, .. } => {
                Some(Ring { slots, head: *head as usize, len: *len as usize })
            }
            Stamps::Coarse { .. } => None,
        }
    }

    /// Returns the age of a stamp at `now`: zero if the clock was set back to before it.
    #[inline]
    pub(super) fn age(&self, stamp: u32, now: u64) -> u64 {
        let before_last = u64::from((self.last as u32).wrapping_sub(stamp));
        (now + before_last).saturating_sub(self.last)
    }

    /// Sets all stamps after `now` to `now`.
    #[cold]
    pub(super) fn step_back(&mut self, now: u64) {
        let last = self.last;
        let behind = last.saturating_sub(now);
        let (slots, head, len): (&mut [u32], usize, usize) = match &mut self.stamps {
            Stamps::Inline { head, len, slots, .. } => (slots, (*head).into(), (*len).into()),
            Stamps::Spilled { head, len, slots, .. } => (slots, *head as usize, *len as usize),
            Stamps::Coarse { .. } => return self.step_back_coarse(now),
        };
        for i in 0..len {
            let at = wrap(head + i, slots.len());
            if let Some(slot) = slots.get_mut(at)
                && u64::from((last as u32).wrapping_sub(*slot)) < behind
            {
                *slot = now as u32;
            }
        }
    }

    /// Appends `cost` stamps. The ring moves to the heap once, with the size of the limit, and grows
    /// again only if the limit has grown.
    #[inline]
    pub(super) fn push(&mut self, stamp: u64, cost: u32, quota: &Quota) {
        let cost = cost as usize;
        match &mut self.stamps {
            Stamps::Inline { head, len, slots, .. } if usize::from(*len) + cost <= INLINE => {
                for i in 0..cost {
                    let at = wrap(usize::from(*head) + usize::from(*len) + i, INLINE);
                    if let Some(slot) = slots.get_mut(at) {
                        *slot = stamp as u32;
                    }
                }
                *len += cost as u8;
            }
            Stamps::Spilled { head, len, slots, .. } if *len as usize + cost <= slots.len() => {
                for i in 0..cost {
                    let at = wrap(*head as usize + *len as usize + i, slots.len());
                    if let Some(slot) = slots.get_mut(at) {
                        *slot = stamp as u32;
                    }
                }
                *len += cost as u32;
            }
            Stamps::Coarse { .. } => self.push_coarse(stamp, cost as u32, quota),
            _ => self.spill(stamp, cost, quota),
        }
    }

    #[cold]
    fn spill(&mut self, stamp: u64, cost: usize, quota: &Quota) {
        let Some(ring) = self.ring() else { return };
        let len = ring.len + cost;
        let mut slots = vec![0; len.max(quota.limit() as usize)].into_boxed_slice();
        for (i, slot) in slots.iter_mut().take(len).enumerate() {
            *slot = if i < ring.len { ring.at(i) } else { stamp as u32 };
        }
        let span = self.span() as u32;
        self.stamps = Stamps::Spilled { span, head: 0, len: len as u32, slots };
    }

    /// Removes `cost` stamps equal to `stamp`. Returns whether there were as many.
    pub(super) fn refund_exact(&mut self, stamp: u64, cost: u32) -> bool {
        let span = self.span();
        if self.last.checked_sub(stamp).is_none_or(|age| age >= span) {
            return false;
        }
        let wanted = stamp as u32;
        let (slots, head, len): (&mut [u32], usize, usize) = match &mut self.stamps {
            Stamps::Inline { head, len, slots, .. } => (slots, (*head).into(), (*len).into()),
            Stamps::Spilled { head, len, slots, .. } => (slots, *head as usize, *len as usize),
            Stamps::Coarse { .. } => return false,
        };
        let ring = Ring { slots, head, len };
        let end = (0..len).rev().find(|&i| ring.at(i) == wanted).map_or(0, |newest| newest + 1);
        let cost = cost as usize;
        let Some(start) = end.checked_sub(cost).filter(|&start| ring.at(start) == wanted) else {
            return false;
        };
        for i in start + cost..len {
            let later = Ring { slots, head, len }.at(i);
            if let Some(slot) = slots.get_mut(wrap(head + i - cost, slots.len())) {
                *slot = later;
            }
        }
        match &mut self.stamps {
            Stamps::Inline { len, .. } => *len -= cost as u8,
            Stamps::Spilled { len, .. } => *len -= cost as u32,
            Stamps::Coarse { .. } => {}
        }
        true
    }
}

/// A request of [`Window::check`].
struct Ask {
    span: u64,
    limit: u32,
    cost: u32,
    now: u64,
}

impl Ask {
    #[inline(always)]
    fn of(
        &self,
        slots: &mut [u32],
        head: &mut usize,
        len: &mut usize,
        last: &mut u64,
    ) -> Option<Verdict> {
        let now = effective(*last, self.span, self.now);
        if now < *last {
            return None;
        }
        let (mut first, mut live) = (*head, *len);
        if now - *last >= self.span {
            live = 0;
        }
        // Every stamp that is left is younger than two windows of at most 24 days, so the
        // difference of the low halves is its age.
        let age = |stamp: u32| (now as u32).wrapping_sub(stamp);
        let mut oldest = 0;
        while live > 0 {
            oldest = age(*slots.get(first)?);
            if oldest < self.span as u32 {
                break;
            }
            (first, live, oldest) = (wrap(first + 1, slots.len()), live - 1, 0);
        }
        let after = live + self.cost as usize;
        let allowed = after <= self.limit as usize;
        let verdict =
            Verdict { allowed, live: live as u32, instant: now - u64::from(oldest) + self.span };
        if !allowed {
            let awaited = wrap(first + (after - self.limit as usize - 1), slots.len());
            let instant = now - u64::from(age(*slots.get(awaited)?)) + self.span;
            (*head, *len, *last) = (first, live, now);
            return Some(Verdict { instant, ..verdict });
        }
        if after > slots.len() {
            return None;
        }
        for place in live..after {
            *slots.get_mut(wrap(first + place, slots.len()))? = now as u32;
        }
        live = after;
        (*head, *len, *last) = (first, live, now);
        Some(verdict)
    }
}

/// A ring of stamps, to read.
pub(super) struct Ring<'a> {
    pub(super) slots: &'a [u32],
    pub(super) head: usize,
    pub(super) len: usize,
}

impl Ring<'_> {
    /// Returns the `i`-th oldest stamp.
    #[inline(always)]
    pub(super) fn at(&self, i: usize) -> u32 {
        self.slots.get(wrap(self.head + i, self.slots.len())).copied().unwrap_or(0)
    }
}
