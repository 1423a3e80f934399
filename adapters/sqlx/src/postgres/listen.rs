//! Listening for changes by other processes.

use std::{
    convert::Infallible, fmt, future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration,
};

use keyward::{
    key::{KeyHash, KeyId, OwnerId},
    store::{Change, Invalidate},
};
use sqlx::{
    Executor as _,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};

use crate::SqlStoreError;

/// Listens for changes of the tables of a [`PostgresStore`](crate::PostgresStore) and notifies a
/// cache.
///
/// Triggers announce each change by `NOTIFY` in the transaction that makes it, so a revocation by
/// hand is announced too. A notification is received only after the commit. The delay between the
/// commit and the invalidation is that of one message.
///
/// Messages are lost while there is no connection. So the listener invalidates everything when the
/// connection is lost, and again when there is a new one. It notices a connection that died
/// silently after twice [`ChangeListener::LONGEST_SILENCE`]. Until then, and while the database
/// cannot be reached, only the lifetime of a cache's entries bounds how long it serves stale ones.
///
/// ```no_run
/// # use std::convert::Infallible;
/// use keyward::store::Invalidate;
/// use keyward_sqlx::ChangeListener;
/// use sqlx::postgres::PgConnectOptions;
///
/// # async fn listen(cache: impl Invalidate) -> Infallible {
/// let listener = ChangeListener::new(PgConnectOptions::new());
/// listener.run(cache, tokio::time::sleep).await // usually in a task of its own
/// # }
/// ```
#[derive(Clone)]
pub struct ChangeListener {
    options: PgConnectOptions,
    report: Arc<dyn Fn(ListenerReport) + Send + Sync>,
}

/// The state of a [`ChangeListener`], for a log line and a health check.
#[derive(Debug)]
#[non_exhaustive]
pub enum ListenerReport {
    /// It receives changes from now on.
    Listening,
    /// The connection was lost. Until the next [`ListenerReport::Listening`] only the staleness
    /// bound of a cache holds.
    Lost {
        /// The error; `None` if the connection was closed or was silent for too long.
        cause: Option<SqlStoreError>,
    },
    /// It could not connect and tries again after a pause.
    Failed {
        /// The error; `None` if there was no reply in time.
        cause: Option<SqlStoreError>,
        /// The number of consecutive failed attempts, from 1.
        attempt: u64,
    },
}

impl ChangeListener {
    /// The first pause before it connects again. Each further pause is twice as long, up to
    /// [`ChangeListener::LONGEST_PAUSE`].
    pub const FIRST_PAUSE: Duration = Duration::from_millis(50);
    /// The longest pause before it connects again.
    pub const LONGEST_PAUSE: Duration = Duration::from_secs(2);
    /// The time without a message after which it checks the connection, and the time that it waits
    /// for the reply or for a connection.
    pub const LONGEST_SILENCE: Duration = Duration::from_secs(5);

    /// Creates a listener that connects to the store's database with these options. It does not
    /// connect yet.
    ///
    /// It has a connection of its own, so that an exhausted pool does not delay notifications.
    pub fn new(options: PgConnectOptions) -> Self {
        Self { options, report: Arc::new(|_| ()) }
    }

    /// Sets a function that receives each change of state, because this crate logs nothing itself.
    ///
    /// [`ChangeListener::run`] calls it after it has notified the cache. A report contains no
    /// password. The function must return soon, because no messages are received meanwhile.
    ///
    /// ```
    /// use std::sync::{Arc, atomic::{AtomicBool, Ordering}};
    /// use keyward_sqlx::{ChangeListener, ListenerReport};
    /// use sqlx::postgres::PgConnectOptions;
    ///
    /// let listening = Arc::new(AtomicBool::new(false));
    /// let healthy = Arc::clone(&listening);
    /// let listener = ChangeListener::new(PgConnectOptions::new()).with_report(move |report| {
    ///     healthy.store(matches!(report, ListenerReport::Listening), Ordering::Relaxed);
    ///     eprintln!("changes of keys: {report:?}");
    /// });
    /// ```
    #[must_use]
    pub fn with_report(self, report: impl Fn(ListenerReport) + Send + Sync + 'static) -> Self {
        Self { report: Arc::new(report), ..self }
    }

    /// Listens until the future is dropped, and connects again whenever the connection is lost.
    ///
    /// `pause` waits for a duration on the host's runtime, for example `tokio::time::sleep`.
    pub async fn run<P, F>(&self, cache: impl Invalidate, pause: P) -> Infallible
    where
        P: Fn(Duration) -> F,
        F: Future<Output = ()>,
    {
        let (mut wait, mut attempt) = (Self::FIRST_PAUSE, 0);
        loop {
            // The limit also ends an attempt at a server that accepts and then stays silent.
            let connected = within(self.connect(), pause(2 * Self::LONGEST_SILENCE)).await;
            let mut failed = |cause| {
                attempt += 1;
                ListenerReport::Failed { cause, attempt }
            };
            let report = match connected {
                Some(Ok(mut listener)) => {
                    (wait, attempt) = (Self::FIRST_PAUSE, 0);
                    // Every commit from here on is received, and then what was read before is
                    // invalidated. In this order no change falls between the two.
                    cache.invalidate(&Change::Everything);
                    (self.report)(ListenerReport::Listening);
                    let cause = listen(&mut listener, &cache, &pause).await;
                    cache.invalidate(&Change::Everything);
                    ListenerReport::Lost { cause }
                }
                Some(Err(error)) => failed(Some(error.into())),
                None => failed(None),
            };
            (self.report)(report);
            pause(wait).await;
            wait = (wait * 2).min(Self::LONGEST_PAUSE);
        }
    }

    async fn connect(&self) -> Result<PgListener, sqlx::Error> {
        // A new pool each time: a connection that died silently would keep the only slot of the
        // previous one.
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(Self::LONGEST_SILENCE)
            .max_lifetime(None)
            .idle_timeout(None)
            .connect_lazy_with(self.options.clone());
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.eager_reconnect(false);
        listener.listen("keyward").await?;
        Ok(listener)
    }
}

/// Omits the options, because they contain the password.
impl fmt::Debug for ChangeListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangeListener").finish_non_exhaustive()
    }
}

/// Passes notifications on until the connection is lost. Returns the error, if there is one.
async fn listen<P, F>(
    listener: &mut PgListener,
    cache: &impl Invalidate,
    pause: &P,
) -> Option<SqlStoreError>
where
    P: Fn(Duration) -> F,
    F: Future<Output = ()>,
{
    let silence = ChangeListener::LONGEST_SILENCE;
    loop {
        match within(listener.try_recv(), pause(silence)).await {
            Some(Ok(Some(message))) => cache.invalidate(&read(message.payload())),
            Some(Ok(None)) => return None,
            Some(Err(error)) => return Some(error.into()),
            None => match within(listener.execute("SELECT 1"), pause(silence)).await {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Some(error.into()),
                None => return None,
            },
        }
    }
}

/// Awaits `work`; returns `None` if `limit` completes first.
async fn within<T>(work: impl Future<Output = T>, limit: impl Future<Output = ()>) -> Option<T> {
    let (mut work, mut limit) = (pin!(work), pin!(limit));
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => limit.as_mut().poll(context).map(|()| None),
    })
    .await
}

/// Reads an announcement. One that is not understood may concern anything.
fn read(announcement: &str) -> Change {
    let key = || {
        let (id, hash) = match announcement.strip_prefix("key ")?.split_once(' ') {
            Some((id, hash)) => (id, Some(hash.parse::<KeyHash>().ok()?)),
            None => (announcement.strip_prefix("key ")?, None),
        };
        let id: KeyId = id.parse().ok()?;
        Some(Change::Key { id, hashes: hash.into_iter().collect() })
    };
    let owner = || {
        let id = OwnerId::new(announcement.strip_prefix("owner ")?).ok()?;
        Some(Change::owner(id))
    };
    key().or_else(owner).unwrap_or(Change::Everything)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_that_is_not_understood_may_concern_anything() {
        let (id, hash) = ("0b".repeat(16), format!("sha256:{}", "ab".repeat(32)));
        let key = |hashes| Change::Key { id: KeyId::from_bytes([0x0b; 16]), hashes };
        assert_eq!(read(&format!("key {id}")), key(vec![]));
        assert_eq!(read(&format!("key {id} {hash}")), key(vec![hash.parse().unwrap()]));
        assert_eq!(read("owner a b"), Change::owner(OwnerId::from_static("a b")));
        assert_eq!(read("owner key x"), Change::owner(OwnerId::from_static("key x")));
        let long = format!("owner {}", "x".repeat(OwnerId::MAX_LEN + 1));
        let bad = [format!("key {id} "), format!("key {id} x"), format!("key {id} {hash} "), long];
        for text in ["", "all", "key", "key ", "owner", "owner ", "keys", "Key 1", "key 1"]
            .into_iter()
            .chain(bad.iter().map(String::as_str))
        {
            assert_eq!(read(text), Change::Everything, "{text}");
        }
    }
}
