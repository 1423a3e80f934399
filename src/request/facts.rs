//! The facts of a refusal, and the body that is rendered from them.

use crate::{
    key::scope::Scope,
    quota::{Quota, policy_name::PolicyName},
    request::{
        json::JsonObject,
        placeholder::{Piece, pieces},
        public_reason::PublicReason,
    },
};

/// The facts that a body can contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErrorFacts<'f> {
    /// The reason for the refusal.
    pub reason: PublicReason,
    /// The whole seconds of `Retry-After`, if the response has it.
    pub retry_after_secs: Option<u64>,
    /// The scope that is missing, if that is the reason.
    pub missing_scope: Option<&'f Scope>,
    /// The name of the limit that is used up or blocks the caller.
    pub policy: Option<&'f PolicyName>,
    /// The quota that is used up.
    pub quota: Option<Quota>,
    /// The id of the request, if the host has given it to the refusal.
    pub request_id: Option<&'f str>,
}

impl<'f> ErrorFacts<'f> {
    /// Builds the facts of a reason alone.
    pub const fn new(reason: PublicReason) -> Self {
        Self {
            reason,
            retry_after_secs: None,
            missing_scope: None,
            policy: None,
            quota: None,
            request_id: None,
        }
    }

    /// Sets the time to wait in whole seconds.
    #[must_use]
    pub const fn with_retry_after_secs(self, secs: u64) -> Self {
        Self { retry_after_secs: Some(secs), ..self }
    }

    /// Sets the scope that is missing.
    #[must_use]
    pub const fn with_missing_scope(self, scope: &'f Scope) -> Self {
        Self { missing_scope: Some(scope), ..self }
    }

    /// Sets the name of the limit that refused.
    #[must_use]
    pub const fn with_policy(self, policy: &'f PolicyName) -> Self {
        Self { policy: Some(policy), ..self }
    }

    /// Sets the quota that is used up.
    #[must_use]
    pub const fn with_quota(self, quota: Quota) -> Self {
        Self { quota: Some(quota), ..self }
    }

    /// Sets the id of the request.
    #[must_use]
    pub const fn with_request_id(self, request_id: &'f str) -> Self {
        Self { request_id: Some(request_id), ..self }
    }

    /// Returns the message with its placeholders filled, or `None` if the fact for one is missing.
    pub(super) fn fill(&self, message: &str) -> Option<String> {
        let mut filled = String::with_capacity(message.len());
        for piece in pieces(message) {
            match piece {
                Piece::Text(text) | Piece::Unknown(text) => filled.push_str(text),
                Piece::RetryAfter => filled.push_str(&self.retry_after_secs?.to_string()),
                Piece::Scope => filled.push_str(self.missing_scope?.as_str()),
                Piece::Policy => filled.push_str(self.policy?.as_str()),
                Piece::Quota => filled.push_str(&self.quota?.to_string()),
            }
        }
        Some(filled)
    }
}

/// The body of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorBody {
    /// The value of `Content-Type`.
    pub content_type: &'static str,
    /// The bytes of the body.
    pub bytes: Vec<u8>,
}

impl ErrorBody {
    /// Returns the body as text, or the empty text if it is not UTF-8.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes).unwrap_or_default()
    }

    pub(super) fn json(object: JsonObject) -> Self {
        Self { content_type: "application/json", bytes: object.finish().into_bytes() }
    }
}
