//! From a presented key to a caller: hash, compare, judge, authorize.

pub(crate) mod access;

pub use self::access::{Access, Forbidden};

use subtle::ConstantTimeEq;
use thiserror::Error;

use crate::{
    clock::timestamp::Timestamp,
    key::{
        catalog::ScopeCatalog,
        hash::{Candidates, KeyHash, KeyHasher},
        id::KeyId,
        kind::KeyKind,
        name::KeyName,
        owner::{Owner, OwnerId, Tier},
        presented::PresentedKey,
        record::{KeyRecord, KeyStatus},
        scope::ScopeSet,
        secret::StoredSecret,
    },
    quota::Quotas,
    store::{StoredKey, lookup::Lookup},
};

/// Decides whether a presented key is genuine and in force.
///
/// Two pure steps around the host's query: [`Verifier::lookup`] hashes, the host finds,
/// [`Verifier::verify`] decides. Proof comes before state: while the secret is not proved
/// all failures look alike, and only then is the record asked whether it is revoked,
/// expired or suspended.
///
/// ```
/// use keyward::{key::{KeyFormats, KeyId, KeyRecord}, Access, KeyDraft, KeyFormat, KeyHasher};
/// use keyward::{key::StoredSecret, verify::Verifier, MemoryStore, Timestamp};
///
/// const INGEST: KeyFormat = KeyFormat::hex("lqt_");
/// let formats = KeyFormats::from(INGEST);
/// let hasher = KeyHasher::sha256();
/// let verifier = Verifier::new(hasher.clone());
/// let store = MemoryStore::new();
/// let now = Timestamp::from_unix_secs(1_700_000_000);
///
/// let key = INGEST.mint_system()?;
/// let draft = KeyDraft::new("proj_abc123".parse()?, "ingest".parse()?);
/// let secret = StoredSecret::of(&key, &hasher, now);
/// store.insert_sync(KeyRecord::issue(KeyId::from_bytes([1; 16]), draft, secret, now)?)?;
///
/// let presented = formats.parse(key.expose())?;
/// let lookup = verifier.lookup(&presented);
/// let found = store.find_sync(&lookup);
/// let verified = verifier.verify(&lookup, found, now)?;
/// let caller = verified.authorize(&Access::any_key())?;
/// assert_eq!(caller.owner_id().as_str(), "proj_abc123");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Verifier {
    hasher: KeyHasher,
    catalog: Option<ScopeCatalog>,
}

impl Verifier {
    /// A verifier of keys that this hasher hashed.
    pub const fn new(hasher: KeyHasher) -> Self {
        Self { hasher, catalog: None }
    }

    /// The verifier holding every key to the ceiling of its kind, whatever its record
    /// says: a scope that the catalogue does not allow the kind counts as not there.
    #[must_use]
    pub fn with_catalog(mut self, catalog: ScopeCatalog) -> Self {
        self.catalog = Some(catalog);
        self
    }

    /// Returns the hasher.
    pub(crate) const fn hasher(&self) -> &KeyHasher {
        &self.hasher
    }

    /// Returns the catalogue that limits the scopes of keys, if there is one.
    pub(crate) const fn catalog(&self) -> Option<&ScopeCatalog> {
        self.catalog.as_ref()
    }

    /// Hashes a presented key, once for each accepted scheme.
    #[inline]
    pub fn lookup(&self, presented: &PresentedKey<'_>) -> Lookup {
        Lookup::new(presented.kind(), self.hasher.candidates(presented))
    }

    /// Decides by what the store found.
    ///
    /// # Errors
    ///
    /// See [`VerifyError`]; in none of these cases may the request pass.
    #[inline]
    pub fn verify(
        &self,
        lookup: &Lookup,
        found: Option<StoredKey>,
        now: Timestamp,
    ) -> Result<Verified, VerifyError> {
        let Some(found) = found else {
            // The comparison that a found record would have had, so that its absence costs as much.
            let dummy = KeyHash::new(lookup.current().scheme(), DUMMY);
            let _no_match = matches(lookup, std::iter::once(&dummy));
            return Err(VerifyError::Unknown);
        };
        let record = found.record();
        let matched = proved(record, matches(lookup, record.hashes()))?;
        let (secret, valid_until) = secret_at(record, matched);
        if secret.kind != lookup.kind() {
            return Err(VerifyError::WrongKind);
        }
        // The secret is proved; from here on the reasons differ.
        if record.is_ahead_of(now) {
            return Err(VerifyError::ClockBehind);
        }
        match record.status(now) {
            KeyStatus::Active => {}
            KeyStatus::Suspended => return Err(VerifyError::Suspended),
            KeyStatus::Expired => return Err(VerifyError::Expired),
            KeyStatus::Revoked => return Err(VerifyError::Revoked),
        }
        if valid_until.is_some_and(|deadline| deadline <= now) {
            return Err(VerifyError::PastGrace);
        }
        let differing = self.differing(record, secret, lookup);
        Ok(Verified { found, matched, differing })
    }

    /// What is not as the record says; for most keys there is nothing to find out.
    #[inline]
    fn differing(
        &self,
        record: &KeyRecord,
        secret: &StoredSecret,
        lookup: &Lookup,
    ) -> Option<Box<Differing>> {
        if self.catalog.is_none() && secret.hash.scheme() == lookup.current().scheme() {
            return None;
        }
        let scopes = self.held_to_ceiling(secret.kind, record.scopes());
        let rehash = rehash(secret, lookup);
        (scopes.is_some() || rehash.is_some()).then(|| Box::new(Differing { scopes, rehash }))
    }

    /// The scopes that remain where the record has some that its kind cannot hold.
    fn held_to_ceiling(&self, kind: KeyKind, scopes: &ScopeSet) -> Option<ScopeSet> {
        let catalog = self.catalog.as_ref()?;
        if scopes.iter().all(|scope| catalog.permits(kind, scope)) {
            return None;
        }
        Some(scopes.intersection(&catalog.ceiling(kind)))
    }
}

/// A genuine key in force, and whom it stands for. Not yet a caller: a route's
/// requirements are checked by [`Verified::authorize`].
///
/// Owned and `'static`, so it fits in request extensions. Clones share the record.
#[derive(Clone, Debug)]
pub struct Verified {
    found: StoredKey,
    /// The place of the secret that was presented, as `proved` counts.
    matched: u8,
    differing: Option<Box<Differing>>,
}

/// In what a verified key differs from its record.
#[derive(Clone, Debug)]
struct Differing {
    /// In place of the record's, where it has more than its kind can hold.
    scopes: Option<ScopeSet>,
    rehash: Option<Rehash>,
}

/// The secret that matched is stored under an older scheme: what to replace, and by what.
///
/// [`KeyRecord::rehash`] and [`Issuer::rehash`](crate::issue::Issuer::rehash) do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rehash {
    /// The stored hash.
    pub old: KeyHash,
    /// The hash of the same secret under the current scheme.
    pub new: KeyHash,
}

/// Which of a key's secrets was presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MatchedSecret {
    /// The one of the last rotation.
    Current,
    /// An earlier one in its grace.
    Retiring {
        /// The instant from which it is refused.
        valid_until: Timestamp,
    },
}

impl Verified {
    /// Checks what a route requires.
    ///
    /// # Errors
    ///
    /// [`Forbidden`], to be answered with 403.
    #[inline]
    pub fn authorize(self, access: &Access) -> Result<KeyCaller, Forbidden> {
        self.authorized(access).map_err(|(forbidden, _)| forbidden)
    }

    /// As [`Verified::authorize`], with the key beside the error.
    #[inline]
    pub(crate) fn authorized(self, access: &Access) -> Result<KeyCaller, (Forbidden, Self)> {
        match access.check(self.kind(), self.scopes(), self.owner()) {
            Ok(()) => Ok(KeyCaller(self)),
            Err(forbidden) => Err((forbidden, self)),
        }
    }

    /// The key's identity, on which limits, usage and audit hang.
    pub fn key_id(&self) -> KeyId {
        self.found.record().id()
    }

    /// The kind of the key that was presented. In grace it can be a legacy kind.
    #[inline]
    pub fn kind(&self) -> KeyKind {
        self.secret().0.kind
    }

    /// What people call the key.
    pub fn name(&self) -> &KeyName {
        self.found.record().name()
    }

    /// Whom the key belongs to, with tier and quotas.
    pub fn owner(&self) -> &Owner {
        self.found.owner()
    }

    /// The id of whom the key belongs to. It comes from the record alone.
    pub fn owner_id(&self) -> &OwnerId {
        self.found.record().owner()
    }

    /// The owner's tier.
    pub fn tier(&self) -> Option<&Tier> {
        self.found.owner().tier.as_ref()
    }

    /// What the key may do.
    pub fn scopes(&self) -> &ScopeSet {
        let held = self.differing.as_ref().and_then(|differing| differing.scopes.as_ref());
        held.unwrap_or_else(|| self.record().scopes())
    }

    /// The quotas of the key: its own, else its owner's; with `None` the route's apply.
    pub fn quotas(&self) -> Option<&Quotas> {
        self.found.record().quotas().or(self.found.owner().quotas.as_ref())
    }

    /// Which secret was presented, and if it is retiring, until when it works.
    pub fn matched(&self) -> MatchedSecret {
        match self.secret().1 {
            None => MatchedSecret::Current,
            Some(valid_until) => MatchedSecret::Retiring { valid_until },
        }
    }

    /// What to save so that an older hash scheme can be given up; `None` if the secret is
    /// under the current one.
    pub fn rehash(&self) -> Option<&Rehash> {
        self.differing.as_ref()?.rehash.as_ref()
    }

    /// The key's record as the store found it.
    #[inline]
    pub fn record(&self) -> &KeyRecord {
        self.found.record()
    }

    /// What finds the same secret again, without the key: the hash that is stored, and the one
    /// under which a rehash may have put it meanwhile.
    pub(crate) fn lookup(&self) -> Lookup {
        let stored = self.secret().0.hash;
        let candidates = match self.rehash() {
            None => Candidates { current: stored, older: Vec::new() },
            Some(rehash) => Candidates { current: rehash.new, older: vec![stored] },
        };
        Lookup::new(self.kind(), candidates)
    }

    /// The secret that was presented, and if it is retiring, until when it works.
    #[inline]
    fn secret(&self) -> (&StoredSecret, Option<Timestamp>) {
        secret_at(self.record(), self.matched)
    }
}

/// A [`Verified`] key that meets what its route requires. There is no other way to get
/// one than [`Verified::authorize`].
///
/// ```compile_fail
/// fn caller(verified: keyward::verify::Verified) -> keyward::verify::KeyCaller {
///     keyward::verify::KeyCaller(verified) // no caller without a check
/// }
/// ```
#[derive(Clone, Debug)]
pub struct KeyCaller(Verified);

impl std::ops::Deref for KeyCaller {
    type Target = Verified;

    fn deref(&self) -> &Verified {
        &self.0
    }
}

/// Why a key is refused.
///
/// This is the precise reason, for the host's log. A client is told no more than that
/// its key is invalid: see [`VerifyError::status`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The store knows no such key.
    #[error("no key has this secret")]
    Unknown,
    /// The store returned a record that holds none of the hashes: its secret was rotated
    /// out between the query and the answer, or the store is wrong.
    #[error("the record found does not hold this secret")]
    Mismatch,
    /// The secret was minted as another kind than it is presented.
    #[error("the secret belongs to a key of another kind")]
    WrongKind,
    /// The key is revoked.
    #[error("the key is revoked")]
    Revoked,
    /// The key is expired.
    #[error("the key is expired")]
    Expired,
    /// The key is suspended.
    #[error("the key is suspended")]
    Suspended,
    /// The secret was rotated out and its grace is over.
    #[error("the secret was rotated out and its grace is over")]
    PastGrace,
    /// `now` lies more than [`KeyRecord::MAX_CLOCK_SKEW`] before the key's creation or that
    /// of its current secret: the host's clock is wrong, and neither expiry nor grace can be
    /// judged.
    #[error("the clock is behind the key's creation")]
    ClockBehind,
}

impl VerifyError {
    /// The HTTP status to answer with: 401 (RFC 9110 §15.5.2) where the key is at fault,
    /// 503 where the host's clock is.
    pub const fn status(&self) -> u16 {
        match self {
            Self::ClockBehind => 503,
            _ => 401,
        }
    }
}

/// A digest that belongs to no key.
const DUMMY: [u8; 32] = [0x5A; 32];

fn rehash(secret: &StoredSecret, lookup: &Lookup) -> Option<Rehash> {
    let new = *lookup.current();
    (secret.hash.scheme() != new.scheme()).then_some(Rehash { old: secret.hash, new })
}

/// Which of the hashes equal one of the candidates: a bit each, the lowest for the first.
///
/// All are compared, each in constant time, and nothing branches: what is secret here is the
/// stored digest. The bytes of the presented key are public to whoever sends it, and the
/// digest of what it sends cannot be steered.
#[inline]
fn matches<'r>(lookup: &Lookup, hashes: impl Iterator<Item = &'r KeyHash>) -> u32 {
    let mut matches = 0;
    for (place, hash) in (0..).zip(hashes) {
        let mut equal = lookup.current().ct_eq(hash);
        for older in lookup.older() {
            equal |= older.ct_eq(hash);
        }
        matches |= u32::from(equal.unwrap_u8()).wrapping_shl(place);
    }
    matches
}

/// The place of the secret that matches: 0 is the current one, then come the retiring ones.
///
/// Which one it is, if any, is the verdict, and shows in the answer. So this may branch on it,
/// where nothing before it may: `.ci/constant-time` holds the code to that, by the name of this
/// function. It counts up to the secret in place of computing its place, so that nothing
/// behind it depends on the digests any more.
#[inline]
fn proved(record: &KeyRecord, matches: u32) -> Result<u8, VerifyError> {
    if matches & 1 != 0 {
        return Ok(0);
    }
    let mut rest = matches;
    for (place, _) in (1_u8..).zip(record.retiring()) {
        rest >>= 1;
        if rest & 1 != 0 {
            return Ok(place);
        }
    }
    Err(VerifyError::Mismatch)
}

/// The secret at a place as [`proved`] counts them, and if it is retiring, until when it works.
#[inline]
fn secret_at(record: &KeyRecord, place: u8) -> (&StoredSecret, Option<Timestamp>) {
    let retiring = usize::from(place).checked_sub(1).and_then(|at| record.retiring().get(at));
    match retiring {
        None => (record.current(), None),
        Some(retiring) => (&retiring.secret, Some(retiring.valid_until)),
    }
}
