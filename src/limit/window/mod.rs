//! One sliding window: what it remembers, and what it decides. It knows no lock, no key
//! and no clock.
//!
//! Each operation has three steps, so that several windows can be asked before any is
//! charged: [`Window::view`] and [`Window::verdict`] only read, [`Window::settle`]
//! forgets what has left, [`Window::record`] settles and counts an admission.

use crate::quota::{Precision, Quota};

/// How many stamps lie inside the window itself. A person's session sends about six
/// requests a minute, and six make an entry of the table exactly one cache line.
const INLINE: usize = 6;

/// The most segments that a coarse window can hold at once: fewer than 256 lie within
/// the window, one is ending, one has just begun.
const MAX_SEGMENTS: usize = 258;

/// A ring of the admissions that still count, oldest first.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// The latest effective time, in milliseconds since the epoch. No stamp is later.
    last: u64,
    stamps: Stamps,
}

/// What counts, in 32 bytes. All three are rings: `len` slots from `head` on are in use,
/// wrapping at the end of `slots`.
///
/// A stamp is the low half of a `u64` of milliseconds. Those in use are less than one
/// window of at most 24 days older than `last`, so the distance to `last`, taken
/// modulo 2³² (49 days), is exact however long the process runs: nothing is rebased.
#[derive(Clone, Debug)]
enum Stamps {
    Inline {
        span: u32,
        head: u8,
        len: u8,
        slots: [u32; INLINE],
    },
    Spilled {
        span: u32,
        head: u32,
        len: u32,
        slots: Box<[u32]>,
    },
    /// `units` is the sum over the segments in use; the span is held in two parts,
    /// because it may need 35 bits.
    Coarse {
        span_high: u8,
        span_low: u32,
        head: u16,
        len: u16,
        units: u32,
        slots: Box<[Segment]>,
    },
}

/// The requests admitted during one `grain` of milliseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Segment {
    /// The low half of `stamp / grain`, exact for the same reason as a stamp.
    number: u32,
    units: u32,
}

/// A window as seen at one instant, without having changed it.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    /// The effective time: see [`Window::view`].
    now: u64,
    /// The clock has stepped back by more than one window.
    stepped: bool,
    /// How many of the oldest slots no longer count.
    gone: u32,
    /// How many requests still count.
    live: u32,
}

/// What one window says of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verdict {
    pub(super) allowed: bool,
    /// How many requests count before this one.
    pub(super) live: u32,
    /// Allowed: when the oldest counted request leaves, this one included. Refused: when
    /// this request would be admitted.
    pub(super) instant: u64,
}

impl Window {
    /// An empty window that was never asked.
    pub(super) fn new(quota: &Quota) -> Self {
        let stamps = match quota.precision() {
            Precision::Exact => Stamps::Inline { span: 0, head: 0, len: 0, slots: [0; INLINE] },
            Precision::Coarse => Stamps::Coarse {
                span_high: 0,
                span_low: 0,
                head: 0,
                len: 0,
                units: 0,
                slots: Box::default(),
            },
        };
        let mut window = Self { last: 0, stamps };
        window.set_span(quota.window_millis());
        window
    }

    /// A window for `quota` that begins with what `other` remembers, newest first where
    /// it cannot hold everything.
    pub(super) fn inheriting(quota: &Quota, other: &Self) -> Self {
        let mut window = Self::new(quota);
        window.last = other.last;
        let mut room = Quota::MAX_EXACT_LIMIT;
        let mut kept = Vec::new();
        other.for_each_newest_first(|stamp, units| {
            if other.last - stamp < quota.window_millis() {
                let units =
                    if quota.precision() == Precision::Exact { units.min(room) } else { units };
                room = room.saturating_sub(units);
                kept.push((stamp, units));
            }
        });
        for (stamp, units) in kept.into_iter().rev() {
            window.push(stamp, units, quota);
        }
        window
    }

    /// Counts admissions at `stamp`, which is not before the latest: those of a newcomer that
    /// were counted elsewhere.
    pub(super) fn count(&mut self, quota: &Quota, stamp: u64, units: u32) {
        if units > 0 {
            self.last = stamp;
            self.push(stamp, units, quota);
        }
    }

    /// Whether this window is kept in the way that `quota` asks for.
    #[inline]
    pub(super) fn keeps(&self, precision: Precision) -> bool {
        match self.stamps {
            Stamps::Inline { .. } | Stamps::Spilled { .. } => precision == Precision::Exact,
            Stamps::Coarse { .. } => precision == Precision::Coarse,
        }
    }

    /// The length of the window at the last call that changed it.
    pub(super) fn span(&self) -> u64 {
        match self.stamps {
            Stamps::Inline { span, .. } | Stamps::Spilled { span, .. } => u64::from(span),
            Stamps::Coarse { span_high, span_low, .. } => {
                u64::from(span_high) << 32 | u64::from(span_low)
            }
        }
    }

    /// View, verdict, settle and, if allowed, charge in one pass over an exact ring, for an
    /// exact quota: the way of nearly all requests. `None`, and nothing is changed, where something rarer is
    /// called for: coarse precision, a step of the clock, a ring that must grow.
    #[inline]
    pub(super) fn check(&mut self, quota: &Quota, cost: u32, now: u64) -> Option<Verdict> {
        let ask = Ask { span: quota.window_millis(), limit: quota.limit(), cost, now };
        match &mut self.stamps {
            Stamps::Inline { span, head, len, slots } => {
                let (mut at, mut used) = ((*head).into(), (*len).into());
                let verdict = ask.of(slots, &mut at, &mut used, &mut self.last)?;
                (*span, *head, *len) = (ask.span as u32, at as u8, used as u8);
                Some(verdict)
            }
            Stamps::Spilled { span, head, len, slots } => {
                let (mut at, mut used) = (*head as usize, *len as usize);
                let verdict = ask.of(slots, &mut at, &mut used, &mut self.last)?;
                (*span, *head, *len) = (ask.span as u32, at as u32, used as u32);
                Some(verdict)
            }
            Stamps::Coarse { .. } => None,
        }
    }

    /// The window at `now`, which becomes effective time: up to one window behind the
    /// latest it counts as the latest; further behind, the clock has stepped back.
    #[inline]
    pub(super) fn view(&self, quota: &Quota, now: u64) -> View {
        let span = quota.window_millis();
        let (now, stepped) = if now >= self.last {
            (now, false)
        } else if self.last - now <= span {
            (self.last, false)
        } else {
            (now, true)
        };
        let Some(ring) = self.ring() else {
            return self.view_coarse(span, now, stepped);
        };
        // Everything is older than the newest stamp, which is not after `last`.
        let gone = if now.saturating_sub(self.last) >= span {
            ring.len
        } else {
            (0..ring.len).take_while(|&i| self.age(ring.at(i), now) >= span).count()
        };
        View { now, stepped, gone: gone as u32, live: (ring.len - gone) as u32 }
    }

    /// Whether `cost` more may be admitted. At most `quota.limit()`, or it never can.
    ///
    /// The limit is kept exactly if the stamp at distance `limit - cost + 1` from the
    /// newest has left the window, which is to say that no more than `limit - cost` count.
    #[inline]
    pub(super) fn verdict(&self, quota: &Quota, view: &View, cost: u32) -> Verdict {
        let live = view.live;
        let after = u64::from(live) + u64::from(cost);
        let allowed = after <= u64::from(quota.limit());
        // The request whose leaving is awaited, counted from the oldest that counts.
        let awaited = if allowed { 0 } else { after - u64::from(quota.limit()) - 1 };
        let instant = match self.ring() {
            None => self.leaves_coarse(quota, view, awaited),
            Some(_) if live == 0 => view.now + quota.window_millis(),
            Some(ring) => {
                let stamp = ring.at(view.gone as usize + awaited as usize);
                view.now - self.age(stamp, view.now) + quota.window_millis()
            }
        };
        Verdict { allowed, live, instant }
    }

    /// Makes what `view` saw so: forgets what has left, and follows the clock. True if it
    /// stepped back, so that stamps handed out before are no longer found.
    #[inline]
    pub(super) fn settle(&mut self, quota: &Quota, view: &View) -> bool {
        if view.stepped {
            self.step_back(view.now);
        }
        match &mut self.stamps {
            Stamps::Inline { head, len, slots, .. } => {
                let next = wrap(usize::from(*head) + view.gone as usize, slots.len());
                (*head, *len) = (next as u8, view.live as u8);
            }
            Stamps::Spilled { head, len, slots, .. } => {
                let next = wrap(*head as usize + view.gone as usize, slots.len());
                (*head, *len) = (next as u32, view.live);
            }
            Stamps::Coarse { head, len, units, slots, .. } => {
                *head = wrap(usize::from(*head) + view.gone as usize, slots.len()) as u16;
                *len = len.saturating_sub(view.gone as u16);
                *units = view.live;
            }
        }
        self.last = view.now;
        self.set_span(quota.window_millis());
        view.stepped
    }

    /// Settles, and counts `cost` requests at the effective time, which is returned.
    #[inline]
    pub(super) fn record(&mut self, quota: &Quota, view: &View, cost: u32) -> u64 {
        self.settle(quota, view);
        self.charge(quota, cost)
    }

    /// Counts `cost` requests at the effective time at which the window was settled.
    #[inline]
    pub(super) fn charge(&mut self, quota: &Quota, cost: u32) -> u64 {
        self.push(self.last, cost, quota);
        self.last
    }

    /// Takes `cost` requests counted at `stamp` back, if they still count.
    pub(super) fn refund(&mut self, stamp: u64, cost: u32) -> bool {
        let span = self.span();
        let Some(age) = self.last.checked_sub(stamp).filter(|&age| age < span) else {
            return self.refund_coarse(stamp, cost);
        };
        let wanted = (self.last - age) as u32;
        let (slots, head, len): (&mut [u32], usize, usize) = match &mut self.stamps {
            Stamps::Inline { head, len, slots, .. } => (slots, (*head).into(), (*len).into()),
            Stamps::Spilled { head, len, slots, .. } => (slots, *head as usize, *len as usize),
            Stamps::Coarse { .. } => return self.refund_coarse(stamp, cost),
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

    /// Whether, for every `now` up to one window behind this one, the window decides as
    /// an empty one that was never asked. Only then may it be forgotten.
    pub(super) fn idle(&self, now: u64) -> bool {
        now.checked_sub(self.last).is_some_and(|silence| silence >= 2 * self.span())
    }

    /// Follows a clock that is more than one window behind, as a request would.
    pub(super) fn follow(&mut self, now: u64) -> bool {
        let behind = self.last.saturating_sub(now) > self.span();
        if behind {
            self.step_back(now);
            self.last = now;
        }
        behind
    }

    fn set_span(&mut self, millis: u64) {
        match &mut self.stamps {
            Stamps::Inline { span, .. } | Stamps::Spilled { span, .. } => *span = millis as u32,
            Stamps::Coarse { span_high, span_low, .. } => {
                (*span_high, *span_low) = ((millis >> 32) as u8, millis as u32);
            }
        }
    }

    /// The exact stamps; none if the precision is coarse.
    #[inline]
    fn ring(&self) -> Option<Ring<'_>> {
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

    /// How long before `now` a stamp lies; nothing if a step of the clock has put it after.
    #[inline]
    fn age(&self, stamp: u32, now: u64) -> u64 {
        let before_last = u64::from((self.last as u32).wrapping_sub(stamp));
        (now + before_last).saturating_sub(self.last)
    }

    /// Stamps after `now` become `now`.
    #[cold]
    fn step_back(&mut self, now: u64) {
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

    /// Appends `cost` stamps. The ring spills out of line once, to the size of the limit,
    /// and grows again only if the limit has grown.
    #[inline]
    fn push(&mut self, stamp: u64, cost: u32, quota: &Quota) {
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

    /// Calls `see` with each remembered stamp (of a segment, its last millisecond, but
    /// never after `last`) and how many requests it stands for.
    fn for_each_newest_first(&self, mut see: impl FnMut(u64, u32)) {
        if let Some(ring) = self.ring() {
            for i in (0..ring.len).rev() {
                see(self.last - self.age(ring.at(i), self.last), 1);
            }
        } else if let Some(segments) = self.segments() {
            for i in (0..segments.len).rev() {
                let segment = segments.at(i);
                let end = segments.start(segment) + segments.grain - 1;
                see(end.min(self.last), segment.units);
            }
        }
    }
}

/// A request, as [`Window::check`] asks it.
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
        let now = if self.now >= *last {
            self.now
        } else if *last - self.now <= self.span {
            *last
        } else {
            return None;
        };
        let (mut first, mut live) = (*head, *len);
        if now - *last >= self.span {
            live = 0;
        }
        // No stamp that is left is older than two windows of at most 24 days, so the
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

/// Coarse precision: a segment counts until its last millisecond has left, which is
/// less than one grain, at most 1/256 of the window, too late for its first.
impl Window {
    fn segments(&self) -> Option<Segments<'_>> {
        let Stamps::Coarse { head, len, slots, .. } = &self.stamps else { return None };
        let grain = grain(self.span());
        let last_number = self.last / grain;
        Some(Segments { slots, head: (*head).into(), len: (*len).into(), grain, last_number })
    }

    fn view_coarse(&self, span: u64, now: u64, stepped: bool) -> View {
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

    /// When the `awaited`-th request, counted from the oldest that counts, leaves.
    fn leaves_coarse(&self, quota: &Quota, view: &View, awaited: u64) -> u64 {
        let span = quota.window_millis();
        let grain = grain(span);
        // The latest that a request admitted now can leave; also the answer for an empty window.
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

    fn push_coarse(&mut self, stamp: u64, cost: u32, quota: &Quota) {
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

    fn refund_coarse(&mut self, stamp: u64, cost: u32) -> bool {
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

    /// Segments after the one of `now` become part of it.
    fn step_back_coarse(&mut self, now: u64) {
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

/// The length of a segment: the least that covers a window in fewer than 256, plus one
/// millisecond less than which nothing can be late.
const fn grain(span: u64) -> u64 {
    span / 256 + 1
}

/// The position that `at` wraps to; `at` is less than twice `len`.
#[inline(always)]
const fn wrap(at: usize, len: usize) -> usize {
    if at >= len { at - len } else { at }
}

/// A ring of exact stamps, to read.
struct Ring<'a> {
    slots: &'a [u32],
    head: usize,
    len: usize,
}

impl Ring<'_> {
    /// The `i`-th oldest.
    #[inline(always)]
    fn at(&self, i: usize) -> u32 {
        self.slots.get(wrap(self.head + i, self.slots.len())).copied().unwrap_or(0)
    }
}

/// A ring of segments, to read.
struct Segments<'a> {
    slots: &'a [Segment],
    head: usize,
    len: usize,
    grain: u64,
    last_number: u64,
}

impl Segments<'_> {
    fn at(&self, i: usize) -> Segment {
        self.slots.get(wrap(self.head + i, self.slots.len())).copied().unwrap_or_default()
    }

    /// The first millisecond of a segment.
    fn start(&self, segment: Segment) -> u64 {
        let before_last = (self.last_number as u32).wrapping_sub(segment.number);
        (self.last_number - u64::from(before_last)) * self.grain
    }
}
