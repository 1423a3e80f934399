//! The stored form of an event.

use crate::{
    audit::{action::AuditAction, action_name::ActionName, detail::AuditDetail, event::AuditEvent},
    clock::timestamp::Timestamp,
    key::{actor::Actor, id::KeyId, kind::KeyKind, owner::OwnerId},
    request::request_id::RequestId,
};

/// The stored form of an [`AuditEvent`]: what happened as text, with the ids by which it is found.
///
/// ```
/// use keyward::{audit::{ActionName, AuditEntry}, Timestamp};
///
/// const EXPORTED: ActionName = ActionName::from_static("exported");
///
/// let at = Timestamp::from_unix_secs(1_700_000_000);
/// let entry = AuditEntry::new(at, EXPORTED).with_owner("customer-7".parse()?);
/// assert_eq!(entry.action.as_str(), "exported");
/// # Ok::<(), keyward::error::InvalidText>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditEntry {
    /// The time of the event.
    pub at: Timestamp,
    /// The name of what happened, such as `revoked`.
    pub action: ActionName,
    /// The key.
    pub key: Option<KeyId>,
    /// The owner of the key.
    pub owner: Option<OwnerId>,
    /// The kind of the key.
    pub kind: Option<KeyKind>,
    /// Who made the change.
    pub actor: Option<Actor>,
    /// The request in which it happened.
    pub request_id: Option<RequestId>,
    /// The reason of a refusal, or the new value of what was changed. It contains no secret.
    pub detail: Option<AuditDetail>,
}

impl AuditEntry {
    /// Builds an entry of the host's own.
    pub const fn new(at: Timestamp, action: ActionName) -> Self {
        Self {
            at,
            action,
            key: None,
            owner: None,
            kind: None,
            actor: None,
            request_id: None,
            detail: None,
        }
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

    /// Sets who made the change.
    #[must_use]
    pub fn with_actor(self, actor: Actor) -> Self {
        Self { actor: Some(actor), ..self }
    }

    /// Sets the request in which it happened.
    #[must_use]
    pub fn with_request_id(self, request_id: RequestId) -> Self {
        Self { request_id: Some(request_id), ..self }
    }

    /// Sets the detail, in the form of an [`AuditDetail`].
    #[must_use]
    pub fn with_detail(self, detail: impl Into<AuditDetail>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }
}

impl From<&AuditEvent> for AuditEntry {
    fn from(event: &AuditEvent) -> Self {
        Self {
            at: event.at,
            action: event.action.name(),
            key: event.key,
            owner: event.owner.clone(),
            kind: event.kind,
            actor: event.actor.clone(),
            request_id: event.request_id.clone(),
            detail: detail(&event.action).map(AuditDetail::from),
        }
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
        AuditAction::Revoked { reason } => reason.as_ref().map(ToString::to_string),
        AuditAction::ScopesChanged { scopes } => Some(scopes.to_string()),
        AuditAction::OverridesChanged { overrides }
        | AuditAction::OwnerOverridesChanged { overrides } => Some(overrides.to_string()),
        AuditAction::NetworksChanged { networks } => {
            networks.as_ref().map(|networks| networks.to_string())
        }
        AuditAction::OriginsChanged { origins } => {
            origins.as_ref().map(|origins| origins.to_string())
        }
        AuditAction::TierChanged { tier } => tier.as_ref().map(ToString::to_string),
        AuditAction::KeyCapChanged { cap } => cap.map(|cap| cap.to_string()),
        AuditAction::RetiredSecretUsed
        | AuditAction::ForeignCredential
        | AuditAction::Anonymous
        | AuditAction::GraceEnded
        | AuditAction::Suspended
        | AuditAction::Resumed
        | AuditAction::Rehashed
        | AuditAction::Renamed
        | AuditAction::MetadataChanged
        | AuditAction::Purged
        | AuditAction::OwnerSuspended
        | AuditAction::OwnerResumed => None,
    }
}
