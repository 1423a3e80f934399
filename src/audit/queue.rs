//! The bounded queue of entries that wait to be appended.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{audit::entry::AuditEntry, sync::Mutex};

/// Entries in the order of their arrival. Those of requests take at most half of the capacity, so
/// that no client can displace a change.
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    capacity: usize,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    entries: VecDeque<Queued>,
    /// The number of entries of requests.
    of_requests: usize,
}

/// An entry that waits.
pub(super) struct Queued {
    pub(super) entry: AuditEntry,
    /// Whether a request caused it, and not a change.
    pub(super) is_of_request: bool,
}

impl Queue {
    pub(super) fn new(capacity: usize) -> Self {
        Self { waiting: Mutex::default(), capacity: capacity.max(1), dropped: AtomicU64::new(0) }
    }

    pub(super) const fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.lock().entries.len()
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Adds an entry. Returns false if it was dropped. A change that finds no place takes that of the
    /// latest request.
    pub(super) fn push(&self, queued: Queued) -> bool {
        let mut waiting = self.waiting.lock();
        let has_place = waiting.entries.len() < self.capacity;
        let is_kept = match queued.is_of_request {
            true => has_place && waiting.of_requests < self.capacity / 2,
            false => has_place || waiting.of_requests > 0,
        };
        if is_kept {
            waiting.of_requests += usize::from(queued.is_of_request);
            waiting.entries.push_back(queued);
            self.trim(&mut waiting);
        } else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        is_kept
    }

    /// Takes out at most `limit` entries, the earliest first.
    pub(super) fn take(&self, limit: usize) -> Vec<Queued> {
        let mut waiting = self.waiting.lock();
        let count = waiting.entries.len().min(limit);
        let taken: Vec<_> = waiting.entries.drain(..count).collect();
        waiting.of_requests -= taken.iter().filter(|queued| queued.is_of_request).count();
        taken
    }

    /// Puts entries back: before all others, or behind them.
    pub(super) fn put_back(&self, before: Vec<Queued>, behind: Vec<Queued>) {
        let mut waiting = self.waiting.lock();
        let back = before.iter().chain(&behind).filter(|queued| queued.is_of_request).count();
        waiting.of_requests += back;
        for queued in before.into_iter().rev() {
            waiting.entries.push_front(queued);
        }
        waiting.entries.extend(behind);
        self.trim(&mut waiting);
    }

    /// Drops what is beyond the bounds: the latest of requests, and then the latest.
    fn trim(&self, waiting: &mut Waiting) {
        let beyond_half = waiting.of_requests.saturating_sub(self.capacity / 2);
        let beyond = waiting.entries.len().saturating_sub(self.capacity);
        let of_requests = beyond_half.max(beyond).min(waiting.of_requests);
        if of_requests > 0 {
            waiting.of_requests -= of_requests;
            let (mut seen, kept) = (0, waiting.of_requests);
            waiting.entries.retain(|queued| {
                seen += usize::from(queued.is_of_request);
                !queued.is_of_request || seen <= kept
            });
        }
        let changes = waiting.entries.len().saturating_sub(self.capacity);
        waiting.entries.truncate(self.capacity);
        self.dropped.fetch_add((of_requests + changes) as u64, Ordering::Relaxed);
    }
}
