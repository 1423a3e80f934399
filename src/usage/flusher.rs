//! Saving usage at an interval.

use std::{error::Error, fmt, future::Future, pin::pin, sync::Arc, time::Duration};

use crate::{
    clock::timer::Timer,
    usage::{batch::UsageBatch, ledger::UsageLedger, store::UsageStore},
};

/// Saves the usage of a [`UsageLedger`] in a store, at an interval and once more at the end.
///
/// It starts no task: the host runs the future of [`UsageFlusher::run`], usually in a task of its own.
///
/// A batch that was not saved goes back to the ledger: if the store fails, if it takes longer than the
/// [timeout](UsageFlusher::with_timeout), if it panics, and if the future is dropped during a save.
/// In each of these cases the store may have saved the batch all the same, for example if the
/// connection is lost between the commit and the reply. Its requests then count once more for each
/// repetition. They are lost only if the ledger is full meanwhile, and
/// [`UsageLedger::uncounted`] returns their number.
///
/// ```
/// use std::{future::Future, sync::Arc};
/// use keyward::{clock::Timer, usage::{UsageFlusher, UsageLedger, UsageStore}};
///
/// async fn save_usage(
///     ledger: Arc<UsageLedger>,
///     store: impl UsageStore,
///     timer: Timer,                     // Timer::new(tokio::time::sleep)
///     stop: impl Future<Output = ()>,   // when the service shuts down
/// ) {
///     let flusher = UsageFlusher::new(ledger, store, timer)
///         .with_report(|report| eprintln!("usage: {report:?}"));
///     flusher.run(stop).await;
/// }
/// ```
#[must_use]
pub struct UsageFlusher<S: UsageStore> {
    ledger: Arc<UsageLedger>,
    store: S,
    timer: Timer,
    interval: Duration,
    batch: usize,
    timeout: Duration,
    report: Report<S::Error>,
}

/// The function of the host that receives what flushes did.
type Report<E> = Arc<dyn Fn(&FlushReport<E>) + Send + Sync>;

/// What a flush of a [`UsageFlusher`] did, or one of an
/// [`AuditRecorder`](crate::audit::AuditRecorder) with the entries that waited.
#[derive(Debug)]
#[non_exhaustive]
pub enum FlushReport<E> {
    /// Everything that waited when the flush began was saved.
    Saved {
        /// The number of saved entries. In usage, a key counts once for each minute in which it was
        /// used.
        saved: usize,
    },
    /// The store failed. The rest waits for the next flush.
    Failed {
        /// The error of the store.
        error: E,
        /// The number of entries that were saved before.
        saved: usize,
    },
    /// The store took too long. The rest waits for the next flush.
    TimedOut {
        /// The number of entries that were saved before.
        saved: usize,
    },
}

impl<S: UsageStore> UsageFlusher<S> {
    /// The interval unless the host sets another: 10 seconds.
    pub const INTERVAL: Duration = Duration::from_secs(10);
    /// The number of entries of a batch unless the host sets another. An entry is a key in one
    /// minute.
    pub const BATCH: usize = 1_000;
    /// The longest time for saving a batch unless the host sets another: 30 seconds.
    pub const TIMEOUT: Duration = Duration::from_secs(30);

    /// Creates a flusher with the default interval, batch and timeout.
    pub fn new(ledger: Arc<UsageLedger>, store: S, timer: Timer) -> Self {
        let (interval, batch, timeout) = (Self::INTERVAL, Self::BATCH, Self::TIMEOUT);
        Self { ledger, store, timer, interval, batch, timeout, report: Arc::new(|_| ()) }
    }

    /// Sets the pause between two flushes.
    pub fn with_interval(self, interval: Duration) -> Self {
        Self { interval, ..self }
    }

    /// Sets the largest number of entries of a batch. Zero counts as 1.
    pub fn with_batch(self, entries: usize) -> Self {
        Self { batch: entries.max(1), ..self }
    }

    /// Sets the longest time for saving one batch.
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Sets a function that receives what each flush of [`UsageFlusher::run`] did, for a log.
    pub fn with_report(
        self,
        report: impl Fn(&FlushReport<S::Error>) + Send + Sync + 'static,
    ) -> Self {
        Self { report: Arc::new(report), ..self }
    }

    /// Flushes at the interval until `stop` completes, and then once more. Returns what the last
    /// flush did, after it was reported.
    ///
    /// A process that ends without `stop` loses what waits in the ledger.
    pub async fn run(&self, stop: impl Future<Output = ()>) -> FlushReport<S::Error> {
        let mut stop = pin!(stop);
        while self.timer.race(self.interval, stop.as_mut()).await.is_none() {
            (self.report)(&self.flush().await);
        }
        let last = self.flush().await;
        (self.report)(&last);
        last
    }

    /// Saves what waits in the ledger, in batches. It ends at the first batch that is not full, also
    /// while more requests are counted, and at the first failure.
    pub async fn flush(&self) -> FlushReport<S::Error> {
        let mut saved = 0;
        // What arrives meanwhile must not keep a flush from its end.
        let mut batches = self.ledger.len() / self.batch + 1;
        while batches > 0 {
            batches -= 1;
            let mut held = Held { ledger: &self.ledger, batch: self.ledger.drain(self.batch) };
            let drained = held.batch.len();
            if drained == 0 {
                break;
            }
            match self.timer.race(self.timeout, self.store.save_usage(&held.batch)).await {
                Some(Ok(())) => held.batch = UsageBatch::default(),
                Some(Err(error)) => return FlushReport::Failed { error, saved },
                None => return FlushReport::TimedOut { saved },
            }
            saved += drained;
            if drained < self.batch {
                break;
            }
        }
        FlushReport::Saved { saved }
    }
}

impl<S: UsageStore> fmt::Debug for UsageFlusher<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UsageFlusher")
            .field("ledger", &self.ledger)
            .field("interval", &self.interval)
            .field("batch", &self.batch)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl<E: Error> fmt::Display for FlushReport<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Saved { saved } => write!(f, "{saved} entries were saved"),
            Self::Failed { error, .. } => write!(f, "entries were not saved: {error}"),
            Self::TimedOut { .. } => f.write_str("entries were not saved in time"),
        }
    }
}

/// A batch that goes back to the ledger unless it was saved.
struct Held<'l> {
    ledger: &'l UsageLedger,
    batch: UsageBatch,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.ledger.give_back_or_uncount(std::mem::take(&mut self.batch));
    }
}
