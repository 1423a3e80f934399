//! The requests of a gate to its host, as values that the host can keep across an `await`.

use std::{error::Error, fmt, sync::Arc};

use crate::{
    clock::timestamp::Timestamp,
    gate::{
        admission::Outcome,
        charges::Charges,
        checked::CheckedRoute,
        circumstances::Circumstances,
        refusal::Refusal,
        steps::{Attempt, Prepared},
    },
    key::id::KeyId,
    limit::{decision::Decision, key::LimitKey, limiter::Limiter},
    quota::{policy_name::PolicyName, quotas::Quotas},
    request::reason::RefusalReason,
    store::{lookup::Lookup, stored_key::StoredKey},
    verify::verified::Verified,
};

/// The next step of a request.
#[derive(Debug)]
#[must_use = "a request that is not decided must not pass"]
pub enum Step {
    /// The host finds the record of the key.
    Lookup(PendingLookup),
    /// The host charges the limits.
    Charge(PendingCharge),
    /// The request is decided.
    Done(Outcome),
}

/// A request whose key the host has to find. Owned and `'static`; it holds hashes and no key.
///
/// Dropping it decides nothing: the request must not pass. Where failed attempts are limited, a
/// host whose wait for the store can be dropped, for example when a client closes its
/// connection, must end it with [`PendingLookup::abandoned`], or such attempts are not counted.
/// [`Driver`](crate::gate::Driver) does so.
#[must_use = "the request is not decided yet"]
pub struct PendingLookup {
    pub(super) route: CheckedRoute,
    pub(super) attempt: Attempt,
}

impl PendingLookup {
    /// Returns the lookup for [`KeyStore::find`](crate::store::KeyStore::find).
    pub const fn lookup(&self) -> &Lookup {
        &self.attempt.lookup
    }

    /// Continues with the result of the store.
    pub fn found(self, found: Option<StoredKey>, now: Timestamp) -> Step {
        let Self { route, attempt } = self;
        let gate = route.gate();
        match gate.authenticate(&route, &attempt, found, now) {
            Err(refusal) => Step::Done(Outcome::Refused(*refusal)),
            Ok(verified) if gate.has_limiter() => {
                Step::Done(gate.settle(&route, attempt.charges, verified, now))
            }
            Ok(verified) => match gate.prepare(&route, attempt.charges, verified, now) {
                Prepared::Done(outcome) => Step::Done(outcome),
                Prepared::Charge(charges, verified) => {
                    let again = (attempt.lookup, attempt.circumstances);
                    PendingCharge { route, again, charges, verified }.unless_never_admitted(now)
                }
            },
        }
    }

    /// Ends without a response because nobody waits for one: the client is gone, or an outer
    /// timeout has expired.
    ///
    /// It counts as a failed attempt, where these are limited, so that a client which closes its
    /// connection early is counted like one that waits. An abandoned good key counts too, because
    /// nobody can know that it is one.
    pub fn abandoned(&self, now: Timestamp) {
        self.route.gate().abandoned(&self.attempt, now);
    }

    /// Ends with 503 because the store failed or did not respond in time. The client did not
    /// cause that, so it is no failed attempt.
    pub fn failed(self, error: impl Error + Send + Sync + 'static, now: Timestamp) -> Outcome {
        self.route.gate().store_failed(&self.route, &self.attempt, Arc::new(error), now)
    }
}

impl fmt::Debug for PendingLookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingLookup").field("lookup", self.lookup()).finish_non_exhaustive()
    }
}

/// An authenticated request whose limits the host has to charge, because its limiter is
/// elsewhere. Owned and `'static`; it holds ids and hashes, and no key.
///
/// Dropping it decides nothing: the request must not pass.
#[must_use = "the request is not decided yet"]
pub struct PendingCharge {
    route: CheckedRoute,
    /// What a record that is found once more is checked against.
    again: (Lookup, Circumstances),
    charges: Charges,
    verified: Verified,
}

impl PendingCharge {
    /// Refuses a request that no limiter could ever admit, as a limiter of the gate would: its cost is
    /// above a limit. That is no failure of a limiter elsewhere, and needs none.
    fn unless_never_admitted(self, now: Timestamp) -> Step {
        let chargeable =
            self.limits().try_for_each(|limit| Limiter::check_chargeable(&[limit], self.cost()));
        match chargeable {
            Ok(()) => Step::Charge(self),
            Err(error) => Step::Done(self.refused(RefusalReason::Charge(error), now)),
        }
    }

    /// Returns the limits to charge together, all or nothing. Each can hold the cost of the request.
    ///
    /// There is at least one and at most [`Limiter::MAX_LIMITS`](crate::limit::Limiter::MAX_LIMITS),
    /// and no key occurs twice. Limits that allow the caller everything are not among them, and
    /// neither is what another layer has [charged](crate::gate::Charged).
    pub fn limits(&self) -> impl Iterator<Item = (LimitKey, &Quotas)> {
        self.route.shared().due(&self.charges, &self.verified).map(|due| (due.key, due.quotas))
    }

    /// Returns the names of these limits, in the same order.
    pub fn policies(&self) -> impl Iterator<Item = &PolicyName> {
        self.route.shared().due(&self.charges, &self.verified).map(|due| &due.policy.name)
    }

    /// Returns the cost of the request, which every limit is charged.
    pub const fn cost(&self) -> u32 {
        self.route.cost()
    }

    /// Returns the route of the request.
    pub(super) const fn route(&self) -> &CheckedRoute {
        &self.route
    }

    /// Returns the verified key.
    pub const fn verified(&self) -> &Verified {
        &self.verified
    }

    /// Continues with the decision of the limiter. [`Decision::position`] is the position of the
    /// binding limit in [`PendingCharge::limits`].
    pub fn decided(self, decision: Decision, now: Timestamp) -> Outcome {
        let Self { route, charges, verified, again: _ } = self;
        route.gate().charged(&route, charges, verified, &decision, now)
    }

    /// Checks by a fresh reading of the clock, after the wait for the limiter, that neither the key
    /// has expired nor the grace of its secret has ended.
    ///
    /// # Errors
    ///
    /// The refusal to send, with 401. What the limiter has charged is to be refunded.
    pub fn still_in_force(&self, now: Timestamp) -> Result<(), Box<Refusal>> {
        self.verified.still_in_force(now).map_err(|error| {
            let (gate, reason) = (self.route.gate(), RefusalReason::Withdrawn(error));
            let principal = gate.principal(&self.verified, &self.charges);
            Box::new(gate.refusal(&self.route, reason, principal, None, now))
        })
    }

    /// Returns the id of the key, for [`KeyStore::find_by_id`](crate::store::KeyStore::find_by_id)
    /// after a long wait for the limiter.
    pub fn key_id(&self) -> KeyId {
        self.verified.key_id()
    }

    /// Continues after a long wait with the record that the store found by [`PendingCharge::key_id`]. From
    /// here on the request is that of this record: its secrets, kind, scopes, owner, tier and overrides.
    ///
    /// `Ok` is a request that is charged as before, so the decision stands:
    /// [`PendingCharge::decided`] takes it.
    ///
    /// # Errors
    ///
    /// The next step, if the decision does not stand. What the limiter has charged is to be refunded. The
    /// step is a refusal, an admission without a charge, or another charge, because the record has other
    /// limits.
    pub fn found(self, found: Option<StoredKey>, now: Timestamp) -> Result<Self, Box<Step>> {
        let Self { route, again, charges, verified } = self;
        let (lookup, circumstances) = &again;
        let gate = route.gate();
        let found = found.filter(|found| found.record().id() == verified.key_id());
        let fresh = match gate.config().verifier.verify(lookup, found, now) {
            Ok(fresh) => fresh,
            Err(error) => {
                let reason = RefusalReason::Withdrawn(error);
                let old = gate.principal(&verified, &charges);
                let refusal = gate.refusal(&route, reason, old, None, now);
                return Err(Box::new(Step::Done(Outcome::Refused(refusal))));
            }
        };
        let checked = gate.check_circumstances(&route, circumstances, &charges, &fresh, now);
        if let Err(refusal) = checked {
            return Err(Box::new(Step::Done(Outcome::Refused(*refusal))));
        }
        match gate.prepare(&route, charges.clone().unresolved(), fresh, now) {
            Prepared::Done(outcome) => Err(Box::new(Step::Done(outcome))),
            Prepared::Charge(fresh_charges, fresh) => {
                let shared = route.shared();
                let old = shared.due(&charges, &verified).map(|due| (due.key, *due.quotas));
                let new = shared.due(&fresh_charges, &fresh).map(|due| (due.key, *due.quotas));
                let stands = old.eq(new);
                let pending = Self { route, again, charges: fresh_charges, verified: fresh };
                match stands {
                    true => Ok(pending),
                    false => Err(Box::new(pending.unless_never_admitted(now))),
                }
            }
        }
    }

    /// Ends with 503 because the store failed or did not respond in time after a long wait for the
    /// limiter.
    pub fn store_failed(
        self,
        error: impl Error + Send + Sync + 'static,
        now: Timestamp,
    ) -> Outcome {
        self.refused(RefusalReason::Store(Arc::new(error)), now)
    }

    /// Ends with 503 because the limiter failed or did not respond in time.
    pub fn failed(self, error: impl Error + Send + Sync + 'static, now: Timestamp) -> Outcome {
        self.refused(RefusalReason::Limiter(Arc::new(error)), now)
    }

    /// Ends with 503 because neither the gate nor its host has a limiter.
    pub(super) fn without_limiter(self, now: Timestamp) -> Outcome {
        self.refused(RefusalReason::NoLimiter, now)
    }

    fn refused(self, reason: RefusalReason, now: Timestamp) -> Outcome {
        self.route.gate().uncharged(&self.route, reason, &self.charges, &self.verified, now)
    }
}

impl fmt::Debug for PendingCharge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limits: Vec<&PolicyName> = self.policies().collect();
        f.debug_struct("PendingCharge")
            .field("key", &self.verified.key_id())
            .field("limits", &limits)
            .field("cost", &self.cost())
            .finish_non_exhaustive()
    }
}
