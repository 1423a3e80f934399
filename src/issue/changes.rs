//! Changing and listing keys that exist.

use std::time::Duration;

use crate::{
    audit::{AuditAction, AuditEvent},
    clock::timestamp::Timestamp,
    issue::{error::IssuerError, issuer::Issuer, within::Within},
    key::{
        allowlist::Allowlist, id::KeyId, metadata::KeyMetadata, name::KeyName, network::IpNetwork,
        origin::Origin, owner::OwnerId, record::KeyRecord, scope::ScopeSet, state::Revocation,
        transition_error::TransitionError,
    },
    quota::overrides::Overrides,
    store::{
        KeyRegistry,
        error::ReplaceError,
        listing::{Listing, PageRequest},
        stored_key::StoredKey,
        withdrawn::Withdrawn,
    },
    verify::verified::Verified,
};

impl<R: KeyRegistry> Issuer<R> {
    /// Revokes a key permanently, with all of its secrets. It succeeds however many other changes
    /// are made at the same time. Revoking a revoked key does nothing.
    ///
    /// The second argument is `now`, or a [`Revocation`] with a reason, which the key keeps:
    ///
    /// ```
    /// # use keyward::{Issuer, KeyDraft, KeyFormat, KeyHasher, MemoryStore, SysRng, Timestamp};
    /// use keyward::key::{Revocation, RevocationReason};
    ///
    /// const LEAKED: RevocationReason = RevocationReason::from_static("found in a public repository");
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { pollster::block_on(async {
    /// # const INGEST: KeyFormat = KeyFormat::hex("lqt_");
    /// # let now = Timestamp::from_unix_secs(1_700_000_000);
    /// # let issuer = Issuer::new(MemoryStore::new(), INGEST, KeyHasher::sha256());
    /// # let draft = KeyDraft::new("proj_abc123".parse()?, "ingest".parse()?);
    /// # let id = issuer.issue(INGEST.kind(), draft, &mut SysRng, now).await?.record.id();
    /// issuer.revoke(id, Revocation::at(now).because(LEAKED)).await?;
    /// assert_eq!(issuer.get(id).await?.record().revocation_reason(), Some(&LEAKED));
    /// # Ok(()) }) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`IssuerError::NotFound`], [`IssuerError::Store`].
    pub async fn revoke(
        &self,
        id: KeyId,
        revocation: impl Into<Revocation>,
    ) -> Result<Withdrawn, IssuerError<R::Error>> {
        let revocation = revocation.into();
        let (now, reason) = (revocation.at, revocation.reason.clone());
        let within = self.within.owner()?;
        let known = self.known(id).await;
        let done =
            self.registry.revoke(id, within, revocation).await.map_err(IssuerError::Store)?;
        let done = done.ok_or(IssuerError::NotFound)?;
        if done == Withdrawn::Now {
            self.report_of(id, known.as_ref(), AuditAction::Revoked { reason }, now);
        }
        Ok(done)
    }

    /// Revokes all keys of an owner permanently, as one change, and returns the ids of those that
    /// were not revoked before. A key that is issued at the same time is issued before it and
    /// revoked, or after it.
    ///
    /// # Errors
    ///
    /// [`IssuerError::ForeignOwner`] if this issuer is confined to another owner;
    /// [`IssuerError::Store`].
    pub async fn revoke_all(
        &self,
        owner: &OwnerId,
        revocation: impl Into<Revocation>,
    ) -> Result<Vec<KeyId>, IssuerError<R::Error>> {
        let revocation = revocation.into();
        let (now, reason) = (revocation.at, revocation.reason.clone());
        if !self.within.admits(owner) {
            return Err(IssuerError::ForeignOwner);
        }
        let revoked =
            self.registry.revoke_all(owner, revocation).await.map_err(IssuerError::Store)?;
        for id in &revoked {
            self.audit.report(|| AuditEvent {
                key: Some(*id),
                owner: Some(owner.clone()),
                ..self.event(AuditAction::Revoked { reason: reason.clone() }, now)
            });
        }
        Ok(revoked)
    }

    /// Suspends a key: it is refused until it is resumed. It succeeds however many other changes
    /// are made at the same time. A suspended key stays suspended since the same instant, and a
    /// change that would resume it is refused if its record was read before this call.
    ///
    /// # Errors
    ///
    /// [`IssuerError::NotFound`], [`IssuerError::Transition`] for a revoked key,
    /// [`IssuerError::Store`].
    pub async fn suspend(&self, id: KeyId, now: Timestamp) -> Result<(), IssuerError<R::Error>> {
        let within = self.within.owner()?;
        let known = self.known(id).await;
        let done = self.registry.suspend(id, within, now).await.map_err(IssuerError::Store)?;
        match done.ok_or(IssuerError::NotFound)? {
            Withdrawn::Now => {
                self.report_of(id, known.as_ref(), AuditAction::Suspended, now);
                Ok(())
            }
            Withdrawn::RevokedBefore => Err(TransitionError::Revoked.into()),
        }
    }

    /// Returns what an audit event states about a key, if events are reported. It is read before
    /// the change, so that nothing can come between the change and its event. A record that cannot
    /// be read does not prevent the change.
    async fn known(&self, id: KeyId) -> Option<StoredKey> {
        if !self.audit.is_on() {
            return None;
        }
        self.registry.find_by_id(id).await.ok().flatten()
    }

    /// Reports a saved change of a key whose record may be unknown.
    fn report_of(&self, id: KeyId, known: Option<&StoredKey>, action: AuditAction, now: Timestamp) {
        match known {
            Some(found) => self.report(found.record(), action, now),
            None => self.audit.report(|| AuditEvent {
                key: Some(id),
                owner: self.within.owner::<R::Error>().ok().flatten().cloned(),
                ..self.event(action, now)
            }),
        }
    }

    /// Resumes a suspended key.
    ///
    /// # Errors
    ///
    /// [`IssuerError::NotFound`], [`IssuerError::Transition`], [`IssuerError::Conflict`],
    /// [`IssuerError::Store`].
    pub async fn resume(
        &self,
        id: KeyId,
        now: Timestamp,
    ) -> Result<KeyRecord, IssuerError<R::Error>> {
        let found = self.get(id).await?;
        self.change(&found, KeyRecord::resume, AuditAction::Resumed, now).await
    }

    /// Changes the expiry of a key; `None` removes it.
    ///
    /// # Errors
    ///
    /// As [`Issuer::resume`].
    pub async fn expire_at(
        &self,
        id: KeyId,
        at: impl Into<Option<Timestamp>>,
        now: Timestamp,
    ) -> Result<KeyRecord, IssuerError<R::Error>> {
        let expires_at = at.into();
        let found = self.get(id).await?;
        let action = AuditAction::ExpiryChanged { expires_at };
        self.change(&found, |record, now| record.expire_at(expires_at, now), action, now).await
    }

    /// Ends the graces of all earlier secrets of a key and keeps the current one: for an old secret
    /// that is abused, while the new one is deployed. The next decision refuses them, and audits
    /// their use as [`AuditAction::RetiredSecretUsed`] until the next rotation.
    ///
    /// # Errors
    ///
    /// As [`Issuer::resume`], with [`TransitionError::NoGrace`] if no secret is in its grace. Another
    /// change can come first; [`Issuer::revoke`] cannot be prevented.
    pub async fn end_grace(
        &self,
        id: KeyId,
        now: Timestamp,
    ) -> Result<KeyRecord, IssuerError<R::Error>> {
        let found = self.get(id).await?;
        self.change(&found, KeyRecord::end_grace, AuditAction::GraceEnded, now).await
    }

    /// Changes the name of a key.
    ///
    /// # Errors
    ///
    /// As [`Issuer::resume`].
    pub async fn rename(
        &self,
        id: KeyId,
        name: KeyName,
        now: Timestamp,
    ) -> Result<KeyRecord, IssuerError<R::Error>> {
        let found = self.get(id).await?;
        let action = AuditAction::Renamed;
        self.change(&found, |record, now| record.rename(name, now), action, now).await
    }

    /// Replaces the scopes of a key, from the next decision on.
    ///
    /// # Errors
    ///
    /// As [`Issuer::resume`], and [`IssuerError::Grant`] for scopes that the key's kind
    /// cannot have.
    pub async fn set_scopes(
        &self,
        id: KeyId,
        scopes: ScopeSet,
        now: Timestamp,
    ) -> Result<KeyRecord, IssuerError<R::Error>> {
        let found = self.get(id).await?;
        self.rules.catalog.check(found.record().kind(), &scopes)?;
        let action = AuditAction::ScopesChanged { scopes: scopes.clone() };
        self.change(&found, |record, now| record.set_scopes(scopes, now), action, now).await
    }

    /// Replaces what a key is allowed by limits per key, from the next decision on. What it does not
    /// name is as its owner or the service allows.
    ///
    /// # Errors
    ///
    /// As [`Issuer::resume`].
    pub async fn set_overrides(
        &self,
        id: KeyId,
        overrides: Overrides,
        now: Timestamp,
    ) -> Result<KeyRecord, IssuerError<R::Error>> {
        let found = self.get(id).await?;
        let action = AuditAction::OverridesChanged { overrides: overrides.clone() };
        let change = |record: &KeyRecord, now| record.set_overrides(overrides, now);
        self.change(&found, change, action, now).await
    }

    /// Replaces the networks from which a key may be used, from the next decision on; `None` for all.
    ///
    /// # Errors
    ///
    /// As [`Issuer::resume`].
    pub async fn set_networks(
        &self,
        id: KeyId,
        networks: Option<Allowlist<IpNetwork>>,
        now: Timestamp,
    ) -> Result<KeyRecord, IssuerError<R::Error>> {
        let found = self.get(id).await?;
        let action = AuditAction::NetworksChanged { networks: networks.clone() };
        let change = |record: &KeyRecord, now| record.set_networks(networks, now);
        self.change(&found, change, action, now).await
    }

    /// Replaces the origins of the web pages from which a key may be used, from the next decision on;
    /// `None` for all.
    ///
    /// # Errors
    ///
    /// As [`Issuer::resume`].
    pub async fn set_origins(
        &self,
        id: KeyId,
        origins: Option<Allowlist<Origin>>,
        now: Timestamp,
    ) -> Result<KeyRecord, IssuerError<R::Error>> {
        let found = self.get(id).await?;
        let action = AuditAction::OriginsChanged { origins: origins.clone() };
        let change = |record: &KeyRecord, now| record.set_origins(origins, now);
        self.change(&found, change, action, now).await
    }

    /// Replaces what the host keeps with a key.
    ///
    /// # Errors
    ///
    /// As [`Issuer::resume`].
    pub async fn set_metadata(
        &self,
        id: KeyId,
        metadata: Option<KeyMetadata>,
        now: Timestamp,
    ) -> Result<KeyRecord, IssuerError<R::Error>> {
        let found = self.get(id).await?;
        let change = |record: &KeyRecord, now| record.set_metadata(metadata, now);
        self.change(&found, change, AuditAction::MetadataChanged, now).await
    }

    /// Removes at most `limit` keys that have been revoked or expired for longer than `kept_for`,
    /// and returns their ids. Fewer than `limit` ids mean that no such key remains. Choose
    /// `kept_for` as long as audits need the records.
    ///
    /// Keys that are in use or suspended stay. A secret of a purged key is refused as an unknown
    /// one. Ids are random, so an issued id does not recur; an imported one can, see
    /// [`Issuer::import`].
    ///
    /// `now` determines what has expired, and a purge cannot be undone. So do not purge by a clock
    /// that may be ahead of the one by which requests are decided.
    ///
    /// # Errors
    ///
    /// [`IssuerError::ForeignOwner`] if this issuer is confined to an owner, because a purge
    /// removes keys of all owners; [`IssuerError::Store`].
    pub async fn purge(
        &self,
        kept_for: Duration,
        limit: u16,
        now: Timestamp,
    ) -> Result<Vec<KeyId>, IssuerError<R::Error>> {
        let Within::All = self.within else { return Err(IssuerError::ForeignOwner) };
        let ended_before = now.saturating_sub(kept_for);
        let purged = self.registry.purge(ended_before, limit).await.map_err(IssuerError::Store)?;
        for id in &purged {
            self.audit
                .report(|| AuditEvent { key: Some(*id), ..self.event(AuditAction::Purged, now) });
        }
        Ok(purged)
    }

    /// Saves the effect of [`Verified::rehash`], if there is one, and returns whether the record
    /// was changed. It is no error if another change came first, because the next request with the
    /// key yields the same effect.
    ///
    /// # Errors
    ///
    /// [`IssuerError::Store`], [`IssuerError::DuplicateSecret`], and
    /// [`IssuerError::NotFound`] if this issuer is confined to another owner.
    pub async fn rehash(
        &self,
        verified: &Verified,
        now: Timestamp,
    ) -> Result<bool, IssuerError<R::Error>> {
        let Some(rehash) = verified.rehash() else { return Ok(false) };
        self.check_owner(verified.record())?;
        let record = verified.record().rehash(&rehash.old, rehash.new)?;
        match self.registry.replace(record.clone()).await {
            Ok(()) => {
                self.report(&record, AuditAction::Rehashed, now);
                Ok(true)
            }
            Err(ReplaceError::Conflict | ReplaceError::NotFound) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the key with this id.
    ///
    /// # Errors
    ///
    /// [`IssuerError::NotFound`], also for a key of another owner than the one to which this issuer
    /// is confined; [`IssuerError::Store`].
    pub async fn get(&self, id: KeyId) -> Result<StoredKey, IssuerError<R::Error>> {
        let found = self.registry.find_by_id(id).await.map_err(IssuerError::Store)?;
        let found = found.ok_or(IssuerError::NotFound)?;
        self.check_owner(found.record())?;
        Ok(found)
    }

    /// Returns a page of the keys of one owner, oldest first.
    ///
    /// # Errors
    ///
    /// [`IssuerError::ForeignOwner`] if this issuer is confined to another owner;
    /// [`IssuerError::Store`].
    pub async fn list(
        &self,
        owner: &OwnerId,
        page: PageRequest,
    ) -> Result<Listing, IssuerError<R::Error>> {
        if !self.within.admits(owner) {
            return Err(IssuerError::ForeignOwner);
        }
        self.registry.list(owner, page).await.map_err(IssuerError::Store)
    }
}
