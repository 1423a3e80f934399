//! At most one line a second for each kind of failure, with the number of requests that it concerns.
//!
//! During an outage every request fails for the same reason. A line for each would fill the disk and hide
//! everything else.

use std::{
    mem::Discriminant,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use keyward::{Timestamp, request::RefusalReason};

/// The time between two lines of one kind.
const PAUSE: Duration = Duration::from_secs(1);

/// A kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Refusal(Discriminant<RefusalReason>),
    NoAddress,
}

/// The failures that were logged, and those that were not since.
#[derive(Default)]
pub(crate) struct Outages {
    /// Whether a failure is not logged yet, so that requests which do not fail look at nothing else.
    has_unlogged: AtomicBool,
    kinds: Mutex<Vec<Entry>>,
}

struct Entry {
    kind: Kind,
    logged_at: Timestamp,
    /// The failures since, and the text of the last one.
    unlogged: u64,
    last: String,
}

/// A line to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) kind: Kind,
    pub(crate) reason: String,
    /// The number of failures of this kind since the line before.
    pub(crate) count: u64,
}

impl Outages {
    /// Counts a failure; returns the line to write for it and those before it, if it is time for one.
    pub(crate) fn failed(
        &self,
        kind: Kind,
        reason: impl FnOnce() -> String,
        now: Timestamp,
    ) -> Option<Line> {
        let mut kinds = self.lock();
        let Some(entry) = kinds.iter_mut().find(|entry| entry.kind == kind) else {
            let entry = Entry { kind, logged_at: now, unlogged: 0, last: String::new() };
            kinds.push(entry);
            return Some(Line { kind, reason: reason(), count: 1 });
        };
        entry.unlogged = entry.unlogged.saturating_add(1);
        entry.last = reason();
        if entry.is_due(now) {
            return Some(entry.line(now));
        }
        self.has_unlogged.store(true, Ordering::Relaxed);
        None
    }

    /// Returns the lines of failures after which nothing else failed, once it is time for them.
    pub(crate) fn overdue(&self, now: impl FnOnce() -> Timestamp) -> Vec<Line> {
        if !self.has_unlogged.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let (mut kinds, now) = (self.lock(), now());
        let due = kinds.iter_mut().filter(|entry| entry.unlogged > 0 && entry.is_due(now));
        let lines = due.map(|entry| entry.line(now)).collect();
        let is_left = kinds.iter().any(|entry| entry.unlogged > 0);
        self.has_unlogged.store(is_left, Ordering::Relaxed);
        lines
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        // Counts are right whatever panicked between them.
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// A clock that was set back does not silence a kind. Threads read the clock before they are here, so
    /// a `now` that is a little earlier is none.
    fn is_due(&self, now: Timestamp) -> bool {
        now.saturating_since(self.logged_at) >= PAUSE
            || self.logged_at.saturating_since(now) >= PAUSE
    }

    fn line(&mut self, now: Timestamp) -> Line {
        self.logged_at = now;
        let (reason, count) = (std::mem::take(&mut self.last), std::mem::take(&mut self.unlogged));
        Line { kind: self.kind, reason, count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::from_unix_secs(1_700_000_000);

    fn kind(reason: &RefusalReason) -> Kind {
        Kind::Refusal(std::mem::discriminant(reason))
    }

    #[test]
    fn each_kind_has_one_line_a_second_with_its_count() {
        let outages = Outages::default();
        let (store, limiter) =
            (kind(&RefusalReason::NoLimiter), kind(&RefusalReason::ForeignRoute));
        let at = |millis: u64| NOON + Duration::from_millis(millis);
        let failed = |kind, millis| {
            let line = outages.failed(kind, || format!("at {millis}"), at(millis));
            line.map(|line| (line.reason, line.count))
        };
        assert_eq!(failed(store, 0), Some(("at 0".to_owned(), 1)));
        for millis in 1..1_000 {
            assert_eq!(failed(store, millis), None);
        }
        // Another kind does not wait for the first.
        assert_eq!(failed(limiter, 500), Some(("at 500".to_owned(), 1)));
        assert_eq!(failed(store, 1_000), Some(("at 1000".to_owned(), 1_000)));
        assert_eq!(failed(store, 1_001), None);
        // Nothing fails any more: the rest is told by the next request, once.
        assert_eq!(outages.overdue(|| at(1_999)), []);
        let rest = Line { kind: store, reason: "at 1001".to_owned(), count: 1 };
        assert_eq!(outages.overdue(|| at(2_000)), [rest]);
        assert_eq!(outages.overdue(|| panic!("nothing is unlogged")), []);
        // A thread that read the clock before another one logged is no clock that was set back.
        for millis in [1_999, 2_000, 1_001] {
            assert_eq!(failed(store, millis), None);
        }
        // A clock that was set back.
        assert!(failed(store, 0).is_some());
    }
}
