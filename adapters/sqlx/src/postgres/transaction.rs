//! A transaction whose connection is closed unless the transaction was ended.

use std::ops::{Deref, DerefMut};

use sqlx::{PgConnection, PgPool, Postgres, pool::PoolConnection};

use crate::dialect::Transaction;

/// A transaction on a connection of its own.
///
/// A transaction of sqlx counts as begun only when the server has replied. If it is dropped
/// before, it returns a connection to the pool with an open transaction, which nobody commits, and
/// later writes on this connection are lost although they were acknowledged. Here a connection
/// returns to the pool only after the reply to `COMMIT` or `ROLLBACK`; otherwise it is closed.
pub(crate) struct PgTransaction {
    connection: PoolConnection<Postgres>,
    ended: bool,
}

impl PgTransaction {
    /// Begins a transaction in which each statement sees what others have committed, whatever the
    /// default of the database is. So a compare-and-swap that waited is judged by what came first.
    pub(super) async fn begin(pool: &PgPool) -> Result<Self, sqlx::Error> {
        let mut transaction = Self { connection: pool.acquire().await?, ended: false };
        transaction.run("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE").await?;
        Ok(transaction)
    }

    async fn end(mut self, statement: &'static str) -> Result<(), sqlx::Error> {
        self.run(statement).await?;
        self.ended = true;
        Ok(())
    }

    async fn run(&mut self, statement: &'static str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(statement).execute(&mut *self.connection).await?;
        Ok(())
    }
}

impl Transaction<Postgres> for PgTransaction {
    fn connection(&mut self) -> &mut PgConnection {
        self
    }

    async fn commit(self) -> Result<(), sqlx::Error> {
        self.end("COMMIT").await
    }

    async fn rollback(self) -> Result<(), sqlx::Error> {
        self.end("ROLLBACK").await
    }
}

impl Deref for PgTransaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for PgTransaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

impl Drop for PgTransaction {
    fn drop(&mut self) {
        if !self.ended {
            self.connection.close_on_drop();
        }
    }
}
