//! The second look at a key, after the handler of its request.

use std::{error::Error, fmt, sync::Arc};

use crate::{
    clock::timestamp::Timestamp,
    gate::{
        checked::CheckedRoute,
        pipeline::Gate,
        refusal::{Principal, Refusal},
    },
    key::{id::KeyId, owner::OwnerId},
    request::reason::RefusalReason,
    store::{lookup::Lookup, stored_key::StoredKey},
    verify::verified::KeyCaller,
};

/// The question whether the key of an admitted request is still valid, for when its handler is
/// done. Owned and `'static`; it holds hashes and ids, and no key.
#[must_use = "nothing is rechecked until the store has responded"]
pub struct PendingRecheck {
    gate: Gate,
    route: CheckedRoute,
    lookup: Lookup,
    key: KeyId,
    /// For the audit, if it is enabled.
    owner: Option<OwnerId>,
}

impl Gate {
    /// Prepares a second look at the key of an admitted request, once its handler is done: one
    /// lookup, without hashing anything. Keep the pending value while the handler has the
    /// caller.
    pub fn recheck(&self, caller: &KeyCaller, route: &CheckedRoute) -> PendingRecheck {
        PendingRecheck {
            gate: self.clone(),
            route: route.clone(),
            lookup: caller.lookup(),
            key: caller.key_id(),
            owner: self.config().audit.is_on().then(|| caller.owner_id().clone()),
        }
    }
}

impl PendingRecheck {
    /// Returns the lookup of the secret that the request carried.
    pub const fn lookup(&self) -> &Lookup {
        &self.lookup
    }

    /// Returns the id of the key, for a store that prefers to find it by id.
    pub const fn key_id(&self) -> KeyId {
        self.key
    }

    /// Decides by the result of the store, found by [`PendingRecheck::lookup`] or by
    /// [`PendingRecheck::key_id`]. A record with another id does not count, even if it holds the
    /// same secret.
    ///
    /// # Errors
    ///
    /// The refusal to send instead of the handler's response: 401 if the key was revoked,
    /// suspended, rotated out or removed, or has expired; 503 if another gate checked the route.
    pub fn found(self, found: Option<StoredKey>, now: Timestamp) -> Result<(), Box<Refusal>> {
        if !self.route.belongs_to(&self.gate) {
            return Err(Box::new(self.refused(RefusalReason::ForeignRoute, now)));
        }
        let found = found.filter(|found| found.record().id() == self.key);
        match self.gate.config().verifier.verify(&self.lookup, found, now) {
            Ok(_) => Ok(()),
            Err(error) => Err(Box::new(self.refused(RefusalReason::Withdrawn(error), now))),
        }
    }

    /// Ends with 503 because the store failed or did not respond in time.
    pub fn failed(self, error: impl Error + Send + Sync + 'static, now: Timestamp) -> Refusal {
        self.refused(RefusalReason::Store(Arc::new(error)), now)
    }

    fn refused(self, reason: RefusalReason, now: Timestamp) -> Refusal {
        let Self { gate, route, lookup, key, owner } = self;
        let principal = Principal { key: Some(key), owner, kind: Some(lookup.kind()) };
        gate.refusal(&route, reason, principal, None, now)
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
