//! The stored form of an event.

use crate::{
    audit::{AuditAction, AuditEvent},
    clock::timestamp::Timestamp,
    key::{id::KeyId, kind::KeyKind, owner::OwnerId},
};

/// The stored form of an [`AuditEvent`]: what happened as text, with the ids by which it is found.
///
/// ```
/// use keyward::{audit::AuditEntry, Timestamp};
///
/// let at = Timestamp::from_unix_secs(1_700_000_000);
/// let entry = AuditEntry::new(at, "exported").with_owner("customer-7".parse()?);
/// assert_eq!(entry.action, "exported");
/// # Ok::<(), keyward::error::InvalidText>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditEntry {
    /// The time of the event.
    pub at: Timestamp,
    /// The name of what happened, such as `revoked`.
    pub action: String,
    /// The key.
    pub key: Option<KeyId>,
    /// The owner of the key.
    pub owner: Option<OwnerId>,
    /// The kind of the key.
    pub kind: Option<KeyKind>,
    /// The reason of a refusal, or the new value of what was changed. It contains no secret.
    pub detail: Option<String>,
}

impl AuditEntry {
    /// Builds an entry of the host's own.
    pub fn new(at: Timestamp, action: impl Into<String>) -> Self {
        Self { at, action: action.into(), key: None, owner: None, kind: None, detail: None }
    }

    /// Sets the key.
    #[must_use]
    pub fn with_key(self, key: KeyId) -> Self {
        Self { key: Some(key), ..self }
    }

    /// Sets the owner.
    #[must_use]
    pub fn with_owner(self, owner: OwnerId) -> Self {
        Self { owner: Some(owner), ..self }
    }

    /// Sets the kind of the key.
    #[must_use]
    pub fn with_kind(self, kind: KeyKind) -> Self {
        Self { kind: Some(kind), ..self }
    }

    /// Sets the detail.
    #[must_use]
    pub fn with_detail(self, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }
}

impl From<&AuditEvent> for AuditEntry {
    fn from(event: &AuditEvent) -> Self {
        Self {
            at: event.at,
            action: name(&event.action).to_owned(),
            key: event.key,
            owner: event.owner.clone(),
            kind: event.kind,
            detail: detail(&event.action),
        }
    }
}

const fn name(action: &AuditAction) -> &'static str {
    match action {
        AuditAction::Admitted { .. } => "admitted",
        AuditAction::Refused { .. } => "refused",
        AuditAction::ForeignCredential => "foreign_credential",
        AuditAction::Anonymous => "anonymous",
        AuditAction::Issued { .. } => "issued",
        AuditAction::Imported { .. } => "imported",
        AuditAction::Rotated { .. } => "rotated",
        AuditAction::Revoked => "revoked",
        AuditAction::Suspended => "suspended",
        AuditAction::Resumed => "resumed",
        AuditAction::ExpiryChanged { .. } => "expiry_changed",
        AuditAction::Rehashed => "rehashed",
        AuditAction::Renamed => "renamed",
        AuditAction::ScopesChanged { .. } => "scopes_changed",
        AuditAction::OverridesChanged { .. } => "overrides_changed",
        AuditAction::Purged => "purged",
    }
}

fn detail(action: &AuditAction) -> Option<String> {
    match action {
        AuditAction::Refused { reason, policy: Some(policy), .. } => {
            Some(format!("{reason}; limit {policy}"))
        }
        AuditAction::Refused { reason, policy: None, .. } => Some(reason.to_string()),
        AuditAction::Admitted { policy, .. } => {
            policy.as_ref().map(|policy| format!("limit {policy}"))
        }
        AuditAction::Issued { expires_at }
        | AuditAction::Imported { expires_at }
        | AuditAction::ExpiryChanged { expires_at } => {
            expires_at.map(|at| format!("expires at {at}"))
        }
        AuditAction::Rotated { previous_valid_until } => {
            previous_valid_until.map(|at| format!("previous secret valid until {at}"))
        }
        AuditAction::ScopesChanged { scopes } => Some(scopes.to_string()),
        AuditAction::OverridesChanged { overrides } => Some(overrides.to_string()),
        AuditAction::ForeignCredential
        | AuditAction::Anonymous
        | AuditAction::Revoked
        | AuditAction::Suspended
        | AuditAction::Resumed
        | AuditAction::Rehashed
        | AuditAction::Renamed
        | AuditAction::Purged => None,
    }
}
