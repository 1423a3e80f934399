//! The errors of changing a store.

use thiserror::Error;

/// The reason why a record was not inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InsertError<E> {
    /// The store holds a record with this id.
    #[error("a key with this id exists")]
    DuplicateId,
    /// The store holds a record with one of the hashes.
    #[error("a key with this secret exists")]
    DuplicateSecret,
    /// The owner has as many keys as its cap allows.
    #[error("the owner has as many keys as its cap allows")]
    TooManyKeys,
    /// The store failed. The record may or may not have been inserted.
    #[error("the store failed")]
    Store(#[source] E),
}

impl<E> InsertError<E> {
    /// Converts the store's own error, if it is one.
    pub fn map_store<F>(self, map: impl FnOnce(E) -> F) -> InsertError<F> {
        match self {
            Self::DuplicateId => InsertError::DuplicateId,
            Self::DuplicateSecret => InsertError::DuplicateSecret,
            Self::TooManyKeys => InsertError::TooManyKeys,
            Self::Store(error) => InsertError::Store(map(error)),
        }
    }
}

/// The reason why a record was not replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReplaceError<E> {
    /// The store holds no record with this id.
    #[error("there is no key with this id")]
    NotFound,
    /// Another change came first.
    #[error("another change to the key came first")]
    Conflict,
    /// Another record has one of the hashes.
    #[error("another key has this secret")]
    DuplicateSecret,
    /// The store failed. The record may or may not have been replaced.
    #[error("the store failed")]
    Store(#[source] E),
}

impl<E> ReplaceError<E> {
    /// Converts the store's own error, if it is one.
    pub fn map_store<F>(self, map: impl FnOnce(E) -> F) -> ReplaceError<F> {
        match self {
            Self::NotFound => ReplaceError::NotFound,
            Self::Conflict => ReplaceError::Conflict,
            Self::DuplicateSecret => ReplaceError::DuplicateSecret,
            Self::Store(error) => ReplaceError::Store(map(error)),
        }
    }
}
