//! The reason for a refusal that the client may know.

/// The reason for a refusal that the client may know.
///
/// The precise reason is a [`RefusalReason`](crate::request::RefusalReason), for the log of the host.
/// As long as a secret is not proved, every problem with it is [`PublicReason::InvalidKey`]. Only a
/// client that has the secret learns that its key is revoked, expired or suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum PublicReason {
    /// The request has several credentials that contradict each other.
    AmbiguousCredentials,
    /// The request has the same credential in several places, where only one may be used.
    RepeatedCredential,
    /// The request has no key.
    MissingKey,
    /// The request has no key, and its `Authorization` is of another scheme than those that are read.
    WrongScheme,
    /// The credential is no key of this service.
    InvalidKey,
    /// The key is revoked.
    RevokedKey,
    /// The key is expired.
    ExpiredKey,
    /// The key is suspended.
    SuspendedKey,
    /// The owner of the key is suspended.
    SuspendedOwner,
    /// The key was rotated, and the grace of this secret is over.
    RetiredKey,
    /// The route does not admit keys of this kind.
    ForbiddenKind,
    /// The key lacks a scope.
    MissingScope,
    /// The key belongs to another owner.
    ForeignOwner,
    /// The route does not admit the tier of the owner.
    ForbiddenTier,
    /// The key is not valid in the network of the client.
    ForbiddenNetwork,
    /// The key is not valid for the origin of the request.
    ForbiddenOrigin,
    /// The host's own check refused the key.
    Vetoed,
    /// A limit allows the caller nothing.
    Blocked,
    /// The request costs more than its limit ever allows. Waiting does not help.
    CostAboveLimit,
    /// A limit is used up for now.
    RateLimited,
    /// Too many attempts to authenticate from this address have failed.
    TooManyAttempts,
    /// The service cannot find out whether the request may pass.
    Unavailable,
}

impl PublicReason {
    /// Every reason, in the order of the statuses.
    pub const ALL: [Self; 22] = [
        Self::AmbiguousCredentials,
        Self::RepeatedCredential,
        Self::MissingKey,
        Self::WrongScheme,
        Self::InvalidKey,
        Self::RevokedKey,
        Self::ExpiredKey,
        Self::SuspendedKey,
        Self::SuspendedOwner,
        Self::RetiredKey,
        Self::ForbiddenKind,
        Self::MissingScope,
        Self::ForeignOwner,
        Self::ForbiddenTier,
        Self::ForbiddenNetwork,
        Self::ForbiddenOrigin,
        Self::Vetoed,
        Self::Blocked,
        Self::CostAboveLimit,
        Self::RateLimited,
        Self::TooManyAttempts,
        Self::Unavailable,
    ];

    /// Returns the HTTP status of the response: 400, 401, 403 (RFC 9110 §15.5), 429 (RFC 6585 §4) or
    /// 503 (RFC 9110 §15.6.4). [`ErrorBodies::with_status`](crate::request::ErrorBodies::with_status)
    /// can choose another one for [`PublicReason::ForbiddenNetwork`],
    /// [`PublicReason::ForbiddenOrigin`], [`PublicReason::Vetoed`], [`PublicReason::Blocked`] and
    /// [`PublicReason::CostAboveLimit`].
    #[inline]
    pub const fn status(self) -> u16 {
        match self {
            Self::AmbiguousCredentials | Self::RepeatedCredential => 400,
            Self::MissingKey
            | Self::WrongScheme
            | Self::InvalidKey
            | Self::RevokedKey
            | Self::ExpiredKey
            | Self::SuspendedKey
            | Self::SuspendedOwner
            | Self::RetiredKey => 401,
            Self::ForbiddenKind
            | Self::MissingScope
            | Self::ForeignOwner
            | Self::ForbiddenTier
            | Self::ForbiddenNetwork
            | Self::ForbiddenOrigin
            | Self::Vetoed
            | Self::Blocked
            | Self::CostAboveLimit => 403,
            Self::RateLimited | Self::TooManyAttempts => 429,
            Self::Unavailable => 503,
        }
    }

    /// Returns the message for the client, if the host set none.
    pub(crate) const fn default_message(self) -> &'static str {
        match self {
            Self::AmbiguousCredentials => "Several different API keys were sent",
            Self::RepeatedCredential => "The API key was sent in several places",
            Self::MissingKey => "Missing API key",
            Self::WrongScheme => "Authorization has another scheme than that of API keys",
            Self::InvalidKey
            | Self::RevokedKey
            | Self::ExpiredKey
            | Self::SuspendedKey
            | Self::SuspendedOwner
            | Self::RetiredKey => "Invalid API key",
            Self::ForbiddenKind => "Keys of this kind are not admitted here",
            Self::MissingScope => "Missing required scope: {scope}",
            Self::ForeignOwner => "The key belongs to another owner",
            Self::ForbiddenTier => "Not available on this tier",
            Self::ForbiddenNetwork => "The key is not valid in this network",
            Self::ForbiddenOrigin => "The key is not valid for this origin",
            Self::Vetoed => "Access denied",
            Self::Blocked => "Access is blocked",
            Self::RateLimited => "Rate limit exceeded",
            Self::TooManyAttempts => "Too many failed attempts",
            Self::CostAboveLimit => "The request costs more than its limit allows",
            Self::Unavailable => "Service unavailable",
        }
    }

    /// Returns the message for the client that needs no fact.
    pub(crate) const fn factless_message(self) -> &'static str {
        match self {
            Self::MissingScope => "Missing a required scope",
            other => other.default_message(),
        }
    }

    /// Returns the description of a challenge for a reason that has an error code (RFC 6750 §3).
    pub(super) const fn default_description(self) -> Option<&'static str> {
        Some(match self {
            Self::AmbiguousCredentials => "several different credentials were sent",
            Self::RepeatedCredential => "the credential was sent in several places",
            Self::InvalidKey => "the key is not valid",
            Self::RevokedKey => "the key is revoked",
            Self::ExpiredKey => "the key is expired",
            Self::SuspendedKey => "the key is suspended",
            Self::SuspendedOwner => "the owner of the key is suspended",
            Self::RetiredKey => "the key was replaced and its grace period is over",
            Self::MissingScope => "the key lacks a required scope",
            _ => return None,
        })
    }

    /// Returns whether the host can choose the status of responses for this reason.
    pub(crate) const fn has_free_status(self) -> bool {
        matches!(
            self,
            Self::ForbiddenNetwork
                | Self::ForbiddenOrigin
                | Self::Vetoed
                | Self::Blocked
                | Self::CostAboveLimit
        )
    }

    /// Returns whether a response for this reason names the policy that refused.
    pub(crate) const fn has_policy(self) -> bool {
        matches!(self, Self::RateLimited | Self::Blocked)
    }

    /// Returns whether a response for this reason names the quota that is used up.
    pub(crate) const fn has_quota(self) -> bool {
        matches!(self, Self::RateLimited)
    }

    /// Returns whether a response for this reason has a time to retry.
    pub(crate) const fn has_retry_time(self) -> bool {
        matches!(self, Self::RateLimited | Self::TooManyAttempts)
    }

    /// Returns the more general reason, whose text applies to this one if it has none of its own.
    pub(crate) const fn general(self) -> Self {
        match self {
            Self::RevokedKey
            | Self::ExpiredKey
            | Self::SuspendedKey
            | Self::SuspendedOwner
            | Self::RetiredKey => Self::InvalidKey,
            Self::RepeatedCredential => Self::AmbiguousCredentials,
            Self::WrongScheme => Self::MissingKey,
            other => other,
        }
    }
}
