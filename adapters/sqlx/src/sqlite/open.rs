//! Opening a file that other processes may be opening for the first time too.

use std::{path::Path, time::Duration};

use sqlx::{
    ConnectOptions as _, Connection as _, SqliteConnection, SqlitePool,
    sqlite::{
        SqliteConnectOptions, SqliteJournalMode, SqliteLockingMode, SqlitePoolOptions,
        SqliteSynchronous,
    },
};

use crate::{MigrateError, SqlStoreError, SqliteStore};

/// How long opening waits for other processes that use the file. They make or upgrade it once, so
/// this is longer than a change waits.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long one attempt to switch the file waits before it looks whether another process has
/// switched it.
const GLANCE: Duration = Duration::from_millis(100);

/// Returns the options of a file that do not depend on its journal.
fn plain(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(file).create_if_missing(true).foreign_keys(true)
}

/// Returns the recommended options.
pub(super) fn options(file: &Path) -> SqliteConnectOptions {
    plain(file)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(5))
}

/// Opens a file and brings its tables up to date.
pub(super) async fn open(file: &Path) -> Result<SqliteStore, MigrateError> {
    switch_to_wal(file).await?;
    let patient = SqlitePoolOptions::new()
        .max_connections(1)
        .connect_with(options(file).busy_timeout(PATIENCE))
        .await?;
    let opened = migrated(&patient, file).await;
    // Only now, because the last connection to leave a file locks it.
    patient.close().await;
    opened
}

async fn migrated(patient: &SqlitePool, file: &Path) -> Result<SqliteStore, MigrateError> {
    SqliteStore::new(patient.clone()).migrate().await?;
    Ok(SqliteStore::new(SqlitePool::connect_with(options(file)).await?))
}

/// Switches a file to the write-ahead log, unless it has one.
///
/// SQLite does not wait when two connections switch one file at the same time: it raises a lock
/// that it holds, refuses at once where that could deadlock, and ignores the busy timeout. So the
/// switch is made by a connection that has locked the file as a whole before it, which waits. This
/// lock cannot be had while others use the file. Then somebody else has switched it, and the next
/// look shows that.
async fn switch_to_wal(file: &Path) -> Result<(), SqlStoreError> {
    let mut attempts = PATIENCE.as_millis() / GLANCE.as_millis();
    loop {
        let refused = match try_switch(file).await {
            Ok(()) => return Ok(()),
            Err(error) => SqlStoreError::from(error),
        };
        attempts = attempts.saturating_sub(1);
        if attempts == 0 || !matches!(refused, SqlStoreError::TimedOut(_)) {
            return Err(refused);
        }
    }
}

async fn try_switch(file: &Path) -> Result<(), sqlx::Error> {
    let mut reader = plain(file).busy_timeout(PATIENCE).connect().await?;
    let mode = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut reader).await;
    reader.close().await?;
    let mode: String = mode?;
    if mode == "wal" {
        return Ok(());
    }
    let alone = plain(file).busy_timeout(GLANCE).locking_mode(SqliteLockingMode::Exclusive);
    let mut alone = alone.connect().await?;
    let switched = switch(&mut alone).await;
    alone.close().await?;
    switched
}

/// In this locking mode the lock outlasts its transaction.
async fn switch(alone: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let switch = "BEGIN EXCLUSIVE; COMMIT; PRAGMA journal_mode = WAL";
    sqlx::raw_sql(switch).execute(alone).await.map(drop)
}
