//! Keys in a database of PostgreSQL.

mod listen;
mod migrate;
mod transaction;

pub use listen::{ChangeListener, ListenerReport};

use std::sync::Arc;

use keyward::{
    KeyHasher, KeyStore, Timestamp,
    key::{KeyId, KeyRecord, Owner, OwnerId},
    store::{InsertError, KeyRegistry, Listing, Lookup, PageRequest, ReplaceError, StoredKey},
    usage::{Usage, UsageBatch},
};
use sqlx::{PgConnection, PgPool};

use self::transaction::Transaction;
use crate::{
    MigrateError, SqlStoreError,
    columns::{
        KeyColumns, SecretColumns, cursor_columns, gather, gather_one, joined_columns, millis,
        owner_columns, read_id, read_owner,
    },
    outcome::{Inserted, Replaced},
    usage_rows::{read_usage, usage_rows},
};

/// The query of `find` for these hashes.
macro_rules! find_sql {
    ($hashes:literal) => {
        concat!(
            "SELECT ",
            joined_columns!(),
            " FROM keyward_secrets f
              JOIN keyward_keys k ON k.id = f.key_id
              JOIN keyward_secrets s ON s.key_id = k.id
              LEFT JOIN keyward_owners o ON o.id = k.owner
              WHERE f.hash IN (",
            $hashes,
            ")"
        )
    };
}

/// A store in a database of PostgreSQL, which any number of processes can share.
///
/// Clones share the pool. The tables are found by the connection's `search_path`.
///
/// What was acknowledged outlasts a crash of the server as far as the server is told to see to
/// that: with `synchronous_commit = off` a revocation can be lost.
#[derive(Clone, Debug)]
pub struct PostgresStore {
    pool: PgPool,
}

impl PostgresStore {
    /// The queries of `find` for one to four hashes, for `EXPLAIN`: each hash is bound as a text.
    ///
    /// There is one for each number, and none for an array of any length: of that the server
    /// guesses ten, thinks the plan that it could keep too dear, and plans each lookup anew,
    /// which takes longer than the lookup.
    pub const FIND_SQL: [&'static str; KeyHasher::MAX_SCHEMES] = [
        find_sql!("$1"),
        find_sql!("$1, $2"),
        find_sql!("$1, $2, $3"),
        find_sql!("$1, $2, $3, $4"),
    ];

    /// The query of `list`, for `EXPLAIN`: the owner, the cursor's instant and id, and one more
    /// than the page's size are bound to it.
    pub const LIST_SQL: &'static str = concat!(
        "SELECT ",
        joined_columns!(),
        " FROM (SELECT * FROM keyward_keys
                WHERE owner = $1 AND (created_at, id) > ($2, $3)
                ORDER BY created_at, id LIMIT $4) k
          LEFT JOIN keyward_secrets s ON s.key_id = k.id
          LEFT JOIN keyward_owners o ON o.id = k.owner
          ORDER BY k.created_at, k.id"
    );

    /// A store over a pool. Its tables are made by [`PostgresStore::migrate`].
    pub const fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// The pool.
    pub const fn pool(&self) -> &PgPool {
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
        let (mut ids, mut requests, mut last_uses) = (Vec::new(), Vec::new(), Vec::new());
        for row in usage_rows(batch) {
            ids.push(row.key_id);
            requests.push(row.requests);
            last_uses.push(row.last_used_at);
        }
        // The keys are held so that none is purged between being seen and being referred to;
        // that hinders no change of them.
        sqlx::query(
            "WITH known AS (
               SELECT id FROM keyward_keys WHERE id = ANY($1) ORDER BY id FOR KEY SHARE
             )
             INSERT INTO keyward_usage AS saved (key_id, requests, last_used_at)
             SELECT used.key_id, used.requests, used.last_used_at
             FROM unnest($1, $2::bigint[], $3::bigint[]) AS used (key_id, requests, last_used_at)
             JOIN known ON known.id = used.key_id ORDER BY used.key_id
             ON CONFLICT (key_id) DO UPDATE SET
               requests = CASE WHEN saved.requests > 9223372036854775807 - excluded.requests
                 THEN 9223372036854775807 ELSE saved.requests + excluded.requests END,
               last_used_at = greatest(saved.last_used_at, excluded.last_used_at)",
        )
        .bind(ids)
        .bind(requests)
        .bind(last_uses)
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
             WHERE key_id = ANY($1)",
        )
        .bind(texts(ids))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read_usage).collect()
    }

    async fn try_insert(&self, record: &KeyRecord) -> Result<Inserted, SqlStoreError> {
        let key = KeyColumns::of(record)?;
        let mut transaction = Transaction::begin(&self.pool).await?;
        let inserted = sqlx::query(
            "INSERT INTO keyward_keys (id, owner, name, scopes, quotas, created_at, expires_at,
               state, state_since, revision)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (id) DO NOTHING",
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
        let mut transaction = Transaction::begin(&self.pool).await?;
        let updated = sqlx::query(
            "UPDATE keyward_keys SET owner = $2, name = $3, scopes = $4, quotas = $5,
               created_at = $6, expires_at = $7, state = $8, state_since = $9, revision = $10
             WHERE id = $1 AND revision = $10 - 1",
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
            let there = sqlx::query("SELECT 1 FROM keyward_keys WHERE id = $1").bind(key.id);
            let there = there.fetch_optional(&mut *transaction).await?.is_some();
            transaction.rollback().await?;
            return Ok(if there { Replaced::Conflict } else { Replaced::NotFound });
        }
        let delete = sqlx::query("DELETE FROM keyward_secrets WHERE key_id = $1").bind(key.id);
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
    connection: &mut PgConnection,
    record: &KeyRecord,
) -> Result<bool, SqlStoreError> {
    let secrets = SecretColumns::of(record);
    let wanted = secrets.len() as u64;
    let (mut hashes, mut places, mut kinds) = (Vec::new(), Vec::new(), Vec::new());
    let (mut hints, mut creations, mut deadlines) = (Vec::new(), Vec::new(), Vec::new());
    for secret in secrets {
        hashes.push(secret.hash);
        places.push(secret.place);
        kinds.push(secret.kind);
        hints.push(secret.hint);
        creations.push(secret.created_at);
        deadlines.push(secret.valid_until);
    }
    let inserted = sqlx::query(
        "INSERT INTO keyward_secrets (key_id, hash, place, kind, hint, created_at, valid_until)
         SELECT $1, * FROM unnest($2::text[], $3::bigint[], $4::text[], $5::text[], $6::bigint[],
           $7::bigint[])
         ON CONFLICT (hash) DO NOTHING",
    )
    .bind(record.id().to_string())
    .bind(hashes)
    .bind(places)
    .bind(kinds)
    .bind(hints)
    .bind(creations)
    .bind(deadlines)
    .execute(connection)
    .await?;
    Ok(inserted.rows_affected() == wanted)
}

/// Ids as the texts of an array.
fn read_ids(rows: &[sqlx::postgres::PgRow]) -> Result<Vec<KeyId>, SqlStoreError> {
    rows.iter().map(read_id).collect()
}

fn texts(ids: &[KeyId]) -> Vec<String> {
    ids.iter().map(KeyId::to_string).collect()
}

impl KeyStore for PostgresStore {
    type Error = SqlStoreError;

    async fn find(&self, lookup: &Lookup) -> Result<Option<StoredKey>, SqlStoreError> {
        let hashes = lookup.hashes();
        // There are one to four, so the bounds are never met.
        let sql = Self::FIND_SQL[hashes.len().clamp(1, KeyHasher::MAX_SCHEMES) - 1];
        let mut query = sqlx::query(sql);
        for hash in hashes {
            query = query.bind(hash.to_string());
        }
        gather_one(&query.fetch_all(&self.pool).await?)
    }
}

impl KeyRegistry for PostgresStore {
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
        let ended_before = millis(ended_before);
        loop {
            let mut transaction = Transaction::begin(&self.pool).await?;
            let ended = sqlx::query(
                "SELECT id FROM keyward_keys WHERE ends_at < $1 ORDER BY ends_at, id LIMIT $2",
            );
            let ended = ended.bind(ended_before).bind(i64::from(limit));
            let ended = read_ids(&ended.fetch_all(&mut *transaction).await?)?;
            // Locked in the order of their ids, as those are whose usage is saved: neither waits for
            // the other while the other waits for it.
            let held = sqlx::query(
                "SELECT id FROM keyward_keys WHERE id = ANY($1) AND ends_at < $2
                 ORDER BY id FOR UPDATE",
            );
            let held = held.bind(texts(&ended)).bind(ended_before);
            let held = read_ids(&held.fetch_all(&mut *transaction).await?)?;
            // While a lock was waited for, its key was changed or purged. There may be others in its
            // place; to lock these as well would break the order.
            if held.len() < ended.len() {
                transaction.rollback().await?;
                continue;
            }
            let delete = sqlx::query("DELETE FROM keyward_keys WHERE id = ANY($1)");
            delete.bind(texts(&held)).execute(&mut *transaction).await?;
            transaction.commit().await?;
            return Ok(ended);
        }
    }

    async fn get(&self, id: KeyId) -> Result<Option<StoredKey>, SqlStoreError> {
        let query = sqlx::query(concat!(
            "SELECT ",
            joined_columns!(),
            " FROM keyward_keys k
              LEFT JOIN keyward_secrets s ON s.key_id = k.id
              LEFT JOIN keyward_owners o ON o.id = k.owner
              WHERE k.id = $1"
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
            " FROM (SELECT * FROM keyward_keys WHERE (created_at, id) > ($1, $2)
                    ORDER BY created_at, id LIMIT $3) k
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
        let query = sqlx::query("SELECT tier, quotas FROM keyward_owners WHERE id = $1");
        let row = query.bind(id.as_str()).fetch_optional(&self.pool).await?;
        row.map(|row| read_owner(id, &row).map(Arc::new)).transpose()
    }

    async fn put_owner(&self, owner: Owner) -> Result<(), SqlStoreError> {
        let (id, tier, quotas) = owner_columns(&owner)?;
        sqlx::query(
            "INSERT INTO keyward_owners (id, tier, quotas) VALUES ($1, $2, $3)
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
