//! The second look at a key, after the handler of its request.

use std::{error::Error, fmt, sync::Arc};

use crate::{
    clock::timestamp::Timestamp,
    gate::{
        checked::CheckedRoute,
        pipeline::Gate,
        refusal::{Principal, Refusal},
    },
    key::{id::KeyId, kind::KeyKind, nonce::CreationNonce, owner::OwnerId},
    request::{reason::RefusalReason, request_id::RequestId},
    store::stored_key::StoredKey,
    verify::{error::VerifyError, in_force::in_force, verified::KeyCaller},
};

/// The question whether the key of a request is still in force, after its handler.
/// Owned and `'static`; it holds ids, and no key and no hash.
///
/// It is about the key and not about its secret. A secret that was rotated out during its own request
/// withdraws nothing, or the response that contains the new secret would be lost.
#[must_use = "nothing is rechecked until the store has responded"]
pub struct PendingRecheck {
    gate: Gate,
    route: CheckedRoute,
    kind: KeyKind,
    key: KeyId,
    nonce: CreationNonce,
    /// For the audit, if it is enabled.
    owner: Option<OwnerId>,
    request_id: Option<RequestId>,
}

impl Gate {
    /// Prepares a second look at the key of an admitted request, once its handler is done: one
    /// [`find_by_id`](crate::store::KeyStore::find_by_id). Keep the pending value while the handler
    /// has the caller.
    pub fn recheck(&self, caller: &KeyCaller, route: &CheckedRoute) -> PendingRecheck {
        PendingRecheck {
            gate: self.clone(),
            route: route.clone(),
            kind: caller.kind(),
            key: caller.key_id(),
            nonce: caller.record().nonce(),
            owner: self.config().audit.is_on().then(|| caller.owner_id().clone()),
            request_id: None,
        }
    }
}

impl PendingRecheck {
    /// Returns the id of the key, for [`KeyStore::find_by_id`](crate::store::KeyStore::find_by_id).
    pub const fn key_id(&self) -> KeyId {
        self.key
    }

    /// Names the request by its id in a refusal's body and audit event.
    pub fn with_request_id(self, request_id: Option<RequestId>) -> Self {
        Self { request_id, ..self }
    }

    /// Decides by the record that the store found by [`PendingRecheck::key_id`]. A record with
    /// another id, or with the same id and another creation, is another key.
    ///
    /// # Errors
    ///
    /// The refusal to send instead of the handler's response: 401 if the key was revoked,
    /// suspended or removed, or has expired; 503 if another gate checked the route.
    pub fn found(self, found: Option<StoredKey>, now: Timestamp) -> Result<(), Box<Refusal>> {
        if !self.route.belongs_to(&self.gate) {
            return Err(Box::new(self.refused(RefusalReason::ForeignRoute, now)));
        }
        let is_same = |found: &StoredKey| {
            found.record().id() == self.key && found.record().nonce() == self.nonce
        };
        let found = found.filter(is_same);
        let in_force = found.map_or(Err(VerifyError::Unknown), |found| in_force(&found, now));
        match in_force {
            Ok(()) => Ok(()),
            Err(error) => Err(Box::new(self.refused(RefusalReason::Withdrawn(error), now))),
        }
    }

    /// Ends with 503 because the store failed or did not respond in time.
    pub fn failed(self, error: impl Error + Send + Sync + 'static, now: Timestamp) -> Refusal {
        self.refused(RefusalReason::Store(Arc::new(error)), now)
    }

    fn refused(self, reason: RefusalReason, now: Timestamp) -> Refusal {
        let Self { gate, route, kind, key, nonce: _, owner, request_id } = self;
        let principal = Principal { key: Some(key), owner, ..Principal::claimed(kind) };
        let principal = principal.of_request(request_id.clone());
        gate.refusal(&route, reason, principal, None, now).named(request_id)
    }
}

impl fmt::Debug for PendingRecheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingRecheck").field("key", &self.key).finish_non_exhaustive()
    }
}
