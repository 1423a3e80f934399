//! What differs between the databases.

use std::{future::Future, marker::PhantomData};

use keyward::key::{KeyId, KeyRecord, OwnerId};
use sqlx::{Database, Encode, Pool, Type, query::Query};

use crate::{SqlStoreError, rows::ReadRow, statements::Statements};

/// A statement with the values that are bound to it so far, in the order of its parameters.
pub(crate) struct Statement<D> {
    pub(crate) sql: &'static str,
    pub(crate) values: Vec<Value>,
    database: PhantomData<fn() -> D>,
}

impl<D> Statement<D> {
    /// A statement without values.
    pub(crate) const fn new(sql: &'static str) -> Self {
        Self { sql, values: Vec::new(), database: PhantomData }
    }
}

/// The value of a parameter, or null.
#[derive(Clone)]
pub(crate) enum Value {
    Text(Option<String>),
    Integer(Option<i64>),
}

/// A statement of sqlx.
pub(crate) type SqlxQuery<D> = Query<'static, D, <D as Database>::Arguments>;

/// A database to whose statements text and integers can be bound.
pub(crate) trait Bind: Database {
    /// Binds a text or null.
    fn text(mut statement: Statement<Self>, value: Option<String>) -> Statement<Self> {
        statement.values.push(Value::Text(value));
        statement
    }

    /// Binds an integer or null.
    fn integer(mut statement: Statement<Self>, value: Option<i64>) -> Statement<Self> {
        statement.values.push(Value::Integer(value));
        statement
    }

    /// Binds a value to a statement of sqlx.
    fn bind(query: SqlxQuery<Self>, value: Value) -> SqlxQuery<Self>;

    /// Binds the values in their order.
    fn bound(statement: Statement<Self>) -> SqlxQuery<Self> {
        statement.values.into_iter().fold(sqlx::query(statement.sql), Self::bind)
    }
}

impl<D: Database> Bind for D
where
    Option<String>: for<'q> Encode<'q, D> + Type<D>,
    Option<i64>: for<'q> Encode<'q, D> + Type<D>,
{
    fn bind(query: SqlxQuery<D>, value: Value) -> SqlxQuery<D> {
        match value {
            Value::Text(text) => query.bind(text),
            Value::Integer(integer) => query.bind(integer),
        }
    }
}

/// How often a transaction is run before its error is returned.
const ATTEMPTS: usize = 16;

/// Runs a transaction again if the database undid it in favour of another one.
pub(crate) async fn retrying<D, T, F, R>(run: F) -> Result<T, SqlStoreError>
where
    D: Dialect,
    F: Fn() -> R,
    R: Future<Output = Result<T, SqlStoreError>>,
{
    for _ in 1..ATTEMPTS {
        match run().await {
            Err(error) if D::is_transient(&error) => {}
            done => return done,
        }
    }
    run().await
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

    /// Revokes the keys of an owner that are not revoked, whose owner is locked, and returns rows with
    /// their ids. The statement is that of [`Statements::revoke_all`].
    fn revoke_all(
        connection: &mut Self::Connection,
        _owner: &OwnerId,
        revoke: Statement<Self>,
    ) -> impl Future<Output = Result<Vec<Self::Row>, sqlx::Error>> + Send {
        Self::fetch(connection, revoke)
    }

    /// Returns whether the database undid a transaction that can succeed when it is run again.
    fn is_transient(_error: &SqlStoreError) -> bool {
        false
    }

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

    /// Inserts a row. Returns `false` if one with the same key is there.
    fn insert(
        connection: &mut Self::Connection,
        statement: Statement<Self>,
    ) -> impl Future<Output = Result<bool, sqlx::Error>> + Send {
        async move { Ok(Self::execute(connection, statement).await? > 0) }
    }

    /// Executes a statement and returns the number of affected rows.
    fn execute(
        connection: &mut Self::Connection,
        statement: Statement<Self>,
    ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;

    /// Executes a statement and returns its rows.
    fn fetch(
        connection: &mut Self::Connection,
        statement: Statement<Self>,
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
            statement: $crate::dialect::Statement<$database>,
        ) -> Result<u64, sqlx::Error> {
            let query = <$database as $crate::dialect::Bind>::bound(statement);
            Ok(query.execute(connection).await?.rows_affected())
        }

        async fn fetch(
            connection: &mut <$database as sqlx::Database>::Connection,
            statement: $crate::dialect::Statement<$database>,
        ) -> Result<Vec<<$database as sqlx::Database>::Row>, sqlx::Error> {
            let query = <$database as $crate::dialect::Bind>::bound(statement);
            query.fetch_all(connection).await
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
