//! Why a request is refused, precisely.

use std::{error::Error, sync::Arc};

use thiserror::Error;

use crate::{
    key::{format::ParseError, kind::KeyKind},
    limit::decision::ChargeError,
    request::{public_reason::PublicReason, source::CredentialError},
    verify::{VerifyError, access::Forbidden},
};

/// Why a request is refused, precisely: for the host's log.
///
/// It holds ids and positions and nothing of what was sent. What the client may be told is
/// [`RefusalReason::public`].
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum RefusalReason {
    /// No credential was sent.
    #[error("no credential was sent")]
    Missing,
    /// What was sent contradicts itself, or cannot be read.
    #[error(transparent)]
    Credential(CredentialError),
    /// What was sent is no key.
    #[error(transparent)]
    Parse(ParseError),
    /// Keys of this kind are not taken from where it stood.
    #[error("keys of kind {kind} are not taken from where this one stood")]
    NotTaken {
        /// The kind.
        kind: KeyKind,
    },
    /// The key is not good.
    #[error(transparent)]
    Verify(VerifyError),
    /// The key was good when the request began and is not any more.
    #[error("withdrawn while the request was served: {0}")]
    Withdrawn(VerifyError),
    /// The key is good, but not for this route.
    #[error(transparent)]
    Forbidden(Forbidden),
    /// A limit is used up for now.
    #[error("the limit of {by} is used up")]
    Throttled {
        /// Which one.
        by: LimitedBy,
    },
    /// Too many attempts to authenticate from this address failed.
    #[error("too many attempts from this address failed")]
    TooManyAttempts,
    /// The charge can never be made, whatever the time.
    #[error(transparent)]
    Charge(ChargeError),
    /// The store failed, or did not answer in time.
    #[error("the store failed: {0}")]
    Store(Arc<dyn Error + Send + Sync>),
    /// The host's own limiter failed, or did not answer in time.
    #[error("the limiter failed: {0}")]
    Limiter(Arc<dyn Error + Send + Sync>),
    /// The route has limits, and there is nobody to ask for them.
    #[error("the route has limits and the gate no limiter")]
    NoLimiter,
    /// Another gate checked the route. Pass it the result of its own
    /// [`Gate::route`](crate::gate::Gate::route).
    #[error("another gate checked the route; call Gate::route on the gate that decides")]
    ForeignRoute,
    /// The host refused the request itself, in the gate's words.
    #[error("refused by the host: {0:?}")]
    Host(PublicReason),
}

/// Whose limit it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LimitedBy {
    /// The key's.
    Key,
    /// Its owner's.
    Owner,
    /// The key's within the route's group.
    KeyInGroup,
    /// The one that all callers of the route share.
    Shared,
}

impl std::fmt::Display for LimitedBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Key => "the key",
            Self::Owner => "the owner",
            Self::KeyInGroup => "the key in this group",
            Self::Shared => "all callers",
        })
    }
}

impl RefusalReason {
    /// What the client may be told.
    #[inline]
    pub const fn public(&self) -> PublicReason {
        match self {
            Self::Missing => PublicReason::MissingKey,
            Self::Credential(error) => match error {
                CredentialError::Conflict | CredentialError::SeveralSources => {
                    PublicReason::AmbiguousCredentials
                }
                CredentialError::Token68 | CredentialError::PercentEncoding => {
                    PublicReason::InvalidKey
                }
            },
            Self::Parse(_) | Self::NotTaken { .. } => PublicReason::InvalidKey,
            Self::Verify(error) | Self::Withdrawn(error) => match error {
                VerifyError::Unknown | VerifyError::Mismatch | VerifyError::WrongKind => {
                    PublicReason::InvalidKey
                }
                VerifyError::Revoked => PublicReason::RevokedKey,
                VerifyError::Expired => PublicReason::ExpiredKey,
                VerifyError::Suspended => PublicReason::SuspendedKey,
                VerifyError::PastGrace => PublicReason::RetiredKey,
                VerifyError::ClockBehind => PublicReason::Unavailable,
            },
            Self::Forbidden(why) => match why {
                Forbidden::Kind { .. } => PublicReason::ForbiddenKind,
                Forbidden::Scope { .. } => PublicReason::MissingScope,
                Forbidden::Owner => PublicReason::ForeignOwner,
                Forbidden::Tier { .. } => PublicReason::ForbiddenTier,
            },
            Self::Throttled { .. } => PublicReason::RateLimited,
            Self::TooManyAttempts => PublicReason::TooManyAttempts,
            Self::Charge(ChargeError::AboveLimit { .. }) => PublicReason::CostAboveLimit,
            Self::Charge(_)
            | Self::Store(_)
            | Self::Limiter(_)
            | Self::NoLimiter
            | Self::ForeignRoute => PublicReason::Unavailable,
            Self::Host(reason) => *reason,
        }
    }

    /// The HTTP status to answer with.
    #[inline]
    pub const fn status(&self) -> u16 {
        self.public().status()
    }
}
