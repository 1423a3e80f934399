//! The store in a database of PostgreSQL.

mod dialect;
mod listen;
mod migrations;
mod statements;

pub use listen::{ChangeListener, ListenerReport};

use keyward::{
    KeyHasher, Timestamp,
    key::KeyId,
    usage::{Usage, UsageBatch},
};
use sqlx::{
    PgPool, Postgres,
    postgres::{PgPoolOptions, PgRow},
};

use crate::{
    MigrateError, RowReport, SqlStoreError,
    audit::audit_store,
    check::check_rows,
    columns::millis,
    dialect::{Dialect, Transaction as _},
    registry::registry,
    rows::{read_id, read_usage},
    tables,
    usage::{Spans, bucket_rows, usage_rows, usage_store},
};

/// An arbitrary number that other users of advisory locks are unlikely to have chosen.
const MIGRATION_LOCK: i64 = 0x6b65_7977_6172_6401;

/// A store in a database of PostgreSQL, which any number of processes can share.
///
/// Clones share the pool. The tables are found by the connection's `search_path`.
///
/// An acknowledged change survives a crash of the server if the server is configured for that: over
/// a pool of the host with `synchronous_commit = off`, a revocation can be lost.
#[derive(Clone, Debug)]
pub struct PostgresStore {
    pool: PgPool,
    spans: Spans,
}

impl PostgresStore {
    /// The statements of [`KeyStore::find`](keyward::KeyStore::find) for one to four hashes, for
    /// `EXPLAIN`. Their parameters are the hashes as text.
    pub const FIND_SQL: [&'static str; KeyHasher::MAX_SCHEMES] = statements::FIND;

    /// The statement of [`KeyRegistry::list`](keyward::store::KeyRegistry::list), for `EXPLAIN`.
    /// Its parameters are the owner, the instant and the id of the cursor, and the size of the
    /// page plus one.
    pub const LIST_SQL: &'static str = <Postgres as Dialect>::STATEMENTS.list;

    /// Connects to the database that a URL names, with a pool of its own, and brings the store's
    /// tables up to date. Several processes may do so at the same time.
    ///
    /// Where the database has `synchronous_commit = off`, the connections of this pool switch it on,
    /// so that an acknowledged revocation survives a crash of the server.
    ///
    /// # Errors
    ///
    /// As [`PostgresStore::migrate`]; a text that is no URL is [`SqlStoreError::NoConnection`].
    pub async fn connect(url: &str) -> Result<Self, MigrateError> {
        let pool = PgPoolOptions::new().after_connect(|connection, _| {
            let durable = sqlx::query(statements::COMMIT_DURABLY);
            Box::pin(async move { durable.execute(connection).await.map(drop) })
        });
        let store = Self::new(pool.connect(url).await?);
        store.migrate().await?;
        Ok(store)
    }

    /// Creates a store over a pool of the host. [`PostgresStore::migrate`] makes its tables.
    pub const fn new(pool: PgPool) -> Self {
        Self { pool, spans: Spans::NONE }
    }

    /// Returns the pool.
    pub const fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Returns a listener for changes of the store's tables, with a connection of its own to the
    /// pool's database.
    pub fn listener(&self) -> ChangeListener {
        ChangeListener::new(self.pool.connect_options().as_ref().clone())
    }

    /// Brings the store's tables up to date. Several processes may call it at the same time. It
    /// does not touch the host's tables.
    ///
    /// # Errors
    ///
    /// [`MigrateError::Newer`] if a newer version of this crate has changed the tables, and
    /// [`MigrateError::Store`]. Nothing has changed then.
    pub async fn migrate(&self) -> Result<(), MigrateError> {
        let mut transaction = Postgres::begin(&self.pool).await?;
        let lock = sqlx::query(migrations::LOCK).bind(MIGRATION_LOCK);
        lock.execute(transaction.connection()).await?;
        sqlx::query(migrations::CREATE_TABLE).execute(transaction.connection()).await?;
        tables::migrate::<Postgres>(transaction, migrations::MIGRATIONS).await
    }

    /// Reads all rows of the store's tables and returns those that do not form a key or an owner, for
    /// example after an import. It does not read the events of audits, and locks nothing.
    ///
    /// The checks of the tables refuse most of such rows. They do not check the number and the
    /// length of scopes, the texts of overrides, networks, origins and metadata, or whether a key has
    /// a current secret.
    ///
    /// # Errors
    ///
    /// [`SqlStoreError`].
    pub async fn check_rows(&self) -> Result<RowReport, SqlStoreError> {
        check_rows(&self.pool).await
    }

    /// Adds drained usage to the saved usage, with one statement that writes to no other table.
    ///
    /// A count only grows, and a last use only moves later. Usage of keys that the store does not
    /// hold is dropped. [`PostgresStore::with_usage_by`] also keeps it by minute, hour or day.
    ///
    /// # Errors
    ///
    /// [`SqlStoreError`]; return the batch to the ledger then.
    pub async fn save_usage(&self, batch: &UsageBatch) -> Result<(), SqlStoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let (mut ids, mut requests, mut last_uses) = (Vec::new(), Vec::new(), Vec::new());
        for row in usage_rows(batch) {
            ids.push(row.key_id);
            requests.push(row.requests);
            last_uses.push(row.last_used_at);
        }
        let (mut keys, mut spans) = (Vec::new(), Vec::new());
        let (mut begins, mut counts) = (Vec::new(), Vec::new());
        for row in bucket_rows(batch, self.spans) {
            keys.push(row.key_id);
            spans.push(row.span.as_str());
            begins.push(row.begins_at);
            counts.push(row.requests);
        }
        let save = sqlx::query(statements::SAVE_USAGE).bind(ids).bind(requests).bind(last_uses);
        let save = save.bind(keys).bind(spans).bind(begins).bind(counts);
        save.execute(&self.pool).await?;
        Ok(())
    }

    /// Returns the saved usage of these keys, without those that were never used.
    ///
    /// # Errors
    ///
    /// [`SqlStoreError`].
    pub async fn usage(&self, ids: &[KeyId]) -> Result<Vec<(KeyId, Usage)>, SqlStoreError> {
        let query = sqlx::query(statements::USAGE).bind(texts(ids));
        query.fetch_all(&self.pool).await?.iter().map(read_usage).collect()
    }

    async fn purge_ended(
        &self,
        ended_before: Timestamp,
        limit: u16,
    ) -> Result<Vec<KeyId>, SqlStoreError> {
        let ended_before = millis(ended_before);
        loop {
            let mut transaction = Postgres::begin(&self.pool).await?;
            let ended = sqlx::query(statements::ENDED).bind(ended_before).bind(i64::from(limit));
            let ended = read_ids(&ended.fetch_all(transaction.connection()).await?)?;
            let locked = sqlx::query(statements::LOCK_ENDED).bind(texts(&ended)).bind(ended_before);
            let locked = read_ids(&locked.fetch_all(transaction.connection()).await?)?;
            // During the wait for a lock its key was changed or purged. Other keys may take its
            // place, but locking them now would break the order of the locks.
            if locked.len() < ended.len() {
                transaction.rollback().await?;
                continue;
            }
            let delete = sqlx::query(statements::DELETE_KEYS).bind(texts(&locked));
            delete.execute(transaction.connection()).await?;
            transaction.commit().await?;
            return Ok(ended);
        }
    }
}

registry!(PostgresStore);
usage_store!(PostgresStore);
audit_store!(PostgresStore);

/// Reads the ids of rows.
fn read_ids(rows: &[PgRow]) -> Result<Vec<KeyId>, SqlStoreError> {
    rows.iter().map(read_id).collect()
}

/// Writes ids as the elements of an array.
fn texts(ids: &[KeyId]) -> Vec<String> {
    ids.iter().map(KeyId::to_string).collect()
}
