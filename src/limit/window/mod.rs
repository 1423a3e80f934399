//! One sliding window: its admissions and its decisions. It knows no lock, no key and no clock.
//!
//! A decision has three steps, so that several windows can decide before any is charged:
//! [`Window::view`] and [`Window::verdict`] only read, [`Window::settle`] forgets the admissions
//! that have left, and [`Window::record`] settles and counts an admission.
//!
//! `exact` holds the ring of stamps, `coarse` the ring of segments.

mod coarse;
mod exact;

use crate::quota::{Precision, Quota};

/// The number of stamps stored inside the window itself. A person's session sends about six
/// requests a minute, and six make an entry of the table exactly one cache line.
const INLINE: usize = 6;

/// The admissions that still count, oldest first.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// The latest effective time, in milliseconds since the epoch. No stamp is later.
    last: u64,
    stamps: Stamps,
}

/// The admissions in 32 bytes. All three variants are rings: `len` slots from `head` on are in use
/// and wrap at the end of `slots`.
///
/// A stamp is the low half of a `u64` of milliseconds. A stamp in use is less than one window of at
/// most 24 days older than `last`. So its distance to `last` modulo 2³² (49 days) is exact however
/// long the process runs, and nothing is ever rebased.
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
    /// `units` is the sum over the segments in use. The span has two parts because it may need
    /// 35 bits.
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

/// The state of a window at one instant, read without changing the window.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    /// The effective time: see [`Window::view`].
    now: u64,
    /// Whether the clock was set back: see [`effective`].
    stepped: bool,
    /// The number of the oldest slots that no longer count.
    gone: u32,
    /// The number of requests that still count.
    live: u32,
}

/// The decision of one window on a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verdict {
    pub(super) allowed: bool,
    /// The number of requests that count, without this one.
    pub(super) live: u32,
    /// Allowed: the instant at which the oldest counted request leaves, this one included.
    /// Refused: the instant at which this request would be admitted.
    pub(super) instant: u64,
}

impl Window {
    /// Builds an empty window that decides nothing before `start`.
    pub(super) fn new(quota: &Quota, start: u64) -> Self {
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
        let mut window = Self { last: start, stamps };
        window.set_span(quota.window_millis());
        window
    }

    /// Builds a window for `quota` that begins at `now` with the admissions of `other` that are
    /// younger than its length: the newest ones, at most as many as the limit.
    ///
    /// `now` is the effective time. An admission after it counts as of `now`.
    pub(super) fn inheriting(quota: &Quota, other: &Self, now: u64) -> Self {
        let mut window = Self::new(quota, now);
        let mut room = quota.limit();
        let mut kept = Vec::new();
        other.for_each_newest_first(|stamp, units| {
            let stamp = stamp.min(now);
            if room == 0 || now - stamp >= quota.window_millis() {
                return false;
            }
            let units = units.min(room);
            room -= units;
            kept.push((stamp, units));
            true
        });
        for (stamp, units) in kept.into_iter().rev() {
            window.push(stamp, units, quota);
        }
        window
    }

    /// Counts admissions at `stamp`, which is not after the latest effective time and not before
    /// the newest stamp. A newcomer's window begins with its admissions in overflow this way.
    pub(super) fn count(&mut self, quota: &Quota, stamp: u64, units: u32) {
        if units > 0 && self.last - stamp.min(self.last) < quota.window_millis() {
            self.push(stamp.min(self.last), units, quota);
        }
    }

    /// Returns the number of requests at most `span` old at the effective time `now`, up to `most`.
    pub(super) fn younger_than(&self, span: u64, now: u64, most: u32) -> u32 {
        let mut count = 0_u32;
        if let Some(ring) = self.ring() {
            // The stamps ascend, so that those which are too old come first.
            let (mut from, mut to) = (0, ring.len);
            while from < to {
                let middle = from + (to - from) / 2;
                if self.age(ring.at(middle), now) >= span { from = middle + 1 } else { to = middle }
            }
            count = (ring.len - from) as u32;
        } else {
            self.for_each_newest_first(|stamp, units| {
                let young = now - stamp.min(now) < span;
                count = if young { count.saturating_add(units) } else { count };
                young && count < most
            });
        }
        count.min(most)
    }

    /// Returns the effective time of `now` for a window of the length `span` whose latest is this
    /// window's.
    pub(super) fn effective(&self, span: u64, now: u64) -> u64 {
        effective(self.last, span, now)
    }

    /// Returns the first instant at which nothing of this window counts, whoever asks.
    pub(super) fn end(&self) -> u64 {
        self.last + self.span()
    }

    /// Takes the precision of `quota` if nothing is remembered. Otherwise the precision stays.
    #[inline]
    pub(super) fn adopt(&mut self, quota: &Quota) {
        if !self.keeps(quota.precision()) && self.is_empty() {
            *self = Self::new(quota, self.last);
        }
    }

    fn is_empty(&self) -> bool {
        match self.stamps {
            Stamps::Inline { len, .. } => len == 0,
            Stamps::Spilled { len, .. } => len == 0,
            Stamps::Coarse { len, .. } => len == 0,
        }
    }

    /// Makes an exact window coarse, because exact precision cannot hold the limit that is asked.
    #[cold]
    pub(super) fn coarsen(&mut self, quota: &Quota) {
        let quota = Quota::from_parts(quota.limit(), self.span(), Precision::Coarse);
        let mut coarse = Self::new(&quota, self.last);
        let mut kept = Vec::new();
        self.for_each_newest_first(|stamp, units| {
            kept.push((stamp, units));
            true
        });
        for (stamp, units) in kept.into_iter().rev() {
            coarse.push(stamp, units, &quota);
        }
        *self = coarse;
    }

    /// Returns whether this window has this precision.
    #[inline]
    pub(super) fn keeps(&self, precision: Precision) -> bool {
        match self.stamps {
            Stamps::Inline { .. } | Stamps::Spilled { .. } => precision == Precision::Exact,
            Stamps::Coarse { .. } => precision == Precision::Coarse,
        }
    }

    /// Returns the length of the window at the last call that changed it.
    pub(super) fn span(&self) -> u64 {
        match self.stamps {
            Stamps::Inline { span, .. } | Stamps::Spilled { span, .. } => u64::from(span),
            Stamps::Coarse { span_high, span_low, .. } => {
                u64::from(span_high) << 32 | u64::from(span_low)
            }
        }
    }

    /// Reads the window at `now` and computes the effective time: see [`effective`].
    #[inline]
    pub(super) fn view(&self, quota: &Quota, now: u64) -> View {
        let span = quota.window_millis();
        let now = effective(self.last, span, now);
        let stepped = now < self.last;
        let Some(ring) = self.ring() else {
            return self.view_coarse(span, now, stepped);
        };
        // No stamp is later than the newest, which is not after `last`.
        let gone = if now.saturating_sub(self.last) >= span {
            ring.len
        } else {
            (0..ring.len).take_while(|&i| self.age(ring.at(i), now) >= span).count()
        };
        View { now, stepped, gone: gone as u32, live: (ring.len - gone) as u32 }
    }

    /// Decides whether `cost` more may be admitted. `cost` is at most `quota.limit()`.
    ///
    /// The limit is kept exactly if the stamp at distance `limit - cost + 1` from the newest has
    /// left the window: then no more than `limit - cost` count.
    #[inline]
    pub(super) fn verdict(&self, quota: &Quota, view: &View, cost: u32) -> Verdict {
        let live = view.live;
        let after = u64::from(live) + u64::from(cost);
        let allowed = after <= u64::from(quota.limit());
        // The request that must leave first, counted from the oldest that counts.
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

    /// Applies `view`: forgets the admissions that have left and follows the clock. Returns whether
    /// the clock was set back, because stamps handed out before are then no longer found.
    #[inline]
    pub(super) fn settle(&mut self, view: &View) -> bool {
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
        view.stepped
    }

    /// Settles, counts `cost` requests at the effective time, and returns that time.
    #[inline]
    pub(super) fn record(&mut self, quota: &Quota, view: &View, cost: u32) -> u64 {
        self.settle(view);
        self.charge(quota, cost)
    }

    /// Counts `cost` requests at the effective time of the last settling, and returns that time.
    #[inline]
    pub(super) fn charge(&mut self, quota: &Quota, cost: u32) -> u64 {
        self.push(self.last, cost, quota);
        self.last
    }

    /// Takes back `cost` requests counted at `stamp`. Returns whether they still counted.
    pub(super) fn refund(&mut self, stamp: u64, cost: u32) -> bool {
        match self.stamps {
            Stamps::Inline { .. } | Stamps::Spilled { .. } => self.refund_exact(stamp, cost),
            Stamps::Coarse { .. } => self.refund_coarse(stamp, cost),
        }
    }

    /// Returns whether nothing counts at `now` or later. Then the window may be forgotten, if a
    /// later one of its key begins no earlier than [`Window::end`].
    pub(super) fn idle(&self, now: u64) -> bool {
        now >= self.end()
    }

    /// Follows a clock that was set back, as a request does. Returns whether it was.
    pub(super) fn follow(&mut self, now: u64) -> bool {
        let behind = effective(self.last, self.span(), now) < self.last;
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

    /// Calls `see` with each remembered stamp and its number of requests, until it returns `false`.
    /// The stamp of a segment is its last millisecond, but never after `last`.
    fn for_each_newest_first(&self, mut see: impl FnMut(u64, u32) -> bool) {
        if let Some(ring) = self.ring() {
            for i in (0..ring.len).rev() {
                if !see(self.last - self.age(ring.at(i), self.last), 1) {
                    return;
                }
            }
        } else if let Some(segments) = self.segments() {
            for i in (0..segments.len).rev() {
                let segment = segments.at(i);
                let end = segments.start(segment) + segments.grain - 1;
                if !see(end.min(self.last), segment.units) {
                    return;
                }
            }
        }
    }
}

/// Returns the effective time of a request at `now` for a window of the length `span` that has
/// already decided at `last`.
///
/// A `now` up to [`lateness`] behind counts as `last`, because it was read before a wait. Further
/// behind, the clock was set back, and the window follows it.
#[inline(always)]
pub(super) const fn effective(last: u64, span: u64, now: u64) -> u64 {
    if now >= last || last - now > lateness(span) { now } else { last }
}

/// Returns the longest time that a `now` may be late: one window, and at least five minutes.
#[inline(always)]
pub(super) const fn lateness(span: u64) -> u64 {
    if span > LONGEST_WAIT { span } else { LONGEST_WAIT }
}

/// The time within which every wait of a host ends: five minutes, in milliseconds.
pub(super) const LONGEST_WAIT: u64 = 300_000;

/// Returns the position that `at` wraps to. `at` is less than twice `len`.
#[inline(always)]
const fn wrap(at: usize, len: usize) -> usize {
    if at >= len { at - len } else { at }
}
