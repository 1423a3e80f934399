//! The store in a file of SQLite.

mod dialect;
mod migrations;
mod open;
mod statements;

use std::path::Path;

use keyward::{
    Timestamp,
    key::KeyId,
    usage::{Usage, UsageBatch},
};
use sqlx::{Sqlite, SqlitePool, sqlite::SqliteConnectOptions};

use crate::{
    MigrateError, RowReport, SqlStoreError,
    audit::audit_store,
    check::check_rows,
    columns::millis,
    dialect::Dialect,
    registry::registry,
    rows::{read_id, read_usage},
    tables,
    usage::{Spans, bucket_rows, buckets_json, ids_json, usage_json, usage_store},
};

/// A store in a file of SQLite, which several processes of one machine can share.
///
/// Clones share the pool. SQLite makes changes one at a time. Readers do not wait for them in a file
/// that was opened by [`SqliteStore::open`].
#[derive(Clone, Debug)]
pub struct SqliteStore {
    pool: SqlitePool,
    spans: Spans,
}

impl SqliteStore {
    /// The statement of [`KeyStore::find`](keyward::KeyStore::find), for `EXPLAIN QUERY PLAN`. Its
    /// parameters are up to four hashes as text.
    pub const FIND_SQL: &'static str = statements::FIND;

    /// The statement of [`KeyRegistry::list`](keyward::store::KeyRegistry::list), for `EXPLAIN
    /// QUERY PLAN`. Its parameters are the owner, the instant and the id of the cursor, and the
    /// size of the page plus one.
    pub const LIST_SQL: &'static str = <Sqlite as Dialect>::STATEMENTS.list;

    /// Opens a file with [`SqliteStore::options`] and brings its tables up to date. The file is
    /// created if it is missing.
    ///
    /// Several processes may open one file at the same time, also for the first time. Opening waits
    /// up to 30 s for others that use the file.
    ///
    /// # Errors
    ///
    /// As [`SqliteStore::migrate`]. The file may have been created.
    pub async fn open(file: impl AsRef<Path>) -> Result<Self, MigrateError> {
        open::open(file.as_ref()).await
    }

    /// Creates a store over a pool of the host. [`SqliteStore::migrate`] makes its tables.
    ///
    /// The host chooses how the file is opened; [`SqliteStore::options`] is recommended. SQLite
    /// refuses with "database is locked" where two processes open a new file with these options at
    /// the same time. [`SqliteStore::open`] prevents this.
    pub const fn new(pool: SqlitePool) -> Self {
        Self { pool, spans: Spans::NONE }
    }

    /// Returns the recommended options for opening a file. The file is created if it is missing.
    ///
    /// The write-ahead log allows reads during a change. `synchronous` is `FULL`, so that an
    /// acknowledged revocation survives a loss of power. A change waits up to 5 s for others.
    pub fn options(file: impl AsRef<Path>) -> SqliteConnectOptions {
        open::options(file.as_ref())
    }

    /// Returns the pool.
    pub const fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Brings the store's tables up to date. Several processes may call it at the same time. It
    /// does not touch the host's tables.
    ///
    /// # Errors
    ///
    /// [`MigrateError::Newer`] if a newer version of this crate has changed the tables, and
    /// [`MigrateError::Store`]. Nothing has changed then.
    pub async fn migrate(&self) -> Result<(), MigrateError> {
        let mut transaction = Sqlite::begin(&self.pool).await?;
        sqlx::query(migrations::CREATE_TABLE).execute(&mut *transaction).await?;
        tables::migrate::<Sqlite>(transaction, migrations::MIGRATIONS).await
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

    /// Adds drained usage to the saved usage, in one transaction that writes to no other table.
    ///
    /// A count only grows, and a last use only moves later. Usage of keys that the store does not
    /// hold is dropped. [`SqliteStore::with_usage_by`] also keeps it by minute, hour or day.
    ///
    /// # Errors
    ///
    /// [`SqlStoreError`]; return the batch to the ledger then.
    pub async fn save_usage(&self, batch: &UsageBatch) -> Result<(), SqlStoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let save = sqlx::query(statements::SAVE_USAGE).bind(usage_json(batch));
        let buckets = bucket_rows(batch, self.spans);
        if buckets.is_empty() {
            save.execute(&self.pool).await?;
            return Ok(());
        }
        let mut transaction = Sqlite::begin(&self.pool).await?;
        save.execute(&mut *transaction).await?;
        let save = sqlx::query(statements::SAVE_BUCKETS).bind(buckets_json(&buckets));
        save.execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Returns the saved usage of these keys, without those that were never used.
    ///
    /// # Errors
    ///
    /// [`SqlStoreError`].
    pub async fn usage(&self, ids: &[KeyId]) -> Result<Vec<(KeyId, Usage)>, SqlStoreError> {
        let query = sqlx::query(statements::USAGE).bind(ids_json(ids));
        query.fetch_all(&self.pool).await?.iter().map(read_usage).collect()
    }

    async fn purge_ended(
        &self,
        ended_before: Timestamp,
        limit: u16,
    ) -> Result<Vec<KeyId>, SqlStoreError> {
        let mut transaction = Sqlite::begin(&self.pool).await?;
        let ended = sqlx::query(statements::ENDED).bind(millis(ended_before));
        let ended = ended.bind(i64::from(limit)).fetch_all(&mut *transaction).await?;
        let ids = ended.iter().map(read_id).collect::<Result<Vec<_>, _>>()?;
        for delete in statements::DELETE_KEYS {
            sqlx::query(delete).bind(ids_json(&ids)).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(ids)
    }
}

registry!(SqliteStore);
usage_store!(SqliteStore);
audit_store!(SqliteStore);
