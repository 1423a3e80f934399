//! A transaction whose connection is closed unless the transaction was ended.

use std::ops::{Deref, DerefMut};

use sqlx::{MySql, MySqlConnection, MySqlPool, pool::PoolConnection};

use crate::dialect::Transaction;

/// A transaction on a connection of its own.
///
/// A transaction of sqlx counts as begun only when the server has replied. If it is dropped before, it
/// returns a connection to the pool with an open transaction, which nobody commits. Here a connection
/// returns to the pool only after the reply to `COMMIT` or `ROLLBACK`; otherwise it is closed.
pub(crate) struct MySqlTransaction {
    connection: PoolConnection<MySql>,
    ended: bool,
}

impl MySqlTransaction {
    /// Begins a transaction in which each statement sees what others have committed, whatever the
    /// default of the server is. So a compare-and-swap that waited is judged by what came first.
    pub(super) async fn begin(pool: &MySqlPool) -> Result<Self, sqlx::Error> {
        let mut transaction = Self { connection: pool.acquire().await?, ended: false };
        let begin = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; START TRANSACTION READ WRITE";
        transaction.run(begin).await?;
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

impl Transaction<MySql> for MySqlTransaction {
    fn connection(&mut self) -> &mut MySqlConnection {
        self
    }

    async fn commit(self) -> Result<(), sqlx::Error> {
        self.end("COMMIT").await
    }

    async fn rollback(self) -> Result<(), sqlx::Error> {
        self.end("ROLLBACK").await
    }
}

impl Deref for MySqlTransaction {
    type Target = MySqlConnection;

    fn deref(&self) -> &MySqlConnection {
        &self.connection
    }
}

impl DerefMut for MySqlTransaction {
    fn deref_mut(&mut self) -> &mut MySqlConnection {
        &mut self.connection
    }
}

impl Drop for MySqlTransaction {
    fn drop(&mut self) {
        if !self.ended {
            self.connection.close_on_drop();
        }
    }
}
