//! The errors of a database.

use std::fmt;

use keyward::key::{KeyId, OwnerId};
use thiserror::Error;

/// The error of a store. A request that meets one is refused with 503.
///
/// The store has no state that an error could spoil. When the database is available again, the
/// next call succeeds.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SqlStoreError {
    /// There is no connection: the pool is exhausted or closed, the server is stopped or starting,
    /// or its reply cannot be understood.
    #[error("no connection to the database")]
    NoConnection(#[source] sqlx::Error),
    /// The database stopped waiting: a statement or a lock reached its time limit.
    #[error("the database reached a time limit")]
    TimedOut(#[source] DatabaseMessage),
    /// The database refused a statement.
    #[error("the database refused the statement")]
    Refused(#[source] DatabaseMessage),
    /// The row of a key does not make a record.
    #[error("corrupt column {column} of key {}", Shown(key))]
    Corrupt {
        /// The key; `None` if the id itself is not a [`KeyId`].
        key: Option<KeyId>,
        /// The table and the column.
        column: &'static str,
    },
    /// The row of an owner does not make an owner.
    #[error("corrupt column {column} of an owner")]
    CorruptOwner {
        /// The owner.
        owner: OwnerId,
        /// The table and the column.
        column: &'static str,
    },
    /// Two keys match the hashes of one lookup: the same secret was imported twice, under two
    /// schemes.
    #[error("two keys have this secret")]
    TwoKeys,
    /// This version of the crate cannot store a value of this kind. Nothing has changed.
    #[error("column {column} cannot hold the value")]
    Unsupported {
        /// The table and the column.
        column: &'static str,
    },
}

struct Shown<'k>(&'k Option<KeyId>);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(key) => key.fmt(f),
            None => f.write_str("without a valid id"),
        }
    }
}

/// The message of the database.
///
/// The details in which PostgreSQL names a row are left out, because they show its contents.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message} ({code})")]
#[non_exhaustive]
pub struct DatabaseMessage {
    /// The SQLSTATE of PostgreSQL, the extended result code of SQLite or the error number of MySQL;
    /// empty if there is none.
    pub code: String,
    /// The human-readable message.
    pub message: String,
}

/// The reason why the tables were not brought up to date.
///
/// On SQLite and PostgreSQL nothing has changed then. On MySQL and MariaDB each statement commits by
/// itself, so some can be done; the next call does the others.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// A newer version of this crate has changed the tables.
    #[error("the tables have version {found}, but this crate supports up to {known}")]
    Newer {
        /// The version of the tables.
        found: i64,
        /// The newest version that this crate supports.
        known: i64,
    },
    /// The connections of a pool of MySQL or MariaDB have `autocommit = 0`, so that a statement
    /// outside of a transaction begins one, which nobody ends. Nothing has changed.
    #[error(
        "the connections of the pool have autocommit = 0: execute \
         `SET SESSION autocommit = 1` in MySqlPoolOptions::after_connect"
    )]
    NoAutocommit,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] SqlStoreError),
}

impl From<sqlx::Error> for MigrateError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<sqlx::Error> for SqlStoreError {
    fn from(error: sqlx::Error) -> Self {
        let sqlx::Error::Database(cause) = &error else { return Self::NoConnection(error) };
        let code = cause.code().unwrap_or_default().into_owned();
        #[cfg(feature = "mysql")]
        if let Some(number) = crate::mysql::mysql_number(&error) {
            return Self::of_mysql(error, number);
        }
        let message = DatabaseMessage { message: cause.message().to_owned(), code };
        match message.code.as_str() {
            // PostgreSQL: connection exceptions, too many connections, shutting down, starting.
            code if code.starts_with("08") => Self::NoConnection(error),
            "53300" | "57P01" | "57P02" | "57P03" => Self::NoConnection(error),
            // PostgreSQL: a statement or a lock reached its time limit.
            "57014" | "55P03" | "25P03" => Self::TimedOut(message),
            // SQLite: busy and locked, each with its extended codes.
            code if matches!(code.parse::<u32>().map(|code| code & 0xff), Ok(5 | 6))
                && code.len() < 5 =>
            {
                Self::TimedOut(message)
            }
            _ => Self::Refused(message),
        }
    }
}
