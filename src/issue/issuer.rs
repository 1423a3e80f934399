//! The issuer, and how it mints keys.

use std::sync::Arc;

use rand::TryCryptoRng;

use crate::{
    audit::{Audit, AuditAction, AuditEvent},
    clock::timestamp::Timestamp,
    issue::{error::IssuerError, within::Within},
    key::{
        actor::Actor,
        catalog::ScopeCatalog,
        draft::KeyDraft,
        formats::KeyFormats,
        grace::Grace,
        hasher::KeyHasher,
        id::KeyId,
        kind::KeyKind,
        owner::OwnerId,
        plaintext::{MintError, PlaintextKey},
        record::KeyRecord,
        scope::ScopeSet,
        secret::StoredSecret,
        transition_error::TransitionError,
    },
    request::request_id::RequestId,
    store::{KeyRegistry, stored_key::StoredKey},
    verify::verifier::Verifier,
};

/// Issues, rotates and revokes keys in a [`KeyRegistry`].
///
/// [`Issuer::revoke`], [`Issuer::revoke_all`] and [`Issuer::suspend`] succeed whatever other changes
/// are made at the same time. Each other change is one compare-and-swap. One of several concurrent
/// changes wins; the others return [`IssuerError::Conflict`] and may be tried again.
///
/// The record to change comes from [`KeyStore::find_by_id`](crate::store::KeyStore::find_by_id).
/// Over a cache it may be as old as the cache's bounds allow. A change of an outdated record is
/// refused and never overwrites another change.
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
    pub(super) registry: R,
    pub(super) rules: Arc<Rules>,
    pub(super) within: Within,
    pub(super) audit: Audit,
    pub(super) actor: Option<Actor>,
    pub(super) request_id: Option<RequestId>,
}

#[derive(Debug)]
pub(super) struct Rules {
    formats: KeyFormats,
    hasher: KeyHasher,
    pub(super) catalog: ScopeCatalog,
}

/// A new key: its record, and the plaintext to show once.
#[derive(Debug)]
#[non_exhaustive]
pub struct Issued {
    /// The record as it was stored.
    pub record: KeyRecord,
    /// The key. No other copy exists.
    pub key: PlaintextKey,
    /// The instant from which the previous secret is refused, after a rotation with a grace.
    pub previous_valid_until: Option<Timestamp>,
}

impl<R: KeyRegistry> Issuer<R> {
    /// Creates an issuer of keys of these formats, for a service without scopes.
    ///
    /// It refuses a draft with scopes; [`Issuer::with_catalog`] accepts them.
    pub fn new(registry: R, formats: impl Into<KeyFormats>, hasher: KeyHasher) -> Self {
        Self::with_catalog(registry, formats, hasher, ScopeCatalog::empty())
    }

    /// Creates an issuer of keys whose scopes are defined by this catalogue.
    pub fn with_catalog(
        registry: R,
        formats: impl Into<KeyFormats>,
        hasher: KeyHasher,
        catalog: ScopeCatalog,
    ) -> Self {
        let rules = Rules { formats: formats.into(), hasher, catalog };
        Self {
            registry,
            rules: Arc::new(rules),
            within: Within::All,
            audit: Audit::off(),
            actor: None,
            request_id: None,
        }
    }

    /// Sets the audit callback, which receives every saved change.
    #[must_use]
    pub fn with_audit(self, audit: Audit) -> Self {
        Self { audit, ..self }
    }

    /// Returns this issuer confined to the keys of one owner. It finds no other key.
    ///
    /// Use it for routes such as `DELETE /projects/{id}/keys/{key}`, where the caller may manage
    /// the project but can name any key. Confining never widens: an issuer that is confined to one
    /// owner and then to another manages no key.
    #[must_use]
    pub fn within(&self, owner: OwnerId) -> Issuer<&R> {
        let within = if self.within.admits(&owner) { Within::Owner(owner) } else { Within::Nobody };
        Issuer { within, ..self.borrowed() }
    }

    /// Returns this issuer with an actor: every audit event of its changes names it, and so do the
    /// keys that it issues or imports, unless their draft names another creator.
    ///
    /// ```
    /// use keyward::{key::Actor, Issuer, KeyDraft, KeyFormat, KeyHasher, MemoryStore, SysRng, Timestamp};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> { pollster::block_on(async {
    /// const INGEST: KeyFormat = KeyFormat::hex("lqt_");
    /// # let now = Timestamp::from_unix_secs(1_700_000_000);
    /// let issuer = Issuer::new(MemoryStore::new(), INGEST, KeyHasher::sha256());
    /// let admin = issuer.acting_as(Actor::new("user_42")?);
    /// let draft = KeyDraft::new("proj_abc123".parse()?, "ingest".parse()?);
    /// let issued = admin.issue(INGEST.kind(), draft, &mut SysRng, now).await?;
    /// assert_eq!(issued.record.created_by(), Some(&Actor::new("user_42")?));
    /// # Ok(()) }) }
    /// ```
    #[must_use]
    pub fn acting_as(&self, actor: Actor) -> Issuer<&R> {
        Issuer { actor: Some(actor), ..self.borrowed() }
    }

    /// Returns this issuer for one request, whose id every audit event of its changes contains.
    #[must_use]
    pub fn for_request(&self, id: RequestId) -> Issuer<&R> {
        Issuer { request_id: Some(id), ..self.borrowed() }
    }

    fn borrowed(&self) -> Issuer<&R> {
        Issuer {
            registry: &self.registry,
            rules: Arc::clone(&self.rules),
            within: self.within.clone(),
            audit: self.audit.clone(),
            actor: self.actor.clone(),
            request_id: self.request_id.clone(),
        }
    }

    /// Returns a verifier of the keys that this issuer mints. It uses the same hasher and enforces
    /// the ceilings of the catalogue.
    pub fn verifier(&self) -> Verifier {
        Verifier::new(self.rules.hasher.clone()).with_catalog(self.rules.catalog.clone())
    }

    /// Returns the formats of the keys that this issuer mints and rotates.
    pub fn formats(&self) -> &KeyFormats {
        &self.rules.formats
    }

    /// Returns the whole store. Calls to it are neither confined to an owner nor checked against
    /// the catalogue. So do not pass a confined issuer to code that must not reach other keys.
    pub const fn registry(&self) -> &R {
        &self.registry
    }

    /// Mints a key of `kind`. If the draft has no scopes, the key gets the defaults of its kind.
    ///
    /// # Errors
    ///
    /// [`IssuerError::UnknownKind`], [`IssuerError::Mint`] for a legacy kind or a failed random
    /// generator, [`IssuerError::Grant`] for scopes that the kind cannot have,
    /// [`IssuerError::ForeignOwner`] if this issuer is confined to another owner,
    /// [`IssuerError::Transition`] for an expiry in the past, [`IssuerError::TooManyKeys`] if the owner
    /// has as many keys as its cap allows, [`IssuerError::Store`].
    pub async fn issue<G: TryCryptoRng + ?Sized>(
        &self,
        kind: KeyKind,
        draft: KeyDraft,
        rng: &mut G,
        now: Timestamp,
    ) -> Result<Issued, IssuerError<R::Error>> {
        let formats = &self.rules.formats;
        let (format, successor) = (formats.get(kind), formats.successor(kind));
        if format.is_none() && successor.is_none() {
            return Err(IssuerError::UnknownKind);
        }
        let draft = self.admitted(kind, draft)?;
        if let Some(successor) = successor {
            return Err(MintError::Legacy { kind, successor }.into());
        }
        let format = format.ok_or(IssuerError::UnknownKind)?;
        let id = KeyId::random(rng).map_err(|error| MintError::rng(&error))?;
        let key = format.mint(rng)?;
        let secret = StoredSecret::of(&key, &self.rules.hasher, now);
        let record = KeyRecord::issue(id, draft, secret, now)?;
        self.registry.insert_at(record.clone(), now).await?;
        self.report(&record, AuditAction::Issued { expires_at: record.expires_at() }, now);
        Ok(Issued { record, key, previous_valid_until: None })
    }

    /// Imports a key that was minted elsewhere and is known by its hash.
    ///
    /// The host chooses the id. Derive it from the row of the old table: a UUID, or the first bytes
    /// of a hash of the row's id. Then importing the same row again is refused with
    /// [`IssuerError::DuplicateId`], even after the key was rotated, rehashed or revoked here, and
    /// cannot restore a secret that is no longer valid. This holds until the key is purged, so
    /// retire the old table before the first call of [`Issuer::purge`].
    ///
    /// # Errors
    ///
    /// [`IssuerError::UnknownKind`], [`IssuerError::UnacceptedScheme`] for a hash that the
    /// hasher can never match, [`IssuerError::Grant`],
    /// [`IssuerError::ForeignOwner`], [`IssuerError::Transition`], [`IssuerError::DuplicateId`],
    /// [`IssuerError::DuplicateSecret`], [`IssuerError::TooManyKeys`] if the owner has as many keys at
    /// `now` as its cap allows, [`IssuerError::Store`].
    pub async fn import(
        &self,
        id: KeyId,
        draft: KeyDraft,
        secret: StoredSecret,
        now: Timestamp,
    ) -> Result<KeyRecord, IssuerError<R::Error>> {
        if !self.rules.formats.accepts(secret.kind) {
            return Err(IssuerError::UnknownKind);
        }
        if !self.rules.hasher.accepts(secret.hash.scheme()) {
            return Err(IssuerError::UnacceptedScheme);
        }
        let draft = self.admitted(secret.kind, draft)?;
        let record = KeyRecord::import(id, draft, secret, now)?;
        self.registry.insert_at(record.clone(), now).await?;
        self.report(&record, AuditAction::Imported { expires_at: record.expires_at() }, now);
        Ok(record)
    }

    /// Imports a key that was minted elsewhere and is known in plaintext. Its hash under the current
    /// scheme is stored, and the plaintext is not.
    ///
    /// The format that reads the key decides its kind, and the hint of the record shows its start.
    /// Everything else is as for [`Issuer::import`]. When every row is imported, delete the
    /// plaintext.
    ///
    /// ```
    /// use keyward::{
    ///     key::{Alphabet, KeyFormats, KeyId, LegacyFormat}, Issuer, KeyDraft, KeyFormat, KeyHasher,
    ///     MemoryStore, Timestamp,
    /// };
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # pollster::block_on(async {
    /// const NEW: KeyFormat = KeyFormat::hex("acme_");
    /// const OLD: LegacyFormat = LegacyFormat::new("uuid", Alphabet::LOWER_HEX.with('-'), 36..=36)
    ///     .with_successor(NEW.kind());
    /// let formats = KeyFormats::new([NEW])?.with_legacy(OLD)?;
    /// let issuer = Issuer::new(MemoryStore::new(), formats, KeyHasher::sha256());
    ///
    /// // A row of the old table: its id, its owner, the key and a date.
    /// let id = KeyId::from_bytes(17_u128.to_be_bytes());
    /// let draft = KeyDraft::new("customer-7".parse()?, "old key".parse()?);
    /// let (key, created_at) = ("7c9e6679-7425-40de-944b-e07fc1f90ae7", 1_600_000_000);
    /// let (created_at, now) =
    ///     (Timestamp::from_unix_secs(created_at), Timestamp::from_unix_secs(1_700_000_000));
    /// let record = issuer.import_plaintext(id, draft, key, created_at, now).await?;
    /// assert_eq!(record.kind(), OLD.kind());
    /// # Ok(()) }) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`IssuerError::Parse`] for a text that no format reads, and those of [`Issuer::import`].
    pub async fn import_plaintext(
        &self,
        id: KeyId,
        draft: KeyDraft,
        key: &str,
        created_at: Timestamp,
        now: Timestamp,
    ) -> Result<KeyRecord, IssuerError<R::Error>> {
        let Rules { formats, hasher, .. } = &*self.rules;
        let secret = {
            let presented = formats.parse(key)?;
            let hash = hasher.hash_presented(&presented);
            let secret = StoredSecret::new(hash, presented.kind(), created_at);
            StoredSecret { hint: formats.hint(&presented), ..secret }
        };
        self.import(id, draft, secret, now).await
    }

    /// Mints a new secret for a key. The old secret stays valid until `grace` has passed or the key
    /// expires. A key of a legacy kind becomes a key of the successor kind.
    ///
    /// # Errors
    ///
    /// [`IssuerError::NotFound`]; [`IssuerError::Transition`] for a key that is revoked or expired,
    /// and with [`TransitionError::TooManyRetiring`] for one with [`KeyRecord::MAX_RETIRING`]
    /// secrets in their grace (a rotation is possible again at the earliest deadline in
    /// [`KeyRecord::retiring`], and [`Issuer::rotate_now`] is always possible);
    /// [`IssuerError::Conflict`] if another change came first;
    /// [`IssuerError::Grant`] if the successor kind cannot have the key's scopes;
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

    /// Mints a new secret for a key whose old one leaked. The old secret and those in their grace
    /// are refused from the next decision on.
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

    /// Checks a draft and fills in its scopes.
    fn admitted(&self, kind: KeyKind, draft: KeyDraft) -> Result<KeyDraft, IssuerError<R::Error>> {
        if !self.within.admits(&draft.owner) {
            return Err(IssuerError::ForeignOwner);
        }
        let scopes: ScopeSet = match draft.scopes {
            Some(ref scopes) => scopes.clone(),
            None => self.rules.catalog.grant(kind, None)?,
        };
        self.rules.catalog.check(kind, &scopes)?;
        let created_by = draft.created_by.clone().or_else(|| self.actor.clone());
        Ok(KeyDraft { created_by, ..draft.with_scopes(scopes) })
    }

    /// Returns the record to rotate, its new key and the new secret.
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

    pub(super) async fn change(
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

    /// Reports a saved change.
    pub(super) fn report(&self, record: &KeyRecord, action: AuditAction, now: Timestamp) {
        self.audit.report(|| AuditEvent {
            key: Some(record.id()),
            owner: Some(record.owner().clone()),
            kind: Some(record.kind()),
            ..self.event(action, now)
        });
    }

    /// Returns an event that names who changes what for which request.
    pub(super) fn event(&self, action: AuditAction, now: Timestamp) -> AuditEvent {
        let (actor, request_id) = (self.actor.clone(), self.request_id.clone());
        AuditEvent { actor, request_id, ..AuditEvent::new(now, action) }
    }

    pub(super) fn check_owner(&self, record: &KeyRecord) -> Result<(), IssuerError<R::Error>> {
        if self.within.admits(record.owner()) { Ok(()) } else { Err(IssuerError::NotFound) }
    }
}
