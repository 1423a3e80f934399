//! Hearing of changes that others make.

use std::{convert::Infallible, time::Duration};

use keyward::{Change, Invalidate, KeyHash, KeyId, OwnerId};
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};

/// Hears of each change of a [`PostgresStore`](crate::PostgresStore)'s tables, whoever makes it,
/// and tells a cache.
///
/// The database announces a change by `NOTIFY` in the transaction that makes it: triggers do it,
/// so a revocation by hand is announced too. What is heard has been committed. Between a commit
/// and the cache's forgetting lies the time that one message takes.
///
/// Messages are lost while there is no connection, so after each connecting everything is
/// forgotten, and also when the connection is lost. A connection that is dead without either
/// side knowing tells nothing: how long a cache serves what is not so any more is then bounded
/// by how long its entries live, and by that alone.
///
/// ```no_run
/// # use std::convert::Infallible;
/// use keyward::Invalidate;
/// use keyward_sqlx::ChangeListener;
/// use sqlx::postgres::PgConnectOptions;
///
/// # async fn listen(cache: impl Invalidate) -> Infallible {
/// let listener = ChangeListener::new(PgConnectOptions::new());
/// listener.run(cache, tokio::time::sleep).await // usually in a task of its own
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ChangeListener {
    /// One connection, apart from the store's: an exhausted pool delays no news.
    pool: PgPool,
}

impl ChangeListener {
    /// How long it waits at first before it connects again; each time twice as long, up to
    /// [`ChangeListener::LONGEST_PAUSE`].
    pub const FIRST_PAUSE: Duration = Duration::from_millis(50);
    /// How long it waits at most before it connects again.
    pub const LONGEST_PAUSE: Duration = Duration::from_secs(2);

    /// A listener that will connect so, to the store's database. Nothing is connected yet.
    pub fn new(options: PgConnectOptions) -> Self {
        let pool = PgPoolOptions::new().max_connections(1).min_connections(0);
        Self { pool: pool.max_lifetime(None).idle_timeout(None).connect_lazy_with(options) }
    }

    /// Listens until it is dropped, connecting again whenever the connection is lost.
    ///
    /// `pause` waits for so long on the host's runtime, `tokio::time::sleep` for example.
    pub async fn run<P, F>(&self, told: impl Invalidate, pause: P) -> Infallible
    where
        P: Fn(Duration) -> F,
        F: Future<Output = ()>,
    {
        let mut wait = Self::FIRST_PAUSE;
        loop {
            if let Ok(mut listener) = self.connect().await {
                wait = Self::FIRST_PAUSE;
                told.invalidate(&Change::Everything);
                // Neither an error nor the end of the connection says what was missed.
                while let Ok(Some(heard)) = listener.try_recv().await {
                    told.invalidate(&read(heard.payload()));
                }
                told.invalidate(&Change::Everything);
            }
            pause(wait).await;
            wait = (wait * 2).min(Self::LONGEST_PAUSE);
        }
    }

    async fn connect(&self) -> Result<PgListener, sqlx::Error> {
        let mut listener = PgListener::connect_with(&self.pool).await?;
        listener.eager_reconnect(false);
        listener.listen("keyward").await?;
        Ok(listener)
    }
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
    let owner = || Some(Change::Owner(OwnerId::new(announcement.strip_prefix("owner ")?).ok()?));
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
        assert_eq!(read("owner a b"), Change::Owner(OwnerId::from_static("a b")));
        assert_eq!(read("owner key x"), Change::Owner(OwnerId::from_static("key x")));
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
