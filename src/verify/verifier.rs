//! From a presented key and its record to a verified key.

use crate::{
    clock::timestamp::Timestamp,
    key::{
        catalog::ScopeCatalog, hash::KeyHash, hasher::KeyHasher, kind::KeyKind,
        presented::PresentedKey, record::KeyRecord, scope::ScopeSet, secret::StoredSecret,
    },
    store::{lookup::Lookup, stored_key::StoredKey},
    verify::{
        error::VerifyError,
        in_force::in_force,
        matching::{matches, proved, secret_at},
        verified::{Differing, Rehash, Verified},
    },
};

/// Decides whether a presented key is genuine and in force.
///
/// Verification is two pure steps around the query of the host: [`Verifier::lookup`] hashes the key,
/// the host finds the record, and [`Verifier::verify`] decides. The secret is proved before the
/// state of the key is checked: as long as it is not proved, all failures look the same.
///
/// ```
/// use keyward::{
///     key::{KeyFormats, KeyId, KeyRecord, StoredSecret}, verify::Verifier, Access, KeyDraft,
///     KeyFormat, KeyHasher, MemoryStore, Timestamp,
/// };
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
    /// Builds a verifier of keys that this hasher has hashed.
    pub const fn new(hasher: KeyHasher) -> Self {
        Self { hasher, catalog: None }
    }

    /// Returns the hasher.
    pub(crate) const fn hasher(&self) -> &KeyHasher {
        &self.hasher
    }

    /// Returns the catalogue that limits the scopes of keys, if there is one.
    pub(crate) const fn catalog(&self) -> Option<&ScopeCatalog> {
        self.catalog.as_ref()
    }

    /// Limits every key to the scopes that the catalogue allows its kind. If the record of a key has
    /// other scopes, the key is treated as if they were not there. A role in the record gives the scopes
    /// that it stands for, within the same bounds.
    #[must_use]
    pub fn with_catalog(mut self, catalog: ScopeCatalog) -> Self {
        self.catalog = Some(catalog);
        self
    }

    /// Hashes a presented key once for each accepted scheme.
    #[inline]
    pub fn lookup(&self, presented: &PresentedKey<'_>) -> Lookup {
        Lookup::new(presented.kind(), self.hasher.candidates(presented))
    }

    /// Decides about what the store found.
    ///
    /// # Errors
    ///
    /// Returns a [`VerifyError`] if the request must be refused.
    #[inline]
    pub fn verify(
        &self,
        lookup: &Lookup,
        found: Option<StoredKey>,
        now: Timestamp,
    ) -> Result<Verified, VerifyError> {
        let Some(found) = found else {
            // Compare as for a record that was found, so that an unknown key takes as long.
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
        // The secret is proved. From here on the reasons may differ.
        in_force(&found, now)?;
        if valid_until.is_some_and(|deadline| deadline <= now) {
            return Err(VerifyError::PastGrace);
        }
        let differing = self.differing(record, secret, lookup);
        Ok(Verified::new(found, matched, differing))
    }

    /// Returns in what the key differs from its record. Most keys need no check at all.
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
        let scopes = self.effective_scopes(secret.kind, record.scopes());
        let rehash = rehash(secret, lookup);
        (scopes.is_some() || rehash.is_some()).then(|| Box::new(Differing { scopes, rehash }))
    }

    /// Returns the scopes of a key, if they are not those of its record: without scopes that its kind
    /// cannot have, and with those of its roles.
    fn effective_scopes(&self, kind: KeyKind, scopes: &ScopeSet) -> Option<ScopeSet> {
        self.catalog.as_ref()?.effective(kind, scopes)
    }
}

/// A digest that belongs to no key.
const DUMMY: [u8; 32] = [0x5A; 32];

fn rehash(secret: &StoredSecret, lookup: &Lookup) -> Option<Rehash> {
    let new = *lookup.current();
    (secret.hash.scheme() != new.scheme()).then_some(Rehash { old: secret.hash, new })
}
