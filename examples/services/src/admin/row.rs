//! A key in a listing.

use keyward::{
    Timestamp,
    key::{KeyHint, KeyId, KeyKind, KeyName, KeyRecord, KeyStatus, Owner, OwnerId, ScopeSet, Tier},
    usage::Usage,
};
use serde::Serialize;

use crate::STANDARD;

/// The public data of a key, without its secrets.
#[derive(Serialize)]
pub(super) struct Row<'r> {
    id: KeyId,
    name: &'r KeyName,
    owner: &'r OwnerId,
    kind: KeyKind,
    prefix: Option<&'r KeyHint>,
    scopes: &'r ScopeSet,
    tier: Tier,
    created_at: Timestamp,
    status: KeyStatus,
    requests: u64,
    last_used_at: Option<Timestamp>,
}

impl<'r> Row<'r> {
    /// Builds the row of a key. An owner without a tier is listed with the standard tier.
    pub(super) fn of(
        record: &'r KeyRecord,
        owner: Option<&Owner>,
        usage: Usage,
        now: Timestamp,
    ) -> Self {
        Self {
            id: record.id(),
            name: record.name(),
            owner: record.owner(),
            kind: record.kind(),
            prefix: record.hint(),
            scopes: record.scopes(),
            tier: owner.and_then(|owner| owner.tier.clone()).unwrap_or(STANDARD),
            created_at: record.created_at(),
            status: record.status(now),
            requests: usage.requests,
            last_used_at: usage.last_used_at,
        }
    }
}
