//! The life of a key: pure changes, each of which returns the next record.

use thiserror::Error;

use crate::{
    clock::timestamp::Timestamp,
    key::{
        draft::KeyDraft,
        grace::Grace,
        hash::KeyHash,
        id::KeyId,
        name::KeyName,
        parts::KeyRecordParts,
        record::KeyRecord,
        scope::ScopeSet,
        secret::{RetiringSecret, StoredSecret},
        state::{KeyState, KeyStatus},
    },
    quota::overrides::Overrides,
};

impl KeyRecord {
    /// Builds the record of a new key with its first secret. Its revision is 1.
    ///
    /// # Errors
    ///
    /// Returns [`TransitionError::ExpiryInPast`] if the key would be expired at once.
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
            overrides: draft.overrides,
            created_at: now,
            expires_at: draft.expires_at,
            ..KeyRecordParts::new(id, draft.owner, draft.name, secret)
        }))
    }

    /// Builds the record of a key that another system minted and of which only the hash is known.
    /// Its revision is 1.
    ///
    /// Its age counts from `secret.created_at`, so the rotation of a key from an existing table can
    /// be due at once.
    ///
    /// # Errors
    ///
    /// Returns [`TransitionError::ExpiryInPast`] if the key is already expired, and
    /// [`TransitionError::SecretFromFuture`] if the secret was created after `now`.
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

    /// Gives the key a new current secret. The old one works until `grace` has passed or the key
    /// expires, whichever comes first.
    ///
    /// A secret of another kind changes the kind of the key. This is how a key of a legacy kind
    /// becomes one of the successor kind. A suspended key stays suspended.
    ///
    /// # Errors
    ///
    /// Returns [`TransitionError::Revoked`] or [`TransitionError::Expired`] for a key that has ended;
    /// [`TransitionError::TooManyRetiring`] if [`KeyRecord::MAX_RETIRING`] secrets are in their
    /// grace, because a promised grace is never cut short; [`TransitionError::DuplicateSecret`];
    /// [`TransitionError::SecretFromFuture`]; [`TransitionError::ClockBehind`].
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

    /// Gives the key a new secret and ends all others, also those in their grace: the next decision
    /// refuses them. Use it when a secret has leaked.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`KeyRecord::rotate`] except [`TransitionError::TooManyRetiring`].
    pub fn rotate_now(
        &self,
        secret: StoredSecret,
        now: Timestamp,
    ) -> Result<Self, TransitionError> {
        self.check_alive(now)?;
        self.check_new(&secret, now)?;
        Ok(Self(KeyRecordParts { current: secret, retiring: Vec::new(), ..self.next()? }))
    }

    /// Revokes the key with all its secrets: every later decision refuses them.
    ///
    /// Revoking a revoked key changes only the revision.
    ///
    /// # Errors
    ///
    /// Returns [`TransitionError::RevisionExhausted`] if the revision cannot be raised. A record that
    /// [`KeyRecordParts::build`] has accepted can always be revoked.
    pub fn revoke(&self, now: Timestamp) -> Result<Self, TransitionError> {
        let state = match self.0.state {
            KeyState::Revoked { since } => KeyState::Revoked { since },
            KeyState::Active | KeyState::Suspended { .. } => KeyState::Revoked { since: now },
        };
        Ok(Self(KeyRecordParts { state, ..self.next()? }))
    }

    /// Suspends the key: it is refused until it is resumed.
    ///
    /// # Errors
    ///
    /// Returns [`TransitionError::Revoked`] or [`TransitionError::AlreadySuspended`].
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

    /// Returns the record with another state and the next revision, for a store whose change needs no
    /// expected revision.
    pub(crate) fn in_state(&self, state: KeyState) -> Self {
        let revision = self.0.revision.saturating_add(1);
        Self(KeyRecordParts { state, revision, ..self.0.clone() })
    }

    /// Resumes a suspended key. The suspension did not extend its graces and its expiry.
    ///
    /// # Errors
    ///
    /// Returns [`TransitionError::Revoked`], [`TransitionError::Expired`],
    /// [`TransitionError::NotSuspended`] or [`TransitionError::ClockBehind`].
    pub fn resume(&self, now: Timestamp) -> Result<Self, TransitionError> {
        self.check_alive(now)?;
        if self.0.state == KeyState::Active {
            return Err(TransitionError::NotSuspended);
        }
        Ok(Self(KeyRecordParts { state: KeyState::Active, ..self.next()? }))
    }

    /// Sets another expiry, earlier or later than before. A grace that would outlast it ends with
    /// it, and never moves later again.
    ///
    /// # Errors
    ///
    /// Returns [`TransitionError::Revoked`] or [`TransitionError::Expired`] for a key that has ended,
    /// [`TransitionError::ExpiryInPast`], or [`TransitionError::ClockBehind`].
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

    /// Gives the key another name.
    ///
    /// # Errors
    ///
    /// Returns [`TransitionError::Revoked`], [`TransitionError::Expired`] or
    /// [`TransitionError::ClockBehind`].
    pub fn rename(&self, name: KeyName, now: Timestamp) -> Result<Self, TransitionError> {
        self.check_alive(now)?;
        Ok(Self(KeyRecordParts { name, ..self.next()? }))
    }

    /// Replaces the scopes of the key, for all of its secrets and from the next decision on.
    ///
    /// This does not check whether a key of its kind can hold the scopes.
    /// [`Issuer::set_scopes`](crate::issue::Issuer::set_scopes) does.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`KeyRecord::rename`].
    pub fn set_scopes(&self, scopes: ScopeSet, now: Timestamp) -> Result<Self, TransitionError> {
        self.check_alive(now)?;
        Ok(Self(KeyRecordParts { scopes, ..self.next()? }))
    }

    /// Replaces what the key is allowed by limits per key. What it does not name is as its owner or
    /// the service allows.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`KeyRecord::rename`].
    pub fn set_overrides(
        &self,
        overrides: Overrides,
        now: Timestamp,
    ) -> Result<Self, TransitionError> {
        self.check_alive(now)?;
        Ok(Self(KeyRecordParts { overrides, ..self.next()? }))
    }

    /// Replaces the hash `old` of a secret by the hash `new` of the same secret under a newer scheme.
    /// When all hashes are replaced, the older scheme can be dropped.
    ///
    /// # Errors
    ///
    /// Returns [`TransitionError::UnknownSecret`] if the key no longer has the hash `old`, and
    /// [`TransitionError::DuplicateSecret`] if it already has the hash `new`.
    pub fn rehash(&self, old: &KeyHash, new: KeyHash) -> Result<Self, TransitionError> {
        let mut next = self.next()?;
        if next.secrets_mut().any(|secret| secret.hash == new) {
            return Err(TransitionError::DuplicateSecret);
        }
        let found = next.secrets_mut().find(|secret| secret.hash == *old);
        found.ok_or(TransitionError::UnknownSecret)?.hash = new;
        Ok(Self(next))
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

/// The error of a change that a key does not allow. The record stays as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TransitionError {
    /// The key is revoked forever.
    #[error("the key is revoked")]
    Revoked,
    /// The key is expired forever.
    #[error("the key is expired")]
    Expired,
    /// The new expiry is not after `now`.
    #[error("the expiry is not in the future")]
    ExpiryInPast,
    /// The secret was created after `now`.
    #[error("the secret was created in the future")]
    SecretFromFuture,
    /// [`KeyRecord::MAX_RETIRING`] secrets are in their grace. Wait until one has ended, or call
    /// [`KeyRecord::rotate_now`].
    #[error("{} secrets are already in their grace", KeyRecord::MAX_RETIRING)]
    TooManyRetiring,
    /// The key already has a secret with this hash.
    #[error("the key already has this secret")]
    DuplicateSecret,
    /// The key has no secret with this hash.
    #[error("the key has no such secret")]
    UnknownSecret,
    /// The key is already suspended.
    #[error("the key is already suspended")]
    AlreadySuspended,
    /// The key is not suspended.
    #[error("the key is not suspended")]
    NotSuspended,
    /// `now` is more than [`KeyRecord::MAX_CLOCK_SKEW`] before the creation of the key or of its
    /// current secret: the clock of the host is wrong.
    #[error("the clock is behind the creation of the key")]
    ClockBehind,
    /// The revision cannot be raised. This does not happen to a record of a store, whose revision is
    /// at most [`KeyRecord::MAX_REVISION`].
    #[error("the revision of the record cannot be raised")]
    RevisionExhausted,
}

impl TransitionError {
    /// Returns the HTTP status for the administrator who requested the change: 422 for an impossible
    /// expiry or secret, 503 for a wrong clock, and 409 for everything else.
    pub const fn status(&self) -> u16 {
        match self {
            Self::ExpiryInPast | Self::SecretFromFuture => 422,
            Self::ClockBehind => 503,
            _ => 409,
        }
    }
}
