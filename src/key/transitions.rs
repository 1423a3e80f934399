//! The life of a key: pure changes, each of which returns the next record.

use crate::{
    clock::timestamp::Timestamp,
    key::{
        allowlist::Allowlist,
        draft::KeyDraft,
        grace::Grace,
        hash::KeyHash,
        id::KeyId,
        metadata::KeyMetadata,
        name::KeyName,
        network::IpNetwork,
        nonce::CreationNonce,
        origin::Origin,
        record::KeyRecord,
        scope::ScopeSet,
        secret::{RetiringSecret, StoredSecret},
        state::{KeyState, KeyStatus, Revocation},
        stored::StoredRecord,
        transition_error::TransitionError,
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
        Ok(Self(StoredRecord {
            nonce: CreationNonce::derive(id, &draft.owner, &secret, now),
            scopes: draft.scopes.unwrap_or_default(),
            overrides: draft.overrides,
            created_at: now,
            expires_at: draft.expires_at,
            networks: draft.networks,
            origins: draft.origins,
            metadata: draft.metadata,
            created_by: draft.created_by,
            ..StoredRecord::new(id, draft.owner, draft.name, secret)
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
        Ok(Self(StoredRecord { created_at, ..parts }))
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
        Ok(Self(StoredRecord { current: secret, retiring: Vec::new(), ..self.next()? }))
    }

    /// Revokes the key with all its secrets: every later decision refuses them.
    ///
    /// Revoking a revoked key changes only the revision.
    ///
    /// # Errors
    ///
    /// Returns [`TransitionError::RevisionExhausted`] if the revision cannot be raised. A record that
    /// [`StoredRecord::build`] has accepted can always be revoked.
    pub fn revoke(&self, revocation: impl Into<Revocation>) -> Result<Self, TransitionError> {
        Ok(Self(self.next()?.revoked(revocation.into())))
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
                Ok(Self(StoredRecord { state, ..self.next()? }))
            }
        }
    }

    /// Returns the revoked record with the next revision, for a store whose change needs no expected
    /// revision.
    pub(crate) fn withdrawn(&self, revocation: Revocation) -> Self {
        Self(self.next_saturated().revoked(revocation))
    }

    /// Returns the suspended record with the next revision, for a store whose change needs no expected
    /// revision. The first instant of a suspension stays.
    pub(crate) fn held_back(&self, since: Timestamp) -> Self {
        let next = self.next_saturated();
        let state = match next.state {
            KeyState::Active => KeyState::Suspended { since },
            other => other,
        };
        Self(StoredRecord { state, ..next })
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
        Ok(Self(StoredRecord { state: KeyState::Active, ..self.next()? }))
    }

    /// Sets another expiry, earlier or later than before, or none. A grace that would outlast it ends
    /// with it, and never moves later again.
    ///
    /// # Errors
    ///
    /// Returns [`TransitionError::Revoked`] or [`TransitionError::Expired`] for a key that has ended,
    /// [`TransitionError::ExpiryInPast`], or [`TransitionError::ClockBehind`].
    pub fn expire_at(
        &self,
        at: impl Into<Option<Timestamp>>,
        now: Timestamp,
    ) -> Result<Self, TransitionError> {
        let at = at.into();
        self.check_alive(now)?;
        if at.is_some_and(|at| at <= now) {
            return Err(TransitionError::ExpiryInPast);
        }
        let mut next = StoredRecord { expires_at: at, ..self.next()? };
        for retiring in &mut next.retiring {
            retiring.valid_until = retiring.valid_until.min(at.unwrap_or(Timestamp::MAX));
        }
        Ok(Self(next))
    }

    /// Ends the graces of all earlier secrets and keeps the current one. Use it when an old secret is
    /// abused and the new one is deployed.
    ///
    /// The earlier secrets stay in the record until the next rotation, so that their use is still
    /// recognised and audited.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`KeyRecord::rename`], and [`TransitionError::NoGrace`] if no secret is
    /// in its grace.
    pub fn end_grace(&self, now: Timestamp) -> Result<Self, TransitionError> {
        self.check_alive(now)?;
        if self.0.retiring.iter().all(|retiring| retiring.valid_until <= now) {
            return Err(TransitionError::NoGrace);
        }
        let mut next = self.next()?;
        for retiring in &mut next.retiring {
            retiring.valid_until = retiring.valid_until.min(now);
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
        Ok(Self(StoredRecord { name, ..self.next()? }))
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
        Ok(Self(StoredRecord { scopes, ..self.next()? }))
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
        Ok(Self(StoredRecord { overrides, ..self.next()? }))
    }

    /// Replaces what the host keeps with the key.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`KeyRecord::rename`].
    pub fn set_metadata(
        &self,
        metadata: Option<KeyMetadata>,
        now: Timestamp,
    ) -> Result<Self, TransitionError> {
        self.check_alive(now)?;
        Ok(Self(StoredRecord { metadata, ..self.next()? }))
    }

    /// Replaces the networks from which the key may be used; `None` for all.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`KeyRecord::rename`].
    pub fn set_networks(
        &self,
        networks: Option<Allowlist<IpNetwork>>,
        now: Timestamp,
    ) -> Result<Self, TransitionError> {
        self.check_alive(now)?;
        Ok(Self(StoredRecord { networks, ..self.next()? }))
    }

    /// Replaces the origins of the web pages from which the key may be used; `None` for all.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`KeyRecord::rename`].
    pub fn set_origins(
        &self,
        origins: Option<Allowlist<Origin>>,
        now: Timestamp,
    ) -> Result<Self, TransitionError> {
        self.check_alive(now)?;
        Ok(Self(StoredRecord { origins, ..self.next()? }))
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

    fn next_saturated(&self) -> StoredRecord {
        StoredRecord { revision: self.0.revision.saturating_add(1), ..self.0.clone() }
    }

    fn next(&self) -> Result<StoredRecord, TransitionError> {
        let revision = self.0.revision.checked_add(1).ok_or(TransitionError::RevisionExhausted)?;
        Ok(StoredRecord { revision, ..self.0.clone() })
    }
}

impl StoredRecord {
    /// Revokes the key, unless it was revoked before.
    fn revoked(self, Revocation { at, reason }: Revocation) -> Self {
        match self.state {
            KeyState::Revoked { .. } => self,
            KeyState::Active | KeyState::Suspended { .. } => {
                let state = KeyState::Revoked { since: at };
                Self { state, revocation_reason: reason, ..self }
            }
        }
    }
}
