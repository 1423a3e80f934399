//! The tables in PostgreSQL, by version.

use sqlx::{PgPool, Row};

use super::transaction::Transaction;
use crate::MigrateError;

/// Each brings the tables from the version before it to its own, counted from 1.
const MIGRATIONS: [&str; 2] = [include_str!("0001_tables.sql"), include_str!("0002_notify.sql")];

/// An arbitrary number that other users of advisory locks are unlikely to have chosen.
const LOCK: i64 = 0x6b65_7977_6172_6401;

pub(super) async fn migrate(pool: &PgPool) -> Result<(), MigrateError> {
    let mut transaction = Transaction::begin(pool).await?;
    // One at a time: two processes that start together must not make the same table twice.
    let lock = sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK);
    lock.execute(&mut *transaction).await?;
    sqlx::query(
        "CREATE TABLE IF NOT EXISTS keyward_migrations (
           version bigint PRIMARY KEY,
           applied_at timestamptz NOT NULL DEFAULT now()
         )",
    )
    .execute(&mut *transaction)
    .await?;
    let newest = sqlx::query("SELECT coalesce(max(version), 0) FROM keyward_migrations");
    let found: i64 = newest.fetch_one(&mut *transaction).await?.try_get(0)?;
    let known = MIGRATIONS.len() as i64;
    if found > known {
        transaction.rollback().await?;
        return Err(MigrateError::Newer { found, known });
    }
    for (version, sql) in (1..).zip(MIGRATIONS).filter(|(version, _)| *version > found) {
        sqlx::raw_sql(sql).execute(&mut *transaction).await?;
        let applied = sqlx::query("INSERT INTO keyward_migrations (version) VALUES ($1)");
        applied.bind(version).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(())
}
