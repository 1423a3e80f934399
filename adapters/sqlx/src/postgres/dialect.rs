//! PostgreSQL as a database that keeps keys.

use keyward::{
    KeyHasher,
    key::{KeyId, KeyRecord, OwnerId},
};
use sqlx::{PgConnection, PgPool, Postgres};

use crate::{
    columns::SecretColumns,
    dialect::{Dialect, OwnerLock, run_statements},
    postgres::statements,
    statements::Statements,
    transaction::ClosingTransaction,
};

impl Dialect for Postgres {
    const STATEMENTS: Statements = Statements::STANDARD;

    type Transaction = ClosingTransaction<Self>;

    async fn begin(pool: &PgPool) -> Result<Self::Transaction, sqlx::Error> {
        ClosingTransaction::begin(pool, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE").await
    }

    /// The lock belongs to the owner's id, because an owner that was never put has no row. Whoever
    /// changes all keys then locks them too, in the order in which a purge does.
    async fn lock_owner(
        connection: &mut PgConnection,
        owner: &OwnerId,
        use_of: OwnerLock,
    ) -> Result<(), sqlx::Error> {
        let statements = match use_of {
            OwnerLock::Insert => &[statements::LOCK_OWNER] as &[&str],
            OwnerLock::ChangeAll => &[statements::LOCK_OWNER, statements::LOCK_KEYS_OF_OWNER],
        };
        for statement in statements {
            sqlx::query(*statement).bind(owner.as_str()).execute(&mut *connection).await?;
        }
        Ok(())
    }

    fn find_statement(hashes: usize) -> (&'static str, usize) {
        // A lookup has one to four hashes, so the number is always in range.
        let hashes = hashes.clamp(1, KeyHasher::MAX_SCHEMES);
        (statements::FIND[hashes - 1], hashes)
    }

    async fn delete_secrets(connection: &mut PgConnection, id: KeyId) -> Result<(), sqlx::Error> {
        let delete = sqlx::query(statements::DELETE_SECRETS).bind(id.to_string());
        delete.execute(connection).await.map(drop)
    }

    /// Inserts all secrets with one statement, which saves round trips.
    async fn insert_secrets(
        connection: &mut PgConnection,
        record: &KeyRecord,
    ) -> Result<bool, sqlx::Error> {
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
        let inserted = sqlx::query(statements::INSERT_SECRETS)
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

    run_statements!(Postgres);
}
