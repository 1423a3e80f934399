//! The reasons for which a key is refused.

use thiserror::Error;

/// The reason for which a key is refused.
///
/// It is precise, and meant for the log of the host. By default a response says only that the key is
/// invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The store has no such key.
    #[error("no key has this secret")]
    Unknown,
    /// The store returned a record that has none of the hashes: a rotation dropped the secret during
    /// the query, or the store is wrong.
    #[error("the record that was found does not have this secret")]
    Mismatch,
    /// The secret was minted for a key of another kind than the one that was presented.
    #[error("the secret belongs to a key of another kind")]
    WrongKind,
    /// The key is revoked.
    #[error("the key is revoked")]
    Revoked,
    /// The key is expired.
    #[error("the key is expired")]
    Expired,
    /// The key is suspended.
    #[error("the key is suspended")]
    Suspended,
    /// The owner of the key is suspended, and with it all of its keys.
    #[error("the owner of the key is suspended")]
    OwnerSuspended,
    /// A rotation replaced the secret, and its grace is over.
    #[error("the secret was rotated out and its grace is over")]
    PastGrace,
    /// `now` is more than [`KeyRecord::MAX_CLOCK_SKEW`](crate::key::KeyRecord::MAX_CLOCK_SKEW)
    /// before the creation of the key or of its current secret. The clock of the host is wrong, and
    /// neither expiry nor grace can be judged.
    #[error("the clock is behind the creation of the key")]
    ClockBehind,
}

impl VerifyError {
    /// Returns the HTTP status of the response: 503 if the clock of the host is wrong, and 401
    /// (RFC 9110 §15.5.2) for everything else.
    pub const fn status(&self) -> u16 {
        match self {
            Self::ClockBehind => 503,
            _ => 401,
        }
    }
}
