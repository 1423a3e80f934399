//! A transaction whose connection is never used again if it did not come to its end.

use std::ops::{Deref, DerefMut};

use sqlx::{PgConnection, PgPool, Postgres, pool::PoolConnection};

/// A transaction on a connection of its own.
///
/// sqlx's own counts as begun only when the server has said so. Dropped before, it gives a
/// connection back to the pool that is inside of a transaction nobody will commit, and what others
/// then write on it is lost although it was acknowledged. Here a connection goes back only after
/// `COMMIT` or `ROLLBACK` has been answered; whatever else happens, it is closed.
pub(super) struct Transaction {
    connection: PoolConnection<Postgres>,
    ended: bool,
}

impl Transaction {
    /// A transaction that sees what others have committed by each of its statements, whatever
    /// the database's default is: so a compare-and-swap that waited is judged by what came first.
    pub(super) async fn begin(pool: &PgPool) -> Result<Self, sqlx::Error> {
        let mut transaction = Self { connection: pool.acquire().await?, ended: false };
        transaction.say("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE").await?;
        Ok(transaction)
    }

    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        self.end("COMMIT").await
    }

    pub(super) async fn rollback(self) -> Result<(), sqlx::Error> {
        self.end("ROLLBACK").await
    }

    async fn end(mut self, how: &'static str) -> Result<(), sqlx::Error> {
        self.say(how).await?;
        self.ended = true;
        Ok(())
    }

    async fn say(&mut self, what: &'static str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(what).execute(&mut *self.connection).await?;
        Ok(())
    }
}

impl Deref for Transaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if !self.ended {
            self.connection.close_on_drop();
        }
    }
}
