//! The steps of a decision: authenticate, check where the key may be used, charge, authorize. Each is
//! pure, apart from a veto of the host.

use std::{error::Error, sync::Arc};

use crate::{
    audit::{AuditAction, AuditEvent},
    clock::timestamp::Timestamp,
    gate::{
        admission::{Admission, Outcome},
        attempts::{is_failed_attempt, is_proved},
        charges::{Charges, Resolved},
        checked::CheckedRoute,
        circumstances::Circumstances,
        pipeline::Gate,
        refusal::{Bound, Principal, Refusal},
    },
    key::parse::ParseError,
    limit::{
        decision::{ChargeError, Decision},
        key::LimitKey,
        limiter::Limiter,
    },
    quota::{policy_name::PolicyName, quotas::Quotas},
    request::{
        credential::CredentialError, head::RequestHead, reason::RefusalReason,
        request_id::RequestId, sources::Credential,
    },
    store::{lookup::Lookup, stored_key::StoredKey},
    verify::verified::Verified,
};

/// The part of a request that is kept while its key is looked up.
pub(super) struct Attempt {
    pub(super) lookup: Lookup,
    /// The address on which the attempt is counted if it fails; none for a key that any page can send.
    address: Option<LimitKey>,
    pub(super) charges: Charges,
    pub(super) circumstances: Circumstances,
}

/// Where a request came from.
struct Source {
    address: Option<LimitKey>,
    /// Its id, where events are reported.
    request_id: Option<RequestId>,
}

/// The result of the first step.
pub(super) enum Examined {
    Lookup(Attempt),
    Done(Outcome),
}

/// An authenticated request, after its limits were resolved for its caller.
pub(super) enum Prepared {
    /// There is something to charge.
    Charge(Charges, Verified),
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
        let needs_address = config.attempts.is_some() || route.counts_addresses();
        let address = if needs_address { head.address() } else { None };
        let found = config.sources.find(head);
        let request_id = config.audit.is_on().then(|| head.request_id()).flatten();
        let charges = || {
            Charges::read(head, address, route.policies())
                .map(|charges| (charges, Circumstances::read(head)))
        };
        let missing = || match config.sources.has_other_scheme(head) {
            true => RefusalReason::WrongScheme,
            false => RefusalReason::Missing,
        };
        let source = Source { address, request_id };
        self.examine_credential(found, source, &charges, &missing, route, now)
    }

    /// The part of the first step that does not depend on the type of the head. The subjects of the
    /// limits are read only for what has the form of a key.
    fn examine_credential(
        &self,
        found: Result<Option<Credential<'_>>, CredentialError>,
        Source { address, request_id }: Source,
        charges: &dyn Fn() -> Result<(Charges, Circumstances), PolicyName>,
        missing: &dyn Fn() -> RefusalReason,
        route: &CheckedRoute,
        now: Timestamp,
    ) -> Examined {
        let config = self.config();
        let counted = match &found {
            Ok(Some(credential)) if credential.is_sent_by_any_page() => None,
            _ => address,
        };
        let stop = |reason| {
            let principal = Principal::nobody().of_request(request_id.clone());
            let refusal = self.failed_attempt(route, reason, counted, principal, now);
            Examined::Done(Outcome::Refused(refusal))
        };
        let event = |action| {
            let request_id = request_id.clone();
            AuditEvent { request_id, ..AuditEvent::new(now, action) }
        };
        if !route.belongs_to(self) {
            return stop(RefusalReason::ForeignRoute);
        }
        let credential = match found {
            Ok(Some(credential)) => credential,
            Ok(None) if route.allows_missing() => {
                config.audit.report(|| event(AuditAction::Anonymous));
                return Examined::Done(Outcome::Anonymous);
            }
            Ok(None) => return stop(missing()),
            Err(error) => return stop(RefusalReason::Credential(error)),
        };
        let presented = match config.formats.parse(credential.token()) {
            Ok(presented) => presented,
            Err(error @ ParseError::UnknownPrefix) => {
                // Keys consist of characters that every source allows, so only other
                // credentials are checked.
                if let Err(error) = credential.check_characters() {
                    return stop(RefusalReason::Credential(error));
                }
                if config.allow_foreign {
                    config.audit.report(|| event(AuditAction::ForeignCredential));
                    return Examined::Done(Outcome::ForeignCredential);
                }
                return stop(RefusalReason::Parse(error));
            }
            Err(error) => return stop(RefusalReason::Parse(error)),
        };
        if !credential.takes(presented.kind()) {
            return stop(RefusalReason::NotTaken { kind: presented.kind() });
        }
        let principal = Principal::claimed(presented.kind()).of_request(request_id.clone());
        if let (Some(attempts), Some(address)) = (&config.attempts, address)
            && let Some(decision) = attempts.shed(address, now)
        {
            let bound = Some(Bound::unnamed(decision));
            let reason = RefusalReason::TooManyAttempts;
            return Examined::Done(self.refused(route, reason, principal, bound, now));
        }
        match charges() {
            Ok((charges, circumstances)) => {
                let charges = charges.identified(request_id);
                let lookup = config.verifier.lookup(&presented);
                Examined::Lookup(Attempt { lookup, address: counted, charges, circumstances })
            }
            Err(policy) => {
                let reason = RefusalReason::NoSubject { policy };
                Examined::Done(self.refused(route, reason, principal, None, now))
            }
        }
    }

    /// The second step: verifies the key that the store found, and that it may be used here.
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
        let verified = config.verifier.verify(&attempt.lookup, found, now).map_err(|error| {
            let claimed = claimed(attempt);
            let principal =
                if is_proved(error) { Principal { key, owner, ..claimed } } else { claimed };
            let reason = RefusalReason::Verify(error);
            Box::new(self.failed_attempt(route, reason, attempt.address, principal, now))
        })?;
        let (circumstances, charges) = (&attempt.circumstances, &attempt.charges);
        self.check_circumstances(route, circumstances, charges, &verified, now)?;
        Ok(verified)
    }

    /// Checks where a proved key may be used, before it is charged.
    ///
    /// # Errors
    ///
    /// The refusal, if it may not be used here.
    #[inline]
    pub(super) fn check_circumstances(
        &self,
        route: &CheckedRoute,
        circumstances: &Circumstances,
        charges: &Charges,
        verified: &Verified,
        now: Timestamp,
    ) -> Result<(), Box<Refusal>> {
        circumstances.check(verified).map_err(|reason| {
            let principal = self.principal(verified, charges);
            Box::new(self.refusal(route, reason, principal, None, now))
        })
    }

    /// The part of the third step before the limiter: which limits are to be charged? A caller whom
    /// a limit blocks is refused, and one who has nothing to be charged for goes on.
    #[inline]
    pub(super) fn prepare(
        &self,
        route: &CheckedRoute,
        mut charges: Charges,
        verified: Verified,
        now: Timestamp,
    ) -> Prepared {
        if !route.is_limited() {
            return Prepared::Done(self.authorize(route, charges, verified, None, now));
        }
        match charges.resolve(self.id(), route.policies(), &verified) {
            Resolved::Due => Prepared::Charge(charges, verified),
            Resolved::Nothing => {
                Prepared::Done(self.authorize(route, charges, verified, None, now))
            }
            Resolved::Blocked(policy) => {
                let reason = RefusalReason::Blocked { policy: policy.name.clone() };
                Prepared::Done(self.uncharged(route, reason, &charges, &verified, now))
            }
        }
    }

    /// The remaining steps, where the host does not charge.
    #[inline]
    pub(super) fn settle(
        &self,
        route: &CheckedRoute,
        charges: Charges,
        verified: Verified,
        now: Timestamp,
    ) -> Outcome {
        let (charges, verified) = match self.prepare(route, charges, verified, now) {
            Prepared::Charge(charges, verified) => (charges, verified),
            Prepared::Done(outcome) => return outcome,
        };
        let charged = match &self.config().limiter {
            Some(limiter) => charge(limiter, route, &charges, &verified, now),
            // Nothing can be charged, and no request passes uncharged.
            None => Err(RefusalReason::NoLimiter),
        };
        match charged {
            Ok(decision) => self.charged(route, charges, verified, &decision, now),
            Err(reason) => self.uncharged(route, reason, &charges, &verified, now),
        }
    }

    /// The third step: was the request within its limits?
    #[inline]
    pub(super) fn charged(
        &self,
        route: &CheckedRoute,
        charges: Charges,
        verified: Verified,
        decision: &Decision,
        now: Timestamp,
    ) -> Outcome {
        if decision.allowed {
            return self.authorize(route, charges, verified, Some(decision), now);
        }
        let (principal, decision) = (self.principal(&verified, &charges), *decision);
        let reason = match route.shared().charged_policy(&charges, &verified, decision.position) {
            Some(policy) => RefusalReason::Throttled {
                policy: policy.name.clone(),
                subject: policy.subject,
                quota: decision.quota(),
            },
            // A decision about nothing. No request passes that way.
            None => RefusalReason::Charge(ChargeError::NoLimits),
        };
        let charged = self.listed(route, &charges, &verified);
        let bound = Bound { decision, policy: None, charged };
        self.refused(route, reason, principal, Some(bound), now)
    }

    /// The last step: has the caller the access that the route requires?
    #[inline]
    fn authorize(
        &self,
        route: &CheckedRoute,
        charges: Charges,
        verified: Verified,
        decision: Option<&Decision>,
        now: Timestamp,
    ) -> Outcome {
        let config = self.config();
        let policy = |verified: &Verified| {
            let policy = route.shared().charged_policy(&charges, verified, decision?.position)?;
            Some(policy.name.clone())
        };
        match verified.authorized(route.access()) {
            Ok(caller) => {
                config.audit.report(|| {
                    let (matched, decision) = (caller.matched(), decision.copied());
                    let action =
                        AuditAction::Admitted { matched, decision, policy: policy(&caller) };
                    self.principal(&caller, &charges).event(action, now)
                });
                let decision = decision.map(Decision::copy_of_admission);
                let rate_headers = config.rate_headers;
                // The reference count that all threads share is touched only where it is needed.
                let is_listed = rate_headers.has_draft() && decision.is_some();
                Outcome::Admitted(Admission {
                    caller,
                    decision,
                    route: route.shared().id(),
                    listed: is_listed.then(|| Arc::clone(route.shared())),
                    charges,
                    rate_headers,
                    now,
                })
            }
            Err((forbidden, verified)) => {
                let bound = decision.map(|decision| Bound {
                    decision: *decision,
                    policy: policy(&verified),
                    charged: self.listed(route, &charges, &verified),
                });
                let reason = RefusalReason::Forbidden(forbidden);
                self.refused(route, reason, self.principal(&verified, &charges), bound, now)
            }
        }
    }

    /// Returns what was charged, where the headers list it.
    fn listed(
        &self,
        route: &CheckedRoute,
        charges: &Charges,
        verified: &Verified,
    ) -> Vec<(PolicyName, Quotas)> {
        match self.config().rate_headers.has_draft() {
            true => route.shared().charged_quotas(charges, verified),
            false => Vec::new(),
        }
    }

    /// Judges an admission after one more wait, by the clock alone.
    pub(super) fn still_admitted(
        &self,
        route: &CheckedRoute,
        admission: Admission,
        now: Timestamp,
    ) -> Outcome {
        let caller = &admission.caller;
        match caller.still_in_force(now) {
            Ok(()) => Outcome::Admitted(admission),
            Err(error) => {
                let principal = self.principal(caller, &admission.charges);
                self.refused(route, RefusalReason::Withdrawn(error), principal, None, now)
            }
        }
    }

    /// Refuses an authenticated request that could not be charged.
    pub(super) fn uncharged(
        &self,
        route: &CheckedRoute,
        reason: RefusalReason,
        charges: &Charges,
        verified: &Verified,
        now: Timestamp,
    ) -> Outcome {
        self.refused(route, reason, self.principal(verified, charges), None, now)
    }

    /// Refuses a request because the store failed.
    pub(super) fn store_failed(
        &self,
        route: &CheckedRoute,
        attempt: &Attempt,
        error: Arc<dyn Error + Send + Sync>,
        now: Timestamp,
    ) -> Outcome {
        self.refused(route, RefusalReason::Store(error), claimed(attempt), None, now)
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
        principal: Principal,
        now: Timestamp,
    ) -> Refusal {
        if let (Some(attempts), Some(address)) = (&self.config().attempts, address)
            && is_failed_attempt(&reason)
            && let Some(decision) = attempts.failed(address, now)
        {
            let bound = Some(Bound::unnamed(decision));
            return self.refusal(route, RefusalReason::TooManyAttempts, principal, bound, now);
        }
        self.refusal(route, reason, principal, None, now)
    }

    fn refused(
        &self,
        route: &CheckedRoute,
        reason: RefusalReason,
        principal: Principal,
        bound: Option<Bound>,
        now: Timestamp,
    ) -> Outcome {
        Outcome::Refused(self.refusal(route, reason, principal, bound, now))
    }
}

/// The subject of an event about a key that is not proved.
fn claimed(attempt: &Attempt) -> Principal {
    let request_id = attempt.charges.request_id().cloned();
    Principal::claimed(attempt.lookup.kind()).of_request(request_id)
}

/// Charges the limits of a route together.
#[inline]
fn charge(
    limiter: &Limiter,
    route: &CheckedRoute,
    charges: &Charges,
    verified: &Verified,
    now: Timestamp,
) -> Result<Decision, RefusalReason> {
    let mut due = route.shared().due(charges, verified).map(|due| (due.key, due.quotas));
    let first = due.next().ok_or(RefusalReason::Charge(ChargeError::NoLimits))?;
    let Some(second) = due.next() else {
        let charged = limiter.check(first.0, first.1, route.cost(), now);
        return charged.map_err(RefusalReason::Charge);
    };
    let mut all = [first; Limiter::MAX_LIMITS];
    let mut count = 1;
    for (place, limit) in all.iter_mut().skip(1).zip(std::iter::once(second).chain(due)) {
        *place = limit;
        count += 1;
    }
    let limits = all.get(..count).unwrap_or_default();
    limiter.check_all(limits, route.cost(), now).map_err(RefusalReason::Charge)
}
