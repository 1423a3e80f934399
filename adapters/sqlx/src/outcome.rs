//! What came of a change that the database itself did not fail.

use keyward::store::{InsertError, ReplaceError};

use crate::SqlStoreError;

/// What came of an insertion.
pub(crate) enum Inserted {
    Done,
    DuplicateId,
    DuplicateSecret,
}

impl Inserted {
    /// As the trait tells it.
    pub(crate) fn told(
        outcome: Result<Self, SqlStoreError>,
    ) -> Result<(), InsertError<SqlStoreError>> {
        match outcome {
            Ok(Self::Done) => Ok(()),
            Ok(Self::DuplicateId) => Err(InsertError::DuplicateId),
            Ok(Self::DuplicateSecret) => Err(InsertError::DuplicateSecret),
            Err(error) => Err(InsertError::Store(error)),
        }
    }
}

/// What came of a replacement.
pub(crate) enum Replaced {
    Done,
    NotFound,
    Conflict,
    DuplicateSecret,
}

impl Replaced {
    /// As the trait tells it.
    pub(crate) fn told(
        outcome: Result<Self, SqlStoreError>,
    ) -> Result<(), ReplaceError<SqlStoreError>> {
        match outcome {
            Ok(Self::Done) => Ok(()),
            Ok(Self::NotFound) => Err(ReplaceError::NotFound),
            Ok(Self::Conflict) => Err(ReplaceError::Conflict),
            Ok(Self::DuplicateSecret) => Err(ReplaceError::DuplicateSecret),
            Err(error) => Err(ReplaceError::Store(error)),
        }
    }
}
