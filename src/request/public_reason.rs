//! Why a request is refused, as far as the client may know.

/// Why a request is refused, as far as the client may know.
///
/// The precise reason is a [`RefusalReason`](crate::request::RefusalReason), for the host's log. While
/// a secret is not proved, all that is wrong with it is [`PublicReason::InvalidKey`]; that a
/// key is revoked, expired or suspended is only ever told to somebody who holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum PublicReason {
    /// Several credentials that contradict each other were sent.
    AmbiguousCredentials,
    /// No key was sent.
    MissingKey,
    /// What was sent is no key that is known here.
    InvalidKey,
    /// The key is revoked.
    RevokedKey,
    /// The key is expired.
    ExpiredKey,
    /// The key is suspended.
    SuspendedKey,
    /// The key was rotated, and the grace of this secret is over.
    RetiredKey,
    /// Keys of this kind are not admitted here.
    ForbiddenKind,
    /// The key lacks a scope.
    MissingScope,
    /// The key belongs to somebody else.
    ForeignOwner,
    /// The owner's tier is not admitted here.
    ForbiddenTier,
    /// A limit is used up for now.
    RateLimited,
    /// Too many attempts to authenticate from this address failed.
    TooManyAttempts,
    /// The request costs more than its limit ever allows.
    CostAboveLimit,
    /// Whether the request may pass cannot be found out.
    Unavailable,
}

impl PublicReason {
    /// Every reason, in the order of their statuses.
    pub const ALL: [Self; 15] = [
        Self::AmbiguousCredentials,
        Self::MissingKey,
        Self::InvalidKey,
        Self::RevokedKey,
        Self::ExpiredKey,
        Self::SuspendedKey,
        Self::RetiredKey,
        Self::ForbiddenKind,
        Self::MissingScope,
        Self::ForeignOwner,
        Self::ForbiddenTier,
        Self::RateLimited,
        Self::TooManyAttempts,
        Self::CostAboveLimit,
        Self::Unavailable,
    ];

    /// The HTTP status to answer with: 400, 401, 403 (RFC 9110 §15.5), 429 (RFC 6585 §4) or
    /// 503 (RFC 9110 §15.6.4).
    #[inline]
    pub const fn status(self) -> u16 {
        match self {
            Self::AmbiguousCredentials => 400,
            Self::MissingKey
            | Self::InvalidKey
            | Self::RevokedKey
            | Self::ExpiredKey
            | Self::SuspendedKey
            | Self::RetiredKey => 401,
            Self::ForbiddenKind | Self::MissingScope | Self::ForeignOwner | Self::ForbiddenTier => {
                403
            }
            Self::RateLimited | Self::TooManyAttempts | Self::CostAboveLimit => 429,
            Self::Unavailable => 503,
        }
    }

    /// What the status is called (RFC 9110 §15, RFC 6585 §4).
    pub(crate) const fn phrase(self) -> &'static str {
        match self.status() {
            400 => "Bad Request",
            401 => "Unauthorized",
            403 => "Forbidden",
            429 => "Too Many Requests",
            _ => "Service Unavailable",
        }
    }

    /// The code that a body with codes has, unless the host gave one.
    pub(crate) const fn default_code(self) -> &'static str {
        match self.status() {
            400 => "BAD_REQUEST",
            401 => "UNAUTHORIZED",
            403 => "FORBIDDEN",
            429 => "RATE_LIMITED",
            _ => "UNAVAILABLE",
        }
    }

    /// What the client is told, unless the host said otherwise.
    pub(crate) const fn default_message(self) -> &'static str {
        match self {
            Self::AmbiguousCredentials => "Several different API keys were sent",
            Self::MissingKey => "Missing API key",
            Self::InvalidKey
            | Self::RevokedKey
            | Self::ExpiredKey
            | Self::SuspendedKey
            | Self::RetiredKey => "Invalid API key",
            Self::ForbiddenKind => "Keys of this kind are not admitted here",
            Self::MissingScope => "Missing required scope: {scope}",
            Self::ForeignOwner => "The key belongs to another owner",
            Self::ForbiddenTier => "Not available on this tier",
            Self::RateLimited => "Rate limit exceeded",
            Self::TooManyAttempts => "Too many failed attempts",
            Self::CostAboveLimit => "The request costs more than its limit allows",
            Self::Unavailable => "Service unavailable",
        }
    }

    /// What the client is told where a fact is missing that the other messages ask for.
    pub(crate) const fn factless_message(self) -> &'static str {
        match self {
            Self::MissingScope => "Missing a required scope",
            other => other.default_message(),
        }
    }

    /// Whether an answer for this reason has a time after which to try again.
    pub(crate) const fn has_retry_time(self) -> bool {
        matches!(self, Self::RateLimited | Self::TooManyAttempts)
    }

    /// The more general reason whose text this one has unless it got its own.
    pub(crate) const fn general(self) -> Self {
        match self {
            Self::RevokedKey | Self::ExpiredKey | Self::SuspendedKey | Self::RetiredKey => {
                Self::InvalidKey
            }
            other => other,
        }
    }
}
