//! The pipeline: authenticate, charge, authorize. Pure steps between the host's waits.

use std::{
    borrow::Cow,
    error::Error,
    fmt,
    sync::{Arc, OnceLock},
};

use crate::{
    audit::{Audit, AuditAction, AuditEvent},
    clock::timestamp::Timestamp,
    gate::{
        admission::{Admission, Outcome, Step},
        attempts::Attempts,
        builder::GateBuilder,
        pending::{PendingLookup, PendingRecheck},
        refusal::Refusal,
        responses::Responses,
        route::Route,
    },
    key::{formats::KeyFormats, id::KeyId, kind::KeyKind, owner::OwnerId, parse::ParseError},
    limit::{
        decision::{ChargeError, Decision},
        key::LimitKey,
        limiter::Limiter,
    },
    request::{
        credential::CredentialError,
        head::RequestHead,
        public_reason::PublicReason,
        rate_headers::RateHeaders,
        reason::RefusalReason,
        sources::{Credential, CredentialSources},
    },
    store::{StoredKey, lookup::Lookup},
    verify::{KeyCaller, Verified, Verifier, VerifyError},
};

/// From the head of a request to an answer: one description of how a service authenticates,
/// limits and refuses, for all of its routes.
///
/// Built once by [`Gate::builder`] and checked then; clones share it. What waits for the host
/// is a [`Step`]: [`Gate::begin`] asks for a lookup, [`PendingLookup::found`] goes on, and a
/// gate without a limiter asks for a charge. [`Gate::check`], [`Gate::check_with`] and
/// [`Gate::check_sync`] drive the steps for the usual hosts.
///
/// The order is fixed: a failed authentication charges nobody's key; an authenticated request
/// that is then forbidden has been charged, and its answer says so.
///
#[doc = include_str!("three_services.md")]
#[derive(Clone)]
pub struct Gate(Arc<Config>);

pub(super) struct Config {
    pub(super) formats: KeyFormats,
    pub(super) verifier: Verifier,
    pub(super) sources: CredentialSources,
    pub(super) allow_foreign: bool,
    pub(super) limiter: Option<Arc<Limiter>>,
    pub(super) attempts: Option<Attempts>,
    pub(super) answers: Responses,
    pub(super) rate_headers: RateHeaders,
    pub(super) audit: Audit,
}

impl Gate {
    /// A gate to keys of these formats, which stand in these places of a request.
    ///
    /// Of an [`Issuer`](crate::issue::Issuer) it takes `issuer.formats().clone()` and
    /// `issuer.verifier()`.
    pub fn builder(
        formats: impl Into<KeyFormats>,
        verifier: Verifier,
        sources: impl Into<CredentialSources>,
    ) -> GateBuilder {
        GateBuilder::new(formats.into(), verifier, sources.into())
    }

    /// Reads the credential of a request, and asks for its key.
    ///
    /// Nothing of the head is kept. What is refused without a lookup is decided at once.
    pub fn begin<H: RequestHead>(&self, head: &H, route: &Route, now: Timestamp) -> Step {
        match self.ask(head, route, now) {
            Begun::Done(outcome) => Step::Done(outcome),
            Begun::Lookup(asked) => {
                Step::Lookup(PendingLookup { gate: self.clone(), route: route.clone(), asked })
            }
        }
    }

    /// Asks whether the key of an admitted request still stands, once its handler is done: a
    /// lookup of what is stored, without hashing anything. Keep the pending value while the
    /// handler has the caller.
    pub fn recheck(&self, caller: &KeyCaller, route: &Route) -> PendingRecheck {
        PendingRecheck {
            gate: self.clone(),
            route: route.clone(),
            lookup: caller.lookup(),
            key: caller.key_id(),
            owner: self.config().audit.is_on().then(|| caller.owner_id().clone()),
        }
    }

    /// A refusal in this gate's words, for what the host itself checked: a credential that was
    /// passed on, a body, a deadline.
    pub fn refuse(&self, route: &Route, reason: PublicReason, now: Timestamp) -> Refusal {
        self.refusal(route, RefusalReason::Host(reason), About::nobody(), None, now)
    }

    /// As [`Gate::refuse`], for somebody whom the host has authenticated and charged itself, such
    /// as the user of a session beside keys: the answer tells of that limit as it does of a key's.
    pub fn refuse_charged(
        &self,
        route: &Route,
        reason: PublicReason,
        decision: Decision,
        now: Timestamp,
    ) -> Refusal {
        self.refusal(route, RefusalReason::Host(reason), About::nobody(), Some(decision), now)
    }

    /// What answers tell about limits, for a host that has charged somebody itself.
    pub fn rate_headers(&self) -> RateHeaders {
        self.0.rate_headers
    }

    /// A URL or request target without the credentials that this gate would read from it, for
    /// a log; see [`redact_query`](crate::request::redact_query).
    pub fn redact<'u>(&self, url: &'u str) -> Cow<'u, str> {
        self.0.sources.redact(url)
    }

    /// Whether it charges the limits of routes itself.
    pub fn has_limiter(&self) -> bool {
        self.0.limiter.is_some()
    }

    /// Whether it limits failed attempts by address, which only counts where the host's
    /// [`RequestHead::address`] names one.
    pub fn limits_failed_attempts(&self) -> bool {
        self.0.attempts.is_some()
    }

    /// Whether it leaves credentials of no known kind to the host's own check.
    pub fn allows_foreign(&self) -> bool {
        self.0.allow_foreign
    }

    /// The places in which this gate reads credentials.
    pub fn sources(&self) -> &CredentialSources {
        &self.0.sources
    }

    pub(super) fn of(config: Config) -> Self {
        Self(Arc::new(config))
    }

    pub(super) fn config(&self) -> &Config {
        &self.0
    }

    /// Whether the key of an admitted request still stands.
    pub(super) fn still_stands(
        &self,
        asked: &PendingRecheck,
        found: Option<StoredKey>,
        now: Timestamp,
    ) -> Result<(), Box<Refusal>> {
        match self.config().verifier.verify(&asked.lookup, found, now) {
            Ok(_) => Ok(()),
            Err(error) => {
                let about = About::of(asked);
                let reason = RefusalReason::Withdrawn(error);
                Err(Box::new(self.refusal(&asked.route, reason, about, None, now)))
            }
        }
    }

    /// Ends because the store failed when it was asked again.
    pub(super) fn recheck_failed(
        &self,
        asked: &PendingRecheck,
        error: Arc<dyn Error + Send + Sync>,
        now: Timestamp,
    ) -> Refusal {
        let about = About::of(asked);
        self.refusal(&asked.route, RefusalReason::Store(error), about, None, now)
    }

    /// The first step, which hashes what is a key.
    #[inline]
    pub(super) fn ask<H: RequestHead>(&self, head: &H, route: &Route, now: Timestamp) -> Begun {
        let config = self.config();
        let address = if config.attempts.is_some() { head.address() } else { None };
        self.examine(config.sources.find(head), address, route, now)
    }

    /// What the first step does with what was found, whatever the type of the head.
    fn examine(
        &self,
        found: Result<Option<Credential<'_>>, CredentialError>,
        address: Option<LimitKey>,
        route: &Route,
        now: Timestamp,
    ) -> Begun {
        let config = self.config();
        let stop = |reason| {
            Begun::Done(self.unauthenticated(route, reason, address, About::nobody(), now))
        };
        let credential = match found {
            Ok(Some(credential)) => credential,
            Ok(None) => return stop(RefusalReason::Missing),
            Err(error) => return stop(RefusalReason::Credential(error)),
        };
        let presented = match config.formats.parse(credential.token()) {
            Ok(presented) => presented,
            Err(error @ (ParseError::Empty | ParseError::UnknownPrefix)) => {
                // Every key is made of what its place allows, so only the rest is looked at.
                if let Err(error) = credential.check_characters() {
                    return stop(RefusalReason::Credential(error));
                }
                if config.allow_foreign && error == ParseError::UnknownPrefix {
                    config.audit.report(|| AuditEvent::new(now, AuditAction::ForeignCredential));
                    return Begun::Done(Outcome::ForeignCredential);
                }
                return stop(RefusalReason::Parse(error));
            }
            Err(error) => return stop(RefusalReason::Parse(error)),
        };
        if !credential.takes(presented.kind()) {
            return stop(RefusalReason::NotTaken { kind: presented.kind() });
        }
        if let (Some(attempts), Some(address)) = (&config.attempts, address)
            && let Some(refused) = attempts.refused(address, now)
        {
            let about = About::claimed(presented.kind());
            let reason = RefusalReason::TooManyAttempts;
            return Begun::Done(self.refused(route, reason, about, Some(refused), now));
        }
        Begun::Lookup(Asked { lookup: config.verifier.lookup(&presented), address })
    }

    /// The second step: is the key good?
    ///
    /// # Errors
    ///
    /// The refusal, if it is not.
    #[inline]
    pub(super) fn authenticate(
        &self,
        route: &Route,
        asked: &Asked,
        found: Option<StoredKey>,
        now: Timestamp,
    ) -> Result<Verified, Box<Refusal>> {
        let config = self.config();
        // For the log alone, and only if the secret turns out to be this key's.
        let key = found.as_ref().map(|found| found.record().id());
        let owner = match &found {
            Some(found) if config.audit.is_on() => Some(found.record().owner().clone()),
            _ => None,
        };
        config.verifier.verify(&asked.lookup, found, now).map_err(|error| {
            let claimed = About::claimed(asked.lookup.kind());
            let about = if is_proved(error) { About { key, owner, ..claimed } } else { claimed };
            let reason = RefusalReason::Verify(error);
            Box::new(self.failed_attempt(route, reason, asked.address, about, now))
        })
    }

    /// Whether the host is to charge, because the route has limits and nobody is here to ask.
    pub(super) fn charges_elsewhere(&self, route: &Route) -> bool {
        self.config().limiter.is_none() && route.is_limited()
    }

    /// The rest, where the limiter is here or there are no limits.
    #[inline]
    pub(super) fn settle(&self, route: &Route, verified: Verified, now: Timestamp) -> Outcome {
        if !route.is_limited() {
            return self.authorize(route, verified, None, now);
        }
        let charged = match &self.config().limiter {
            Some(limiter) => charge(limiter, route, &verified, now),
            // Nobody is here to charge, and nobody passes uncharged.
            None => Err(RefusalReason::NoLimiter),
        };
        match charged {
            Ok(decision) => self.charged(route, verified, &decision, now),
            Err(reason) => self.uncharged(route, reason, &verified, now),
        }
    }

    /// The third step: was the request within its limits?
    #[inline]
    pub(super) fn charged(
        &self,
        route: &Route,
        verified: Verified,
        decision: &Decision,
        now: Timestamp,
    ) -> Outcome {
        if decision.allowed {
            return self.authorize(route, verified, Some(decision), now);
        }
        let reason = RefusalReason::Throttled { by: route.limited_by(decision.position) };
        self.refused(route, reason, self.about(&verified), Some(*decision), now)
    }

    /// The last step: may the caller do what the route is for?
    #[inline]
    fn authorize(
        &self,
        route: &Route,
        verified: Verified,
        decision: Option<&Decision>,
        now: Timestamp,
    ) -> Outcome {
        let config = self.config();
        match verified.authorized(route.access()) {
            Ok(caller) => {
                config.audit.report(|| {
                    let (matched, decision) = (caller.matched(), decision.copied());
                    self.about(&caller).event(AuditAction::Admitted { matched, decision }, now)
                });
                let decision = decision.map(Decision::copy_of_admission);
                let rate_headers = config.rate_headers;
                Outcome::Admitted(Admission { caller, decision, rate_headers, now })
            }
            Err((forbidden, verified)) => {
                let reason = RefusalReason::Forbidden(forbidden);
                self.refused(route, reason, self.about(&verified), decision.copied(), now)
            }
        }
    }

    /// Ends because an authenticated request could not be charged.
    pub(super) fn uncharged(
        &self,
        route: &Route,
        reason: RefusalReason,
        verified: &Verified,
        now: Timestamp,
    ) -> Outcome {
        self.refused(route, reason, self.about(verified), None, now)
    }

    /// Ends because the store failed.
    pub(super) fn not_found(
        &self,
        route: &Route,
        asked: &Asked,
        error: Arc<dyn Error + Send + Sync>,
        now: Timestamp,
    ) -> Outcome {
        let about = About::claimed(asked.lookup.kind());
        self.refused(route, RefusalReason::Store(error), about, None, now)
    }

    /// Ends because there is no good key.
    fn unauthenticated(
        &self,
        route: &Route,
        reason: RefusalReason,
        address: Option<LimitKey>,
        about: About,
        now: Timestamp,
    ) -> Outcome {
        Outcome::Refused(self.failed_attempt(route, reason, address, about, now))
    }

    /// Counts the attempt, if it was one, and refuses it.
    #[inline]
    fn failed_attempt(
        &self,
        route: &Route,
        reason: RefusalReason,
        address: Option<LimitKey>,
        about: About,
        now: Timestamp,
    ) -> Refusal {
        if let (Some(attempts), Some(address)) = (&self.config().attempts, address)
            && is_failed_attempt(&reason)
            && let Some(decision) = attempts.failed(address, now)
        {
            let reason = RefusalReason::TooManyAttempts;
            return self.refusal(route, reason, about, Some(decision), now);
        }
        self.refusal(route, reason, about, None, now)
    }

    /// Counts an attempt whose answer nobody waited for.
    pub(super) fn abandoned(&self, asked: &Asked, now: Timestamp) {
        if let (Some(attempts), Some(address)) = (&self.config().attempts, asked.address) {
            let _refused = attempts.failed(address, now);
        }
    }

    fn refused(
        &self,
        route: &Route,
        reason: RefusalReason,
        about: About,
        decision: Option<Decision>,
        now: Timestamp,
    ) -> Outcome {
        Outcome::Refused(self.refusal(route, reason, about, decision, now))
    }

    /// Every refusal is made, and reported, here.
    #[inline]
    pub(super) fn refusal(
        &self,
        route: &Route,
        reason: RefusalReason,
        about: About,
        decision: Option<Decision>,
        now: Timestamp,
    ) -> Refusal {
        let (key, public) = (about.key, reason.public());
        self.config()
            .audit
            .report(|| about.event(AuditAction::Refused { reason: reason.clone(), decision }, now));
        // A count that all threads share is not touched where nothing asks for it.
        let names_scopes =
            self.config().answers.names_scopes() || matches!(reason, RefusalReason::Host(_));
        Refusal {
            gate: self.clone(),
            route: names_scopes.then(|| route.clone()),
            reason,
            public,
            decision: decision.map(Box::new),
            key,
            now,
            body: OnceLock::new(),
        }
    }

    /// Whom an event is about. The owner is named only if there is somebody to tell.
    fn about(&self, verified: &Verified) -> About {
        let owner = self.config().audit.is_on().then(|| verified.owner_id().clone());
        About { key: Some(verified.key_id()), owner, kind: Some(verified.kind()) }
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = self.config();
        f.debug_struct("Gate")
            .field("formats", &config.formats)
            .field("sources", &config.sources)
            .field("audit", &config.audit)
            .finish_non_exhaustive()
    }
}

/// What is kept of a request while its key is looked up.
pub(super) struct Asked {
    pub(super) lookup: Lookup,
    address: Option<LimitKey>,
}

/// Where a request stands after the first step.
pub(super) enum Begun {
    Lookup(Asked),
    Done(Outcome),
}

/// Whom an event is about.
pub(super) struct About {
    key: Option<KeyId>,
    owner: Option<OwnerId>,
    kind: Option<KeyKind>,
}

impl About {
    const fn nobody() -> Self {
        Self { key: None, owner: None, kind: None }
    }

    /// Somebody who claims to hold a key of this kind.
    const fn claimed(kind: KeyKind) -> Self {
        Self { key: None, owner: None, kind: Some(kind) }
    }

    /// The key of an admitted request.
    fn of(asked: &PendingRecheck) -> Self {
        Self { key: Some(asked.key), owner: asked.owner.clone(), kind: Some(asked.lookup.kind()) }
    }

    fn event(self, action: AuditAction, now: Timestamp) -> AuditEvent {
        let Self { key, owner, kind } = self;
        AuditEvent { key, owner, kind, ..AuditEvent::new(now, action) }
    }
}

/// Charges the limits of a route together.
#[inline]
fn charge(
    limiter: &Limiter,
    route: &Route,
    verified: &Verified,
    now: Timestamp,
) -> Result<Decision, RefusalReason> {
    let (cost, mut limits) = (route.cost_of_request(), route.limits(verified));
    let first = limits.next().ok_or(RefusalReason::Charge(ChargeError::NoLimits))?;
    let Some(second) = limits.next() else {
        let charged = limiter.check(first.0, first.1, cost, now);
        return charged.map_err(RefusalReason::Charge);
    };
    let mut all = [first; Limiter::MAX_LIMITS];
    let mut count = 1;
    for (place, limit) in all.iter_mut().skip(1).zip(std::iter::once(second).chain(limits)) {
        *place = limit;
        count += 1;
    }
    let limits = all.get(..count).unwrap_or_default();
    limiter.check_all(limits, cost, now).map_err(RefusalReason::Charge)
}

/// Whether somebody has tried a key that is not good.
///
/// No attempt was made without a credential, and none failed for want of a clock. Who holds the
/// secret of a key that has ended is not guessing, and a client that goes on trying after its
/// key was rotated must not lock out others behind the same address.
fn is_failed_attempt(reason: &RefusalReason) -> bool {
    match reason {
        RefusalReason::Verify(error) => !is_proved(*error),
        RefusalReason::Missing => false,
        other => other.status() == 401,
    }
}

/// Whether the secret was proved, so that the failure may be put down to the key.
const fn is_proved(error: VerifyError) -> bool {
    match error {
        VerifyError::Unknown | VerifyError::Mismatch | VerifyError::WrongKind => false,
        VerifyError::Revoked
        | VerifyError::Expired
        | VerifyError::Suspended
        | VerifyError::PastGrace
        | VerifyError::ClockBehind => true,
    }
}
