//! Passing events on to a store.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    audit::{Audit, AuditAction, AuditEvent, entry::AuditEntry, store::AuditStore},
    clock::timer::Timer,
    sync::Mutex,
    usage::flusher::{FlushReport, Report},
};

/// Receives events, and appends them to an [`AuditStore`] at an interval and once more at the end.
///
/// [`AuditRecorder::audit`] is the callback for gates and issuers. It puts events into a queue and
/// waits for nothing. [`AuditRecorder::run`] appends them; the host runs its future, usually in a task
/// of its own. What the process has not appended when it ends without `stop` is lost.
///
/// Unless the host sets another [filter](AuditRecorder::with_filter), it keeps the changes of keys and
/// the refusals of proved keys. So nobody without a key can fill the store.
///
/// Entries that were not appended stay in the queue in their order: if the store fails, takes longer
/// than the [timeout](AuditRecorder::with_timeout) or panics, and if the future is dropped. In the last
/// three cases the store may have appended them all the same, and then has them twice.
///
/// ```
/// use std::future::Future;
/// use keyward::{Issuer, audit::{AuditRecorder, AuditStore}, clock::Timer, store::KeyRegistry};
///
/// async fn serve<R: KeyRegistry>(
///     issuer: Issuer<R>,
///     store: impl AuditStore,
///     timer: Timer,                     // Timer::new(tokio::time::sleep)
///     stop: impl Future<Output = ()>,   // when the service shuts down
/// ) {
///     let recorder = AuditRecorder::new(store, timer);
///     let issuer = issuer.with_audit(recorder.audit());
///     # let _ = issuer;
///     recorder.run(stop).await;         // in a task of its own
/// }
/// ```
#[must_use]
pub struct AuditRecorder<S: AuditStore> {
    queue: Arc<Queue>,
    filter: Arc<dyn Fn(&AuditEvent) -> bool + Send + Sync>,
    store: S,
    timer: Timer,
    interval: Duration,
    timeout: Duration,
    report: Report<S::Error>,
}

struct Queue {
    waiting: Mutex<VecDeque<AuditEntry>>,
    capacity: usize,
    dropped: AtomicU64,
}

impl<S: AuditStore> AuditRecorder<S> {
    /// The number of entries that can wait unless the host sets another: 10,000.
    pub const CAPACITY: usize = 10_000;
    /// The largest number of entries that are appended together.
    pub const BATCH: usize = 500;
    /// The interval unless the host sets another: 1 second.
    pub const INTERVAL: Duration = Duration::from_secs(1);
    /// The longest time for appending a batch unless the host sets another: 30 seconds.
    pub const TIMEOUT: Duration = Duration::from_secs(30);

    /// Creates a recorder with the default settings.
    pub fn new(store: S, timer: Timer) -> Self {
        Self {
            queue: Arc::new(Queue::new(Self::CAPACITY)),
            filter: Arc::new(is_kept),
            store,
            timer,
            interval: Self::INTERVAL,
            timeout: Self::TIMEOUT,
            report: Arc::new(|_| ()),
        }
    }

    /// Sets the number of entries that can wait. Zero counts as 1. Call it before
    /// [`AuditRecorder::audit`].
    ///
    /// Events that find no place are dropped and counted.
    pub fn with_capacity(self, entries: usize) -> Self {
        Self { queue: Arc::new(Queue::new(entries.max(1))), ..self }
    }

    /// Sets which events are kept. Call it before [`AuditRecorder::audit`].
    pub fn with_filter(self, filter: impl Fn(&AuditEvent) -> bool + Send + Sync + 'static) -> Self {
        Self { filter: Arc::new(filter), ..self }
    }

    /// Sets the pause between two flushes.
    pub fn with_interval(self, interval: Duration) -> Self {
        Self { interval, ..self }
    }

    /// Sets the longest time for appending one batch.
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Sets a function that receives what each flush of [`AuditRecorder::run`] did, for a log.
    pub fn with_report(
        self,
        report: impl Fn(&FlushReport<S::Error>) + Send + Sync + 'static,
    ) -> Self {
        Self { report: Arc::new(report), ..self }
    }

    /// Returns the callback for gates and issuers. It can be called several times.
    pub fn audit(&self) -> Audit {
        let (queue, filter) = (Arc::clone(&self.queue), Arc::clone(&self.filter));
        Audit::new(move |event| {
            if filter(event) {
                queue.push(AuditEntry::from(event));
            }
        })
    }

    /// Adds an entry of the host's own. Returns false if it was dropped, because the queue is full.
    pub fn record(&self, entry: AuditEntry) -> bool {
        self.queue.push(entry)
    }

    /// Returns the number of entries that were dropped because the queue was full.
    pub fn dropped(&self) -> u64 {
        self.queue.dropped.load(Ordering::Relaxed)
    }

    /// Flushes at the interval until `stop` completes, and then once more. Returns what the last
    /// flush did, after it was reported.
    pub async fn run(&self, stop: impl Future<Output = ()>) -> FlushReport<S::Error> {
        let mut stop = pin!(stop);
        while self.timer.race(self.interval, stop.as_mut()).await.is_none() {
            (self.report)(&self.flush().await);
        }
        let last = self.flush().await;
        (self.report)(&last);
        last
    }

    /// Appends what waits, in batches, until the first failure.
    pub async fn flush(&self) -> FlushReport<S::Error> {
        let mut saved = 0;
        // What arrives meanwhile must not keep a flush from its end.
        let mut left = self.queue.waiting.lock().len();
        while left > 0 {
            let entries = self.queue.take(left.min(Self::BATCH));
            let mut held = Held { queue: &self.queue, entries };
            let taken = held.entries.len();
            if taken == 0 {
                break;
            }
            match self.timer.race(self.timeout, self.store.append(&held.entries)).await {
                Some(Ok(())) => held.entries.clear(),
                Some(Err(error)) => return FlushReport::Failed { error, saved },
                None => return FlushReport::TimedOut { saved },
            }
            saved += taken;
            left = left.saturating_sub(taken);
        }
        FlushReport::Saved { saved }
    }
}

impl Queue {
    fn new(capacity: usize) -> Self {
        Self { waiting: Mutex::default(), capacity, dropped: AtomicU64::new(0) }
    }

    fn push(&self, entry: AuditEntry) -> bool {
        let mut waiting = self.waiting.lock();
        let has_place = waiting.len() < self.capacity;
        if has_place {
            waiting.push_back(entry);
        } else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        has_place
    }

    fn take(&self, limit: usize) -> Vec<AuditEntry> {
        let mut waiting = self.waiting.lock();
        let count = waiting.len().min(limit);
        waiting.drain(..count).collect()
    }

    /// Puts entries back before all others. The latest ones are dropped if there is no place.
    fn put_back(&self, entries: Vec<AuditEntry>) {
        let mut waiting = self.waiting.lock();
        for entry in entries.into_iter().rev() {
            waiting.push_front(entry);
        }
        let excess = waiting.len().saturating_sub(self.capacity);
        let kept = waiting.len() - excess;
        waiting.truncate(kept);
        self.dropped.fetch_add(excess as u64, Ordering::Relaxed);
    }
}

/// Entries that go back to the queue unless they were appended.
struct Held<'q> {
    queue: &'q Queue,
    entries: Vec<AuditEntry>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if !self.entries.is_empty() {
            self.queue.put_back(std::mem::take(&mut self.entries));
        }
    }
}

/// Returns whether an event concerns a key that exists, and is not an admitted request.
fn is_kept(event: &AuditEvent) -> bool {
    let is_admission = matches!(event.action, AuditAction::Admitted { .. });
    !is_admission && (event.key.is_some() || event.owner.is_some())
}

impl<S: AuditStore> fmt::Debug for AuditRecorder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditRecorder")
            .field("waiting", &self.queue.waiting.lock().len())
            .field("capacity", &self.queue.capacity)
            .field("dropped", &self.dropped())
            .finish_non_exhaustive()
    }
}
