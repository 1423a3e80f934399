//! SQLite as a database that keeps keys.

use keyward::{
    KeyHasher,
    key::{KeyId, KeyRecord, OwnerId},
};
use sqlx::{Sqlite, SqliteConnection, SqlitePool};

use crate::{
    columns::SecretColumns,
    dialect::{Dialect, OwnerLock, Transaction, run_statements},
    sqlite::statements,
    statements::Statements,
};

impl Dialect for Sqlite {
    const STATEMENTS: Statements = Statements::STANDARD;

    type Transaction = sqlx::Transaction<'static, Sqlite>;

    /// Begins as the only writer, so that another writer cannot make it fail later.
    async fn begin(pool: &SqlitePool) -> Result<Self::Transaction, sqlx::Error> {
        pool.begin_with("BEGIN IMMEDIATE").await
    }

    /// A transaction is the only writer anyway.
    async fn lock_owner(
        _: &mut SqliteConnection,
        _: &OwnerId,
        _: OwnerLock,
    ) -> Result<(), sqlx::Error> {
        Ok(())
    }

    fn find_statement(_: usize) -> (&'static str, usize) {
        (statements::FIND, KeyHasher::MAX_SCHEMES)
    }

    async fn delete_secrets(
        connection: &mut SqliteConnection,
        id: KeyId,
    ) -> Result<(), sqlx::Error> {
        for statement in statements::DELETE_SECRETS {
            sqlx::query(statement).bind(id.to_string()).execute(&mut *connection).await?;
        }
        Ok(())
    }

    async fn insert_secrets(
        connection: &mut SqliteConnection,
        record: &KeyRecord,
    ) -> Result<bool, sqlx::Error> {
        let revision = record.revision() as i64;
        for secret in SecretColumns::of(record) {
            let inserted = sqlx::query(statements::INSERT_SECRET)
                .bind(record.id().to_string())
                .bind(secret.hash)
                .bind(secret.place)
                .bind(secret.kind)
                .bind(secret.hint)
                .bind(secret.created_at)
                .bind(secret.valid_until)
                .bind(revision)
                .execute(&mut *connection)
                .await?;
            if inserted.rows_affected() == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    run_statements!(Sqlite);
}

impl Transaction<Sqlite> for sqlx::Transaction<'static, Sqlite> {
    fn connection(&mut self) -> &mut SqliteConnection {
        self
    }

    async fn commit(self) -> Result<(), sqlx::Error> {
        sqlx::Transaction::commit(self).await
    }

    async fn rollback(self) -> Result<(), sqlx::Error> {
        sqlx::Transaction::rollback(self).await
    }
}
