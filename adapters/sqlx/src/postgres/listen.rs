//! Hearing of changes that others make.

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

/// Hears of each change of a [`PostgresStore`](crate::PostgresStore)'s tables, whoever makes it,
/// and tells a cache.
///
/// The database announces a change by `NOTIFY` in the transaction that makes it: triggers do it,
/// so a revocation by hand is announced too. What is heard has been committed. Between a commit
/// and the cache's forgetting lies the time that one message takes.
///
/// Messages are lost while there is no connection, so everything is forgotten when it is lost,
/// and again when there is a new one. A connection that is dead without this side having been
/// told is noticed after twice [`ChangeListener::LONGEST_SILENCE`]. Until then, and as long as
/// the database cannot be reached, how long a cache serves what is not so any more is bounded by
/// how long its entries live, and by that alone.
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

/// How a [`ChangeListener`] fares, for a log line and a health check.
#[derive(Debug)]
#[non_exhaustive]
pub enum ListenerReport {
    /// It hears of changes from now on.
    Listening,
    /// The connection was lost. Until the next [`ListenerReport::Listening`] only the staleness
    /// bound of a cache holds.
    Lost {
        /// What was wrong with it; `None` if it was closed, or said nothing for too long.
        cause: Option<SqlStoreError>,
    },
    /// It could not connect, and tries again after a pause.
    Failed {
        /// What the attempt met; `None` if there was no answer in time.
        cause: Option<SqlStoreError>,
        /// Which attempt in a row failed, from 1 on.
        attempt: u64,
    },
}

impl ChangeListener {
    /// How long it waits at first before it connects again; each time twice as long, up to
    /// [`ChangeListener::LONGEST_PAUSE`].
    pub const FIRST_PAUSE: Duration = Duration::from_millis(50);
    /// How long it waits at most before it connects again.
    pub const LONGEST_PAUSE: Duration = Duration::from_secs(2);
    /// How long it hears nothing before it asks whether the connection still lives, and how long
    /// it waits for the answer, or for a connection.
    pub const LONGEST_SILENCE: Duration = Duration::from_secs(5);

    /// A listener that will connect so, to the store's database. Nothing is connected yet.
    ///
    /// It has a connection of its own, so that an exhausted pool delays no news.
    pub fn new(options: PgConnectOptions) -> Self {
        Self { options, report: Arc::new(|_| ()) }
    }

    /// Tells how it fares, from within [`ChangeListener::run`], after the cache was told what there
    /// was to tell: this crate logs nothing itself. What is told holds no password. It must return
    /// soon, for nothing is heard meanwhile.
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

    /// Listens until it is dropped, connecting again whenever the connection is lost.
    ///
    /// `pause` waits for so long on the host's runtime, `tokio::time::sleep` for example.
    pub async fn run<P, F>(&self, told: impl Invalidate, pause: P) -> Infallible
    where
        P: Fn(Duration) -> F,
        F: Future<Output = ()>,
    {
        let (mut wait, mut attempt) = (Self::FIRST_PAUSE, 0);
        loop {
            // Also a server that takes the connection and then says nothing is given up.
            let connected = within(self.connect(), pause(2 * Self::LONGEST_SILENCE)).await;
            let mut failed = |cause| {
                attempt += 1;
                ListenerReport::Failed { cause, attempt }
            };
            let report = match connected {
                Some(Ok(mut listener)) => {
                    (wait, attempt) = (Self::FIRST_PAUSE, 0);
                    // What was committed from here on is heard, and what was read before is told to
                    // be forgotten: in this order nothing falls between the two.
                    told.invalidate(&Change::Everything);
                    (self.report)(ListenerReport::Listening);
                    let cause = listen(&mut listener, &told, &pause).await;
                    told.invalidate(&Change::Everything);
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
        // A pool of its own each time: a connection that is dead without knowing it would keep
        // the only place of the one before.
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

/// Without the options: they hold the password.
impl fmt::Debug for ChangeListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangeListener").finish_non_exhaustive()
    }
}

/// Passes on what is heard, until the connection is lost: nothing then says what was missed.
/// Returns why, if it is known.
async fn listen<P, F>(
    listener: &mut PgListener,
    told: &impl Invalidate,
    pause: &P,
) -> Option<SqlStoreError>
where
    P: Fn(Duration) -> F,
    F: Future<Output = ()>,
{
    let silence = ChangeListener::LONGEST_SILENCE;
    loop {
        match within(listener.try_recv(), pause(silence)).await {
            Some(Ok(Some(heard))) => told.invalidate(&read(heard.payload())),
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

/// What `work` comes to, unless `limit` is over first.
async fn within<T>(work: impl Future<Output = T>, limit: impl Future<Output = ()>) -> Option<T> {
    let (mut work, mut limit) = (pin!(work), pin!(limit));
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => limit.as_mut().poll(context).map(|()| None),
    })
    .await
}

/// What an announcement says. One that is not understood may mean anything.
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
    fn what_is_not_understood_may_mean_anything() {
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
