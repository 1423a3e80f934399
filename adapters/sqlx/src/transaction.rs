//! A transaction whose connection is closed unless the transaction was ended.

use sqlx::{Database, Pool, pool::PoolConnection};

use crate::dialect::{Dialect, Transaction};

/// A transaction on a connection of its own, for databases over a network.
///
/// A transaction of sqlx counts as begun only when the server has replied. If it is dropped
/// before, it returns a connection to the pool with an open transaction, which nobody commits, and
/// later writes on this connection are lost although they were acknowledged. Here a connection
/// returns to the pool only after the reply to `COMMIT` or `ROLLBACK`; otherwise it is closed.
pub(crate) struct ClosingTransaction<D: Database> {
    connection: PoolConnection<D>,
    ended: bool,
}

impl<D: Dialect> ClosingTransaction<D> {
    /// Begins a transaction with this statement. It states the isolation, whatever the default of the
    /// server is: each statement sees what others have committed, so a compare-and-swap that waited is
    /// judged by what came first.
    pub(crate) async fn begin(
        pool: &Pool<D>,
        statement: &'static str,
    ) -> Result<Self, sqlx::Error> {
        let mut transaction = Self { connection: pool.acquire().await?, ended: false };
        D::execute_all(&mut transaction.connection, statement).await?;
        Ok(transaction)
    }

    async fn end(mut self, statement: &'static str) -> Result<(), sqlx::Error> {
        D::execute_all(&mut self.connection, statement).await?;
        self.ended = true;
        Ok(())
    }
}

impl<D: Dialect> Transaction<D> for ClosingTransaction<D> {
    fn connection(&mut self) -> &mut D::Connection {
        &mut self.connection
    }

    async fn commit(self) -> Result<(), sqlx::Error> {
        self.end("COMMIT").await
    }

    async fn rollback(self) -> Result<(), sqlx::Error> {
        self.end("ROLLBACK").await
    }
}

impl<D: Database> Drop for ClosingTransaction<D> {
    fn drop(&mut self) {
        if !self.ended {
            self.connection.close_on_drop();
        }
    }
}
