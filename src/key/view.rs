//! A key as responses and listings show it.

use crate::{
    clock::timestamp::Timestamp,
    key::{
        actor::Actor,
        allowlist::Allowlist,
        hint::KeyHint,
        id::KeyId,
        kind::KeyKind,
        metadata::KeyMetadata,
        name::KeyName,
        network::IpNetwork,
        origin::Origin,
        owner::OwnerId,
        record::KeyRecord,
        scope::ScopeSet,
        state::{KeyState, KeyStatus, RevocationReason},
    },
    quota::overrides::Overrides,
};

/// A key as responses and listings show it at one time, with everything except the hashes of its
/// secrets. [`KeyRecord::view`] returns it.
///
/// It can be serialized and not read, so that no client sends back what only the store may write.
/// Instants are RFC 3339.
///
/// ```
/// use keyward::{
///     key::{KeyId, KeyRecord, StoredSecret}, KeyDraft, KeyFormat, KeyHasher, Timestamp,
/// };
///
/// const INGEST: KeyFormat = KeyFormat::hex("lqt_");
/// let now = Timestamp::from_unix_secs(1_700_000_000);
/// let key = INGEST.mint_system()?;
/// let draft = KeyDraft::new("proj_abc123".parse()?, "ingest".parse()?);
/// let secret = StoredSecret::of(&key, &KeyHasher::sha256(), now);
/// let record = KeyRecord::issue(KeyId::from_bytes([1; 16]), draft, secret, now)?;
///
/// let view = record.view(now);
/// assert_eq!(view.status.as_str(), "active");
/// assert_eq!(view.hint.as_ref(), Some(&key.hint()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct KeyView {
    /// The id of the key.
    pub id: KeyId,
    /// The owner of the key.
    pub owner: OwnerId,
    /// The name of the key.
    pub name: KeyName,
    /// The kind of the current secret.
    pub kind: KeyKind,
    /// The hint of the current secret.
    pub hint: Option<KeyHint>,
    /// The status of the key. It does not depend on the state of its owner.
    pub status: KeyStatus,
    /// The scopes of the key.
    pub scopes: ScopeSet,
    /// What the key is allowed by limits per key.
    pub overrides: Overrides,
    /// The networks from which the key may be used; `None` for all.
    pub networks: Option<Allowlist<IpNetwork>>,
    /// The origins of the web pages from which the key may be used; `None` for all.
    pub origins: Option<Allowlist<Origin>>,
    /// What the host keeps with the key.
    pub metadata: Option<KeyMetadata>,
    /// The time at which the key was issued.
    pub created_at: Timestamp,
    /// Who issued or imported the key.
    pub created_by: Option<Actor>,
    /// The time from which the key is refused.
    pub expires_at: Option<Timestamp>,
    /// The time of the suspension, if the key is suspended.
    pub suspended_at: Option<Timestamp>,
    /// The time of the revocation, if the key is revoked.
    pub revoked_at: Option<Timestamp>,
    /// Why the key was revoked.
    pub revocation_reason: Option<RevocationReason>,
    /// The time at which the current secret was minted.
    pub secret_created_at: Timestamp,
    /// The time at which the rotation of the current secret is due.
    pub rotation_due_at: Timestamp,
    /// The earlier secrets that are in their grace, the oldest first.
    pub retiring: Vec<RetiringView>,
    /// The number of the last change.
    pub revision: u64,
}

/// A secret in its grace, as responses and listings show it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RetiringView {
    /// The kind of key that the secret was minted as.
    pub kind: KeyKind,
    /// The hint of the secret.
    pub hint: Option<KeyHint>,
    /// The time at which the secret was minted.
    pub created_at: Timestamp,
    /// The time from which it is refused.
    pub valid_until: Timestamp,
}

impl KeyRecord {
    /// Returns what responses and listings show of the key at `now`.
    pub fn view(&self, now: Timestamp) -> KeyView {
        let (suspended_at, revoked_at) = match self.state() {
            KeyState::Active => (None, None),
            KeyState::Suspended { since } => (Some(since), None),
            KeyState::Revoked { since } => (None, Some(since)),
        };
        let in_grace = self.retiring().iter().filter(|retiring| now < retiring.valid_until);
        KeyView {
            id: self.id(),
            owner: self.owner().clone(),
            name: self.name().clone(),
            kind: self.kind(),
            hint: self.hint().cloned(),
            status: self.status(now),
            scopes: self.scopes().clone(),
            overrides: self.overrides().clone(),
            networks: self.networks().cloned(),
            origins: self.origins().cloned(),
            metadata: self.metadata().cloned(),
            created_at: self.created_at(),
            created_by: self.created_by().cloned(),
            expires_at: self.expires_at(),
            suspended_at,
            revoked_at,
            revocation_reason: self.revocation_reason().cloned(),
            secret_created_at: self.current().created_at,
            rotation_due_at: self.rotation_due_at(),
            retiring: in_grace
                .map(|retiring| RetiringView {
                    kind: retiring.secret.kind,
                    hint: retiring.secret.hint.clone(),
                    created_at: retiring.secret.created_at,
                    valid_until: retiring.valid_until,
                })
                .collect(),
            revision: self.revision(),
        }
    }
}
