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
    /// Whether the clock was set back by more than one window.
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
    /// Builds an empty window that has decided nothing yet.
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

    /// Builds a window for `quota` that begins with the admissions of `other`: the newest ones if
    /// it cannot hold all.
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

    /// Counts admissions at `stamp`, which is not before the latest stamp. A newcomer's window
    /// begins with its admissions in overflow this way.
    pub(super) fn count(&mut self, quota: &Quota, stamp: u64, units: u32) {
        if units > 0 {
            self.last = stamp;
            self.push(stamp, units, quota);
        }
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

    /// Reads the window at `now` and computes the effective time: a `now` up to one window behind
    /// the latest counts as the latest; further behind, the clock was set back.
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

    /// Settles, counts `cost` requests at the effective time, and returns that time.
    #[inline]
    pub(super) fn record(&mut self, quota: &Quota, view: &View, cost: u32) -> u64 {
        self.settle(quota, view);
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

    /// Returns whether, for every `now` up to one window behind this one, the window decides as an
    /// empty new one does. Only then may it be forgotten.
    pub(super) fn idle(&self, now: u64) -> bool {
        now.checked_sub(self.last).is_some_and(|silence| silence >= 2 * self.span())
    }

    /// Follows a clock that is more than one window behind, as a request does. Returns whether it
    /// was.
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

    /// Calls `see` with each remembered stamp and its number of requests. The stamp of a segment is
    /// its last millisecond, but never after `last`.
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

/// Returns the position that `at` wraps to. `at` is less than twice `len`.
#[inline(always)]
const fn wrap(at: usize, len: usize) -> usize {
    if at >= len { at - len } else { at }
}
