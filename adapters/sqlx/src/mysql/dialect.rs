//! MySQL and MariaDB as databases that keep keys.

use keyward::{
    KeyHasher,
    key::{KeyId, KeyRecord, OwnerId},
};
use sqlx::{AssertSqlSafe, MySql, MySqlConnection, MySqlPool, mysql::MySqlRow};

use crate::{
    SqlStoreError,
    columns::SecretColumns,
    dialect::{Bind as _, Dialect, OwnerLock, SqlxQuery, Statement},
    mysql::{
        error::{DUPLICATE, is_transient, number},
        numbered::numbered,
        statements,
    },
    statements::Statements,
    transaction::ClosingTransaction,
};

impl Dialect for MySql {
    const STATEMENTS: Statements = statements::STATEMENTS;

    type Transaction = ClosingTransaction<Self>;

    async fn begin(pool: &MySqlPool) -> Result<Self::Transaction, sqlx::Error> {
        let begin = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; START TRANSACTION READ WRITE";
        ClosingTransaction::begin(pool, begin).await
    }

    /// The lock is that of a row that several owners share, because an owner that was never put has no
    /// row.
    async fn lock_owner(
        connection: &mut MySqlConnection,
        owner: &OwnerId,
        _: OwnerLock,
    ) -> Result<(), sqlx::Error> {
        let lock = sqlx::query(statements::LOCK_OWNER).bind(owner.as_str());
        lock.execute(connection).await.map(drop)
    }

    fn find_statement(_: usize) -> (&'static str, usize) {
        (statements::FIND, KeyHasher::MAX_SCHEMES)
    }

    /// No update returns rows. The keys are locked and listed before it.
    async fn revoke_all(
        connection: &mut MySqlConnection,
        owner: &OwnerId,
        revoke: Statement<MySql>,
    ) -> Result<Vec<MySqlRow>, sqlx::Error> {
        let lock = sqlx::query(statements::LOCK_LIVE_KEYS).bind(owner.as_str());
        let revoked = lock.fetch_all(&mut *connection).await?;
        Self::execute(connection, revoke).await?;
        Ok(revoked)
    }

    async fn delete_secrets(
        connection: &mut MySqlConnection,
        id: KeyId,
    ) -> Result<(), sqlx::Error> {
        for statement in statements::DELETE_SECRETS {
            sqlx::query(statement).bind(id.to_string()).execute(&mut *connection).await?;
        }
        Ok(())
    }

    async fn insert_secrets(
        connection: &mut MySqlConnection,
        record: &KeyRecord,
    ) -> Result<bool, sqlx::Error> {
        let revision = record.revision() as i64;
        for secret in SecretColumns::of(record) {
            let insert = sqlx::query(statements::INSERT_SECRET)
                .bind(record.id().to_string())
                .bind(secret.hash)
                .bind(secret.place)
                .bind(secret.kind)
                .bind(secret.hint)
                .bind(secret.created_at)
                .bind(secret.valid_until)
                .bind(revision);
            if !inserted(insert, &mut *connection).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_transient(error: &SqlStoreError) -> bool {
        is_transient(error)
    }

    async fn insert(
        connection: &mut MySqlConnection,
        statement: Statement<MySql>,
    ) -> Result<bool, sqlx::Error> {
        inserted(query(statement), connection).await
    }

    /// The rows that it found count, changed or not: sqlx asks the server to count so.
    async fn execute(
        connection: &mut MySqlConnection,
        statement: Statement<MySql>,
    ) -> Result<u64, sqlx::Error> {
        Ok(query(statement).execute(connection).await?.rows_affected())
    }

    async fn fetch(
        connection: &mut MySqlConnection,
        statement: Statement<MySql>,
    ) -> Result<Vec<MySqlRow>, sqlx::Error> {
        query(statement).fetch_all(connection).await
    }

    async fn execute_all(
        connection: &mut MySqlConnection,
        statements: &'static str,
    ) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(statements).execute(connection).await.map(drop)
    }
}

/// Binds the values in the order of their places.
fn query(statement: Statement<MySql>) -> SqlxQuery<MySql> {
    let (text, places) = numbered(statement.sql);
    if places.is_empty() {
        return MySql::bound(statement);
    }
    places.into_iter().fold(sqlx::query(AssertSqlSafe(text)), |query, place| {
        match statement.values.get(place) {
            Some(value) => MySql::bind(query, value.clone()),
            None => query,
        }
    })
}

/// Inserts a row. Returns `false` if one with the same key is there; only that statement is undone then.
async fn inserted(
    query: SqlxQuery<MySql>,
    connection: &mut MySqlConnection,
) -> Result<bool, sqlx::Error> {
    match query.execute(connection).await {
        Ok(done) => Ok(done.rows_affected() > 0),
        Err(error) if number(&error) == Some(DUPLICATE) => Ok(false),
        Err(error) => Err(error),
    }
}
