//! The tables in SQLite, by version.

use sqlx::{Row, SqlitePool};

use crate::MigrateError;

/// Each brings the tables from the version before it to its own, counted from 1.
const MIGRATIONS: [&str; 1] = [include_str!("0001_tables.sql")];

pub(super) async fn migrate(pool: &SqlitePool) -> Result<(), MigrateError> {
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query(
        "CREATE TABLE IF NOT EXISTS keyward_migrations (
           version INTEGER PRIMARY KEY,
           applied_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
         ) STRICT",
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
        let applied = sqlx::query("INSERT INTO keyward_migrations (version) VALUES (?1)");
        applied.bind(version).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(())
}
