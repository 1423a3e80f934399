//! Keys in a file of SQLite.

mod migrate;

use std::{path::Path, sync::Arc, time::Duration};

use keyward::{
    KeyStore, Timestamp,
    key::{KeyId, KeyRecord, Owner, OwnerId},
    store::{InsertError, KeyRegistry, Listing, Lookup, PageRequest, ReplaceError, StoredKey},
    usage::{Usage, UsageBatch},
};
use sqlx::{
    Sqlite, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use crate::{
    MigrateError, SqlStoreError,
    columns::{
        KeyColumns, SecretColumns, cursor_columns, gather, gather_one, joined_columns, millis,
        owner_columns, read_id, read_owner,
    },
    outcome::{Inserted, Replaced},
    usage_rows::{read_usage, usage_rows},
};

/// A store in a file of SQLite, which several processes of one machine can share.
///
/// Clones share the pool. Changes are made one at a time, as SQLite does it; with
/// [`SqliteStore::options`] readers do not wait for them.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    pool: SqlitePool,
}

impl SqliteStore {
    /// The query of `find`, for `EXPLAIN QUERY PLAN`: up to four hashes are bound to it.
    pub const FIND_SQL: &'static str = concat!(
        "SELECT ",
        joined_columns!(),
        " FROM keyward_secrets f
          JOIN keyward_keys k ON k.id = f.key_id
          JOIN keyward_secrets s ON s.key_id = k.id
          LEFT JOIN keyward_owners o ON o.id = k.owner
          WHERE f.hash IN (?1, ?2, ?3, ?4)"
    );

    /// The query of `list`, for `EXPLAIN QUERY PLAN`: the owner, the cursor's instant and id,
    /// and one more than the page's size are bound to it.
    pub const LIST_SQL: &'static str = concat!(
        "SELECT ",
        joined_columns!(),
        " FROM (SELECT * FROM keyward_keys
                WHERE owner = ?1 AND (created_at, id) > (?2, ?3)
                ORDER BY created_at, id LIMIT ?4) k
          LEFT JOIN keyward_secrets s ON s.key_id = k.id
          LEFT JOIN keyward_owners o ON o.id = k.owner
          ORDER BY k.created_at, k.id"
    );

    /// A store over a pool. Its tables are made by [`SqliteStore::migrate`].
    ///
    /// How the file is opened is the host's choice; [`SqliteStore::options`] is what we advise.
    pub const fn new(pool: SqlitePool) -> Self {
        Self { pool }
    }

    /// How to open a file of keys, which is made if it is not there.
    ///
    /// The write-ahead log lets readers read while a change is made. `synchronous` is `FULL`,
    /// so that a revocation which was acknowledged outlasts a loss of power. A change waits up
    /// to 5 s for others.
    pub fn options(file: impl AsRef<Path>) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5))
            .foreign_keys(true)
    }

    /// The pool.
    pub const fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Brings the store's tables up to date, whoever else does so at the same time. Tables of
    /// the host's are not touched.
    ///
    /// # Errors
    ///
    /// [`MigrateError::Newer`] if a newer version of this crate has been here, and
    /// [`MigrateError::Store`]. Nothing has changed then.
    pub async fn migrate(&self) -> Result<(), MigrateError> {
        migrate::migrate(&self.pool).await
    }

    /// Adds drained usage to what was saved before, with one statement that touches nothing
    /// else. Counts only grow, and the last use only moves later. Keys that the store does not
    /// hold are passed over.
    ///
    /// # Errors
    ///
    /// As [`KeyStore::find`]; then give the batch back to the ledger.
    pub async fn save_usage(&self, batch: &UsageBatch) -> Result<(), SqlStoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "INSERT INTO keyward_usage (key_id, requests, last_used_at)
             SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?1)
             WHERE EXISTS (SELECT 1 FROM keyward_keys k WHERE k.id = value ->> 0)
             ON CONFLICT (key_id) DO UPDATE SET
               requests = CASE WHEN requests > 9223372036854775807 - excluded.requests
                 THEN 9223372036854775807 ELSE requests + excluded.requests END,
               last_used_at = coalesce(max(last_used_at, excluded.last_used_at),
                 last_used_at, excluded.last_used_at)",
        )
        .bind(usage_json(batch))
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// What was saved of these keys' usage; those that were never used are left out.
    ///
    /// # Errors
    ///
    /// As [`KeyStore::find`].
    pub async fn usage(&self, ids: &[KeyId]) -> Result<Vec<(KeyId, Usage)>, SqlStoreError> {
        let rows = sqlx::query(
            "SELECT key_id, requests, last_used_at FROM keyward_usage
             WHERE key_id IN (SELECT value FROM json_each(?1))",
        )
        .bind(ids_json(ids))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read_usage).collect()
    }

    /// A transaction that is the only writer from its beginning, so that it never fails half way
    /// because of another.
    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, SqlStoreError> {
        Ok(self.pool.begin_with("BEGIN IMMEDIATE").await?)
    }

    async fn try_insert(&self, record: &KeyRecord) -> Result<Inserted, SqlStoreError> {
        let key = KeyColumns::of(record)?;
        let mut transaction = self.begin().await?;
        let inserted = sqlx::query(
            "INSERT INTO keyward_keys (id, owner, name, scopes, quotas, created_at, expires_at,
               state, state_since, revision)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (id) DO NOTHING",
        )
        .bind(key.id)
        .bind(key.owner)
        .bind(key.name)
        .bind(key.scopes)
        .bind(key.quotas)
        .bind(key.created_at)
        .bind(key.expires_at)
        .bind(key.state)
        .bind(key.state_since)
        .bind(key.revision)
        .execute(&mut *transaction)
        .await?;
        if inserted.rows_affected() == 0 {
            transaction.rollback().await?;
            return Ok(Inserted::DuplicateId);
        }
        if !insert_secrets(&mut transaction, record).await? {
            transaction.rollback().await?;
            return Ok(Inserted::DuplicateSecret);
        }
        transaction.commit().await?;
        Ok(Inserted::Done)
    }

    async fn try_replace(&self, record: &KeyRecord) -> Result<Replaced, SqlStoreError> {
        let key = KeyColumns::of(record)?;
        let mut transaction = self.begin().await?;
        let updated = sqlx::query(
            "UPDATE keyward_keys SET owner = ?2, name = ?3, scopes = ?4, quotas = ?5,
               created_at = ?6, expires_at = ?7, state = ?8, state_since = ?9, revision = ?10
             WHERE id = ?1 AND revision = ?10 - 1",
        )
        .bind(&key.id)
        .bind(key.owner)
        .bind(key.name)
        .bind(key.scopes)
        .bind(key.quotas)
        .bind(key.created_at)
        .bind(key.expires_at)
        .bind(key.state)
        .bind(key.state_since)
        .bind(key.revision)
        .execute(&mut *transaction)
        .await?;
        if updated.rows_affected() == 0 {
            let there = sqlx::query("SELECT 1 FROM keyward_keys WHERE id = ?1").bind(key.id);
            let there = there.fetch_optional(&mut *transaction).await?.is_some();
            transaction.rollback().await?;
            return Ok(if there { Replaced::Conflict } else { Replaced::NotFound });
        }
        let delete = sqlx::query("DELETE FROM keyward_secrets WHERE key_id = ?1").bind(key.id);
        delete.execute(&mut *transaction).await?;
        if !insert_secrets(&mut transaction, record).await? {
            transaction.rollback().await?;
            return Ok(Replaced::DuplicateSecret);
        }
        transaction.commit().await?;
        Ok(Replaced::Done)
    }
}

/// Adds a record's secrets; `false` if one of them is there already.
async fn insert_secrets(
    transaction: &mut Transaction<'static, Sqlite>,
    record: &KeyRecord,
) -> Result<bool, SqlStoreError> {
    for secret in SecretColumns::of(record) {
        let inserted = sqlx::query(
            "INSERT INTO keyward_secrets (hash, key_id, place, kind, hint, created_at, valid_until)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (hash) DO NOTHING",
        )
        .bind(secret.hash)
        .bind(record.id().to_string())
        .bind(secret.place)
        .bind(secret.kind)
        .bind(secret.hint)
        .bind(secret.created_at)
        .bind(secret.valid_until)
        .execute(&mut **transaction)
        .await?;
        if inserted.rows_affected() == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Usage as a list of lists, for one bound value holds a batch of any size.
fn usage_json(batch: &UsageBatch) -> String {
    let rows = usage_rows(batch).into_iter().map(|row| {
        let last = row.last_used_at.map_or_else(|| "null".to_owned(), |at| at.to_string());
        format!("[\"{}\",{},{last}]", row.key_id, row.requests)
    });
    format!("[{}]", rows.collect::<Vec<_>>().join(","))
}

/// Ids as a list of texts, which need no escapes.
fn ids_json(ids: &[KeyId]) -> String {
    let ids = ids.iter().map(|id| format!("\"{id}\""));
    format!("[{}]", ids.collect::<Vec<_>>().join(","))
}

impl KeyStore for SqliteStore {
    type Error = SqlStoreError;

    async fn find(&self, lookup: &Lookup) -> Result<Option<StoredKey>, SqlStoreError> {
        // Places without a hash are null, which equals nothing.
        let mut query = sqlx::query(Self::FIND_SQL);
        let hashes = lookup.hashes().map(|hash| Some(hash.to_string()));
        for hash in hashes.chain(std::iter::repeat(None)).take(keyward::KeyHasher::MAX_SCHEMES) {
            query = query.bind(hash);
        }
        gather_one(&query.fetch_all(&self.pool).await?)
    }
}

impl KeyRegistry for SqliteStore {
    async fn insert(&self, record: KeyRecord) -> Result<(), InsertError<SqlStoreError>> {
        Inserted::told(self.try_insert(&record).await)
    }

    async fn replace(&self, record: KeyRecord) -> Result<(), ReplaceError<SqlStoreError>> {
        Replaced::told(self.try_replace(&record).await)
    }

    async fn purge(
        &self,
        ended_before: Timestamp,
        limit: u16,
    ) -> Result<Vec<KeyId>, SqlStoreError> {
        let mut transaction = self.begin().await?;
        let rows = sqlx::query(
            "SELECT id FROM keyward_keys WHERE ends_at < ?1 ORDER BY ends_at, id LIMIT ?2",
        )
        .bind(millis(ended_before))
        .bind(i64::from(limit))
        .fetch_all(&mut *transaction)
        .await?;
        let ids = rows.iter().map(read_id).collect::<Result<Vec<_>, _>>()?;
        // One by one and not by cascading, which a connection may have switched off.
        for delete in [
            "DELETE FROM keyward_secrets WHERE key_id IN (SELECT value FROM json_each(?1))",
            "DELETE FROM keyward_usage WHERE key_id IN (SELECT value FROM json_each(?1))",
            "DELETE FROM keyward_keys WHERE id IN (SELECT value FROM json_each(?1))",
        ] {
            sqlx::query(delete).bind(ids_json(&ids)).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(ids)
    }

    async fn get(&self, id: KeyId) -> Result<Option<StoredKey>, SqlStoreError> {
        let query = sqlx::query(concat!(
            "SELECT ",
            joined_columns!(),
            " FROM keyward_keys k
              LEFT JOIN keyward_secrets s ON s.key_id = k.id
              LEFT JOIN keyward_owners o ON o.id = k.owner
              WHERE k.id = ?1"
        ));
        gather_one(&query.bind(id.to_string()).fetch_all(&self.pool).await?)
    }

    async fn list(&self, owner: &OwnerId, page: PageRequest) -> Result<Listing, SqlStoreError> {
        let (created_at, id) = cursor_columns(page.cursor());
        let rows = sqlx::query(Self::LIST_SQL)
            .bind(owner.as_str())
            .bind(created_at)
            .bind(id)
            .bind(one_more(page))
            .fetch_all(&self.pool)
            .await?;
        Ok(Listing::from_one_more(gather(&rows)?, page))
    }

    async fn list_all(&self, page: PageRequest) -> Result<Listing, SqlStoreError> {
        let (created_at, id) = cursor_columns(page.cursor());
        let rows = sqlx::query(concat!(
            "SELECT ",
            joined_columns!(),
            " FROM (SELECT * FROM keyward_keys WHERE (created_at, id) > (?1, ?2)
                    ORDER BY created_at, id LIMIT ?3) k
              LEFT JOIN keyward_secrets s ON s.key_id = k.id
              LEFT JOIN keyward_owners o ON o.id = k.owner
              ORDER BY k.created_at, k.id"
        ))
        .bind(created_at)
        .bind(id)
        .bind(one_more(page))
        .fetch_all(&self.pool)
        .await?;
        Ok(Listing::from_one_more(gather(&rows)?, page))
    }

    async fn owner(&self, id: &OwnerId) -> Result<Option<Arc<Owner>>, SqlStoreError> {
        let query = sqlx::query("SELECT tier, quotas FROM keyward_owners WHERE id = ?1");
        let row = query.bind(id.as_str()).fetch_optional(&self.pool).await?;
        row.map(|row| read_owner(id, &row).map(Arc::new)).transpose()
    }

    async fn put_owner(&self, owner: Owner) -> Result<(), SqlStoreError> {
        let (id, tier, quotas) = owner_columns(&owner)?;
        sqlx::query(
            "INSERT INTO keyward_owners (id, tier, quotas) VALUES (?1, ?2, ?3)
             ON CONFLICT (id) DO UPDATE SET tier = excluded.tier, quotas = excluded.quotas",
        )
        .bind(id)
        .bind(tier)
        .bind(quotas)
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

/// How many rows a page's query asks for, so that the last one tells of a next page.
fn one_more(page: PageRequest) -> i64 {
    i64::try_from(page.size()).unwrap_or(i64::from(PageRequest::MAX_SIZE)) + 1
}
