//! A clock for tests.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::clock::{source::Clock, timestamp::Timestamp};

/// A clock that a test sets by hand. Unlike [`SystemClock`](crate::clock::SystemClock) it can be
/// set back, to show what a service sees on a host whose clock steps.
///
/// ```
/// use std::time::Duration;
/// use keyward::{Clock, ManualClock, Timestamp};
///
/// let clock = ManualClock::new(Timestamp::from_unix_secs(1_000));
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(clock.now(), Timestamp::from_unix_secs(1_060));
/// ```
#[derive(Debug, Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// Builds a clock that stands at `now`.
    pub const fn new(now: Timestamp) -> Self {
        Self(AtomicU64::new(now.as_unix_millis()))
    }

    /// Moves the clock to `now`, forwards or backwards.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.as_unix_millis(), Ordering::SeqCst);
    }

    /// Moves the clock forwards, at most to [`Timestamp::MAX`].
    pub fn advance(&self, duration: Duration) {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let mut now = self.0.load(Ordering::SeqCst);
        while let Err(changed) = self.0.compare_exchange(
            now,
            now.saturating_add(millis),
            Ordering::SeqCst,
            Ordering::SeqCst,
        ) {
            now = changed;
        }
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.0.load(Ordering::SeqCst))
    }
}
