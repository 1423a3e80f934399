//! Coarse precision: a ring of segments, each with its number of requests.

use super::{Segment, Stamps, View, Window, wrap};
use crate::quota::Quota;

/// The most segments that a coarse window holds at once: fewer than 256 lie within the window, one
/// is ending, and one has just begun.
const MAX_SEGMENTS: usize = 258;

/// A segment counts until its last millisecond has left. For its first millisecond that is too late
/// by less than one grain, which is at most 1/256 of the window.
impl Window {
    pub(super) fn segments(&self) -> Option<Segments<'_>> {
        let Stamps::Coarse { head, len, slots, .. } = &self.stamps else { return None };
        let grain = grain(self.span());
        let last_number = self.last / grain;
        Some(Segments { slots, head: (*head).into(), len: (*len).into(), grain, last_number })
    }

    pub(super) fn view_coarse(&self, span: u64, now: u64, stepped: bool) -> View {
        let Stamps::Coarse { units, .. } = self.stamps else {
            return View { now, stepped, gone: 0, live: 0 };
        };
        let Some(segments) = self.segments() else {
            return View { now, stepped, gone: 0, live: 0 };
        };
        let (mut gone, mut live) = (0, units);
        while gone < segments.len {
            let segment = segments.at(gone);
            if segments.start(segment) + segments.grain - 1 + span > now {
                break;
            }
            live = live.saturating_sub(segment.units);
            gone += 1;
        }
        View { now, stepped, gone: gone as u32, live }
    }

    /// Returns the instant at which the `awaited`-th request leaves, counted from the oldest that
    /// counts.
    pub(super) fn leaves_coarse(&self, quota: &Quota, view: &View, awaited: u64) -> u64 {
        let span = quota.window_millis();
        let grain = grain(span);
        // The latest instant at which a request admitted now leaves; also that of an empty window.
        let newest = view.now / grain * grain + grain - 1 + span;
        let Some(segments) = self.segments() else { return newest };
        let mut counted = 0;
        for i in view.gone as usize..segments.len {
            let segment = segments.at(i);
            counted += u64::from(segment.units);
            if counted > awaited {
                return newest.min(segments.start(segment) + grain - 1 + span);
            }
        }
        newest
    }

    pub(super) fn push_coarse(&mut self, stamp: u64, cost: u32, quota: &Quota) {
        let number = (stamp / grain(self.span())) as u32;
        let Stamps::Coarse { head, len, units, slots, .. } = &mut self.stamps else { return };
        *units = units.saturating_add(cost);
        let (start, used) = (usize::from(*head), usize::from(*len));
        let newest = wrap(start + used.saturating_sub(1), slots.len());
        if let Some(segment) = slots.get_mut(newest)
            && used > 0
            && segment.number == number
        {
            segment.units = segment.units.saturating_add(cost);
            return;
        }
        if used == slots.len() {
            let room = MAX_SEGMENTS.min(quota.limit() as usize).max(used + 1);
            let mut grown = vec![Segment::default(); room].into_boxed_slice();
            for (i, slot) in grown.iter_mut().take(used).enumerate() {
                *slot = slots.get(wrap(start + i, used)).copied().unwrap_or_default();
            }
            (*slots, *head) = (grown, 0);
        }
        let next = wrap(usize::from(*head) + used, slots.len());
        if let Some(segment) = slots.get_mut(next) {
            *segment = Segment { number, units: cost };
        }
        *len += 1;
    }

    pub(super) fn refund_coarse(&mut self, stamp: u64, cost: u32) -> bool {
        let number = (stamp / grain(self.span())) as u32;
        let Stamps::Coarse { head, len, units, slots, .. } = &mut self.stamps else {
            return false;
        };
        for i in (0..usize::from(*len)).rev() {
            let at = wrap(usize::from(*head) + i, slots.len());
            if let Some(segment) = slots.get_mut(at)
                && segment.number == number
                && let Some(rest) = segment.units.checked_sub(cost)
            {
                // An emptied segment keeps its slot until it leaves.
                segment.units = rest;
                *units = units.saturating_sub(cost);
                return true;
            }
        }
        false
    }

    /// Merges the segments after that of `now` into it.
    pub(super) fn step_back_coarse(&mut self, now: u64) {
        let mut merged = 0;
        let Some(segments) = self.segments() else { return };
        let number = now / segments.grain;
        let mut kept = segments.len;
        while kept > 0 && segments.start(segments.at(kept - 1)) / segments.grain > number {
            merged += segments.at(kept - 1).units;
            kept -= 1;
        }
        if merged == 0 && kept == segments.len {
            return;
        }
        if let Stamps::Coarse { head, len, slots, .. } = &mut self.stamps {
            // At least one slot was freed, so there is room for the merged one.
            let at = wrap(usize::from(*head) + kept, slots.len());
            if let Some(slot) = slots.get_mut(at) {
                *slot = Segment { number: number as u32, units: merged };
            }
            *len = kept as u16 + 1;
        }
    }
}

/// Returns the length of a segment: the least with which fewer than 256 cover a window.
const fn grain(span: u64) -> u64 {
    span / 256 + 1
}

/// A ring of segments, to read.
pub(super) struct Segments<'a> {
    slots: &'a [Segment],
    head: usize,
    pub(super) len: usize,
    pub(super) grain: u64,
    last_number: u64,
}

impl Segments<'_> {
    pub(super) fn at(&self, i: usize) -> Segment {
        self.slots.get(wrap(self.head + i, self.slots.len())).copied().unwrap_or_default()
    }

    /// Returns the first millisecond of a segment.
    pub(super) fn start(&self, segment: Segment) -> u64 {
        let before_last = (self.last_number as u32).wrapping_sub(segment.number);
        (self.last_number - u64::from(before_last)) * self.grain
    }
}
