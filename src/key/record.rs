//! What is kept of a key, and its life as pure transitions.

use std::time::Duration;

use thiserror::Error;

use crate::{
    clock::timestamp::Timestamp,
    key::{
        grace::Grace,
        hash::KeyHash,
        hint::KeyHint,
        id::KeyId,
        kind::KeyKind,
        name::KeyName,
        owner::OwnerId,
        scope::ScopeSet,
        secret::{RetiringSecret, StoredSecret},
    },
    quota::Quotas,
};

/// What is kept of one key: who it belongs to, what it may do, and its secrets.
///
/// The key is stable; its secrets change. Limits, usage and audit hang on the
/// [`KeyId`], so rotating doubles nobody's quota.
///
/// Each change returns the next record, whose [`revision`](KeyRecord::revision) is one
/// higher; a store replaces the old one by compare-and-swap on it. Nothing here reads a
/// clock or a store. [`Issuer`](crate::issue::Issuer) drives these transitions over a store.
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
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "KeyRecordParts", into = "KeyRecordParts"))]
pub struct KeyRecord(KeyRecordParts);

/// What the host decides about a new key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyDraft {
    /// Whom the key belongs to. It comes from the host's own check of who is asking,
    /// never from a request's body.
    pub owner: OwnerId,
    /// What people call the key.
    pub name: KeyName,
    /// What the key may do. With `None` an [`Issuer`](crate::issue::Issuer) grants what its
    /// catalogue gives the kind by default, and [`KeyRecord::issue`] grants nothing.
    pub scopes: Option<ScopeSet>,
    /// The key's own quotas, which go before its owner's.
    pub quotas: Option<Quotas>,
    /// The instant from which the key is refused.
    pub expires_at: Option<Timestamp>,
}

impl KeyDraft {
    /// A key without quotas or expiry, and with the scopes that its kind gets by default.
    pub const fn new(owner: OwnerId, name: KeyName) -> Self {
        Self { owner, name, scopes: None, quotas: None, expires_at: None }
    }

    /// The draft with these scopes.
    #[must_use]
    pub fn with_scopes(mut self, scopes: ScopeSet) -> Self {
        self.scopes = Some(scopes);
        self
    }

    /// The draft with quotas of its own.
    #[must_use]
    pub fn with_quotas(mut self, quotas: Quotas) -> Self {
        self.quotas = Some(quotas);
        self
    }

    /// The draft with an instant from which the key is refused.
    #[must_use]
    pub fn with_expiry(mut self, expires_at: Timestamp) -> Self {
        self.expires_at = Some(expires_at);
        self
    }
}

/// Every field of a [`KeyRecord`], for stores that keep them in columns.
///
/// [`KeyRecordParts::build`] checks that they make a record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
// A misspelt field must not read as an absent one: a key without its expiry never expires.
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
// What decides about a request stands first and together, on two or three cache lines: a
// service with many keys waits for memory longer than for anything but the hash.
#[repr(C)]
pub struct KeyRecordParts {
    /// When it was issued.
    pub created_at: Timestamp,
    /// The instant from which it is refused.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "Option::deserialize"))]
    pub expires_at: Option<Timestamp>,
    /// Whether it is in use, suspended or revoked.
    pub state: KeyState,
    /// Earlier secrets in their grace, oldest first.
    pub retiring: Vec<RetiringSecret>,
    /// The secret of the last rotation.
    pub current: StoredSecret,
    /// What it may do.
    pub scopes: ScopeSet,
    /// The key's identity.
    pub id: KeyId,
    /// Counts the changes, from 1.
    pub revision: u64,
    /// Its own quotas.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "Option::deserialize"))]
    pub quotas: Option<Quotas>,
    /// Whom it belongs to.
    pub owner: OwnerId,
    /// What people call it.
    pub name: KeyName,
}

impl KeyRecordParts {
    /// The parts of an active key of revision 1 with one secret and nothing optional.
    pub fn new(id: KeyId, owner: OwnerId, name: KeyName, secret: StoredSecret) -> Self {
        Self {
            id,
            owner,
            name,
            scopes: ScopeSet::empty(),
            quotas: None,
            created_at: secret.created_at,
            expires_at: None,
            state: KeyState::Active,
            current: secret,
            retiring: Vec::new(),
            revision: 1,
        }
    }

    /// The record with these parts.
    ///
    /// # Errors
    ///
    /// If no sequence of transitions could have led to them: too many retiring secrets,
    /// a secret twice, a grace beyond the expiry, or a revision of zero.
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

/// Whether a key is in use, as the record says. See [`KeyStatus`] for what that means at
/// a given instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", tag = "state"))]
#[non_exhaustive]
pub enum KeyState {
    /// In use.
    Active,
    /// Refused until resumed.
    Suspended {
        /// Since when.
        since: Timestamp,
    },
    /// Refused for ever.
    Revoked {
        /// Since when.
        since: Timestamp,
    },
}

/// What a key is at a given instant. Where several apply, the most final one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum KeyStatus {
    /// Accepted.
    Active,
    /// Refused until resumed.
    Suspended,
    /// Refused since its expiry.
    Expired,
    /// Refused for ever.
    Revoked,
}

impl KeyStatus {
    /// The status in lower case, for listings.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl std::fmt::Display for KeyStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl KeyRecord {
    /// The most secrets that can be in their grace at once.
    pub const MAX_RETIRING: usize = 3;
    /// The highest revision that a stored record can have: far more changes than a key can
    /// see, and few enough that a database's signed 64 bits hold it and what follows.
    pub const MAX_REVISION: u64 = i64::MAX as u64 / 2;
    /// How old a secret may get before its rotation is due: 90 days.
    pub const ROTATION_PERIOD: Duration = Duration::from_secs(90 * 86_400);
    /// How far behind a record's creation or current secret a `now` may be before it is
    /// refused as wrong:
    /// 24 hours. Less is the ordinary difference between two hosts' clocks.
    pub const MAX_CLOCK_SKEW: Duration = Duration::from_secs(86_400);

    /// A new key with its first secret, of revision 1.
    ///
    /// # Errors
    ///
    /// [`TransitionError::ExpiryInPast`] if it would be expired at once.
    pub fn issue(
        id: KeyId,
        draft: KeyDraft,
        secret: StoredSecret,
        now: Timestamp,
    ) -> Result<Self, TransitionError> {
        if draft.expires_at.is_some_and(|at| at <= now) {
            return Err(TransitionError::ExpiryInPast);
        }
        Ok(Self(KeyRecordParts {
            scopes: draft.scopes.unwrap_or_default(),
            quotas: draft.quotas,
            created_at: now,
            expires_at: draft.expires_at,
            ..KeyRecordParts::new(id, draft.owner, draft.name, secret)
        }))
    }

    /// A key that was minted elsewhere and is known by its hash, of revision 1.
    ///
    /// Its age counts from `secret.created_at`, so a key of an existing table can be due
    /// for rotation on its first day here.
    ///
    /// # Errors
    ///
    /// [`TransitionError::ExpiryInPast`] if it is expired already, and
    /// [`TransitionError::SecretFromFuture`] if the secret is younger than `now`.
    pub fn import(
        id: KeyId,
        draft: KeyDraft,
        secret: StoredSecret,
        now: Timestamp,
    ) -> Result<Self, TransitionError> {
        if secret.created_at > now {
            return Err(TransitionError::SecretFromFuture);
        }
        let created_at = secret.created_at;
        let Self(parts) = Self::issue(id, draft, secret, now)?;
        Ok(Self(KeyRecordParts { created_at, ..parts }))
    }

    /// The key with a new current secret. The one so far still works until `grace` has
    /// passed or the key expires, whichever comes first.
    ///
    /// A new secret of another kind changes the key's kind: so a legacy key becomes one
    /// of its successor's. A suspended key stays suspended.
    ///
    /// # Errors
    ///
    /// [`TransitionError::Revoked`] and [`TransitionError::Expired`], for neither comes
    /// back to life; [`TransitionError::TooManyRetiring`] if [`KeyRecord::MAX_RETIRING`]
    /// secrets are in their grace, since a promised grace is never cut short;
    /// [`TransitionError::DuplicateSecret`]; [`TransitionError::SecretFromFuture`];
    /// [`TransitionError::ClockBehind`].
    pub fn rotate(
        &self,
        secret: StoredSecret,
        grace: Grace,
        now: Timestamp,
    ) -> Result<Self, TransitionError> {
        self.check_alive(now)?;
        self.check_new(&secret, now)?;
        let mut next = self.next()?;
        next.retiring.retain(|retiring| now < retiring.valid_until);
        if next.retiring.len() >= Self::MAX_RETIRING {
            return Err(TransitionError::TooManyRetiring);
        }
        let grace_end = now + grace.duration();
        let valid_until = grace_end.min(self.0.expires_at.unwrap_or(Timestamp::MAX));
        let retiring = std::mem::replace(&mut next.current, secret);
        next.retiring.push(RetiringSecret { secret: retiring, valid_until });
        Ok(Self(next))
    }

    /// The key with a new secret alone: the one so far and those in their grace are
    /// refused from the next decision on. For a secret that leaked.
    ///
    /// # Errors
    ///
    /// As [`KeyRecord::rotate`], but for the number of retiring secrets.
    pub fn rotate_now(
        &self,
        secret: StoredSecret,
        now: Timestamp,
    ) -> Result<Self, TransitionError> {
        self.check_alive(now)?;
        self.check_new(&secret, now)?;
        Ok(Self(KeyRecordParts { current: secret, retiring: Vec::new(), ..self.next()? }))
    }

    /// The key refused for ever, with all its secrets, from the next decision on.
    ///
    /// Revoking a revoked key changes nothing but the revision.
    ///
    /// # Errors
    ///
    /// [`TransitionError::RevisionExhausted`] after [`KeyRecord::MAX_REVISION`]
    /// changes.
    pub fn revoke(&self, now: Timestamp) -> Result<Self, TransitionError> {
        let state = match self.0.state {
            KeyState::Revoked { since } => KeyState::Revoked { since },
            KeyState::Active | KeyState::Suspended { .. } => KeyState::Revoked { since: now },
        };
        Ok(Self(KeyRecordParts { state, ..self.next()? }))
    }

    /// The key refused until it is resumed.
    ///
    /// # Errors
    ///
    /// [`TransitionError::Revoked`]; [`TransitionError::AlreadySuspended`].
    pub fn suspend(&self, now: Timestamp) -> Result<Self, TransitionError> {
        match self.0.state {
            KeyState::Revoked { .. } => Err(TransitionError::Revoked),
            KeyState::Suspended { .. } => Err(TransitionError::AlreadySuspended),
            KeyState::Active => {
                let state = KeyState::Suspended { since: now };
                Ok(Self(KeyRecordParts { state, ..self.next()? }))
            }
        }
    }

    /// The suspended key in use again. Graces and expiry ran on meanwhile.
    ///
    /// # Errors
    ///
    /// [`TransitionError::Revoked`]; [`TransitionError::Expired`];
    /// [`TransitionError::NotSuspended`]; [`TransitionError::ClockBehind`].
    pub fn resume(&self, now: Timestamp) -> Result<Self, TransitionError> {
        self.check_alive(now)?;
        if self.0.state == KeyState::Active {
            return Err(TransitionError::NotSuspended);
        }
        Ok(Self(KeyRecordParts { state: KeyState::Active, ..self.next()? }))
    }

    /// The key with another expiry, earlier or later than before; graces that would
    /// outlast it end with it, and never move later again.
    ///
    /// # Errors
    ///
    /// [`TransitionError::Revoked`]; [`TransitionError::Expired`], for it cannot come back
    /// to life; [`TransitionError::ExpiryInPast`]; [`TransitionError::ClockBehind`].
    pub fn expire_at(&self, at: Timestamp, now: Timestamp) -> Result<Self, TransitionError> {
        self.check_alive(now)?;
        if at <= now {
            return Err(TransitionError::ExpiryInPast);
        }
        let mut next = KeyRecordParts { expires_at: Some(at), ..self.next()? };
        for retiring in &mut next.retiring {
            retiring.valid_until = retiring.valid_until.min(at);
        }
        Ok(Self(next))
    }

    /// The key under another name.
    ///
    /// # Errors
    ///
    /// [`TransitionError::Revoked`]; [`TransitionError::Expired`];
    /// [`TransitionError::ClockBehind`].
    pub fn rename(&self, name: KeyName, now: Timestamp) -> Result<Self, TransitionError> {
        self.check_alive(now)?;
        Ok(Self(KeyRecordParts { name, ..self.next()? }))
    }

    /// The key with these scopes in place of those so far, whichever of its secrets is
    /// presented, from the next decision on.
    ///
    /// Whether a key of its kind can hold them is not asked here, but by
    /// [`Issuer::set_scopes`](crate::issue::Issuer::set_scopes).
    ///
    /// # Errors
    ///
    /// As [`KeyRecord::rename`].
    pub fn set_scopes(&self, scopes: ScopeSet, now: Timestamp) -> Result<Self, TransitionError> {
        self.check_alive(now)?;
        Ok(Self(KeyRecordParts { scopes, ..self.next()? }))
    }

    /// The key with these quotas of its own; with `None` its owner's apply.
    ///
    /// # Errors
    ///
    /// As [`KeyRecord::rename`].
    pub fn set_quotas(
        &self,
        quotas: Option<Quotas>,
        now: Timestamp,
    ) -> Result<Self, TransitionError> {
        self.check_alive(now)?;
        Ok(Self(KeyRecordParts { quotas, ..self.next()? }))
    }

    /// The key with the secret of hash `old` under the hash `new` of a newer scheme; a
    /// store saves it so that the older scheme can be given up some day.
    ///
    /// # Errors
    ///
    /// [`TransitionError::UnknownSecret`] if the key has no secret `old` any more;
    /// [`TransitionError::DuplicateSecret`] if it has `new` already.
    pub fn rehash(&self, old: &KeyHash, new: KeyHash) -> Result<Self, TransitionError> {
        let mut next = self.next()?;
        if next.secrets_mut().any(|secret| secret.hash == new) {
            return Err(TransitionError::DuplicateSecret);
        }
        let found = next.secrets_mut().find(|secret| secret.hash == *old);
        found.ok_or(TransitionError::UnknownSecret)?.hash = new;
        Ok(Self(next))
    }

    /// The key's identity.
    pub const fn id(&self) -> KeyId {
        self.0.id
    }

    /// The kind of the current secret.
    pub const fn kind(&self) -> KeyKind {
        self.0.current.kind
    }

    /// Whom the key belongs to.
    pub const fn owner(&self) -> &OwnerId {
        &self.0.owner
    }

    /// What people call it.
    pub const fn name(&self) -> &KeyName {
        &self.0.name
    }

    /// What it may do.
    pub const fn scopes(&self) -> &ScopeSet {
        &self.0.scopes
    }

    /// Its own quotas, which go before its owner's.
    pub const fn quotas(&self) -> Option<&Quotas> {
        self.0.quotas.as_ref()
    }

    /// When it was issued.
    pub const fn created_at(&self) -> Timestamp {
        self.0.created_at
    }

    /// The instant from which it is refused.
    pub const fn expires_at(&self) -> Option<Timestamp> {
        self.0.expires_at
    }

    /// The instant from which it is refused for ever: its revocation or its expiry, whichever
    /// comes first. `None` for a key that neither has ended nor is going to end.
    ///
    /// It never moves later once it has passed, and a store may forget the key some time after
    /// it: see [`KeyRegistry::purge`](crate::store::KeyRegistry::purge).
    pub fn ends_at(&self) -> Option<Timestamp> {
        match (self.0.state, self.0.expires_at) {
            (KeyState::Revoked { since }, expiry) => Some(expiry.map_or(since, |at| at.min(since))),
            (KeyState::Active | KeyState::Suspended { .. }, expiry) => expiry,
        }
    }

    /// Whether it is in use, suspended or revoked, whatever the time.
    pub const fn state(&self) -> KeyState {
        self.0.state
    }

    /// What it is at `now`.
    #[inline]
    pub fn status(&self, now: Timestamp) -> KeyStatus {
        match self.0.state {
            KeyState::Revoked { .. } => KeyStatus::Revoked,
            _ if self.0.expires_at.is_some_and(|at| at <= now) => KeyStatus::Expired,
            KeyState::Suspended { .. } => KeyStatus::Suspended,
            KeyState::Active => KeyStatus::Active,
        }
    }

    /// The secret of the last rotation.
    #[inline]
    pub const fn current(&self) -> &StoredSecret {
        &self.0.current
    }

    /// What listings show of the current secret.
    pub const fn hint(&self) -> Option<&KeyHint> {
        self.0.current.hint.as_ref()
    }

    /// Earlier secrets, oldest first; those past their deadline are refused, and dropped
    /// by the next rotation.
    #[inline]
    pub fn retiring(&self) -> &[RetiringSecret] {
        &self.0.retiring
    }

    /// The hashes of all secrets, the current one first: what a store indexes.
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

    /// How many changes led to this record, from 1.
    pub const fn revision(&self) -> u64 {
        self.0.revision
    }

    /// When the current secret reaches the age at which keys should be rotated:
    /// [`KeyRecord::ROTATION_PERIOD`] after it was minted.
    pub const fn rotation_due_at(&self) -> Timestamp {
        self.0.current.created_at.saturating_add(Self::ROTATION_PERIOD)
    }

    /// Whether the current secret is 90 days old or older at `now`.
    pub fn is_rotation_due(&self, now: Timestamp) -> bool {
        self.rotation_due_at() <= now
    }

    /// Every field, for a store that keeps them in columns.
    pub fn into_parts(self) -> KeyRecordParts {
        self.0
    }

    /// Whether `now` is so far behind what this record has seen (its creation, its current
    /// secret) that the host's clock must be wrong, and nothing can be said about expiry or grace.
    #[inline]
    pub(crate) fn is_ahead_of(&self, now: Timestamp) -> bool {
        let known_past = self.0.created_at.max(self.0.current.created_at);
        now < known_past.saturating_sub(Self::MAX_CLOCK_SKEW)
    }

    fn check_alive(&self, now: Timestamp) -> Result<(), TransitionError> {
        if self.is_ahead_of(now) {
            return Err(TransitionError::ClockBehind);
        }
        match self.status(now) {
            KeyStatus::Revoked => Err(TransitionError::Revoked),
            KeyStatus::Expired => Err(TransitionError::Expired),
            KeyStatus::Suspended | KeyStatus::Active => Ok(()),
        }
    }

    fn check_new(&self, secret: &StoredSecret, now: Timestamp) -> Result<(), TransitionError> {
        if secret.created_at.saturating_sub(Self::MAX_CLOCK_SKEW) > now {
            return Err(TransitionError::SecretFromFuture);
        }
        if self.hashes().any(|hash| *hash == secret.hash) {
            return Err(TransitionError::DuplicateSecret);
        }
        Ok(())
    }

    fn next(&self) -> Result<KeyRecordParts, TransitionError> {
        let revision = self.0.revision.checked_add(1).ok_or(TransitionError::RevisionExhausted)?;
        Ok(KeyRecordParts { revision, ..self.0.clone() })
    }
}

impl KeyRecordParts {
    fn secrets_mut(&mut self) -> impl Iterator<Item = &mut StoredSecret> {
        std::iter::once(&mut self.current)
            .chain(self.retiring.iter_mut().map(|retiring| &mut retiring.secret))
    }
}

impl TryFrom<KeyRecordParts> for KeyRecord {
    type Error = RecordError;

    fn try_from(parts: KeyRecordParts) -> Result<Self, RecordError> {
        parts.build()
    }
}

impl From<KeyRecord> for KeyRecordParts {
    fn from(record: KeyRecord) -> Self {
        record.0
    }
}

/// Why parts do not make a [`KeyRecord`], or a record and an owner no
/// [`StoredKey`](crate::store::StoredKey).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecordError {
    /// More than [`KeyRecord::MAX_RETIRING`] retiring secrets.
    #[error("a key has at most {} retiring secrets", KeyRecord::MAX_RETIRING)]
    TooManyRetiring,
    /// Two secrets have the same hash.
    #[error("a key has the same secret twice")]
    DuplicateSecret,
    /// A retiring secret would outlast the key.
    #[error("a retiring secret's deadline lies beyond the key's expiry")]
    GraceBeyondExpiry,
    /// Revisions count from 1.
    #[error("a revision is at least 1")]
    ZeroRevision,
    /// The revision is above [`KeyRecord::MAX_REVISION`].
    #[error("a revision is at most {}", KeyRecord::MAX_REVISION)]
    RevisionTooHigh,
    /// The record was joined with another owner than its own.
    #[error("the record belongs to another owner")]
    ForeignOwner,
}

/// Why a key cannot change as asked. The record is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TransitionError {
    /// The key is revoked, for ever.
    #[error("the key is revoked")]
    Revoked,
    /// The key is expired, for ever.
    #[error("the key is expired")]
    Expired,
    /// The expiry asked for is not after `now`.
    #[error("the expiry is not in the future")]
    ExpiryInPast,
    /// The secret claims to be younger than `now`.
    #[error("the secret was created in the future")]
    SecretFromFuture,
    /// [`KeyRecord::MAX_RETIRING`] secrets are in their grace already. Wait for one to
    /// retire, or rotate immediately.
    #[error("{} secrets are retiring already", KeyRecord::MAX_RETIRING)]
    TooManyRetiring,
    /// The key has a secret with this hash already.
    #[error("the key has this secret already")]
    DuplicateSecret,
    /// The key has no secret with this hash.
    #[error("the key has no such secret")]
    UnknownSecret,
    /// The key is suspended already.
    #[error("the key is suspended already")]
    AlreadySuspended,
    /// The key is not suspended.
    #[error("the key is not suspended")]
    NotSuspended,
    /// `now` lies more than [`KeyRecord::MAX_CLOCK_SKEW`] before the key's creation or that
    /// of its current secret: the host's clock is wrong.
    #[error("the clock is behind the key's creation")]
    ClockBehind,
    /// The record has been changed [`KeyRecord::MAX_REVISION`] times.
    #[error("the record's revisions are used up")]
    RevisionExhausted,
}

impl TransitionError {
    /// The HTTP status for an administrator who asked for the change: 409, but 422 for
    /// an impossible expiry or secret, and 503 for a clock that is wrong.
    pub const fn status(&self) -> u16 {
        match self {
            Self::ExpiryInPast | Self::SecretFromFuture => 422,
            Self::ClockBehind => 503,
            _ => 409,
        }
    }
}
