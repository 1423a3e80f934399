//! What goes wrong in a database.

use std::fmt;

use keyward::key::{KeyId, OwnerId};
use thiserror::Error;

/// Why a store did not do what it was asked. A request that meets one is answered with 503.
///
/// The store holds nothing that an error could spoil: once the database is there again, the
/// next call succeeds.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SqlStoreError {
    /// There is no connection: the pool is exhausted or closed, the server is gone or is
    /// starting, or what it says cannot be understood.
    #[error("no connection to the database")]
    NoConnection(#[source] sqlx::Error),
    /// The database gave up waiting: a statement's or a lock's time was over.
    #[error("the database took too long")]
    TimedOut(#[source] DatabaseMessage),
    /// The database refused a statement.
    #[error("the database refused")]
    Refused(#[source] DatabaseMessage),
    /// A key's row does not make a record.
    #[error("corrupt column {column} of key {}", Shown(key))]
    Corrupt {
        /// The key; `None` if its id itself is no [`KeyId`].
        key: Option<KeyId>,
        /// The table and the column.
        column: &'static str,
    },
    /// An owner's row does not make an owner.
    #[error("corrupt column {column} of an owner")]
    CorruptOwner {
        /// The owner.
        owner: OwnerId,
        /// The table and the column.
        column: &'static str,
    },
    /// Two keys match the hashes of one lookup: the same secret was taken over twice, under two
    /// schemes.
    #[error("two keys have this secret")]
    TwoKeys,
    /// The value is of a sort that this version of the crate cannot keep. Nothing was changed.
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
            None => f.write_str("of no valid id"),
        }
    }
}

/// What the database itself said.
///
/// PostgreSQL also tells which row it speaks of. That is left out, for it shows the row's
/// contents.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message} ({code})")]
#[non_exhaustive]
pub struct DatabaseMessage {
    /// The SQLSTATE of PostgreSQL or the extended result code of SQLite; empty if there is none.
    pub code: String,
    /// The message for people.
    pub message: String,
}

/// Why the tables were not brought up to date. Nothing has changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// A newer version of this crate has changed the tables.
    #[error("the tables are of version {found}, and this crate knows {known} at most")]
    Newer {
        /// The version of the tables.
        found: i64,
        /// The newest version that this crate knows.
        known: i64,
    },
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
        let sqlx::Error::Database(told) = &error else { return Self::NoConnection(error) };
        let code = told.code().unwrap_or_default().into_owned();
        let told = DatabaseMessage { message: told.message().to_owned(), code };
        match told.code.as_str() {
            // PostgreSQL: connection exceptions, too many connections, shutting down, starting.
            code if code.starts_with("08") => Self::NoConnection(error),
            "53300" | "57P01" | "57P02" | "57P03" => Self::NoConnection(error),
            // PostgreSQL: a statement or a lock ran out of time.
            "57014" | "55P03" | "25P03" => Self::TimedOut(told),
            // SQLite: busy and locked, each with its extended codes.
            code if matches!(code.parse::<u32>().map(|code| code & 0xff), Ok(5 | 6))
                && code.len() < 5 =>
            {
                Self::TimedOut(told)
            }
            _ => Self::Refused(told),
        }
    }
}
