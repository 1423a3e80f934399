//! One secret of a key, as far as it is kept.

use crate::{
    clock::timestamp::Timestamp,
    key::{
        hash::{KeyHash, KeyHasher},
        hint::KeyHint,
        kind::KeyKind,
        plaintext::PlaintextKey,
    },
};

/// What is kept of one secret: its hash, its kind, what may be shown of it, and since
/// when it exists.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
// Declared in the order of use, for the same reason as the record's parts.
#[repr(C)]
pub struct StoredSecret {
    /// The hash that a presented key must match.
    pub hash: KeyHash,
    /// The kind of key that the secret was minted as.
    pub kind: KeyKind,
    /// What listings may show of it; imported secrets may have none.
    pub hint: Option<KeyHint>,
    /// When it was minted.
    pub created_at: Timestamp,
}

impl StoredSecret {
    /// A secret known by its hash alone, for instance from an existing table.
    pub const fn new(hash: KeyHash, kind: KeyKind, created_at: Timestamp) -> Self {
        Self { hash, kind, hint: None, created_at }
    }

    /// What to keep of a freshly minted key.
    pub fn of(key: &PlaintextKey, hasher: &KeyHasher, created_at: Timestamp) -> Self {
        Self { hash: hasher.hash(key), kind: key.kind(), hint: Some(key.hint()), created_at }
    }

    /// The secret with what listings may show of it.
    #[must_use]
    pub fn with_hint(mut self, hint: KeyHint) -> Self {
        self.hint = Some(hint);
        self
    }
}

/// A secret that was rotated out and still works until its deadline.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct RetiringSecret {
    /// The secret.
    pub secret: StoredSecret,
    /// The instant from which it is refused: the end of its grace, or the key's expiry
    /// if that comes first. It never moves later.
    pub valid_until: Timestamp,
}

impl RetiringSecret {
    /// A secret that works until just before `valid_until`.
    pub const fn new(secret: StoredSecret, valid_until: Timestamp) -> Self {
        Self { secret, valid_until }
    }
}
