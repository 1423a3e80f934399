//! The error of an issuer.

use thiserror::Error;

use crate::{
    key::{
        grant_error::GrantError, parse::ParseError, plaintext::MintError,
        transition_error::TransitionError,
    },
    store::error::{InsertError, ReplaceError},
};

/// The reason why an [`Issuer`](crate::issue::Issuer) refused a change. Nothing has changed, unless the store failed: then
/// the outcome is unknown.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IssuerError<E> {
    /// No accepted format has this kind.
    #[error("unknown kind of key")]
    UnknownKind,
    /// The issuer's hasher does not accept hashes of this scheme or pepper.
    #[error("the hash has a scheme that the hasher does not accept")]
    UnacceptedScheme,
    /// No accepted format reads the plaintext of an imported key.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// No key was minted.
    #[error(transparent)]
    Mint(#[from] MintError),
    /// The scopes are not in the catalogue, or above the ceiling of the kind.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// The key does not permit this change.
    #[error(transparent)]
    Transition(#[from] TransitionError),
    /// There is no such key, or this issuer is confined to another owner.
    #[error("there is no such key")]
    NotFound,
    /// The issuer is confined to another owner.
    #[error("the issuer is confined to another owner")]
    ForeignOwner,
    /// Another change came first.
    #[error("another change to the key came first")]
    Conflict,
    /// A key with this id exists: it was imported before.
    #[error("a key with this id exists")]
    DuplicateId,
    /// A key with this secret exists.
    #[error("a key with this secret exists")]
    DuplicateSecret,
    /// The owner has as many keys as its cap allows. Revoke one, or raise the cap.
    #[error("the owner has as many keys as its cap allows")]
    TooManyKeys,
    /// The store failed.
    #[error("the store failed")]
    Store(#[source] E),
}

impl<E> IssuerError<E> {
    /// Returns the HTTP status for an administrator: 403, 404, 409 or 422 if the request is at
    /// fault, 503 if the store or the random generator is.
    pub const fn status(&self) -> u16 {
        match self {
            Self::UnknownKind
            | Self::UnacceptedScheme
            | Self::Parse(_)
            | Self::Grant(_)
            | Self::Mint(MintError::Legacy { .. }) => 422,
            Self::Transition(error) => error.status(),
            Self::NotFound => 404,
            Self::ForeignOwner => 403,
            Self::Conflict | Self::DuplicateId | Self::DuplicateSecret | Self::TooManyKeys => 409,
            Self::Mint(MintError::Rng(_)) | Self::Store(_) => 503,
        }
    }
}

impl<E> From<InsertError<E>> for IssuerError<E> {
    fn from(error: InsertError<E>) -> Self {
        match error {
            InsertError::DuplicateId => Self::DuplicateId,
            InsertError::DuplicateSecret => Self::DuplicateSecret,
            InsertError::TooManyKeys => Self::TooManyKeys,
            InsertError::Store(error) => Self::Store(error),
        }
    }
}

impl<E> From<ReplaceError<E>> for IssuerError<E> {
    fn from(error: ReplaceError<E>) -> Self {
        match error {
            ReplaceError::NotFound => Self::NotFound,
            ReplaceError::Conflict => Self::Conflict,
            ReplaceError::DuplicateSecret => Self::DuplicateSecret,
            ReplaceError::Store(error) => Self::Store(error),
        }
    }
}
