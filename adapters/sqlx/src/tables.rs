//! What the stores of all databases do in the same way.

use std::{iter, sync::Arc};

use keyward::{
    Timestamp,
    key::{KeyId, KeyRecord, Owner, OwnerChange, OwnerId},
    store::{InsertError, Lookup, OwnerRemoval, ReplaceError, StoredKey},
};
use sqlx::Pool;

use crate::{
    MigrateError, SqlStoreError,
    columns::{KeyColumns, bind_owner, millis, overrides},
    dialect::{Dialect, OwnerLock, Statement, Transaction, retrying},
    rows::{ReadRow as _, gather_one, read_owner},
};

/// The tables of a database, through a pool.
pub(crate) struct Tables<'p, D: Dialect>(pub(crate) &'p Pool<D>);

impl<D: Dialect> Tables<'_, D> {
    pub(crate) async fn find(&self, lookup: &Lookup) -> Result<Option<StoredKey>, SqlStoreError> {
        let hashes = lookup.hashes();
        let (sql, parameters) = D::find_statement(hashes.len());
        let hashes = hashes.map(|hash| Some(hash.to_string())).chain(iter::repeat(None));
        gather_one(&self.fetch(hashes.take(parameters).fold(Statement::new(sql), D::text)).await?)
    }

    pub(crate) async fn find_by_id(&self, id: KeyId) -> Result<Option<StoredKey>, SqlStoreError> {
        let query = by_id(D::STATEMENTS.find_by_id, id);
        gather_one(&self.fetch(query).await?)
    }

    pub(crate) async fn owner(&self, id: &OwnerId) -> Result<Option<Arc<Owner>>, SqlStoreError> {
        let query = D::text(Statement::new(D::STATEMENTS.owner), Some(id.as_str().to_owned()));
        let rows = self.fetch(query).await?;
        rows.first().map(|row| read_owner(id, row).map(Arc::new)).transpose()
    }

    pub(crate) async fn put_owner(&self, owner: &Owner) -> Result<(), SqlStoreError> {
        self.execute(|| bind_owner(owner, Statement::new(D::STATEMENTS.put_owner))).await
    }

    pub(crate) async fn change_owner(
        &self,
        owner: &OwnerId,
        change: OwnerChange,
    ) -> Result<(), SqlStoreError> {
        let statements = &D::STATEMENTS;
        let of = |sql| D::text(Statement::new(sql), Some(owner.as_str().to_owned()));
        self.execute(|| {
            Ok(match &change {
                OwnerChange::Tier(tier) => D::text(
                    of(statements.set_tier),
                    tier.as_ref().map(|tier| tier.as_str().to_owned()),
                ),
                OwnerChange::Overrides(all) => {
                    D::text(of(statements.set_overrides), overrides(all))
                }
                OwnerChange::KeyCap(cap) => {
                    D::integer(of(statements.set_key_cap), cap.map(i64::from))
                }
                OwnerChange::Suspend { now } => {
                    D::integer(of(statements.suspend_owner), Some(millis(*now)))
                }
                OwnerChange::Resume => of(statements.resume_owner),
            })
        })
        .await
    }

    pub(crate) async fn remove_owner(&self, id: &OwnerId) -> Result<OwnerRemoval, SqlStoreError> {
        retrying::<D, _, _, _>(|| self.try_remove_owner(id)).await
    }

    async fn try_remove_owner(&self, id: &OwnerId) -> Result<OwnerRemoval, SqlStoreError> {
        let of = |sql: &'static str| D::text(Statement::new(sql), Some(id.as_str().to_owned()));
        let mut transaction = loop {
            let mut transaction = D::begin(self.0).await?;
            // Revoked keys never change back, and no key is inserted while the lock is held.
            D::lock_owner(transaction.connection(), id, OwnerLock::ChangeAll).await?;
            if D::execute(transaction.connection(), of(D::STATEMENTS.delete_owner)).await? > 0 {
                break transaction;
            }
            let look = of(D::STATEMENTS.state_of_owner);
            let state = D::fetch(transaction.connection(), look).await?;
            transaction.rollback().await?;
            let Some(state) = state.first() else { return Ok(OwnerRemoval::NotFound) };
            if state.text("state")? != Some("active") {
                return Ok(OwnerRemoval::Suspended);
            }
            // Between the two statements it was put or resumed.
        };
        let live = D::fetch(transaction.connection(), of(D::STATEMENTS.has_live_key)).await?;
        if !live.is_empty() {
            transaction.rollback().await?;
            return Ok(OwnerRemoval::HasKeys);
        }
        transaction.commit().await?;
        Ok(OwnerRemoval::Removed)
    }

    pub(crate) async fn insert(
        &self,
        record: &KeyRecord,
        now: Timestamp,
    ) -> Result<(), InsertError<SqlStoreError>> {
        let inserted = retrying::<D, _, _, _>(|| self.try_insert(record, now)).await;
        inserted.unwrap_or_else(|error| Err(InsertError::Store(error)))
    }

    async fn try_insert(
        &self,
        record: &KeyRecord,
        now: Timestamp,
    ) -> Result<Result<(), InsertError<SqlStoreError>>, SqlStoreError> {
        let insert = KeyColumns::of(record)?.bind(Statement::new(D::STATEMENTS.insert_key));
        let mut transaction = D::begin(self.0).await?;
        D::lock_owner(transaction.connection(), record.owner(), OwnerLock::Insert).await?;
        if !D::insert(transaction.connection(), insert).await? {
            transaction.rollback().await?;
            return Ok(Err(InsertError::DuplicateId));
        }
        if is_full::<D>(transaction.connection(), record, now).await? {
            transaction.rollback().await?;
            return Ok(Err(InsertError::TooManyKeys));
        }
        if !D::insert_secrets(transaction.connection(), record).await? {
            transaction.rollback().await?;
            return Ok(Err(InsertError::DuplicateSecret));
        }
        transaction.commit().await?;
        Ok(Ok(()))
    }

    pub(crate) async fn replace(
        &self,
        record: &KeyRecord,
    ) -> Result<(), ReplaceError<SqlStoreError>> {
        let replaced = retrying::<D, _, _, _>(|| self.try_replace(record)).await;
        replaced.unwrap_or_else(|error| Err(ReplaceError::Store(error)))
    }

    async fn try_replace(
        &self,
        record: &KeyRecord,
    ) -> Result<Result<(), ReplaceError<SqlStoreError>>, SqlStoreError> {
        let update = KeyColumns::of(record)?.bind(Statement::new(D::STATEMENTS.update_key));
        let mut transaction = D::begin(self.0).await?;
        if D::execute(transaction.connection(), update).await? == 0 {
            let there = by_id(D::STATEMENTS.has_key, record.id());
            let there = D::text(there, Some(record.nonce().to_string()));
            let there = D::fetch(transaction.connection(), there).await?;
            transaction.rollback().await?;
            let conflict = !there.is_empty();
            return Ok(Err(if conflict { ReplaceError::Conflict } else { ReplaceError::NotFound }));
        }
        D::delete_secrets(transaction.connection(), record.id()).await?;
        if !D::insert_secrets(transaction.connection(), record).await? {
            transaction.rollback().await?;
            return Ok(Err(ReplaceError::DuplicateSecret));
        }
        transaction.commit().await?;
        Ok(Ok(()))
    }

    /// Executes a statement by itself.
    async fn execute(
        &self,
        statement: impl Fn() -> Result<Statement<D>, SqlStoreError> + Send + Sync,
    ) -> Result<(), SqlStoreError> {
        retrying::<D, _, _, _>(|| async {
            let statement = statement()?;
            let mut connection = self.0.acquire().await?;
            D::execute(&mut connection, statement).await?;
            Ok(())
        })
        .await
    }

    pub(crate) async fn fetch(&self, query: Statement<D>) -> Result<Vec<D::Row>, SqlStoreError> {
        let mut connection = self.0.acquire().await?;
        Ok(D::fetch(&mut connection, query).await?)
    }
}

/// Returns whether the owner of a record has as many other keys as its cap allows.
async fn is_full<D: Dialect>(
    connection: &mut D::Connection,
    record: &KeyRecord,
    now: Timestamp,
) -> Result<bool, SqlStoreError> {
    let of = |sql| D::text(Statement::new(sql), Some(record.owner().as_str().to_owned()));
    let cap = D::fetch(&mut *connection, of(D::STATEMENTS.key_cap)).await?;
    let Some(cap) = cap.first() else { return Ok(false) };
    // A damaged cap below 0 allows no key.
    let cap = cap.integer("key_cap")?.map_or(0, |cap| cap.max(0));
    let live = D::integer(of(D::STATEMENTS.count_live_keys), Some(millis(now)));
    let live = D::text(D::integer(live, Some(cap)), Some(record.id().to_string()));
    let live = D::fetch(connection, live).await?;
    let live = live.first().map(|row| row.integer("live")).transpose()?.flatten();
    Ok(live.is_none_or(|live| live >= cap))
}

/// Binds an id to a statement.
fn by_id<D: Dialect>(sql: &'static str, id: KeyId) -> Statement<D> {
    D::text(Statement::new(sql), Some(id.to_string()))
}

/// Runs the migrations that are missing, each of which brings the tables from the version before
/// it to its own, counted from 1. The transaction excludes other migrations, and has made the
/// table of migrations.
pub(crate) async fn migrate<D: Dialect>(
    mut transaction: D::Transaction,
    migrations: &'static [&'static str],
) -> Result<(), MigrateError> {
    let newest = D::fetch(transaction.connection(), Statement::new(D::STATEMENTS.version)).await?;
    let found = match newest.first() {
        Some(row) => row.integer("version")?.unwrap_or(0),
        None => 0,
    };
    let known = migrations.len() as i64;
    if found > known {
        transaction.rollback().await?;
        return Err(MigrateError::Newer { found, known });
    }
    for (version, sql) in (1..).zip(migrations).filter(|(version, _)| *version > found) {
        D::execute_all(transaction.connection(), sql).await?;
        let applied = D::integer(Statement::new(D::STATEMENTS.note_version), Some(version));
        D::execute(transaction.connection(), applied).await?;
    }
    transaction.commit().await?;
    Ok(())
}
