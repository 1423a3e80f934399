//! The stored record of a key.

use std::time::Duration;

use thiserror::Error;

use crate::{
    clock::timestamp::Timestamp,
    key::{
        actor::Actor,
        allowlist::Allowlist,
        hash::KeyHash,
        hint::KeyHint,
        id::KeyId,
        kind::KeyKind,
        metadata::KeyMetadata,
        name::KeyName,
        network::IpNetwork,
        nonce::CreationNonce,
        origin::Origin,
        owner::OwnerId,
        scope::ScopeSet,
        secret::{RetiringSecret, StoredSecret},
        state::{KeyState, KeyStatus, RevocationReason},
        stored::StoredRecord,
    },
    quota::overrides::Overrides,
};

/// The record of one key: its owner, its scopes and its secrets.
///
/// The key is stable, and its secrets change. Limits, usage and audit refer to the [`KeyId`], so a
/// rotation doubles no quota.
///
/// Each change returns the next record, whose [`revision`](KeyRecord::revision) is one higher. A
/// store replaces the old record by compare-and-swap on the revision. The record reads neither a
/// clock nor a store: [`Issuer`](crate::issue::Issuer) makes these changes over a store.
///
/// A record has no form in serde, so that no response contains its hashes by accident. A store
/// serializes a [`StoredRecord`], and a response a [`KeyView`](crate::key::KeyView).
///
/// ```compile_fail,E0277
/// fn respond(record: &keyward::key::KeyRecord) -> String {
///     serde_json::to_string(record).unwrap()
/// }
/// ```
///
/// ```
/// use keyward::{
///     key::{Grace, KeyId, KeyRecord, StoredSecret}, KeyDraft, KeyFormat, KeyHasher, Timestamp,
/// };
/// use rand::{SeedableRng, rngs::StdRng};
///
/// const INGEST: KeyFormat = KeyFormat::hex("lqt_");
/// let (hasher, mut rng) = (KeyHasher::sha256(), StdRng::from_seed([1; 32]));
/// let now = Timestamp::from_unix_secs(1_700_000_000);
///
/// let first = INGEST.mint(&mut rng)?;
/// let draft = KeyDraft::new("proj_abc123".parse()?, "ingest".parse()?);
/// let id = KeyId::random(&mut rng)?;
/// let record = KeyRecord::issue(id, draft, StoredSecret::of(&first, &hasher, now), now)?;
///
/// let second = INGEST.mint(&mut rng)?;
/// let rotated = record.rotate(StoredSecret::of(&second, &hasher, now), Grace::DAY, now)?;
/// assert_eq!(rotated.id(), record.id());
/// assert_eq!(rotated.retiring()[0].valid_until, now + Grace::DAY.duration());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord(pub(super) StoredRecord);

impl KeyRecord {
    /// The largest number of secrets that can be in their grace at once.
    pub const MAX_RETIRING: usize = 3;
    /// The highest revision of a stored record: 2⁶² - 1. No key sees as many changes, and the signed
    /// 64 bits of a database hold it and the revisions after it.
    pub const MAX_REVISION: u64 = i64::MAX as u64 / 2;
    /// The age of a secret at which its rotation is due: 90 days.
    pub const ROTATION_PERIOD: Duration = Duration::from_secs(90 * 86_400);
    /// How far before the creation of a record or of its current secret a `now` can be: 24 hours.
    ///
    /// A `now` that is further behind is refused as wrong. Less is the ordinary difference between
    /// the clocks of two hosts.
    pub const MAX_CLOCK_SKEW: Duration = Duration::from_secs(86_400);

    /// Returns the id of the key.
    pub const fn id(&self) -> KeyId {
        self.0.id
    }

    /// Returns the kind of the current secret.
    pub const fn kind(&self) -> KeyKind {
        self.0.current.kind
    }

    /// Returns the owner of the key.
    pub const fn owner(&self) -> &OwnerId {
        &self.0.owner
    }

    /// Returns the name of the key.
    pub const fn name(&self) -> &KeyName {
        &self.0.name
    }

    /// Returns the scopes of the key.
    pub const fn scopes(&self) -> &ScopeSet {
        &self.0.scopes
    }

    /// Returns what the key is allowed by limits per key, in place of what its owner or the service
    /// allows.
    pub const fn overrides(&self) -> &Overrides {
        &self.0.overrides
    }

    /// Returns the networks from which the key may be used; `None` for all.
    #[inline]
    pub const fn networks(&self) -> Option<&Allowlist<IpNetwork>> {
        self.0.networks.as_ref()
    }

    /// Returns the origins of the web pages from which the key may be used; `None` for all.
    #[inline]
    pub const fn origins(&self) -> Option<&Allowlist<Origin>> {
        self.0.origins.as_ref()
    }

    /// Returns what the host keeps with the key.
    pub const fn metadata(&self) -> Option<&KeyMetadata> {
        self.0.metadata.as_ref()
    }

    /// Returns who issued or imported the key, if that is known.
    pub const fn created_by(&self) -> Option<&Actor> {
        self.0.created_by.as_ref()
    }

    /// Returns why the key was revoked, if it is revoked and a reason was given.
    pub const fn revocation_reason(&self) -> Option<&RevocationReason> {
        self.0.revocation_reason.as_ref()
    }

    /// Returns what tells this life of the id from another one, after a purge and a second import.
    pub const fn nonce(&self) -> CreationNonce {
        self.0.nonce
    }

    /// Returns whether a compare-and-swap accepts `next` in place of this record: the same id, the
    /// same life of it, and the revision after this one.
    pub fn is_followed_by(&self, next: &Self) -> bool {
        self.is_same_life(next) && self.0.revision.checked_add(1) == Some(next.0.revision)
    }

    /// Returns whether both are records of the same life of one id.
    pub fn is_same_life(&self, other: &Self) -> bool {
        self.0.id == other.0.id && self.0.nonce == other.0.nonce
    }

    /// Returns the time at which the key was issued.
    pub const fn created_at(&self) -> Timestamp {
        self.0.created_at
    }

    /// Returns the time from which the key is refused.
    pub const fn expires_at(&self) -> Option<Timestamp> {
        self.0.expires_at
    }

    /// Returns the time from which the key is refused forever: its revocation or its expiry,
    /// whichever comes first. `None` if it is not revoked and has no expiry.
    ///
    /// Once it has passed, it never moves later, and a store may forget the key some time after it:
    /// see [`KeyRegistry::purge`](crate::store::KeyRegistry::purge).
    pub fn ends_at(&self) -> Option<Timestamp> {
        match (self.0.state, self.0.expires_at) {
            (KeyState::Revoked { since }, expiry) => Some(expiry.map_or(since, |at| at.min(since))),
            (KeyState::Active | KeyState::Suspended { .. }, expiry) => expiry,
        }
    }

    /// Returns whether the key is in use, suspended or revoked. This does not depend on the time.
    pub const fn state(&self) -> KeyState {
        self.0.state
    }

    /// Returns the status of the key at `now`.
    #[inline]
    pub fn status(&self, now: Timestamp) -> KeyStatus {
        match self.0.state {
            KeyState::Revoked { .. } => KeyStatus::Revoked,
            _ if self.0.expires_at.is_some_and(|at| at <= now) => KeyStatus::Expired,
            KeyState::Suspended { .. } => KeyStatus::Suspended,
            KeyState::Active => KeyStatus::Active,
        }
    }

    /// Returns the secret of the last rotation.
    #[inline]
    pub const fn current(&self) -> &StoredSecret {
        &self.0.current
    }

    /// Returns the hint of the current secret, for listings.
    pub const fn hint(&self) -> Option<&KeyHint> {
        self.0.current.hint.as_ref()
    }

    /// Returns the earlier secrets, the oldest first. Those past their deadline are refused, and the
    /// next rotation drops them.
    #[inline]
    pub fn retiring(&self) -> &[RetiringSecret] {
        &self.0.retiring
    }

    /// Returns the hashes of all secrets, the current one first. A store indexes them.
    #[inline]
    pub fn hashes(&self) -> impl Iterator<Item = &KeyHash> {
        std::iter::once(&self.0.current.hash)
            .chain(self.0.retiring.iter().map(|retiring| &retiring.secret.hash))
    }

    /// Returns whether one of the secrets, current or retiring, has this hash.
    ///
    /// Made for tables that are searched by hash: the comparison is not constant-time. That is
    /// safe there, because nobody can choose the bytes of the digest of a key. The proof that a
    /// presented key is the right one is [`Verifier::verify`](crate::verify::Verifier::verify).
    #[inline]
    pub fn holds(&self, hash: &KeyHash) -> bool {
        let same =
            |held: &KeyHash| held.digest() == hash.digest() && held.scheme() == hash.scheme();
        same(&self.0.current.hash)
            || self.0.retiring.iter().any(|retiring| same(&retiring.secret.hash))
    }

    /// Returns the number of the last change. A new key has revision 1.
    pub const fn revision(&self) -> u64 {
        self.0.revision
    }

    /// Returns the time at which the rotation of the current secret is due:
    /// [`KeyRecord::ROTATION_PERIOD`] after it was minted.
    pub const fn rotation_due_at(&self) -> Timestamp {
        self.0.current.created_at.saturating_add(Self::ROTATION_PERIOD)
    }

    /// Returns whether the current secret is at least 90 days old at `now`.
    pub fn is_rotation_due(&self, now: Timestamp) -> bool {
        self.rotation_due_at() <= now
    }

    /// Returns every field, for a store.
    pub fn into_parts(self) -> StoredRecord {
        self.0
    }

    /// Returns whether `now` is so far before the creation of the record or of its current secret
    /// that the clock of the host must be wrong. Then neither expiry nor grace can be judged.
    #[inline]
    pub(crate) fn is_ahead_of(&self, now: Timestamp) -> bool {
        let known_past = self.0.created_at.max(self.0.current.created_at);
        now < known_past.saturating_sub(Self::MAX_CLOCK_SKEW)
    }
}

impl StoredRecord {
    /// Builds the record.
    ///
    /// # Errors
    ///
    /// Returns an error if no sequence of changes leads to these parts: too many retiring secrets, a
    /// secret twice, a grace beyond the expiry, a reason for a revocation of a key that is not
    /// revoked, or a revision of 0 or above [`KeyRecord::MAX_REVISION`].
    pub fn build(self) -> Result<KeyRecord, RecordError> {
        if self.retiring.len() > KeyRecord::MAX_RETIRING {
            return Err(RecordError::TooManyRetiring);
        }
        if self.revision == 0 {
            return Err(RecordError::ZeroRevision);
        }
        if self.revision > KeyRecord::MAX_REVISION {
            return Err(RecordError::RevisionTooHigh);
        }
        if self.revocation_reason.is_some() && !matches!(self.state, KeyState::Revoked { .. }) {
            return Err(RecordError::ReasonWithoutRevocation);
        }
        let expiry = self.expires_at.unwrap_or(Timestamp::MAX);
        if self.retiring.iter().any(|retiring| retiring.valid_until > expiry) {
            return Err(RecordError::GraceBeyondExpiry);
        }
        let mut rest = self.retiring.as_slice();
        let mut hash = &self.current.hash;
        loop {
            if rest.iter().any(|retiring| retiring.secret.hash == *hash) {
                return Err(RecordError::DuplicateSecret);
            }
            let Some((next, others)) = rest.split_first() else { break };
            (hash, rest) = (&next.secret.hash, others);
        }
        Ok(KeyRecord(self))
    }
}

impl TryFrom<StoredRecord> for KeyRecord {
    type Error = RecordError;

    fn try_from(parts: StoredRecord) -> Result<Self, RecordError> {
        parts.build()
    }
}

impl From<KeyRecord> for StoredRecord {
    fn from(record: KeyRecord) -> Self {
        record.0
    }
}

/// The error of a store whose data is no [`KeyRecord`], or no record with its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecordError {
    /// More than [`KeyRecord::MAX_RETIRING`] retiring secrets.
    #[error("a key has at most {} retiring secrets", KeyRecord::MAX_RETIRING)]
    TooManyRetiring,
    /// Two secrets have the same hash.
    #[error("the key has the same secret twice")]
    DuplicateSecret,
    /// The deadline of a retiring secret is after the expiry of the key.
    #[error("the deadline of a retiring secret is after the expiry of the key")]
    GraceBeyondExpiry,
    /// The revision is 0. Revisions count from 1.
    #[error("a revision is at least 1")]
    ZeroRevision,
    /// The revision is above [`KeyRecord::MAX_REVISION`].
    #[error("a revision is at most {}", KeyRecord::MAX_REVISION)]
    RevisionTooHigh,
    /// The key has a reason for its revocation and is not revoked.
    #[error("the key has a reason for its revocation and is not revoked")]
    ReasonWithoutRevocation,
    /// The record was joined with another owner than its own.
    #[error("the record belongs to another owner")]
    ForeignOwner,
}
