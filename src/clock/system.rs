//! The clock of the operating system.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::clock::{source::Clock, timestamp::Timestamp};

/// The clock of the operating system, made safe to decide with: it never steps back.
///
/// Its time is the monotonic clock plus an anchor in wall time. If at least 16 ms have passed since
/// the last comparison, a reading compares the two clocks and moves the anchor by at most a
/// sixteenth of the time that has passed.
///
/// - A wall clock that was set back is approached: an hour takes 16 hours, during which a second of
///   this clock lasts a little longer.
/// - A wall clock that is more than one second ahead is followed at once, because a key that has
///   expired in the meantime must be refused. Examples are a machine that was suspended and a clock
///   that was wrong at the start. If the wall clock of a host jumps ahead by mistake, restart the
///   process after the clock is right again.
///
/// ```
/// use keyward::{Clock, SystemClock};
///
/// let clock = SystemClock::new();
/// let earlier = clock.now();
/// assert!(clock.now() >= earlier);
/// ```
#[derive(Debug)]
pub struct SystemClock {
    /// The monotonic instant from which `anchor_nanos` counts.
    started: Instant,
    /// Wall time at `started` in nanoseconds since the epoch, with all corrections so far.
    anchor_nanos: AtomicI64,
    /// The monotonic nanoseconds at which the next comparison is due.
    next_sync: AtomicU64,
    /// The latest millisecond that was returned.
    latest: AtomicU64,
    /// The monotonic nanoseconds before which `latest` is still right.
    latest_until: AtomicU64,
}

const MILLISECOND: i64 = 1_000_000;
const SYNC_EVERY: u64 = 16_000_000;
/// One comparison moves the anchor by at most this fraction of the time since the last one.
const SLEW: u64 = 16;
const STEP_AHEAD: i64 = 1_000_000_000;

impl SystemClock {
    /// Builds a clock that is anchored at the current wall time of the system.
    #[expect(clippy::disallowed_methods, reason = "this is the clock module")]
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            anchor_nanos: AtomicI64::new(wall_nanos(SystemTime::now())),
            next_sync: AtomicU64::new(SYNC_EVERY),
            latest: AtomicU64::new(0),
            latest_until: AtomicU64::new(0),
        }
    }

    /// Returns the reading for a monotonic clock at `elapsed` nanoseconds.
    ///
    /// Only when a comparison is due, `compare` reads the wall clock and then the monotonic one.
    /// In this order a thread that is delayed between the two reads sees the wall clock behind,
    /// which is approached, and never ahead, which would be followed.
    #[inline]
    fn read(&self, elapsed: u64, compare: impl FnOnce() -> (i64, u64)) -> Timestamp {
        // Most calls return the millisecond of the call before. A thread that sees the later
        // bound also sees the millisecond that was stored before it.
        if elapsed < self.latest_until.load(Ordering::Acquire) {
            return Timestamp::from_unix_millis(self.latest.load(Ordering::Relaxed));
        }
        self.read_slowly(elapsed, compare)
    }

    #[cold]
    fn read_slowly(&self, elapsed: u64, compare: impl FnOnce() -> (i64, u64)) -> Timestamp {
        let due = self.next_sync.load(Ordering::Relaxed);
        // The thread that wins the exchange compares.
        if elapsed >= due
            && self
                .next_sync
                .compare_exchange(
                    due,
                    elapsed.saturating_add(SYNC_EVERY),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok()
        {
            let anchor = self.anchor_nanos.load(Ordering::Relaxed);
            let (wall, compared_at) = compare();
            let ahead = wall.saturating_sub(anchor.saturating_add_unsigned(compared_at));
            let passed = elapsed.saturating_sub(due.saturating_sub(SYNC_EVERY));
            let most = i64::try_from(passed / SLEW).unwrap_or(i64::MAX);
            let correction = if ahead > STEP_AHEAD { ahead } else { ahead.clamp(-most, most) };
            // If another thread compared while this one was delayed, its anchor stays.
            let _delayed = self.anchor_nanos.compare_exchange(
                anchor,
                anchor.saturating_add(correction),
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
        let anchor = self.anchor_nanos.load(Ordering::Relaxed);
        let millis = (anchor.saturating_add_unsigned(elapsed).max(0) / MILLISECOND) as u64;
        let latest = self.latest.fetch_max(millis, Ordering::Relaxed).max(millis);
        let next = i64::try_from(latest + 1).unwrap_or(i64::MAX).saturating_mul(MILLISECOND);
        let until = u64::try_from(next.saturating_sub(anchor)).unwrap_or(0);
        let until = until.min(self.next_sync.load(Ordering::Relaxed));
        self.latest_until.store(until, Ordering::Release);
        Timestamp::from_unix_millis(latest)
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock module")]
    fn now(&self) -> Timestamp {
        let elapsed = || nanos(self.started.elapsed());
        self.read(elapsed(), || (wall_nanos(SystemTime::now()), elapsed()))
    }
}

fn nanos(elapsed: Duration) -> u64 {
    // Not `as_nanos`: its 128 bits cost more than the reading itself.
    let secs = elapsed.as_secs().saturating_mul(1_000_000_000);
    secs.saturating_add(u64::from(elapsed.subsec_nanos()))
}

/// Nanoseconds since the epoch. A wall clock before 1970 reads as 1970.
fn wall_nanos(wall: SystemTime) -> i64 {
    let since = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn clock_at(wall_nanos: i64) -> SystemClock {
        let clock = SystemClock::new();
        clock.anchor_nanos.store(wall_nanos, Ordering::Relaxed);
        clock
    }

    #[test]
    fn a_wall_clock_set_back_is_approached_without_stepping_back() {
        let clock = clock_at(3_600 * SECOND as i64);
        let mut before = Timestamp::ZERO;
        let mut frozen = 0;
        // The wall clock is set back by one second. Ours closes the gap in under a minute.
        for step in 1..=6_000_u64 {
            let elapsed = step * 10_000_000;
            let now = clock.read(elapsed, || ((3_599 * SECOND + elapsed) as i64, elapsed));
            assert!(now >= before, "stepped back at {elapsed}");
            frozen += u32::from(now == before);
            before = now;
        }
        assert_eq!(before.as_unix_millis(), (3_599 + 60) * 1_000);
        assert_eq!(frozen, 0, "a gap of a second never stops the clock for 10 ms");
    }

    #[test]
    fn a_wall_clock_far_ahead_is_followed_at_once() {
        let clock = clock_at(0);
        let wall = 86_400 * SECOND as i64;
        assert_eq!(clock.read(SYNC_EVERY, || (wall, SYNC_EVERY)).as_unix_millis(), 86_400_000);
    }

    #[test]
    fn a_host_that_asks_rarely_approaches_as_fast() {
        let clock = clock_at(3_600 * SECOND as i64);
        // Set back by half an hour and read once a minute: eight hours close the gap.
        for minute in 1..=8 * 60 + 1 {
            let elapsed = minute * 60 * SECOND;
            let wall = (1_800 * SECOND + elapsed) as i64;
            let now = clock.read(elapsed, || (wall, elapsed));
            if minute == 8 * 60 + 1 {
                assert_eq!(now.as_unix_millis(), wall as u64 / 1_000_000);
            }
        }
    }

    #[test]
    fn a_thread_that_is_held_up_while_comparing_does_not_step_ahead() {
        let clock = clock_at(0);
        let hour = 3_600 * SECOND;
        // The wall clock was read in time, and the monotonic one an hour later.
        clock.read(SYNC_EVERY, || (SYNC_EVERY as i64, SYNC_EVERY + hour));
        let later = SYNC_EVERY + hour;
        let now = clock.read(later, || (later as i64, later));
        assert!(now.as_unix_millis() <= later / 1_000_000);
    }

    #[test]
    fn the_wall_clock_is_asked_only_when_due() {
        let clock = clock_at(0);
        for elapsed in [0, 1, SYNC_EVERY - 1] {
            clock.read(elapsed, || panic!("asked at {elapsed}"));
        }
    }

    #[test]
    fn a_wall_clock_before_the_epoch_reads_as_the_epoch() {
        assert_eq!(wall_nanos(UNIX_EPOCH - Duration::from_secs(1)), 0);
    }
}
