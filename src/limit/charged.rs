//! What layers around the present one have charged.

use std::{fmt, sync::Arc};

use crate::{key::id::KeyId, limit::key::LimitKey};

/// What has been charged for a request already, for a gate that decides on the same request again:
/// an inner layer, behind an outer one.
///
/// [`Admission::charged`](crate::gate::Admission::charged) returns it, and the head of the request
/// hands it on as [`RequestHead::charged`](crate::request::RequestHead::charged). The second
/// decision charges only what is missing, so a limit that both layers name is charged once. It
/// counts for clones of the gate that charged alone, and for the same key alone. It belongs to one
/// request: with another one that would not be charged.
///
/// Clones share everything.
#[derive(Clone)]
pub struct Charged(Arc<[Charge]>);

/// One limit key that a gate has charged for a key.
#[derive(Clone)]
struct Charge {
    gate: GateId,
    key: KeyId,
    limit: LimitKey,
}

/// The identity of a gate and its clones. As long as anybody holds one, no other gate has it.
#[derive(Clone, Debug, Default)]
pub(crate) struct GateId(Arc<()>);

impl GateId {
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Charged {
    /// Adds what `gate` has charged for `key` to what was charged before.
    pub(crate) fn new(
        before: Option<&Self>,
        gate: &GateId,
        key: KeyId,
        limits: impl Iterator<Item = LimitKey>,
    ) -> Self {
        let before = before.into_iter().flat_map(|before| before.0.iter().cloned());
        let charge = |limit| Charge { gate: gate.clone(), key, limit };
        Self(before.chain(limits.map(charge)).collect())
    }

    /// Returns whether `gate` has charged this limit key for `key`.
    pub(crate) fn covers(&self, gate: &GateId, key: KeyId, limit: LimitKey) -> bool {
        self.0.iter().any(|one| one.limit == limit && one.key == key && one.gate.is(gate))
    }
}

impl fmt::Debug for Charged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Charged").field("limits", &self.0.len()).finish_non_exhaustive()
    }
}
