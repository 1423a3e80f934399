//! The store with a cache in front of it.

use std::{fmt, sync::Arc};

use keyward::{
    Clock, KeyStore, SystemClock, Timestamp,
    key::{KeyId, KeyRecord, Owner, OwnerChange, OwnerId, Revocation},
    store::{
        Change, InsertError, Invalidate, KeyRegistry, Listing, Lookup, OwnerListing,
        OwnerPageRequest, OwnerRemoval, PageRequest, ReplaceError, StoredKey, Withdrawn,
    },
};

use crate::{CacheConfig, CachedError, inner::Inner, question::Question};

/// A [`KeyStore`] or [`KeyRegistry`] that serves [`find`](KeyStore::find) and
/// [`find_by_id`](KeyStore::find_by_id) from memory. The [crate's documentation](crate) states how
/// old an answer can be.
///
/// [`try_find`](KeyStore::try_find) answers on a fresh hit, makes no query and waits for no lock.
/// All other methods go to the store. A write through this type is seen by the next `find`, even
/// if the write failed or was dropped before its end.
///
/// Clones share the cache.
///
/// ```
/// use std::sync::Arc;
/// use keyward::{Issuer, KeyDraft, KeyFormat, KeyHasher, KeyStore, MemoryStore, SysRng, Timestamp};
/// use keyward_cache::CachedStore;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { pollster::block_on(async {
/// const INGEST: KeyFormat = KeyFormat::hex("lqt_");
/// let database = MemoryStore::new(); // or any other store
/// let store = CachedStore::new(database, keyward::SystemClock::new());
/// let issuer = Issuer::new(store.clone(), INGEST, KeyHasher::sha256());
///
/// # let now = Timestamp::from_unix_secs(1_700_000_000);
/// let draft = KeyDraft::new("proj_abc123".parse()?, "ingest".parse()?);
/// let issued = issuer.issue(INGEST.kind(), draft, &mut SysRng, now).await?;
///
/// let presented = issuer.formats().parse(issued.key.expose())?;
/// let verifier = issuer.verifier();
/// let lookup = verifier.lookup(&presented);
/// for _ in 0..1_000 {
///     let found = store.find(&lookup).await?; // one query in all
///     verifier.verify(&lookup, found, now)?;
/// }
/// issuer.revoke(issued.record.id(), now).await?;
/// let found = store.find(&lookup).await?; // and another
/// assert!(verifier.verify(&lookup, found, now).is_err());
/// # Ok(()) }) }
/// ```
pub struct CachedStore<S: KeyStore, C = SystemClock>(Arc<Inner<S, C>>);

impl<S: KeyStore, C: Clock> CachedStore<S, C> {
    /// Creates a cache with the default bounds in front of a store.
    ///
    /// The clock determines the age of answers. It should be the clock by which keys are judged.
    /// An answer from memory reads it once.
    pub fn new(store: S, clock: C) -> Self {
        Self::with_config(store, clock, CacheConfig::new())
    }

    /// Creates a cache with these bounds in front of a store.
    pub fn with_config(store: S, clock: C, config: CacheConfig) -> Self {
        Self(Arc::new(Inner::new(store, clock, config)))
    }

    /// Returns the store behind the cache. A write to it is seen after the staleness bound at the
    /// latest, or when [`Invalidate::invalidate`] returns.
    pub fn inner(&self) -> &S {
        &self.0.store
    }

    /// Returns the bounds.
    pub fn config(&self) -> CacheConfig {
        self.0.config
    }

    /// Returns the number of cached secrets, including stale ones that have not been evicted. It
    /// does the pending work of the cache first, so it is meant for tests and dashboards.
    pub fn held_secrets(&self) -> u64 {
        self.0.secrets.len()
    }

    /// Returns the number of records cached by id, counted as in [`CachedStore::held_secrets`].
    pub fn held_records(&self) -> u64 {
        self.0.records.len()
    }

    /// Returns the number of cached hashes that have no key, counted as in
    /// [`CachedStore::held_secrets`].
    pub fn held_unknown(&self) -> u64 {
        self.0.unknown.len()
    }

    /// Returns the number of queries in flight.
    pub fn queries_under_way(&self) -> usize {
        self.0.flights.len()
    }
}

impl<S: KeyStore, C: Clock> Invalidate for CachedStore<S, C> {
    fn invalidate(&self, change: &Change) {
        self.0.changes.note(change);
    }
}

impl<S: KeyStore + 'static, C: Clock + 'static> KeyStore for CachedStore<S, C> {
    type Error = CachedError<S::Error>;

    #[inline]
    async fn find(&self, lookup: &Lookup) -> Result<Option<StoredKey>, Self::Error> {
        match self.0.held(lookup) {
            Some(held) => Ok(held),
            None => self.0.read(Question::Secret(lookup.clone())).await,
        }
    }

    async fn find_by_id(&self, id: KeyId) -> Result<Option<StoredKey>, Self::Error> {
        match self.0.held_by_id(id) {
            Some(held) => Ok(Some(held)),
            None => self.0.read(Question::Id(id)).await,
        }
    }

    #[inline]
    fn try_find(&self, lookup: &Lookup) -> Option<Result<Option<StoredKey>, Self::Error>> {
        self.0.held(lookup).map(Ok)
    }
}

impl<S: KeyRegistry + 'static, C: Clock + 'static> KeyRegistry for CachedStore<S, C> {
    async fn insert_at(
        &self,
        record: KeyRecord,
        now: Timestamp,
    ) -> Result<(), InsertError<Self::Error>> {
        let _when_done = self.0.when_done(Change::record(&record));
        self.0.store.insert_at(record, now).await.map_err(|error| error.map_store(CachedError::new))
    }

    async fn replace(&self, record: KeyRecord) -> Result<(), ReplaceError<Self::Error>> {
        let _when_done = self.0.when_done(Change::record(&record));
        self.0.store.replace(record).await.map_err(|error| error.map_store(CachedError::new))
    }

    async fn revoke(
        &self,
        id: KeyId,
        within: Option<&OwnerId>,
        revocation: Revocation,
    ) -> Result<Option<Withdrawn>, Self::Error> {
        let _when_done = self.0.when_done(Change::key(id));
        self.0.store.revoke(id, within, revocation).await.map_err(CachedError::new)
    }

    async fn revoke_all(
        &self,
        owner: &OwnerId,
        revocation: Revocation,
    ) -> Result<Vec<KeyId>, Self::Error> {
        let _when_done = self.0.when_done(Change::owner(owner.clone()));
        self.0.store.revoke_all(owner, revocation).await.map_err(CachedError::new)
    }

    async fn suspend(
        &self,
        id: KeyId,
        within: Option<&OwnerId>,
        now: Timestamp,
    ) -> Result<Option<Withdrawn>, Self::Error> {
        let _when_done = self.0.when_done(Change::key(id));
        self.0.store.suspend(id, within, now).await.map_err(CachedError::new)
    }

    async fn purge(&self, ended_before: Timestamp, limit: u16) -> Result<Vec<KeyId>, Self::Error> {
        let when_done = self.0.when_done(Change::Everything);
        let purged = self.0.store.purge(ended_before, limit).await.map_err(CachedError::new)?;
        when_done.only(purged.iter().copied().map(Change::key));
        Ok(purged)
    }

    async fn list(&self, owner: &OwnerId, page: PageRequest) -> Result<Listing, Self::Error> {
        self.0.store.list(owner, page).await.map_err(CachedError::new)
    }

    async fn list_all(&self, page: PageRequest) -> Result<Listing, Self::Error> {
        self.0.store.list_all(page).await.map_err(CachedError::new)
    }

    async fn owner(&self, id: &OwnerId) -> Result<Option<Arc<Owner>>, Self::Error> {
        self.0.store.owner(id).await.map_err(CachedError::new)
    }

    async fn put_owner(&self, owner: Owner) -> Result<(), Self::Error> {
        let _when_done = self.0.when_done(Change::owner(owner.id.clone()));
        self.0.store.put_owner(owner).await.map_err(CachedError::new)
    }

    async fn list_owners(&self, page: OwnerPageRequest) -> Result<OwnerListing, Self::Error> {
        self.0.store.list_owners(page).await.map_err(CachedError::new)
    }

    async fn remove_owner(&self, id: &OwnerId) -> Result<OwnerRemoval, Self::Error> {
        let _when_done = self.0.when_done(Change::owner(id.clone()));
        self.0.store.remove_owner(id).await.map_err(CachedError::new)
    }

    async fn change_owner(&self, owner: &OwnerId, change: OwnerChange) -> Result<(), Self::Error> {
        let _when_done = self.0.when_done(Change::owner(owner.clone()));
        self.0.store.change_owner(owner, change).await.map_err(CachedError::new)
    }
}

impl<S: KeyStore, C> Clone for CachedStore<S, C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: KeyStore, C> fmt::Debug for CachedStore<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedStore").field("config", &self.0.config).finish_non_exhaustive()
    }
}
