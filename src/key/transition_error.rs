//! The error of a change that a key does not allow.

use thiserror::Error;

use crate::key::record::KeyRecord;

/// The error of a change that a key does not allow. The record stays as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TransitionError {
    /// The key is revoked forever.
    #[error("the key is revoked")]
    Revoked,
    /// The key is expired forever.
    #[error("the key is expired")]
    Expired,
    /// The new expiry is not after `now`.
    #[error("the expiry is not in the future")]
    ExpiryInPast,
    /// The secret was created after `now`.
    #[error("the secret was created in the future")]
    SecretFromFuture,
    /// [`KeyRecord::MAX_RETIRING`] secrets are in their grace. Wait until one has ended, or call
    /// [`KeyRecord::rotate_now`].
    #[error("{} secrets are already in their grace", KeyRecord::MAX_RETIRING)]
    TooManyRetiring,
    /// The key already has a secret with this hash.
    #[error("the key already has this secret")]
    DuplicateSecret,
    /// The key has no secret with this hash.
    #[error("the key has no such secret")]
    UnknownSecret,
    /// No secret of the key is in its grace.
    #[error("no secret of the key is in its grace")]
    NoGrace,
    /// The key is already suspended.
    #[error("the key is already suspended")]
    AlreadySuspended,
    /// The key is not suspended.
    #[error("the key is not suspended")]
    NotSuspended,
    /// `now` is more than [`KeyRecord::MAX_CLOCK_SKEW`] before the creation of the key or of its
    /// current secret: the clock of the host is wrong.
    #[error("the clock is behind the creation of the key")]
    ClockBehind,
    /// The revision cannot be raised. This does not happen to a record of a store, whose revision is
    /// at most [`KeyRecord::MAX_REVISION`].
    #[error("the revision of the record cannot be raised")]
    RevisionExhausted,
}

impl TransitionError {
    /// Returns the HTTP status for the administrator who requested the change: 422 for an impossible
    /// expiry or secret, 503 for a wrong clock, and 409 for everything else.
    pub const fn status(&self) -> u16 {
        match self {
            Self::ExpiryInPast | Self::SecretFromFuture => 422,
            Self::ClockBehind => 503,
            _ => 409,
        }
    }
}
