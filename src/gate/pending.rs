//! What the host is asked on the way, as values that it can keep across an `await`.

use std::{error::Error, fmt, sync::Arc};

use crate::{
    clock::timestamp::Timestamp,
    gate::{
        admission::{Outcome, Step},
        pipeline::{Asked, Gate},
        refusal::Refusal,
        route::Route,
    },
    key::{id::KeyId, owner::OwnerId},
    limit::{decision::Decision, key::LimitKey},
    quota::Quotas,
    request::reason::{LimitedBy, RefusalReason},
    store::{StoredKey, lookup::Lookup},
    verify::Verified,
};

/// A request whose key the host is to find. Owned and `'static`; it holds hashes and no key.
///
/// Dropping it decides nothing: the request must not pass. Where failed attempts are limited, a
/// host whose wait for the store can be dropped, as when a client closes its connection, ends
/// it with [`PendingLookup::abandoned`], or such attempts are not counted.
#[must_use = "the request is not decided yet"]
pub struct PendingLookup {
    pub(super) gate: Gate,
    pub(super) route: Route,
    pub(super) asked: Asked,
}

impl PendingLookup {
    /// What to find.
    pub const fn lookup(&self) -> &Lookup {
        &self.asked.lookup
    }

    /// Goes on with what the store found.
    pub fn found(self, found: Option<StoredKey>, now: Timestamp) -> Step {
        let Self { gate, route, asked } = self;
        match gate.authenticate(&route, &asked, found, now) {
            Err(refusal) => Step::Done(Outcome::Refused(*refusal)),
            Ok(verified) if gate.charges_elsewhere(&route) => {
                Step::Charge(PendingCharge { gate, route, verified })
            }
            Ok(verified) => Step::Done(gate.settle(&route, verified, now)),
        }
    }

    /// Ends without an answer, because nobody waits for one any more: the client is gone, or
    /// somebody outside has given up. It counts as a failed attempt, where these are
    /// limited: who closes the connection early does not guess for free. A good key that is
    /// abandoned counts too, as nobody can know that it is one.
    pub fn abandoned(&self, now: Timestamp) {
        self.gate.abandoned(&self.asked, now);
    }

    /// Ends with 503, because the store failed or did not answer in time. That is not the
    /// client's doing, so it is no failed attempt.
    pub fn failed(self, error: impl Error + Send + Sync + 'static, now: Timestamp) -> Outcome {
        self.gate.not_found(&self.route, &self.asked, Arc::new(error), now)
    }
}

impl fmt::Debug for PendingLookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingLookup").field("lookup", self.lookup()).finish_non_exhaustive()
    }
}

/// An authenticated request whose limits the host is to charge, because its limiter is
/// elsewhere. Owned and `'static`; it holds ids and no key.
///
/// Dropping it decides nothing: the request must not pass.
#[must_use = "the request is not decided yet"]
pub struct PendingCharge {
    pub(super) gate: Gate,
    pub(super) route: Route,
    pub(super) verified: Verified,
}

impl PendingCharge {
    /// The limits to charge together, all or nothing. There is at least one, at most
    /// [`Limiter::MAX_LIMITS`](crate::limit::Limiter::MAX_LIMITS), and no key twice unless the host's
    /// own [shared](Route::limit_shared) key is that of a key or owner.
    pub fn limits(&self) -> impl Iterator<Item = (LimitKey, &Quotas)> {
        self.route.limits(&self.verified)
    }

    /// What the request costs, of each of them.
    pub const fn cost(&self) -> u32 {
        self.route.cost_of_request()
    }

    /// Whose key it is.
    pub const fn verified(&self) -> &Verified {
        &self.verified
    }

    /// Goes on with what the limiter decided. [`Decision::position`] is that of the limit that
    /// binds in [`PendingCharge::limits`].
    pub fn decided(self, decision: Decision, now: Timestamp) -> Outcome {
        let Self { gate, route, verified } = self;
        gate.charged(&route, verified, &decision, now)
    }

    /// Ends with 503, because the limiter failed or did not answer in time.
    pub fn failed(self, error: impl Error + Send + Sync + 'static, now: Timestamp) -> Outcome {
        let reason = RefusalReason::Limiter(Arc::new(error));
        self.gate.uncharged(&self.route, reason, &self.verified, now)
    }
}

impl fmt::Debug for PendingCharge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limits: Vec<LimitedBy> = self.route.limited_by_all().collect();
        f.debug_struct("PendingCharge")
            .field("key", &self.verified.key_id())
            .field("limits", &limits)
            .field("cost", &self.cost())
            .finish_non_exhaustive()
    }
}

/// Whether the key of an admitted request still stands, to be asked when its handler is
/// done. Owned and `'static`; it holds hashes and ids, and no key.
#[must_use = "nothing is asked until the store has answered"]
pub struct PendingRecheck {
    pub(super) gate: Gate,
    pub(super) route: Route,
    pub(super) lookup: Lookup,
    pub(super) key: KeyId,
    /// For the audit, if there is one.
    pub(super) owner: Option<OwnerId>,
}

impl PendingRecheck {
    /// What to find: the secret that the request was sent with. Nothing is hashed for it.
    pub const fn lookup(&self) -> &Lookup {
        &self.lookup
    }

    /// The key, for a store that would rather find it by its id.
    pub const fn key_id(&self) -> KeyId {
        self.key
    }

    /// Decides by what the store found, whether by [`PendingRecheck::lookup`] or by
    /// [`PendingRecheck::key_id`].
    ///
    /// # Errors
    ///
    /// The refusal to answer with in place of what the handler made: 401 if the key was
    /// revoked, suspended or rotated out, or has expired.
    pub fn found(self, found: Option<StoredKey>, now: Timestamp) -> Result<(), Box<Refusal>> {
        self.gate.still_stands(&self, found, now)
    }

    /// Ends with 503, because the store failed or did not answer in time.
    pub fn failed(self, error: impl Error + Send + Sync + 'static, now: Timestamp) -> Refusal {
        self.gate.recheck_failed(&self, Arc::new(error), now)
    }
}

impl fmt::Debug for PendingRecheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingRecheck")
            .field("key", &self.key)
            .field("lookup", &self.lookup)
            .finish_non_exhaustive()
    }
}
