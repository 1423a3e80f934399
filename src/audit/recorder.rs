//! Passing events on to a store.

use std::{
    error::Error,
    fmt,
    future::Future,
    ops::Range,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    audit::{
        action::AuditAction,
        callback::Audit,
        entry::AuditEntry,
        event::AuditEvent,
        queue::{Queue, Queued},
        store::AuditStore,
    },
    clock::timer::Timer,
    usage::flusher::FlushReport,
};

/// Receives events, and appends them to an [`AuditStore`] at an interval and once more at the end.
///
/// [`AuditRecorder::audit`] is the callback for gates and issuers. It puts events into a queue and
/// waits for nothing. [`AuditRecorder::run`] appends them; the host runs its future, usually in a task
/// of its own. What the process has not appended when it ends without `stop` is lost.
///
/// Unless the host sets another [filter](AuditRecorder::with_filter), it keeps the changes of keys and
/// the refusals of proved keys. So nobody without a key can fill the store. Entries of requests, such
/// as refusals, take at most half of the places of the queue. So no key can displace a change, however
/// often it is refused.
///
/// Entries that were not appended stay in the queue in their order: if the store fails, takes longer
/// than the [timeout](AuditRecorder::with_timeout) or panics, and if the future is dropped. In each of
/// these cases the store may have appended them all the same, for example if the connection is lost
/// before the reply, and then has them once more for each repetition.
///
/// If a batch fails in two flushes running, the recorder looks for the entries that fail alone. It
/// drops one that fails alone both before and after another entry is appended, and
/// [reports](RecorderReport::rejected) it. If nothing is appended after it, such an entry
/// waits behind the others.
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
    /// Whether the last flush failed.
    failed: AtomicBool,
    /// The number of dropped entries that were reported.
    reported: AtomicU64,
}

/// The function of the host that receives what flushes did.
type Report<E> = Arc<dyn Fn(&RecorderReport<E>) + Send + Sync>;

/// What a flush of an [`AuditRecorder`] did, and what was dropped since the flush before.
#[derive(Debug)]
#[non_exhaustive]
pub struct RecorderReport<E> {
    /// What became of the entries that waited.
    pub flushed: FlushReport<E>,
    /// The number of entries that were dropped since the report before, because they found no place in
    /// the queue.
    pub dropped: u64,
    /// The number of entries that this flush dropped, because the store appends others and not them.
    pub rejected: usize,
    /// The error of the last of these.
    pub rejection: Option<E>,
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
            failed: AtomicBool::new(false),
            reported: AtomicU64::new(0),
        }
    }

    /// Sets the number of entries that can wait. Zero counts as 1. Call it before
    /// [`AuditRecorder::audit`].
    ///
    /// Events that find no place are dropped and counted. Those of requests (admissions, refusals, uses
    /// of a retired secret, foreign credentials, anonymous requests) find one in half of the places,
    /// rounded down. A change that finds none takes that of the latest request.
    pub fn with_capacity(self, entries: usize) -> Self {
        Self { queue: Arc::new(Queue::new(entries)), ..self }
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
        report: impl Fn(&RecorderReport<S::Error>) + Send + Sync + 'static,
    ) -> Self {
        Self { report: Arc::new(report), ..self }
    }

    /// Returns the callback for gates and issuers. It can be called several times.
    pub fn audit(&self) -> Audit {
        let (queue, filter) = (Arc::clone(&self.queue), Arc::clone(&self.filter));
        Audit::new(move |event| {
            if filter(event) {
                let is_of_request = event.action.is_of_request();
                queue.push(Queued { entry: AuditEntry::from(event), is_of_request });
            }
        })
    }

    /// Adds an entry of the host's own, which counts as a change. Returns false if it was dropped, because the queue is full.
    pub fn record(&self, entry: AuditEntry) -> bool {
        self.queue.push(Queued { entry, is_of_request: false })
    }

    /// Returns the number of entries that were dropped because the queue was full.
    pub fn dropped(&self) -> u64 {
        self.queue.dropped()
    }

    /// Flushes at the interval until `stop` completes, and then once more. Returns what the last
    /// flush did, after it was reported.
    pub async fn run(&self, stop: impl Future<Output = ()>) -> RecorderReport<S::Error> {
        let mut stop = pin!(stop);
        while self.timer.race(self.interval, stop.as_mut()).await.is_none() {
            (self.report)(&self.flush().await);
        }
        let last = self.flush().await;
        (self.report)(&last);
        last
    }

    /// Appends what waits, in batches, until the first failure. Flushes of one recorder follow one
    /// another.
    pub async fn flush(&self) -> RecorderReport<S::Error> {
        let mut flush = Flush { saved: 0, rejected: 0, rejection: None };
        let flushed = match self.append_all(&mut flush).await {
            Ok(()) => FlushReport::Saved { saved: flush.saved },
            Err(Stop::Failed(error)) => FlushReport::Failed { error, saved: flush.saved },
            Err(Stop::TimedOut) => FlushReport::TimedOut { saved: flush.saved },
        };
        self.failed.store(matches!(flushed, FlushReport::Failed { .. }), Ordering::Relaxed);
        let total = self.queue.dropped();
        let dropped = total.saturating_sub(self.reported.swap(total, Ordering::Relaxed));
        let Flush { rejected, rejection, .. } = flush;
        RecorderReport { flushed, dropped, rejected, rejection }
    }

    async fn append_all(&self, flush: &mut Flush<S::Error>) -> Result<(), Stop<S::Error>> {
        // What arrives meanwhile must not keep a flush from its end.
        let mut left = self.queue.len();
        while left > 0 {
            let mut held = Held::take(&self.queue, left.min(Self::BATCH));
            let taken = held.entries.len();
            if taken == 0 {
                break;
            }
            match self.append(&mut held, 0..taken).await {
                Ok(()) => flush.saved += taken,
                Err(Stop::Failed(_)) if self.failed.load(Ordering::Relaxed) => {
                    self.append_parts(held, flush).await?;
                }
                Err(stop) => return Err(stop),
            }
            left = left.saturating_sub(taken);
        }
        Ok(())
    }

    /// Appends a batch that failed as a whole, in parts, and finds the entries that fail alone. They
    /// are dropped if they fail again after another entry was appended.
    async fn append_parts(
        &self,
        mut held: Held<'_>,
        flush: &mut Flush<S::Error>,
    ) -> Result<(), Stop<S::Error>> {
        let mut size = held.entries.len().div_ceil(2);
        // The number of entries that failed alone. They are the first ones of the batch.
        let mut alone = 0;
        // The number of them after which another entry was appended.
        let mut suspected = 0;
        let mut last = None;
        while alone < held.entries.len() && alone - suspected < MAX_ALONE {
            let end = held.entries.len().min(alone + size);
            match self.append(&mut held, alone..end).await {
                Ok(()) => {
                    flush.saved += end - alone;
                    suspected = alone;
                    size = size.saturating_mul(2);
                }
                Err(Stop::Failed(error)) => {
                    last = Some(error);
                    if end - alone == 1 {
                        alone += 1;
                    } else {
                        size = (end - alone).div_ceil(2);
                    }
                }
                Err(stop) => return Err(stop),
            }
        }
        for _ in 0..suspected {
            match self.append(&mut held, 0..1).await {
                Ok(()) => flush.saved += 1,
                Err(Stop::Failed(error)) => {
                    held.remove(0..1);
                    flush.rejected += 1;
                    flush.rejection = Some(error);
                }
                Err(stop) => return Err(stop),
            }
        }
        held.behind = alone - suspected;
        match last {
            Some(error) if !held.entries.is_empty() => Err(Stop::Failed(error)),
            _ => Ok(()),
        }
    }

    /// Appends a part of the entries, which then leave.
    async fn append(&self, held: &mut Held<'_>, part: Range<usize>) -> Result<(), Stop<S::Error>> {
        let entries = held.entries.get(part.clone()).unwrap_or_default();
        match self.timer.race(self.timeout, self.store.append(entries)).await {
            Some(Ok(())) => {
                held.remove(part);
                Ok(())
            }
            Some(Err(error)) => Err(Stop::Failed(error)),
            None => Err(Stop::TimedOut),
        }
    }
}

/// The number of entries that fail alone, one after another, after which a flush ends: the store
/// probably fails for all.
const MAX_ALONE: usize = 8;

/// What a flush has done so far.
struct Flush<E> {
    saved: usize,
    rejected: usize,
    rejection: Option<E>,
}

/// The reason why a flush ends early.
enum Stop<E> {
    Failed(E),
    TimedOut,
}

/// Entries that go back to the queue unless they were appended.
struct Held<'q> {
    queue: &'q Queue,
    entries: Vec<AuditEntry>,
    /// Which of them are of requests.
    of_requests: Vec<bool>,
    /// The number of the first ones that go behind the others.
    behind: usize,
}

impl<'q> Held<'q> {
    fn take(queue: &'q Queue, limit: usize) -> Self {
        let taken = queue.take(limit).into_iter();
        let (entries, of_requests) =
            taken.map(|queued| (queued.entry, queued.is_of_request)).unzip();
        Self { queue, entries, of_requests, behind: 0 }
    }

    fn remove(&mut self, part: Range<usize>) {
        let end = part.end.min(self.entries.len());
        let start = part.start.min(end);
        self.entries.drain(start..end);
        self.of_requests.drain(start..end);
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if self.entries.is_empty() {
            return;
        }
        let entries = std::mem::take(&mut self.entries).into_iter();
        let queued = entries
            .zip(std::mem::take(&mut self.of_requests))
            .map(|(entry, is_of_request)| Queued { entry, is_of_request });
        let mut behind: Vec<_> = queued.collect();
        let before = behind.split_off(self.behind.min(behind.len()));
        self.queue.put_back(before, behind);
    }
}

impl<E: Error> fmt::Display for RecorderReport<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.flushed.fmt(f)?;
        if self.dropped > 0 {
            write!(f, "; {} entries found no place and were dropped", self.dropped)?;
        }
        if let Some(error) = &self.rejection {
            write!(f, "; {} entries fail alone and were dropped: {error}", self.rejected)?;
        }
        Ok(())
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
            .field("waiting", &self.queue.len())
            .field("capacity", &self.queue.capacity())
            .field("dropped", &self.dropped())
            .finish_non_exhaustive()
    }
}
