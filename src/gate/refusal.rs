//! A request that may not pass: the answer, ready to send.

use std::{fmt, sync::OnceLock};

use crate::{
    clock::timestamp::Timestamp,
    gate::{pipeline::Gate, responses::Challenges, route::Route},
    key::{id::KeyId, scope::Scope},
    limit::decision::Decision,
    request::{
        facts::{ErrorBody, ErrorFacts},
        header::ResponseHeader,
        public_reason::PublicReason,
        rate_headers::{Lines, RateHeaders},
        reason::RefusalReason,
    },
    verify::access::Forbidden,
};

/// A request that may not pass: the answer to send, and the precise reason for the log.
///
/// Owned and `'static`. What of the answer is always the same was written when the gate was
/// built, so that refusing costs little; the rest is written when it is asked for, once.
#[must_use = "a refusal is to be sent"]
pub struct Refusal {
    pub(super) gate: Gate,
    /// Where something of the answer depends on it.
    pub(super) route: Option<Route>,
    pub(super) reason: RefusalReason,
    pub(super) public: PublicReason,
    pub(super) decision: Option<Box<Decision>>,
    pub(super) key: Option<KeyId>,
    pub(super) now: Timestamp,
    /// Once it was asked for, where it was not written when the gate was built.
    pub(super) body: OnceLock<Box<ErrorBody>>,
}

impl Refusal {
    /// The HTTP status.
    #[inline]
    pub const fn status(&self) -> u16 {
        self.public.status()
    }

    /// Why, as far as the client may know.
    #[inline]
    pub const fn public(&self) -> PublicReason {
        self.public
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
    #[inline]
    pub fn headers(&self) -> impl Iterator<Item = ResponseHeader<'_>> {
        Headers {
            content_type: Some(self.said().content_type),
            challenges: self
                .gate
                .config()
                .answers
                .challenges(self.public(), self.required_scopes()),
            rate_headers: self.decision().map(|decision| self.rate_headers(decision)),
        }
    }

    /// The body.
    #[inline]
    pub fn body(&self) -> &[u8] {
        &self.said().bytes
    }

    /// What the client is told in words, as in the body, for transports with another form.
    pub fn message(&self) -> String {
        self.gate.config().answers.errors().message(&self.facts())
    }

    /// The body that was written when the gate was built, if it is always the same; else it
    /// is written once.
    #[inline]
    fn said(&self) -> &ErrorBody {
        let answers = &self.gate.config().answers;
        match answers.body(self.public()) {
            Some(body) => body,
            None => self.body.get_or_init(|| Box::new(answers.errors().render(&self.facts()))),
        }
    }

    fn rate_headers(&self, decision: &Decision) -> Lines {
        // Of the address's limit no more is told than when to come again.
        let style = match self.reason {
            RefusalReason::TooManyAttempts => RateHeaders::retry_after_only(),
            _ => self.gate.config().rate_headers,
        };
        Lines::new(style, Some(decision), self.now)
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

/// The headers of a refusal, one by one.
struct Headers<'r> {
    content_type: Option<&'static str>,
    challenges: Challenges<'r>,
    rate_headers: Option<Lines>,
}

impl<'r> Iterator for Headers<'r> {
    type Item = ResponseHeader<'r>;

    #[inline]
    fn next(&mut self) -> Option<ResponseHeader<'r>> {
        if let Some(content_type) = self.content_type.take() {
            return Some(ResponseHeader::text("content-type", content_type));
        }
        if let Some(challenge) = self.challenges.next() {
            return Some(ResponseHeader::text("www-authenticate", challenge));
        }
        self.rate_headers.as_mut()?.next()
    }
}
