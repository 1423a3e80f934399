//! The store in a database of MySQL or MariaDB.

mod dialect;
mod error;
mod migrations;
mod numbered;
mod statements;

pub(crate) use error::number as mysql_number;

use keyward::{
    Timestamp,
    key::KeyId,
    usage::{Usage, UsageBatch},
};
use sqlx::{MySql, MySqlPool, mysql::MySqlPoolOptions};

use crate::{
    MigrateError, RowReport, SqlStoreError,
    audit::audit_store,
    check::check_rows,
    columns::millis,
    dialect::{Dialect, Transaction as _, retrying},
    registry::registry,
    rows::{read_id, read_usage},
    usage::{Spans, bucket_rows, buckets_json, ids_json, usage_json, usage_store},
};

/// A store in a database of MySQL (8.0.17 or newer) or MariaDB (10.6 or newer), which any number of
/// processes can share, if all of them write to one primary. On a cluster with several primaries, such
/// as Galera or group replication in multi-primary mode, a lock excludes no writer of another node, so
/// a cap on keys and the revocation of all keys of an owner would not hold.
///
/// The tests of this crate run on MariaDB. They have not been run on MySQL.
///
/// Clones share the pool. The tables are those of the connection's database. The server needs
/// `binlog_format` `ROW` or `MIXED` if it writes a binary log.
///
/// A transaction that the server undoes because of a deadlock is run again.
///
/// An acknowledged change survives a crash of the server if the server is configured for that, as it is
/// by default: with `innodb_flush_log_at_trx_commit` other than 1, a revocation can be lost.
#[derive(Clone, Debug)]
pub struct MySqlStore {
    pool: MySqlPool,
    spans: Spans,
}

impl MySqlStore {
    /// The statement of [`KeyStore::find`](keyward::KeyStore::find), for `EXPLAIN`. Its parameters are
    /// up to four hashes as text.
    pub const FIND_SQL: &'static str = statements::FIND;

    /// The statement of [`KeyRegistry::list`](keyward::store::KeyRegistry::list), for `EXPLAIN`. Its
    /// parameters are written `$1` to `$4`: the owner, the instant and the id of the cursor, and the
    /// size of the page plus one.
    pub const LIST_SQL: &'static str = <MySql as Dialect>::STATEMENTS.list;

    /// Connects to the database that a URL names, with a pool of its own, and brings the store's
    /// tables up to date. Several processes may do so at the same time.
    ///
    /// # Errors
    ///
    /// As [`MySqlStore::migrate`]; a text that is no URL is [`SqlStoreError::NoConnection`].
    pub async fn connect(url: &str) -> Result<Self, MigrateError> {
        // A statement outside of a transaction is committed by itself, whatever the server's default.
        let pool = MySqlPoolOptions::new().after_connect(|connection, _| {
            let commit = sqlx::raw_sql("SET SESSION autocommit = 1");
            Box::pin(async move { commit.execute(connection).await.map(drop) })
        });
        let store = Self::new(pool.connect(url).await?);
        store.migrate().await?;
        Ok(store)
    }

    /// Creates a store over a pool of the host. [`MySqlStore::migrate`] makes its tables.
    ///
    /// The connections of the pool need `autocommit = 1`, the default of the server. With 0, a lookup
    /// opens a transaction that stays on its connection and does not see later revocations, and a
    /// change is not committed. `migrate` refuses such a pool. Where the server's default is 0, execute
    /// `SET SESSION autocommit = 1` in
    /// [`after_connect`](sqlx::pool::PoolOptions::after_connect).
    pub const fn new(pool: MySqlPool) -> Self {
        Self { pool, spans: Spans::NONE }
    }

    /// Returns the pool.
    pub const fn pool(&self) -> &MySqlPool {
        &self.pool
    }

    /// Brings the store's tables up to date. Several processes may call it at the same time. It
    /// does not touch the host's tables.
    ///
    /// The user needs the privileges `CREATE`, `ALTER`, `INDEX`, `REFERENCES` and `TRIGGER`. MySQL with
    /// a binary log refuses triggers of other users than administrators, unless
    /// `log_bin_trust_function_creators` is on.
    ///
    /// # Errors
    ///
    /// [`MigrateError::NoAutocommit`], [`MigrateError::Newer`] if a newer version of this crate has
    /// changed the tables, and [`MigrateError::Store`]. Each statement commits by itself, so some can be done then. The next
    /// call does the others.
    pub async fn migrate(&self) -> Result<(), MigrateError> {
        migrations::migrate(&self.pool).await
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
    /// hold is dropped. [`MySqlStore::with_usage_by`] also keeps it by minute, hour or day.
    ///
    /// # Errors
    ///
    /// [`SqlStoreError`]; return the batch to the ledger then.
    pub async fn save_usage(&self, batch: &UsageBatch) -> Result<(), SqlStoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let rows = usage_json(batch);
        let buckets = bucket_rows(batch, self.spans);
        retrying::<MySql, _, _, _>(|| async {
            let save = sqlx::query(statements::SAVE_USAGE).bind(&rows);
            if buckets.is_empty() {
                save.execute(&self.pool).await?;
                return Ok(());
            }
            let mut transaction = MySql::begin(&self.pool).await?;
            save.execute(transaction.connection()).await?;
            let save = sqlx::query(statements::SAVE_BUCKETS).bind(buckets_json(&buckets));
            save.execute(transaction.connection()).await?;
            transaction.commit().await?;
            Ok(())
        })
        .await
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
        loop {
            let purged = retrying::<MySql, _, _, _>(|| self.try_purge(ended_before, limit)).await?;
            if let Some(purged) = purged {
                return Ok(purged);
            }
        }
    }

    /// Returns `None` if a key was changed or purged during the wait for its lock. Other keys may take
    /// its place, but locking them then would break the order of the locks.
    async fn try_purge(
        &self,
        ended_before: Timestamp,
        limit: u16,
    ) -> Result<Option<Vec<KeyId>>, SqlStoreError> {
        let mut transaction = MySql::begin(&self.pool).await?;
        let ended = sqlx::query(statements::ENDED).bind(millis(ended_before));
        let ended = ended.bind(i64::from(limit)).fetch_all(transaction.connection()).await?;
        let ids = ended.iter().map(read_id).collect::<Result<Vec<_>, _>>()?;
        let mut in_order = ids.clone();
        in_order.sort_unstable();
        let in_order = ids_json(&in_order);
        let lock = sqlx::query(statements::LOCK_ENDED).bind(&in_order).bind(millis(ended_before));
        if lock.fetch_all(transaction.connection()).await?.len() < ids.len() {
            transaction.rollback().await?;
            return Ok(None);
        }
        for delete in statements::DELETE_KEYS {
            sqlx::query(delete).bind(&in_order).execute(transaction.connection()).await?;
        }
        transaction.commit().await?;
        Ok(Some(ids))
    }
}

registry!(MySqlStore);
usage_store!(MySqlStore);
audit_store!(MySqlStore);
