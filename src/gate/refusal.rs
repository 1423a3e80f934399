//! A request that may not pass: the response, ready to send.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use crate::{
    audit::{AuditAction, AuditEvent},
    clock::timestamp::Timestamp,
    gate::{
        charges::Charges,
        checked::{Checked, CheckedRoute},
        pipeline::Gate,
        responses::Challenges,
    },
    key::{id::KeyId, kind::KeyKind, owner::OwnerId, scope::Scope},
    limit::decision::Decision,
    quota::{policy_name::PolicyName, quotas::Quotas},
    request::{
        facts::{ErrorBody, ErrorFacts},
        header::ResponseHeader,
        public_reason::PublicReason,
        rate_headers::{Lines, RateHeaders},
        reason::RefusalReason,
        request_id::RequestId,
    },
    verify::{access::Forbidden, error::VerifyError, verified::Verified},
};

/// A request that may not pass: the response to send, and the precise reason for the log.
///
/// Owned and `'static`. The constant parts of the response were rendered when the gate was
/// built, so a refusal is cheap. The rest is rendered on first use, once.
#[must_use = "a refusal is to be sent"]
pub struct Refusal {
    gate: Gate,
    /// Present where a part of the response depends on the route.
    route: Option<Arc<Checked>>,
    reason: RefusalReason,
    public: PublicReason,
    /// Apart, because few refusals have any of it.
    rare: Option<Box<Rare>>,
    key: Option<KeyId>,
    now: Timestamp,
    /// Rendered on first use, where it is not constant.
    body: OnceLock<Box<ErrorBody>>,
}

/// What few refusals have.
#[derive(Default)]
struct Rare {
    bound: Option<Bound>,
    request_id: Option<RequestId>,
}

/// The decision of a limiter, and the policy that it is about, where it is one of the gate's.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) decision: Decision,
    pub(super) policy: Option<PolicyName>,
    /// What was charged, for headers that list it.
    pub(super) charged: Vec<(PolicyName, Quotas)>,
}

impl Bound {
    /// A decision about no policy of the gate.
    pub(super) const fn unnamed(decision: Decision) -> Self {
        Self { decision, policy: None, charged: Vec::new() }
    }
}

/// The subject of an audit event. The owner is cloned only when auditing is enabled.
#[derive(Clone)]
pub(super) struct Principal {
    pub(super) key: Option<KeyId>,
    pub(super) owner: Option<OwnerId>,
    pub(super) kind: Option<KeyKind>,
    pub(super) request_id: Option<RequestId>,
}

impl Principal {
    pub(super) const fn nobody() -> Self {
        Self { key: None, owner: None, kind: None, request_id: None }
    }

    /// A client that claims to hold a key of this kind.
    pub(super) fn claimed(kind: KeyKind) -> Self {
        Self { kind: Some(kind), ..Self::nobody() }
    }

    /// In a request with this id.
    pub(super) fn of_request(self, request_id: Option<RequestId>) -> Self {
        Self { request_id, ..self }
    }

    pub(super) fn event(self, action: AuditAction, now: Timestamp) -> AuditEvent {
        let Self { key, owner, kind, request_id } = self;
        AuditEvent { key, owner, kind, request_id, ..AuditEvent::new(now, action) }
    }
}

impl Gate {
    /// Builds and reports a refusal. There is no other place that does.
    #[inline]
    pub(super) fn refusal(
        &self,
        route: &CheckedRoute,
        reason: RefusalReason,
        principal: Principal,
        bound: Option<Bound>,
        now: Timestamp,
    ) -> Refusal {
        let (key, public) = (principal.key, reason.public());
        let config = self.config();
        if let RefusalReason::Verify(VerifyError::PastGrace) = reason {
            config.audit.report(|| principal.clone().event(AuditAction::RetiredSecretUsed, now));
        }
        config.audit.report(|| {
            let decision = bound.as_ref().map(|bound| bound.decision);
            let policy = policy(&reason, bound.as_ref()).cloned();
            let action = AuditAction::Refused { reason: reason.clone(), decision, policy };
            principal.event(action, now)
        });
        // The reference count that all threads share is touched only where it is needed.
        let names_scopes =
            config.responses.names_scopes() || matches!(reason, RefusalReason::Host(_));
        Refusal {
            gate: self.clone(),
            route: names_scopes.then(|| Arc::clone(route.shared())),
            reason,
            public,
            rare: bound.map(|bound| Box::new(Rare { bound: Some(bound), request_id: None })),
            key,
            now,
            body: OnceLock::new(),
        }
    }

    /// Returns the subject of an event about a proved key.
    pub(super) fn principal(&self, verified: &Verified, charges: &Charges) -> Principal {
        let owner = self.config().audit.is_on().then(|| verified.owner_id().clone());
        let (key, kind) = (Some(verified.key_id()), Some(verified.kind()));
        Principal { key, owner, kind, request_id: charges.request_id().cloned() }
    }
}

impl Refusal {
    /// Sets the id of the request, for [bodies](crate::request::ErrorBodies::custom) that contain it. Take
    /// it from the host's own source: one that the client sent is text of the client.
    pub fn with_request_id(mut self, request_id: RequestId) -> Self {
        self.rare.get_or_insert_default().request_id = Some(request_id);
        Self { body: OnceLock::new(), ..self }
    }

    /// Names the request, if it has an id.
    pub(super) fn named(self, request_id: Option<RequestId>) -> Self {
        match request_id {
            Some(id) => self.with_request_id(id),
            None => self,
        }
    }

    /// Returns the id of the request, if the host has set it.
    pub fn request_id(&self) -> Option<&RequestId> {
        self.rare.as_ref()?.request_id.as_ref()
    }

    /// Returns the HTTP status.
    #[inline]
    pub fn status(&self) -> u16 {
        self.gate.config().responses.status(self.public)
    }

    /// Returns the reason as far as the client may know it.
    #[inline]
    pub const fn public(&self) -> PublicReason {
        self.public
    }

    /// Returns the precise reason, for the log.
    pub const fn reason(&self) -> &RefusalReason {
        &self.reason
    }

    /// Returns the id of the key, if its secret was proved.
    pub const fn key_id(&self) -> Option<KeyId> {
        self.key
    }

    /// Returns the decision of the limiter, if one was charged.
    pub fn decision(&self) -> Option<&Decision> {
        self.bound().map(|bound| &bound.decision)
    }

    /// Returns the name of the limit that refused, or else of the one that the
    /// [decision](Refusal::decision) is about. A limit that the host has charged itself has none.
    pub fn policy(&self) -> Option<&PolicyName> {
        policy(&self.reason, self.bound())
    }

    /// Returns the headers: content type, challenges and rate limit.
    #[inline]
    pub fn headers(&self) -> impl Iterator<Item = ResponseHeader<'_>> {
        Headers {
            content_type: Some(self.rendered().content_type),
            challenges: self
                .gate
                .config()
                .responses
                .challenges(self.public(), self.required_scopes()),
            rate_headers: self.rate_headers(),
        }
    }

    /// Returns the code for programs: that of the host's [text](crate::request::ErrorText::with_code),
    /// else `BAD_REQUEST`, `UNAUTHORIZED`, `FORBIDDEN`, `RATE_LIMITED` or `UNAVAILABLE`, by the status.
    /// Only some bodies have it.
    pub fn code(&self) -> &str {
        self.gate.config().responses.errors().code(self.public)
    }

    /// Returns the body.
    #[inline]
    pub fn body(&self) -> &[u8] {
        &self.rendered().bytes
    }

    /// Returns the message of the body, for transports with another form.
    pub fn message(&self) -> String {
        self.gate.config().responses.errors().message(&self.facts())
    }

    /// Returns the constant body that was rendered when the gate was built, else renders it
    /// once.
    #[inline]
    fn rendered(&self) -> &ErrorBody {
        let responses = &self.gate.config().responses;
        match responses.body(self.public()) {
            Some(body) => body,
            None => self.body.get_or_init(|| Box::new(responses.errors().render(&self.facts()))),
        }
    }

    fn rate_headers(&self) -> Option<Lines> {
        let config = self.gate.config();
        let Some(bound) = self.bound() else {
            // A client that is told nothing tries again at once.
            return (self.status() == 503).then(|| Lines::retry_after(config.retry_unavailable));
        };
        // The limit of an address is not disclosed, only when to retry.
        let style = match self.reason {
            RefusalReason::TooManyAttempts => RateHeaders::retry_after_only(),
            _ => config.rate_headers,
        };
        Some(Lines::new(style, Some(&bound.decision), self.now, || bound.charged.clone()))
    }

    fn bound(&self) -> Option<&Bound> {
        self.rare.as_ref()?.bound.as_ref()
    }

    fn facts(&self) -> ErrorFacts<'_> {
        let (public, decision) = (self.public(), self.decision());
        ErrorFacts {
            retry_after_secs: decision.and_then(Decision::retry_after_secs),
            missing_scope: self.missing_scope(),
            policy: self.reason.policy().filter(|_| public.has_policy()),
            quota: decision.map(Decision::quota).filter(|_| public.has_quota()),
            request_id: self.request_id(),
            ..ErrorFacts::new(public)
        }
    }

    fn missing_scope(&self) -> Option<&Scope> {
        match &self.reason {
            RefusalReason::Forbidden(Forbidden::Scope { missing }) => Some(missing),
            // The host's own check states only that a scope is missing.
            RefusalReason::Host(PublicReason::MissingScope) => self.required_scopes().first(),
            _ => None,
        }
    }

    fn required_scopes(&self) -> &[Scope] {
        self.route.as_ref().map(|route| route.access().required_scopes()).unwrap_or_default()
    }
}

/// Returns the name of the limit that refused, or else of the one that was charged.
fn policy<'r>(reason: &'r RefusalReason, bound: Option<&'r Bound>) -> Option<&'r PolicyName> {
    reason.policy().or_else(|| bound?.policy.as_ref())
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusal")
            .field("status", &self.status())
            .field("reason", &self.reason)
            .field("key", &self.key)
            .field("policy", &self.policy())
            .field("decision", &self.decision())
            .finish_non_exhaustive()
    }
}

/// The headers of a refusal, in order.
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
