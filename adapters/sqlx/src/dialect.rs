//! What differs between the databases.

use std::future::Future;

use keyward::key::{KeyId, KeyRecord, OwnerId};
use sqlx::{Database, Encode, Pool, Type, query::Query};

use crate::{rows::ReadRow, statements::Statements};

/// A statement with the values that are bound to it so far.
pub(crate) type Statement<'q, D> = Query<'q, D, <D as Database>::Arguments>;

/// A database to whose statements text and integers can be bound.
pub(crate) trait Bind: Database {
    /// Binds a text or null.
    fn text(statement: Statement<'_, Self>, value: Option<String>) -> Statement<'_, Self>;
    /// Binds an integer or null.
    fn integer(statement: Statement<'_, Self>, value: Option<i64>) -> Statement<'_, Self>;
}

impl<D: Database> Bind for D
where
    Option<String>: for<'q> Encode<'q, D> + Type<D>,
    Option<i64>: for<'q> Encode<'q, D> + Type<D>,
{
    fn text(statement: Statement<'_, D>, value: Option<String>) -> Statement<'_, D> {
        statement.bind(value)
    }

    fn integer(statement: Statement<'_, D>, value: Option<i64>) -> Statement<'_, D> {
        statement.bind(value)
    }
}

/// A database that keeps keys.
pub(crate) trait Dialect: Bind<Row: ReadRow> {
    /// The statements that all databases need.
    const STATEMENTS: Statements;

    /// A transaction that can write.
    type Transaction: Transaction<Self>;

    /// Begins a transaction that can write. A compare-and-swap in it is judged by what other
    /// transactions have committed.
    fn begin(
        pool: &Pool<Self>,
    ) -> impl Future<Output = Result<Self::Transaction, sqlx::Error>> + Send;

    /// Locks an owner until the end of the transaction, so that revoking all of its keys and
    /// inserting one exclude each other.
    fn lock_owner(
        connection: &mut Self::Connection,
        owner: &OwnerId,
        use_of: OwnerLock,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Returns the statement that finds the key of this many hashes, and the number of its
    /// parameters. Parameters without a hash are null.
    fn find_statement(hashes: usize) -> (&'static str, usize);

    /// Deletes the secrets of a key whose revision was raised in this transaction.
    fn delete_secrets(
        connection: &mut Self::Connection,
        id: KeyId,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Inserts the secrets of a record. Returns `false` if another key has one of the hashes.
    fn insert_secrets(
        connection: &mut Self::Connection,
        record: &KeyRecord,
    ) -> impl Future<Output = Result<bool, sqlx::Error>> + Send;

    /// Executes a statement and returns the number of affected rows.
    fn execute(
        connection: &mut Self::Connection,
        statement: Statement<'_, Self>,
    ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;

    /// Executes a statement and returns its rows.
    fn fetch(
        connection: &mut Self::Connection,
        statement: Statement<'_, Self>,
    ) -> impl Future<Output = Result<Vec<Self::Row>, sqlx::Error>> + Send;

    /// Executes several statements without parameters.
    fn execute_all(
        connection: &mut Self::Connection,
        statements: &'static str,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}

/// What a lock of an owner is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OwnerLock {
    /// A key is inserted. Keys of one owner are inserted one after another, so that a cap on their
    /// number holds.
    Insert,
    /// All keys are changed.
    ChangeAll,
}

/// A transaction. What it wrote is undone if it is dropped.
pub(crate) trait Transaction<D: Dialect>: Send {
    /// Returns the connection of the transaction.
    fn connection(&mut self) -> &mut D::Connection;
    /// Commits what was written.
    fn commit(self) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
    /// Undoes what was written.
    fn rollback(self) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}

/// Implements the methods of [`Dialect`] that run statements. Their bodies are the same, but only
/// over a concrete connection does the compiler know that it executes statements.
macro_rules! run_statements {
    ($database:ty) => {
        async fn execute(
            connection: &mut <$database as sqlx::Database>::Connection,
            statement: $crate::dialect::Statement<'_, $database>,
        ) -> Result<u64, sqlx::Error> {
            Ok(statement.execute(connection).await?.rows_affected())
        }

        async fn fetch(
            connection: &mut <$database as sqlx::Database>::Connection,
            statement: $crate::dialect::Statement<'_, $database>,
        ) -> Result<Vec<<$database as sqlx::Database>::Row>, sqlx::Error> {
            statement.fetch_all(connection).await
        }

        async fn execute_all(
            connection: &mut <$database as sqlx::Database>::Connection,
            statements: &'static str,
        ) -> Result<(), sqlx::Error> {
            sqlx::raw_sql(statements).execute(connection).await.map(drop)
        }
    };
}
pub(crate) use run_statements;
