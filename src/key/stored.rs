//! The stored form of a record, with every field.

use crate::{
    clock::timestamp::Timestamp,
    key::{
        actor::Actor,
        allowlist::Allowlist,
        id::KeyId,
        metadata::KeyMetadata,
        name::KeyName,
        network::IpNetwork,
        nonce::CreationNonce,
        origin::Origin,
        owner::OwnerId,
        scope::ScopeSet,
        secret::{RetiringSecret, StoredSecret},
        state::{KeyState, RevocationReason},
    },
    quota::overrides::Overrides,
};

/// Every field of a [`KeyRecord`](crate::key::KeyRecord), for stores alone: columns, or serde.
///
/// It contains the hashes of the secrets, so no response may contain it;
/// [`KeyView`](crate::key::KeyView) is for responses. [`StoredRecord::build`] checks the fields and
/// builds the record. [`KeyRecord::into_parts`](crate::key::KeyRecord::into_parts) returns them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
// A misspelt field must not read as an absent one: a key whose expiry is lost never expires.
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
// The fields that decide about a request come first and together, on two or three cache lines. A
// service with many keys spends more time waiting for memory than on anything but the hash.
#[repr(C)]
pub struct StoredRecord {
    /// The time at which the key was issued.
    pub created_at: Timestamp,
    /// The time from which the key is refused.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "Option::deserialize"))]
    pub expires_at: Option<Timestamp>,
    /// The state of the key: in use, suspended or revoked.
    pub state: KeyState,
    /// Earlier secrets in their grace, the oldest first.
    pub retiring: Vec<RetiringSecret>,
    /// The secret of the last rotation.
    pub current: StoredSecret,
    /// The scopes of the key.
    pub scopes: ScopeSet,
    /// The networks from which the key may be used; `None` for all.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "Option::deserialize"))]
    pub networks: Option<Allowlist<IpNetwork>>,
    /// The origins of the web pages from which the key may be used; `None` for all.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "Option::deserialize"))]
    pub origins: Option<Allowlist<Origin>>,
    /// The id of the key.
    pub id: KeyId,
    /// What tells this life of the id from another one.
    pub nonce: CreationNonce,
    /// The number of the last change, from 1.
    pub revision: u64,
    /// What the key is allowed by limits per key.
    pub overrides: Overrides,
    /// The owner of the key.
    pub owner: OwnerId,
    /// The name of the key.
    pub name: KeyName,
    /// What the host keeps with the key.
    pub metadata: Option<KeyMetadata>,
    /// Who issued or imported the key, if that is known.
    pub created_by: Option<Actor>,
    /// Why the key was revoked, if it is revoked and a reason was given.
    pub revocation_reason: Option<RevocationReason>,
}

impl StoredRecord {
    /// Builds the stored form of an active key of revision 1 with one secret and nothing optional,
    /// which begins at the creation of the secret.
    pub fn new(id: KeyId, owner: OwnerId, name: KeyName, secret: StoredSecret) -> Self {
        Self {
            nonce: CreationNonce::derive(id, &owner, &secret, secret.created_at),
            networks: None,
            origins: None,
            metadata: None,
            created_by: None,
            revocation_reason: None,
            id,
            owner,
            name,
            scopes: ScopeSet::empty(),
            overrides: Overrides::none(),
            created_at: secret.created_at,
            expires_at: None,
            state: KeyState::Active,
            current: secret,
            retiring: Vec::new(),
            revision: 1,
        }
    }

    pub(super) fn secrets_mut(&mut self) -> impl Iterator<Item = &mut StoredSecret> {
        std::iter::once(&mut self.current)
            .chain(self.retiring.iter_mut().map(|retiring| &mut retiring.secret))
    }
}
