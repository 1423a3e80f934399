//! The steps of a decision: authenticate, charge, authorize. Each is pure.

use std::{error::Error, sync::Arc};

use crate::{
    audit::{AuditAction, AuditEvent},
    clock::timestamp::Timestamp,
    gate::{
        admission::{Admission, Outcome},
        checked::CheckedRoute,
        pipeline::Gate,
        refusal::{Refusal, Subject},
    },
    key::parse::ParseError,
    limit::{
        decision::{ChargeError, Decision},
        key::LimitKey,
        limiter::Limiter,
    },
    request::{
        credential::CredentialError, head::RequestHead, reason::RefusalReason, sources::Credential,
    },
    store::{lookup::Lookup, stored_key::StoredKey},
    verify::{error::VerifyError, verified::Verified},
};

/// The part of a request that is kept while its key is looked up.
pub(super) struct Attempt {
    pub(super) lookup: Lookup,
    address: Option<LimitKey>,
}

/// The result of the first step.
pub(super) enum Examined {
    Lookup(Attempt),
    Done(Outcome),
}

impl Gate {
    /// The first step: reads the credential, and hashes it if it is a key.
    #[inline]
    pub(super) fn examine<H: RequestHead>(
        &self,
        head: &H,
        route: &CheckedRoute,
        now: Timestamp,
    ) -> Examined {
        let config = self.config();
        let address = if config.attempts.is_some() { head.address() } else { None };
        self.examine_credential(config.sources.find(head), address, route, now)
    }

    /// The part of the first step that does not depend on the type of the head.
    fn examine_credential(
        &self,
        found: Result<Option<Credential<'_>>, CredentialError>,
        address: Option<LimitKey>,
        route: &CheckedRoute,
        now: Timestamp,
    ) -> Examined {
        let config = self.config();
        let stop = |reason| {
            let subject = Subject::nobody();
            let refusal = self.failed_attempt(route, reason, address, subject, now);
            Examined::Done(Outcome::Refused(refusal))
        };
        if !route.belongs_to(self) {
            return stop(RefusalReason::ForeignRoute);
        }
        let credential = match found {
            Ok(Some(credential)) => credential,
            Ok(None) => return stop(RefusalReason::Missing),
            Err(error) => return stop(RefusalReason::Credential(error)),
        };
        let presented = match config.formats.parse(credential.token()) {
            Ok(presented) => presented,
            Err(error @ (ParseError::Empty | ParseError::UnknownPrefix)) => {
                // Keys consist of characters that every source allows, so only other
                // credentials are checked.
                if let Err(error) = credential.check_characters() {
                    return stop(RefusalReason::Credential(error));
                }
                if config.allow_foreign && error == ParseError::UnknownPrefix {
                    config.audit.report(|| AuditEvent::new(now, AuditAction::ForeignCredential));
                    return Examined::Done(Outcome::ForeignCredential);
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
            let subject = Subject::claimed(presented.kind());
            let reason = RefusalReason::TooManyAttempts;
            return Examined::Done(self.refused(route, reason, subject, Some(refused), now));
        }
        Examined::Lookup(Attempt { lookup: config.verifier.lookup(&presented), address })
    }

    /// The second step: verifies the key that the store found.
    ///
    /// # Errors
    ///
    /// The refusal, if the key is invalid.
    #[inline]
    pub(super) fn authenticate(
        &self,
        route: &CheckedRoute,
        attempt: &Attempt,
        found: Option<StoredKey>,
        now: Timestamp,
    ) -> Result<Verified, Box<Refusal>> {
        let config = self.config();
        // For the log alone, and only if the secret proves to be that of this key.
        let key = found.as_ref().map(|found| found.record().id());
        let owner = match &found {
            Some(found) if config.audit.is_on() => Some(found.record().owner().clone()),
            _ => None,
        };
        config.verifier.verify(&attempt.lookup, found, now).map_err(|error| {
            let claimed = Subject::claimed(attempt.lookup.kind());
            let subject =
                if is_proved(error) { Subject { key, owner, ..claimed } } else { claimed };
            let reason = RefusalReason::Verify(error);
            Box::new(self.failed_attempt(route, reason, attempt.address, subject, now))
        })
    }

    /// Returns whether the host charges, because the route has limits and the gate no limiter.
    pub(super) fn charges_elsewhere(&self, route: &CheckedRoute) -> bool {
        self.config().limiter.is_none() && route.is_limited()
    }

    /// The remaining steps, where the gate has a limiter or the route no limits.
    #[inline]
    pub(super) fn settle(
        &self,
        route: &CheckedRoute,
        verified: Verified,
        now: Timestamp,
    ) -> Outcome {
        if !route.is_limited() {
            return self.authorize(route, verified, None, now);
        }
        let charged = match &self.config().limiter {
            Some(limiter) => charge(limiter, route, &verified, now),
            // Nothing can be charged, and no request passes uncharged.
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
        route: &CheckedRoute,
        verified: Verified,
        decision: &Decision,
        now: Timestamp,
    ) -> Outcome {
        if decision.allowed {
            return self.authorize(route, verified, Some(decision), now);
        }
        let reason = RefusalReason::Throttled { by: route.limited_by(decision.position) };
        self.refused(route, reason, self.subject(&verified), Some(*decision), now)
    }

    /// The last step: has the caller the access that the route requires?
    #[inline]
    fn authorize(
        &self,
        route: &CheckedRoute,
        verified: Verified,
        decision: Option<&Decision>,
        now: Timestamp,
    ) -> Outcome {
        let config = self.config();
        match verified.authorized(route.access()) {
            Ok(caller) => {
                config.audit.report(|| {
                    let (matched, decision) = (caller.matched(), decision.copied());
                    self.subject(&caller).event(AuditAction::Admitted { matched, decision }, now)
                });
                let decision = decision.map(Decision::copy_of_admission);
                let rate_headers = config.rate_headers;
                Outcome::Admitted(Admission { caller, decision, rate_headers, now })
            }
            Err((forbidden, verified)) => {
                let reason = RefusalReason::Forbidden(forbidden);
                self.refused(route, reason, self.subject(&verified), decision.copied(), now)
            }
        }
    }

    /// Refuses an authenticated request that could not be charged.
    pub(super) fn uncharged(
        &self,
        route: &CheckedRoute,
        reason: RefusalReason,
        verified: &Verified,
        now: Timestamp,
    ) -> Outcome {
        self.refused(route, reason, self.subject(verified), None, now)
    }

    /// Refuses a request because the store failed.
    pub(super) fn store_failed(
        &self,
        route: &CheckedRoute,
        attempt: &Attempt,
        error: Arc<dyn Error + Send + Sync>,
        now: Timestamp,
    ) -> Outcome {
        let subject = Subject::claimed(attempt.lookup.kind());
        self.refused(route, RefusalReason::Store(error), subject, None, now)
    }

    /// Counts an attempt for whose response nobody waited.
    pub(super) fn abandoned(&self, attempt: &Attempt, now: Timestamp) {
        if let (Some(attempts), Some(address)) = (&self.config().attempts, attempt.address) {
            let _refused = attempts.failed(address, now);
        }
    }

    /// Refuses a request, and counts the attempt if it was a failed one.
    #[inline]
    fn failed_attempt(
        &self,
        route: &CheckedRoute,
        reason: RefusalReason,
        address: Option<LimitKey>,
        subject: Subject,
        now: Timestamp,
    ) -> Refusal {
        if let (Some(attempts), Some(address)) = (&self.config().attempts, address)
            && is_failed_attempt(&reason)
            && let Some(decision) = attempts.failed(address, now)
        {
            let reason = RefusalReason::TooManyAttempts;
            return self.refusal(route, reason, subject, Some(decision), now);
        }
        self.refusal(route, reason, subject, None, now)
    }

    fn refused(
        &self,
        route: &CheckedRoute,
        reason: RefusalReason,
        subject: Subject,
        decision: Option<Decision>,
        now: Timestamp,
    ) -> Outcome {
        Outcome::Refused(self.refusal(route, reason, subject, decision, now))
    }
}

/// Charges the limits of a route together.
#[inline]
fn charge(
    limiter: &Limiter,
    route: &CheckedRoute,
    verified: &Verified,
    now: Timestamp,
) -> Result<Decision, RefusalReason> {
    let (cost, mut limits) = (route.cost(), route.limits(verified));
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

/// Returns whether a client has tried an invalid key.
///
/// A request without a credential is no attempt, and neither is a failure of the host. A client
/// that holds the secret of an ended key does not guess, and one that retries after its key was
/// rotated must not lock out others behind the same address.
fn is_failed_attempt(reason: &RefusalReason) -> bool {
    match reason {
        RefusalReason::Verify(error) => !is_proved(*error),
        RefusalReason::Missing => false,
        other => other.status() == 401,
    }
}

/// Returns whether the secret was proved, so that the failure may be attributed to the key.
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
