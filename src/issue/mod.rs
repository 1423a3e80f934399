//! Issuing and managing keys over a store.

use std::{sync::Arc, time::Duration};

use rand::TryCryptoRng;
use thiserror::Error;

use crate::{
    audit::{Audit, AuditAction, AuditEvent},
    clock::timestamp::Timestamp,
    key::{
        catalog::{GrantError, ScopeCatalog},
        draft::KeyDraft,
        formats::KeyFormats,
        grace::Grace,
        hasher::KeyHasher,
        id::KeyId,
        kind::KeyKind,
        name::KeyName,
        owner::OwnerId,
        plaintext::{MintError, PlaintextKey},
        record::KeyRecord,
        scope::ScopeSet,
        secret::StoredSecret,
        state::KeyState,
        transitions::TransitionError,
    },
    quota::Quotas,
    store::{InsertError, KeyRegistry, Listing, PageRequest, ReplaceError, StoredKey},
    verify::{Verified, Verifier},
};

/// Issues, rotates and revokes keys in a [`KeyRegistry`].
///
/// Each change is one compare-and-swap: of several at the same time one wins, and the
/// others get [`IssuerError::Conflict`] and may look again. Revoking looks again by itself.
///
/// ```
/// use keyward::{
///     key::Grace, Issuer, KeyDraft, KeyFormat, KeyHasher, MemoryStore, SysRng, Timestamp,
/// };
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # pollster::block_on(async {
/// const INGEST: KeyFormat = KeyFormat::hex("lqt_");
/// let issuer = Issuer::new(MemoryStore::new(), INGEST, KeyHasher::sha256());
/// let now = Timestamp::from_unix_secs(1_700_000_000);
///
/// let draft = KeyDraft::new("proj_abc123".parse()?, "ingest".parse()?);
/// let issued = issuer.issue(INGEST.kind(), draft, &mut SysRng, now).await?;
/// println!("shown once: {}", issued.key.expose());
///
/// let rotated = issuer.rotate(issued.record.id(), Grace::DAY, &mut SysRng, now).await?;
/// assert_eq!(rotated.record.id(), issued.record.id());
/// assert_eq!(rotated.previous_valid_until, Some(now + Grace::DAY.duration()));
/// issuer.revoke(issued.record.id(), now).await?;
/// # Ok(()) }) }
/// ```
#[derive(Clone, Debug)]
pub struct Issuer<R> {
    registry: R,
    rules: Arc<Rules>,
    within: Within,
    audit: Audit,
}

/// Whose keys an issuer manages.
#[derive(Clone, Debug)]
enum Within {
    All,
    Owner(OwnerId),
    /// It was confined to two different owners, so there is no key for it.
    Nobody,
}

impl Within {
    fn admits(&self, owner: &OwnerId) -> bool {
        match self {
            Self::All => true,
            Self::Owner(within) => within == owner,
            Self::Nobody => false,
        }
    }
}

#[derive(Debug)]
struct Rules {
    formats: KeyFormats,
    hasher: KeyHasher,
    catalog: ScopeCatalog,
}

/// A key that was just minted: what is kept of it, and the plaintext to show once.
#[derive(Debug)]
#[non_exhaustive]
pub struct Issued {
    /// The record as it was stored.
    pub record: KeyRecord,
    /// The key. It is nowhere else.
    pub key: PlaintextKey,
    /// After a rotation with a grace: the instant from which the secret before this one is
    /// refused.
    pub previous_valid_until: Option<Timestamp>,
}

/// How often a revocation looks again after losing to another change.
const REVOKE_ATTEMPTS: usize = 64;

impl<R: KeyRegistry> Issuer<R> {
    /// An issuer of keys of these formats for a service without scopes: a draft with scopes is
    /// refused. With them, see [`Issuer::with_catalog`].
    pub fn new(registry: R, formats: impl Into<KeyFormats>, hasher: KeyHasher) -> Self {
        Self::with_catalog(registry, formats, hasher, ScopeCatalog::empty())
    }

    /// An issuer of keys whose scopes this catalogue rules.
    pub fn with_catalog(
        registry: R,
        formats: impl Into<KeyFormats>,
        hasher: KeyHasher,
        catalog: ScopeCatalog,
    ) -> Self {
        let rules = Rules { formats: formats.into(), hasher, catalog };
        Self { registry, rules: Arc::new(rules), within: Within::All, audit: Audit::off() }
    }

    /// This issuer reporting every change that was saved.
    #[must_use]
    pub fn with_audit(self, audit: Audit) -> Self {
        Self { audit, ..self }
    }

    /// This issuer confined to one owner's keys: every other key does not exist for it.
    ///
    /// For routes such as `DELETE /projects/{id}/keys/{key}`, where the caller is entitled
    /// to the project but names the key freely. Confining never widens: an issuer that is
    /// confined to one owner and then to another manages nobody's keys.
    #[must_use]
    pub fn within(&self, owner: OwnerId) -> Issuer<&R> {
        let within = if self.within.admits(&owner) { Within::Owner(owner) } else { Within::Nobody };
        Issuer {
            registry: &self.registry,
            rules: Arc::clone(&self.rules),
            within,
            audit: self.audit.clone(),
        }
    }

    /// A verifier of the keys that this issuer mints: with its hasher, and holding every
    /// key to the ceilings of its catalogue.
    pub fn verifier(&self) -> Verifier {
        Verifier::new(self.rules.hasher.clone()).with_catalog(self.rules.catalog.clone())
    }

    /// The formats of the keys that this issuer mints and rotates.
    pub fn formats(&self) -> &KeyFormats {
        &self.rules.formats
    }

    /// The whole store. What is done with it is not confined to an owner, nor held to the
    /// catalogue: do not hand a confined issuer to code that must not reach other keys.
    pub const fn registry(&self) -> &R {
        &self.registry
    }

    /// Mints a key of `kind`. Scopes that the draft leaves open are the kind's defaults.
    ///
    /// # Errors
    ///
    /// [`IssuerError::UnknownKind`], [`IssuerError::Mint`] for a legacy kind or a generator
    /// that failed, [`IssuerError::Grant`] for scopes that the kind cannot hold,
    /// [`IssuerError::ForeignOwner`] if this issuer is confined to another owner,
    /// [`IssuerError::Transition`] for an expiry in the past, [`IssuerError::Store`].
    pub async fn issue<G: TryCryptoRng + ?Sized>(
        &self,
        kind: KeyKind,
        draft: KeyDraft,
        rng: &mut G,
        now: Timestamp,
    ) -> Result<Issued, IssuerError<R::Error>> {
        let format = self.rules.formats.get(kind).ok_or(IssuerError::UnknownKind)?;
        let draft = self.admitted(kind, draft)?;
        let id = KeyId::random(rng).map_err(|error| MintError::rng(&error))?;
        let key = format.mint(rng)?;
        let secret = StoredSecret::of(&key, &self.rules.hasher, now);
        let record = KeyRecord::issue(id, draft, secret, now)?;
        self.registry.insert(record.clone()).await?;
        self.report(&record, AuditAction::Issued { expires_at: record.expires_at() }, now);
        Ok(Issued { record, key, previous_valid_until: None })
    }

    /// Takes over a key that was minted elsewhere and is known by its hash.
    ///
    /// The id is the host's to choose, and should follow from the old table's row (a UUID, or
    /// the first bytes of a hash of the row's id). Then importing the same row again is
    /// refused as [`IssuerError::DuplicateId`], even after the key was rotated, rehashed or
    /// revoked here, and cannot bring back a secret that is no longer good. This holds until
    /// the key is purged: be done with the old table before [`Issuer::purge`] is first called.
    ///
    /// # Errors
    ///
    /// [`IssuerError::UnknownKind`], [`IssuerError::UnacceptedScheme`] for a hash that this
    /// issuer's hasher could never match, [`IssuerError::Grant`],
    /// [`IssuerError::ForeignOwner`], [`IssuerError::Transition`], [`IssuerError::DuplicateId`],
    /// [`IssuerError::DuplicateSecret`], [`IssuerError::Store`].
    pub async fn import(
        &self,
        id: KeyId,
        draft: KeyDraft,
        secret: StoredSecret,
        now: Timestamp,
    ) -> Result<KeyRecord, IssuerError<R::Error>> {
        self.rules.formats.get(secret.kind).ok_or(IssuerError::UnknownKind)?;
        if !self.rules.hasher.accepts(secret.hash.scheme()) {
            return Err(IssuerError::UnacceptedScheme);
        }
        let draft = self.admitted(secret.kind, draft)?;
        let record = KeyRecord::import(id, draft, secret, now)?;
        self.registry.insert(record.clone()).await?;
        self.report(&record, AuditAction::Imported { expires_at: record.expires_at() }, now);
        Ok(record)
    }

    /// Mints a new secret for a key. The old one works on until `grace` has passed or the
    /// key expires. A key of a legacy kind becomes one of its successor's.
    ///
    /// # Errors
    ///
    /// [`IssuerError::NotFound`], [`IssuerError::Transition`] for a key that is revoked or
    /// expired, or with [`TransitionError::TooManyRetiring`] for one that was rotated so often
    /// that [`KeyRecord::MAX_RETIRING`] secrets are in their grace (the first place is free at
    /// the earliest deadline in [`KeyRecord::retiring`], and [`Issuer::rotate_now`] does not
    /// wait for it), [`IssuerError::Conflict`] if somebody else changed the key meanwhile,
    /// [`IssuerError::Grant`] if the successor kind cannot hold the key's scopes,
    /// [`IssuerError::UnknownKind`], [`IssuerError::Mint`], [`IssuerError::Store`].
    pub async fn rotate<G: TryCryptoRng + ?Sized>(
        &self,
        id: KeyId,
        grace: Grace,
        rng: &mut G,
        now: Timestamp,
    ) -> Result<Issued, IssuerError<R::Error>> {
        let (found, key, secret) = self.next_secret(id, rng, now).await?;
        let record = found.record().rotate(secret, grace, now)?;
        self.registry.replace(record.clone()).await?;
        let previous_valid_until = record.retiring().last().map(|retiring| retiring.valid_until);
        self.report(&record, AuditAction::Rotated { previous_valid_until }, now);
        Ok(Issued { record, key, previous_valid_until })
    }

    /// Mints a new secret for a key whose old one leaked: it and those in their grace are
    /// refused from the next decision on.
    ///
    /// # Errors
    ///
    /// As [`Issuer::rotate`].
    pub async fn rotate_now<G: TryCryptoRng + ?Sized>(
        &self,
        id: KeyId,
        rng: &mut G,
        now: Timestamp,
    ) -> Result<Issued, IssuerError<R::Error>> {
        let (found, key, secret) = self.next_secret(id, rng, now).await?;
        let record = found.record().rotate_now(secret, now)?;
        self.registry.replace(record.clone()).await?;
        self.report(&record, AuditAction::Rotated { previous_valid_until: None }, now);
        Ok(Issued { record, key, previous_valid_until: None })
    }

    /// Revokes a key for ever, with all its secrets, whatever else happens to it
    /// meanwhile. Revoking a revoked key does nothing.
    ///
    /// # Errors
    ///
    /// [`IssuerError::NotFound`], [`IssuerError::Store`], and [`IssuerError::Conflict`] only
    /// if the key was changed under its hands dozens of times in a row.
    pub async fn revoke(
        &self,
        id: KeyId,
        now: Timestamp,
    ) -> Result<KeyRecord, IssuerError<R::Error>> {
        for _ in 0..REVOKE_ATTEMPTS {
            let found = self.get(id).await?;
            if let KeyState::Revoked { .. } = found.record().state() {
                return Ok(found.record().clone());
            }
            match self.change(&found, KeyRecord::revoke, AuditAction::Revoked, now).await {
                Err(IssuerError::Conflict) => {}
                result => return result,
            }
        }
        Err(IssuerError::Conflict)
    }

    /// Refuses a key until it is resumed.
    ///
    /// # Errors
    ///
    /// [`IssuerError::NotFound`], [`IssuerError::Transition`], [`IssuerError::Conflict`],
    /// [`IssuerError::Store`].
    pub async fn suspend(
        &self,
        id: KeyId,
        now: Timestamp,
    ) -> Result<KeyRecord, IssuerError<R::Error>> {
        let found = self.get(id).await?;
        self.change(&found, KeyRecord::suspend, AuditAction::Suspended, now).await
    }

    /// Puts a suspended key in use again.
    ///
    /// # Errors
    ///
    /// As [`Issuer::suspend`].
    pub async fn resume(
        &self,
        id: KeyId,
        now: Timestamp,
    ) -> Result<KeyRecord, IssuerError<R::Error>> {
        let found = self.get(id).await?;
        self.change(&found, KeyRecord::resume, AuditAction::Resumed, now).await
    }

    /// Gives a key another expiry.
    ///
    /// # Errors
    ///
    /// As [`Issuer::suspend`].
    pub async fn expire_at(
        &self,
        id: KeyId,
        at: Timestamp,
        now: Timestamp,
    ) -> Result<KeyRecord, IssuerError<R::Error>> {
        let found = self.get(id).await?;
        let action = AuditAction::ExpiryChanged { expires_at: Some(at) };
        self.change(&found, |record, now| record.expire_at(at, now), action, now).await
    }

    /// Gives a key another name.
    ///
    /// # Errors
    ///
    /// As [`Issuer::suspend`].
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

    /// Gives a key these scopes in place of those so far, from the next decision on.
    ///
    /// # Errors
    ///
    /// As [`Issuer::suspend`], and [`IssuerError::Grant`] for scopes that the key's kind
    /// cannot hold.
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

    /// Gives a key quotas of its own, or with `None` takes them away, so that its owner's
    /// apply.
    ///
    /// # Errors
    ///
    /// As [`Issuer::suspend`].
    pub async fn set_quotas(
        &self,
        id: KeyId,
        quotas: Option<Quotas>,
        now: Timestamp,
    ) -> Result<KeyRecord, IssuerError<R::Error>> {
        let found = self.get(id).await?;
        let action = AuditAction::QuotasChanged { quotas };
        self.change(&found, |record, now| record.set_quotas(quotas, now), action, now).await
    }

    /// Makes the store forget keys that have been revoked or expired for longer than
    /// `kept_for`, at most `limit` of them, and returns their ids. Fewer than `limit` means
    /// that no more are left. Choose `kept_for` as long as audits need the records.
    ///
    /// Keys that are in use or suspended stay. A secret of a purged key is refused as an
    /// unknown one. Ids are random, so none that was issued comes again; one that was imported
    /// can, see [`Issuer::import`].
    ///
    /// What has expired is judged by `now`, and purging cannot be undone: do not purge by a
    /// clock that may be ahead of the one by which requests are decided.
    ///
    /// # Errors
    ///
    /// [`IssuerError::ForeignOwner`] if this issuer is confined to an owner, for a purge takes
    /// keys of all; [`IssuerError::Store`].
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
            self.audit.report(|| AuditEvent {
                key: Some(*id),
                ..AuditEvent::new(now, AuditAction::Purged)
            });
        }
        Ok(purged)
    }

    /// Saves the effect of [`Verified::rehash`], if there is one. The answer is whether
    /// the record was changed; losing to another change is no error, for the next request
    /// with the key yields the same effect.
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

    /// The key with this id.
    ///
    /// # Errors
    ///
    /// [`IssuerError::NotFound`], also for the key of another owner than the one this
    /// issuer is confined to; [`IssuerError::Store`].
    pub async fn get(&self, id: KeyId) -> Result<StoredKey, IssuerError<R::Error>> {
        let found = self.registry.get(id).await.map_err(IssuerError::Store)?;
        let found = found.ok_or(IssuerError::NotFound)?;
        self.check_owner(found.record())?;
        Ok(found)
    }

    /// The keys of one owner, oldest first, a page at a time.
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

    /// The draft with its scopes settled, if it may be issued here.
    fn admitted(&self, kind: KeyKind, draft: KeyDraft) -> Result<KeyDraft, IssuerError<R::Error>> {
        if !self.within.admits(&draft.owner) {
            return Err(IssuerError::ForeignOwner);
        }
        let scopes: ScopeSet = match draft.scopes {
            Some(ref scopes) => scopes.clone(),
            None => self.rules.catalog.grant(kind, None)?,
        };
        self.rules.catalog.check(kind, &scopes)?;
        Ok(draft.with_scopes(scopes))
    }

    /// The record to rotate, and the key that it gets.
    async fn next_secret<G: TryCryptoRng + ?Sized>(
        &self,
        id: KeyId,
        rng: &mut G,
        now: Timestamp,
    ) -> Result<(StoredKey, PlaintextKey, StoredSecret), IssuerError<R::Error>> {
        let found = self.get(id).await?;
        let record = found.record();
        let format = self.rules.formats.minting(record.kind()).ok_or(IssuerError::UnknownKind)?;
        if format.kind() != record.kind() {
            self.rules.catalog.check(format.kind(), record.scopes())?;
        }
        let key = format.mint(rng)?;
        let secret = StoredSecret::of(&key, &self.rules.hasher, now);
        Ok((found, key, secret))
    }

    async fn change(
        &self,
        found: &StoredKey,
        transition: impl FnOnce(&KeyRecord, Timestamp) -> Result<KeyRecord, TransitionError>,
        action: AuditAction,
        now: Timestamp,
    ) -> Result<KeyRecord, IssuerError<R::Error>> {
        let next = transition(found.record(), now)?;
        self.registry.replace(next.clone()).await?;
        self.report(&next, action, now);
        Ok(next)
    }

    /// Tells of a change that was saved.
    fn report(&self, record: &KeyRecord, action: AuditAction, now: Timestamp) {
        self.audit.report(|| AuditEvent {
            key: Some(record.id()),
            owner: Some(record.owner().clone()),
            kind: Some(record.kind()),
            ..AuditEvent::new(now, action)
        });
    }

    fn check_owner(&self, record: &KeyRecord) -> Result<(), IssuerError<R::Error>> {
        if self.within.admits(record.owner()) { Ok(()) } else { Err(IssuerError::NotFound) }
    }
}

/// Why an [`Issuer`] did not do what it was asked. Nothing has changed, unless the store
/// failed and cannot say.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IssuerError<E> {
    /// No accepted format has this kind.
    #[error("unknown kind of key")]
    UnknownKind,
    /// The issuer's hasher does not accept hashes of this scheme or pepper.
    #[error("the hash is under a scheme that is not accepted")]
    UnacceptedScheme,
    /// No key was minted.
    #[error(transparent)]
    Mint(#[from] MintError),
    /// The scopes are not in the catalogue or above the kind's ceiling.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// The key cannot change so.
    #[error(transparent)]
    Transition(#[from] TransitionError),
    /// There is no such key, or it is not this issuer's to see.
    #[error("there is no such key")]
    NotFound,
    /// The issuer is confined to another owner.
    #[error("the owner is not this issuer's")]
    ForeignOwner,
    /// Somebody else changed the key at the same time, and won.
    #[error("the key was changed by somebody else")]
    Conflict,
    /// A key with this id exists already: it was imported before.
    #[error("a key with this id exists")]
    DuplicateId,
    /// A key with this secret exists already.
    #[error("a key with this secret exists")]
    DuplicateSecret,
    /// The store failed.
    #[error("the store failed")]
    Store(#[source] E),
}

impl<E> IssuerError<E> {
    /// The HTTP status for an administrator: 404, 409 or 422 where the request is at
    /// fault, 503 where the store or the generator is.
    pub const fn status(&self) -> u16 {
        match self {
            Self::UnknownKind
            | Self::UnacceptedScheme
            | Self::Grant(_)
            | Self::Mint(MintError::Legacy { .. }) => 422,
            Self::Transition(error) => error.status(),
            Self::NotFound => 404,
            Self::ForeignOwner => 403,
            Self::Conflict | Self::DuplicateId | Self::DuplicateSecret => 409,
            Self::Mint(MintError::Rng(_)) | Self::Store(_) => 503,
        }
    }
}

impl<E> From<InsertError<E>> for IssuerError<E> {
    fn from(error: InsertError<E>) -> Self {
        match error {
            InsertError::DuplicateId => Self::DuplicateId,
            InsertError::DuplicateSecret => Self::DuplicateSecret,
            InsertError::Store(error) => Self::Store(error),
        }
    }
}

impl<E> From<ReplaceError<E>> for IssuerError<E> {
    fn from(error: ReplaceError<E>) -> Self {
        match error {
            ReplaceError::NotFound => Self::NotFound,
            ReplaceError::Conflict => Self::Conflict,
            ReplaceError::DuplicateSecret => Self::DuplicateSecret,
            ReplaceError::Store(error) => Self::Store(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{key::format::KeyFormat, store::memory::MemoryStore};
    use ::rand::rngs::SysRng;

    #[test]
    fn confining_never_widens() {
        pollster::block_on(async {
            const FORMAT: KeyFormat = KeyFormat::hex("lqt_");
            let now = Timestamp::from_unix_secs(1_700_000_000);
            let issuer = Issuer::new(MemoryStore::new(), FORMAT, KeyHasher::sha256());
            let [acme, victim] = ["acme", "victim"].map(OwnerId::from_static);
            let draft = KeyDraft::new(victim.clone(), "key".parse().unwrap());
            let key = issuer.issue(FORMAT.kind(), draft.clone(), &mut SysRng, now).await.unwrap();
            let id = key.record.id();
            let twice = issuer.within(victim.clone());
            assert!(twice.within(victim.clone()).get(id).await.is_ok(), "the same owner twice");
            let acmes = issuer.within(acme.clone());
            let nobodys = acmes.within(victim.clone());
            let back = nobodys.within(acme.clone());
            let again = back.within(victim.clone());
            assert_eq!(again.get(id).await.unwrap_err(), IssuerError::NotFound);
            assert_eq!(nobodys.get(id).await.unwrap_err(), IssuerError::NotFound);
            assert_eq!(nobodys.revoke(id, now).await.unwrap_err(), IssuerError::NotFound);
            let issued = nobodys.issue(FORMAT.kind(), draft.clone(), &mut SysRng, now).await;
            assert_eq!(issued.unwrap_err(), IssuerError::ForeignOwner);
            for owner in [&acme, &victim] {
                let listed = nobodys.list(owner, PageRequest::first(1)).await;
                assert_eq!(listed.unwrap_err(), IssuerError::ForeignOwner);
            }
        });
    }

    #[test]
    fn a_purge_keeps_what_has_not_ended_for_long_enough() {
        pollster::block_on(async {
            const FORMAT: KeyFormat = KeyFormat::hex("lqt_");
            const KEPT: Duration = Duration::from_secs(30 * 86_400);
            let now = Timestamp::from_unix_secs(1_700_000_000);
            let issuer = Issuer::new(MemoryStore::new(), FORMAT, KeyHasher::sha256());
            let draft = KeyDraft::new("acme".parse().unwrap(), "key".parse().unwrap());
            let mut issued = Vec::new();
            for expiry in [None, Some(now + Duration::from_millis(1)), None] {
                let draft = KeyDraft { expires_at: expiry, ..draft.clone() };
                issued.push(issuer.issue(FORMAT.kind(), draft, &mut SysRng, now).await.unwrap());
            }
            let [living, expired, revoked] = issued.as_slice() else { unreachable!() };
            issuer.revoke(revoked.record.id(), now).await.unwrap();
            let confined = issuer.within("acme".parse().unwrap());
            let refused = confined.purge(KEPT, 9, now + 2 * KEPT).await;
            assert_eq!(refused.unwrap_err(), IssuerError::ForeignOwner);
            let millis = Duration::from_millis;
            for (after, ids) in [
                (Duration::ZERO, vec![]),
                (KEPT, vec![]),
                (KEPT + millis(1), vec![revoked.record.id()]),
                (KEPT + millis(1), vec![]),
                (KEPT + millis(2), vec![expired.record.id()]),
                (Duration::MAX, vec![]),
            ] {
                assert_eq!(issuer.purge(KEPT, 9, now + after).await, Ok(ids), "{after:?} later");
            }
            assert!(issuer.get(living.record.id()).await.is_ok());
            // A clock at its beginning takes nothing.
            issuer.revoke(living.record.id(), Timestamp::ZERO).await.unwrap();
            assert_eq!(issuer.purge(Duration::ZERO, 9, Timestamp::ZERO).await, Ok(vec![]));
            // To whoever presents it, a purged key is as unknown as one that never was.
            let verifier = issuer.verifier();
            let lookup = verifier.lookup(&revoked.key.present().unwrap());
            let found = issuer.registry().find_sync(&lookup);
            let refused = verifier.verify(&lookup, found, now).unwrap_err();
            assert_eq!((refused, refused.status()), (crate::verify::VerifyError::Unknown, 401));
            let gone = issuer.revoke(revoked.record.id(), now).await;
            assert_eq!(gone.unwrap_err(), IssuerError::NotFound);
        });
    }

    #[test]
    fn importing_a_row_again_brings_nothing_back() {
        pollster::block_on(async {
            const FORMAT: KeyFormat = KeyFormat::hex("lqt_");
            let now = Timestamp::from_unix_secs(1_700_000_000);
            let issuer = Issuer::new(MemoryStore::new(), FORMAT, KeyHasher::sha256());
            let row = KeyId::from_bytes([7; 16]);
            let leaked = FORMAT.mint(&mut SysRng).unwrap();
            let secret = StoredSecret::of(&leaked, &KeyHasher::sha256(), now);
            let draft = KeyDraft::new("acme".parse().unwrap(), "key".parse().unwrap());
            issuer.import(row, draft.clone(), secret.clone(), now).await.unwrap();
            issuer.rotate_now(row, &mut SysRng, now).await.unwrap();
            let again = issuer.import(row, draft.clone(), secret, now).await;
            assert_eq!(again.unwrap_err(), IssuerError::DuplicateId);
            let lookup = issuer.verifier().lookup(&leaked.present().unwrap());
            assert!(issuer.registry().find_sync(&lookup).is_none());

            let foreign = crate::key::KeyHash::new(crate::key::HashScheme::Sha256Token, [1; 32]);
            let secret = StoredSecret::new(foreign, FORMAT.kind(), now);
            let refused = issuer.import(KeyId::from_bytes([8; 16]), draft, secret, now).await;
            assert_eq!(refused.unwrap_err(), IssuerError::UnacceptedScheme);
        });
    }
}
