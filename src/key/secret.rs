//! The stored form of one secret of a key.

use crate::{
    clock::timestamp::Timestamp,
    key::{
        hash::KeyHash, hasher::KeyHasher, hint::KeyHint, kind::KeyKind, plaintext::PlaintextKey,
    },
};

/// The stored form of one secret: its hash, its kind, its hint and the time at which it was minted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
// Declared in the order of use, for the same reason as the parts of a record.
#[repr(C)]
pub struct StoredSecret {
    /// The hash that a presented key must match.
    pub hash: KeyHash,
    /// The kind of key that the secret was minted as.
    pub kind: KeyKind,
    /// The hint for listings. Imported secrets may have none.
    pub hint: Option<KeyHint>,
    /// The time at which it was minted.
    pub created_at: Timestamp,
}

impl StoredSecret {
    /// Builds the stored form of a secret of which only the hash is known, for instance from an
    /// existing table.
    pub const fn new(hash: KeyHash, kind: KeyKind, created_at: Timestamp) -> Self {
        Self { hash, kind, hint: None, created_at }
    }

    /// Builds the stored form of a minted key.
    pub fn of(key: &PlaintextKey, hasher: &KeyHasher, created_at: Timestamp) -> Self {
        Self { hash: hasher.hash(key), kind: key.kind(), hint: Some(key.hint()), created_at }
    }

    /// Sets the hint for listings.
    #[must_use]
    pub fn with_hint(mut self, hint: KeyHint) -> Self {
        self.hint = Some(hint);
        self
    }
}

/// A secret that a rotation replaced and that still works until its deadline.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct RetiringSecret {
    /// The secret.
    pub secret: StoredSecret,
    /// The time from which it is refused: the end of its grace, or the expiry of the key if that
    /// comes first. It never moves later.
    pub valid_until: Timestamp,
}

impl RetiringSecret {
    /// Builds a secret that works until just before `valid_until`.
    pub const fn new(secret: StoredSecret, valid_until: Timestamp) -> Self {
        Self { secret, valid_until }
    }
}
