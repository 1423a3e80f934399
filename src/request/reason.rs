//! The precise reason for a refusal, for the host.

use std::{error::Error, fmt, sync::Arc};

use thiserror::Error;

use crate::{
    key::{kind::KeyKind, parse::ParseError},
    limit::{decision::ChargeError, limit::Subject},
    quota::{Quota, policy_name::PolicyName},
    request::{credential::CredentialError, public_reason::PublicReason},
    verify::{access::Forbidden, error::VerifyError},
};

/// The precise reason for a refusal, for the log of the host.
///
/// It has ids and positions, and nothing that the client sent. [`RefusalReason::public`] returns what
/// the client may know.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum RefusalReason {
    /// The request has no credential, or only [empty](crate::CredentialSource) ones.
    #[error("no credential was sent")]
    Missing,
    /// The request has no credential that is read, and its `Authorization` is of another scheme.
    #[error("the scheme of Authorization is another one")]
    WrongScheme,
    /// The credential contradicts or repeats another one, or cannot be read.
    #[error(transparent)]
    Credential(CredentialError),
    /// The credential is no key.
    #[error(transparent)]
    Parse(ParseError),
    /// Its place in the request takes no keys of this kind.
    #[error("keys of kind {kind} are not taken from this place in a request")]
    NotTaken {
        /// The kind.
        kind: KeyKind,
    },
    /// The key is not genuine or not in force.
    #[error(transparent)]
    Verify(VerifyError),
    /// The key was in force when the request began, and no longer is.
    #[error("withdrawn while the request was served: {0}")]
    Withdrawn(VerifyError),
    /// The key does not meet the requirements of the route.
    #[error(transparent)]
    Forbidden(Forbidden),
    /// The address of the client is in none of the networks of the key. Nothing was charged.
    #[error("the key is not valid in the network of the client")]
    ForbiddenNetwork,
    /// The key has origins, and the request comes from another one or names none. Nothing was charged.
    #[error("the key is not valid for the origin of the request")]
    ForbiddenOrigin,
    /// The [veto](crate::request::Veto) of the host refused the key. Nothing was charged.
    #[error("vetoed by the host: {note}")]
    Vetoed {
        /// The reason that the host gave.
        note: &'static str,
    },
    /// The key has networks, but the head of the request has no address of the client.
    #[error(
        "the key has networks, but the client has no address; return it from RequestHead::client_ip"
    )]
    NoClientAddress,
    /// A limit is used up for now.
    #[error("the limit {policy} ({quota} {subject}) is used up")]
    Throttled {
        /// The name of the limit.
        policy: PolicyName,
        /// What it counts by.
        subject: Subject,
        /// The quota that is used up, of those which the limit allows this caller.
        quota: Quota,
    },
    /// A limit allows this caller nothing. Nothing was charged.
    #[error("the limit {policy} blocks the caller")]
    Blocked {
        /// The name of the limit.
        policy: PolicyName,
    },
    /// A limit counts by something that the head of the request does not have.
    #[error(
        "the limit {policy} has nothing to count by; return it from RequestHead::address or \
         RequestHead::subject"
    )]
    NoSubject {
        /// The name of the limit.
        policy: PolicyName,
    },
    /// Too many attempts to authenticate from this address have failed.
    #[error("too many attempts from this address have failed")]
    TooManyAttempts,
    /// The request can never be charged, at any time.
    #[error(transparent)]
    Charge(ChargeError),
    /// The store failed, or did not return in time.
    #[error("the store failed: {}", Chain(&**.0))]
    Store(Arc<dyn Error + Send + Sync>),
    /// The limiter of the host failed, or did not return in time.
    #[error("the limiter failed: {}", Chain(&**.0))]
    Limiter(Arc<dyn Error + Send + Sync>),
    /// The route has limits, but the gate has no limiter.
    #[error("the route has limits but the gate has no limiter; call GateBuilder::with_limiter")]
    NoLimiter,
    /// Another gate checked the route. Pass it the result of its own
    /// [`Gate::route`](crate::gate::Gate::route).
    #[error("another gate checked the route; call Gate::route on the gate that decides")]
    ForeignRoute,
    /// The host itself refused the request, with a response of the gate.
    #[error("refused by the host: {0:?}")]
    Host(PublicReason),
}

impl RefusalReason {
    /// Returns the reason that the client may know.
    #[inline]
    pub const fn public(&self) -> PublicReason {
        match self {
            Self::Missing => PublicReason::MissingKey,
            Self::WrongScheme => PublicReason::WrongScheme,
            Self::Credential(error) => match error {
                CredentialError::Conflict | CredentialError::SeveralSources => {
                    PublicReason::AmbiguousCredentials
                }
                CredentialError::Repeated => PublicReason::RepeatedCredential,
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
                VerifyError::OwnerSuspended => PublicReason::SuspendedOwner,
                VerifyError::PastGrace => PublicReason::RetiredKey,
                VerifyError::ClockBehind => PublicReason::Unavailable,
            },
            Self::Forbidden(why) => match why {
                Forbidden::Kind { .. } => PublicReason::ForbiddenKind,
                Forbidden::Scope { .. } => PublicReason::MissingScope,
                Forbidden::Owner => PublicReason::ForeignOwner,
                Forbidden::Tier { .. } => PublicReason::ForbiddenTier,
            },
            Self::ForbiddenNetwork => PublicReason::ForbiddenNetwork,
            Self::ForbiddenOrigin => PublicReason::ForbiddenOrigin,
            Self::Vetoed { .. } => PublicReason::Vetoed,
            Self::Throttled { .. } => PublicReason::RateLimited,
            Self::Blocked { .. } => PublicReason::Blocked,
            Self::TooManyAttempts => PublicReason::TooManyAttempts,
            Self::Charge(ChargeError::AboveLimit { .. }) => PublicReason::CostAboveLimit,
            Self::NoSubject { .. }
            | Self::NoClientAddress
            | Self::Charge(_)
            | Self::Store(_)
            | Self::Limiter(_)
            | Self::NoLimiter
            | Self::ForeignRoute => PublicReason::Unavailable,
            Self::Host(reason) => *reason,
        }
    }

    /// Returns the name of the limit that refused.
    pub const fn policy(&self) -> Option<&PolicyName> {
        match self {
            Self::Throttled { policy, .. }
            | Self::Blocked { policy }
            | Self::NoSubject { policy } => Some(policy),
            _ => None,
        }
    }

    /// Returns the HTTP status of the response, unless
    /// [`ErrorBodies::with_status`](crate::request::ErrorBodies::with_status) chose another one.
    #[inline]
    pub const fn status(&self) -> u16 {
        self.public().status()
    }
}

/// An error with all of its sources, because the text of an adapter's error is often only its kind, and
/// that of its source the reason, such as a missing table.
struct Chain<'e>(&'e (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = self.0.to_string();
        f.write_str(&last)?;
        let mut source = self.0.source();
        // An error could be its own source.
        for _ in 0..MAX_SOURCES {
            let Some(error) = source else { break };
            let text = error.to_string();
            // Some errors repeat the text of their source.
            if !last.ends_with(&text) {
                write!(f, ": {text}")?;
                last = text;
            }
            source = error.source();
        }
        Ok(())
    }
}

/// The largest number of sources of an error that a text names.
const MAX_SOURCES: usize = 16;
