//! Every field of a record, for stores.

use crate::{
    clock::timestamp::Timestamp,
    key::{
        id::KeyId,
        name::KeyName,
        owner::OwnerId,
        scope::ScopeSet,
        secret::{RetiringSecret, StoredSecret},
        state::KeyState,
    },
    quota::overrides::Overrides,
};

/// Every field of a [`KeyRecord`](crate::key::KeyRecord), for stores that keep them in columns.
///
/// [`KeyRecordParts::build`] checks them and builds the record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
// A misspelt field must not read as an absent one: a key whose expiry is lost never expires.
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
// The fields that decide about a request come first and together, on two or three cache lines. A
// service with many keys spends more time waiting for memory than on anything but the hash.
#[repr(C)]
pub struct KeyRecordParts {
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
    /// The id of the key.
    pub id: KeyId,
    /// The number of the last change, from 1.
    pub revision: u64,
    /// What the key is allowed by limits per key.
    pub overrides: Overrides,
    /// The owner of the key.
    pub owner: OwnerId,
    /// The name of the key.
    pub name: KeyName,
}

impl KeyRecordParts {
    /// Builds the parts of an active key of revision 1 with one secret and nothing optional.
    pub fn new(id: KeyId, owner: OwnerId, name: KeyName, secret: StoredSecret) -> Self {
        Self {
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
