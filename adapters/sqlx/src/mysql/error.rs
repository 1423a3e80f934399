//! The errors of MySQL and MariaDB, by their numbers. Their SQLSTATEs are too general.

use sqlx::mysql::MySqlDatabaseError;

use crate::{DatabaseMessage, SqlStoreError};

/// A row has the same key.
pub(super) const DUPLICATE: u16 = 1062;
/// The transaction was undone in favour of another one.
const DEADLOCK: u16 = 1213;
/// A referenced row was deleted at the same time.
const NO_PARENT: u16 = 1452;
/// A row was changed since the transaction read it.
const CHANGED: u16 = 1020;

/// Returns the number of an error of the server, if it is one of MySQL or MariaDB.
pub(crate) fn number(error: &sqlx::Error) -> Option<u16> {
    let cause = error.as_database_error()?.try_downcast_ref::<MySqlDatabaseError>()?;
    Some(cause.number())
}

/// Returns whether the same transaction can succeed when it is run again.
pub(super) fn is_transient(error: &SqlStoreError) -> bool {
    let (SqlStoreError::TimedOut(message) | SqlStoreError::Refused(message)) = error else {
        return false;
    };
    [DEADLOCK, NO_PARENT, CHANGED].iter().any(|number| message.code == number.to_string())
}

impl SqlStoreError {
    /// Another process did not finish its migration in time.
    pub(super) fn lock_not_had() -> Self {
        let message = "another process migrates the tables".to_owned();
        Self::TimedOut(DatabaseMessage { code: String::new(), message })
    }

    /// Converts an error of MySQL or MariaDB.
    pub(crate) fn of_mysql(error: sqlx::Error, number: u16) -> Self {
        let text = error.as_database_error().map(|cause| cause.message().to_owned());
        let message =
            DatabaseMessage { code: number.to_string(), message: text.unwrap_or_default() };
        match number {
            // Too many connections, by server or by user; the server stops, the connection was killed,
            // the network failed, the host is blocked.
            1040 | 1203 | 1226 | 1053 | 1077..=1079 | 1927 | 1129 | 1158..=1161 => {
                Self::NoConnection(error)
            }
            // A lock was not had in time, in a deadlock or not; a statement took too long or was
            // interrupted; a row was changed by others.
            1205 | DEADLOCK | 1969 | 3024 | 1317 | CHANGED => Self::TimedOut(message),
            _ => Self::Refused(message),
        }
    }
}
