//! A request that may not pass: the answer, ready to send.

use std::{borrow::Cow, fmt};

use super::pipeline::Gate;
use crate::{
    Challenge, ChallengeErrorCode, Decision, ErrorBodies, ErrorBody, ErrorFacts, Forbidden, KeyId,
    PublicReason, RateHeaders, RefusalReason, ResponseHeader, Route, Scope, Timestamp,
    wire::rate_headers::Lines,
};

/// A request that may not pass: the answer to send, and the precise reason for the log.
///
/// Owned and `'static`. The answer is written when it is asked for, and what is always the
/// same was written when the gate was built, so that refusing costs little.
#[must_use = "a refusal is to be sent"]
pub struct Refusal {
    pub(super) gate: Gate,
    /// Where something of the answer depends on it.
    pub(super) route: Option<Route>,
    pub(super) reason: RefusalReason,
    pub(super) decision: Option<Box<Decision>>,
    pub(super) key: Option<KeyId>,
    pub(super) now: Timestamp,
}

impl Refusal {
    /// The HTTP status.
    pub const fn status(&self) -> u16 {
        self.reason.status()
    }

    /// Why, as far as the client may know.
    pub const fn public(&self) -> PublicReason {
        self.reason.public()
    }

    /// Why, precisely, for the log.
    pub const fn reason(&self) -> &RefusalReason {
        &self.reason
    }

    /// Which key it was, if that is proved.
    pub const fn key_id(&self) -> Option<KeyId> {
        self.key
    }

    /// What the limiter said, if one was asked.
    pub fn decision(&self) -> Option<&Decision> {
        self.decision.as_deref()
    }

    /// The headers: the content type, challenges, and what the caller is told of its limit.
    pub fn headers(&self) -> impl Iterator<Item = ResponseHeader<'_>> {
        let content_type = match self.written() {
            Some(body) => body.content_type,
            None => self.render().content_type,
        };
        std::iter::once(ResponseHeader::text("content-type", content_type))
            .chain(self.challenges())
            .chain(self.rate_headers().map(shortened))
    }

    /// The body.
    pub fn body(&self) -> Cow<'_, [u8]> {
        match self.written() {
            Some(body) => Cow::Borrowed(&body.bytes),
            None => Cow::Owned(self.render().bytes),
        }
    }

    /// What the client is told in words, as in the body, for transports with another form.
    pub fn message(&self) -> String {
        self.gate.config().bodies.errors.message(&self.facts())
    }

    fn challenges(&self) -> impl Iterator<Item = ResponseHeader<'_>> {
        let public = self.public();
        let error = match public.status() {
            400 => Some(ChallengeErrorCode::InvalidRequest),
            // Without credentials a challenge names no error (RFC 6750 §3.1).
            401 if public == PublicReason::MissingKey => None,
            401 => Some(ChallengeErrorCode::InvalidToken),
            _ => Some(ChallengeErrorCode::InsufficientScope),
        };
        let scopes = self.required_scopes();
        self.gate.config().challenges.iter().filter_map(move |prepared| {
            let wanted = match public {
                PublicReason::MissingScope => prepared.challenge.has_errors(),
                _ => matches!(public.status(), 400 | 401),
            };
            wanted.then(|| ResponseHeader::text("www-authenticate", prepared.value(scopes, error)))
        })
    }

    fn rate_headers(&self) -> impl Iterator<Item = ResponseHeader<'static>> {
        // Of the address's limit no more is told than when to come again.
        let style = match self.reason {
            RefusalReason::TooManyAttempts => RateHeaders::retry_after_only(),
            _ => self.gate.config().rate_headers,
        };
        Lines::new(style, self.decision(), self.now)
    }

    /// The body that was written when the gate was built, if it is always the same.
    fn written(&self) -> Option<&ErrorBody> {
        self.gate.config().bodies.written(self.public())
    }

    fn render(&self) -> ErrorBody {
        self.gate.config().bodies.errors.render(&self.facts())
    }

    fn facts(&self) -> ErrorFacts<'_> {
        ErrorFacts {
            retry_after_secs: self.decision().and_then(Decision::retry_after_secs),
            missing_scope: self.missing_scope(),
            ..ErrorFacts::new(self.public())
        }
    }

    fn missing_scope(&self) -> Option<&Scope> {
        match &self.reason {
            RefusalReason::Forbidden(Forbidden::Scope { missing }) => Some(missing),
            // The host's own check says no more than that one is missing.
            RefusalReason::Host(PublicReason::MissingScope) => self.required_scopes().first(),
            _ => None,
        }
    }

    fn required_scopes(&self) -> &[Scope] {
        self.route.as_ref().map(|route| route.access().required_scopes()).unwrap_or_default()
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusal")
            .field("status", &self.status())
            .field("reason", &self.reason)
            .field("key", &self.key)
            .field("decision", &self.decision)
            .finish_non_exhaustive()
    }
}

/// The same header, said to live no longer than those beside it.
const fn shortened<'h>(header: ResponseHeader<'static>) -> ResponseHeader<'h> {
    header
}

/// The bodies of refusals; what is always the same is written once.
#[derive(Debug)]
pub(super) struct Bodies {
    errors: ErrorBodies,
    written: [Option<ErrorBody>; PublicReason::ALL.len()],
}

impl Bodies {
    pub(super) fn new(errors: ErrorBodies) -> Self {
        let written = PublicReason::ALL.map(|reason| {
            errors.is_constant(reason).then(|| errors.render(&ErrorFacts::new(reason)))
        });
        Self { errors, written }
    }

    fn written(&self, reason: PublicReason) -> Option<&ErrorBody> {
        self.written.get(reason as usize)?.as_ref()
    }
}

/// A challenge, written once if it is the same on every route.
#[derive(Debug)]
pub(super) struct PreparedChallenge {
    challenge: Challenge,
    written: Option<[(Option<ChallengeErrorCode>, String); 4]>,
}

impl PreparedChallenge {
    pub(super) fn new(challenge: Challenge) -> Self {
        use ChallengeErrorCode::{InsufficientScope, InvalidRequest, InvalidToken};

        let errors = [None, Some(InvalidRequest), Some(InvalidToken), Some(InsufficientScope)];
        let written = challenge
            .is_the_same_everywhere()
            .then(|| errors.map(|error| (error, challenge.render(&[], error))));
        Self { challenge, written }
    }

    pub(super) const fn names_scopes(&self) -> bool {
        self.written.is_none()
    }

    fn value(&self, scopes: &[Scope], error: Option<ChallengeErrorCode>) -> Cow<'_, str> {
        let written = self.written.iter().flatten().find(|(own, _)| *own == error);
        match written {
            Some((_, value)) => Cow::Borrowed(value),
            None => Cow::Owned(self.challenge.render(scopes, error)),
        }
    }
}
