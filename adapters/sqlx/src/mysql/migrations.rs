//! The tables in MySQL and MariaDB, by version.
//!
//! A statement that defines a table or a trigger commits by itself there, so a migration is no
//! transaction. A lock of the session excludes other migrations. A version is noted when its statements
//! are done. If the process dies before, they are run again, and those that were done are skipped.

use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection, MySqlPool, Row as _};

use crate::{MigrateError, SqlStoreError, mysql::error::number};

/// Each brings the tables from the version before it to its own, counted from 1.
const MIGRATIONS: &[&str] = &[include_str!("0001_tables.sql"), include_str!("0002_cap.sql")];

/// Makes the table of migrations.
const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS keyward_migrations (
       version BIGINT NOT NULL PRIMARY KEY,
       applied_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
     ) ENGINE = InnoDB";

/// Locks out other migrations of this database until the connection closes.
const LOCK: &str = "SELECT CAST(GET_LOCK(CONCAT('keyward ', MD5(DATABASE())), 60) AS SIGNED)";

/// Returns whether a statement outside of a transaction commits by itself.
const AUTOCOMMIT: &str = "SELECT CAST(@@SESSION.autocommit AS SIGNED)";

/// The meaning of the statements depends on the mode of the session.
const MODE: &str = "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'";

/// The characters that no text has: control characters, and invisible marks and separators.
const CONTROL: &str = r"[\\x{0}-\\x{1f}\\x{7f}-\\x{9f}\\x{61c}\\x{200b}\\x{200e}\\x{200f}\\x{2028}-\\x{202e}\\x{2066}-\\x{2069}\\x{feff}]";

/// The errors of a statement that was done before: the table, the trigger, the column or the index
/// exists, or the row does.
const DONE_BEFORE: [u16; 5] = [1050, 1359, 1060, 1061, 1062];

/// Brings the tables up to date.
pub(super) async fn migrate(pool: &MySqlPool) -> Result<(), MigrateError> {
    // Not returned to the pool, because it has another mode and a lock.
    let mut connection = pool.acquire().await?.detach();
    let migrated = migrate_by(&mut connection).await;
    connection.close().await?;
    migrated
}

async fn migrate_by(connection: &mut MySqlConnection) -> Result<(), MigrateError> {
    let commits: i64 = sqlx::query(AUTOCOMMIT).fetch_one(&mut *connection).await?.try_get(0)?;
    if commits == 0 {
        return Err(MigrateError::NoAutocommit);
    }
    sqlx::raw_sql(MODE).execute(&mut *connection).await?;
    let locked: Option<i64> = sqlx::query(LOCK).fetch_one(&mut *connection).await?.try_get(0)?;
    if locked != Some(1) {
        return Err(SqlStoreError::lock_not_had().into());
    }
    sqlx::raw_sql(CREATE_TABLE).execute(&mut *connection).await?;
    let newest = "SELECT COALESCE(MAX(version), 0) FROM keyward_migrations";
    let found: i64 = sqlx::query(newest).fetch_one(&mut *connection).await?.try_get(0)?;
    let known = MIGRATIONS.len() as i64;
    if found > known {
        return Err(MigrateError::Newer { found, known });
    }
    let version = sqlx::query("SELECT VERSION()").fetch_one(&mut *connection).await?;
    let version: String = version.try_get(0)?;
    // The collations that compare byte by byte and count trailing spaces.
    let collation = match version.contains("MariaDB") {
        true => "utf8mb4_nopad_bin",
        false => "utf8mb4_0900_bin",
    };
    for (version, sql) in (1_i64..).zip(MIGRATIONS).filter(|(version, _)| *version > found) {
        let sql = sql.replace("{COLLATION}", collation).replace("{CONTROL}", CONTROL);
        for statement in sql.split(";\n").filter(|statement| !statement.trim().is_empty()) {
            let statement = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()));
            if let Err(error) = statement.execute(&mut *connection).await
                && !number(&error).is_some_and(|number| DONE_BEFORE.contains(&number))
            {
                return Err(error.into());
            }
        }
        let note = sqlx::query("INSERT INTO keyward_migrations (version) VALUES (?)");
        note.bind(version).execute(&mut *connection).await?;
    }
    Ok(())
}
