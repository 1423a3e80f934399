//! The store with a cache in front of it.

use std::{fmt, panic::AssertUnwindSafe, sync::Arc};

use futures_util::future::FutureExt;
use keyward::{
    Clock, KeyStore, SystemClock, Timestamp,
    key::{KeyId, KeyRecord, Owner, OwnerId},
    store::{
        Change, InsertError, Invalidate, KeyRegistry, Listing, Lookup, PageRequest, ReplaceError,
        StoredKey,
    },
};

use crate::{
    CacheConfig, CachedError,
    changes::Changes,
    flights::{Flight, Flights, Landing, Number},
    held::{Absent, Answer, Known, ReadAt},
    room::{Secrets, Unknown},
};

/// A [`KeyStore`] or [`KeyRegistry`] that answers [`find`](KeyStore::find) from memory where it
/// may. See the [crate's documentation](crate) for how old an answer can be.
///
/// Clones share what is held. All other methods go to the store, and what is written through
/// here is seen by the next `find`, whether the write has succeeded, failed or was dropped while
/// it was under way.
///
/// ```
/// use std::sync::Arc;
/// use keyward::{Issuer, KeyDraft, KeyFormat, KeyHasher, KeyStore, MemoryStore, SysRng, Timestamp};
/// use keyward_cache::CachedStore;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { pollster::block_on(async {
/// const INGEST: KeyFormat = KeyFormat::hex("lqt_");
/// let database = MemoryStore::new(); // say
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

struct Inner<S: KeyStore, C> {
    store: S,
    clock: C,
    config: CacheConfig,
    changes: Changes,
    secrets: Secrets,
    unknown: Unknown,
    flights: Flights<S::Error>,
}

/// How often a `find` reads again because what it read changed meanwhile.
const ATTEMPTS: usize = 4;

impl<S: KeyStore, C: Clock> CachedStore<S, C> {
    /// A cache with the default bounds in front of a store.
    ///
    /// The clock judges how old answers are, and should be the one by which keys are judged. It
    /// is read once for an answer from memory.
    pub fn new(store: S, clock: C) -> Self {
        Self::with_config(store, clock, CacheConfig::new())
    }

    /// A cache with these bounds in front of a store.
    pub fn with_config(store: S, clock: C, config: CacheConfig) -> Self {
        let (changes, flights) = (Changes::new(), Flights::new());
        let secrets = Secrets::new(config.max_secrets);
        let unknown = Unknown::new(config.max_unknown);
        Self(Arc::new(Inner { store, clock, config, changes, secrets, unknown, flights }))
    }

    /// The store behind the cache. What is written to it directly is seen after the staleness
    /// bound at the latest, or once [`Invalidate::invalidate`] is called.
    pub fn inner(&self) -> &S {
        &self.0.store
    }

    /// The bounds.
    pub fn config(&self) -> CacheConfig {
        self.0.config
    }

    /// How many secrets are held, old ones that have not been pushed out included. It does the
    /// cache's pending work first, so it is for tests and dashboards.
    pub fn held_secrets(&self) -> u64 {
        self.0.secrets.len()
    }

    /// As [`CachedStore::held_secrets`], for hashes known to lead nowhere.
    pub fn held_unknown(&self) -> u64 {
        self.0.unknown.len()
    }

    /// How many queries are under way.
    pub fn queries_under_way(&self) -> usize {
        self.0.flights.len()
    }

    /// What is held, without a query: `Some(None)` if it is held that there is no such key.
    #[inline]
    fn held(&self, lookup: &Lookup) -> Option<Option<StoredKey>> {
        let inner = &*self.0;
        let now = || inner.clock.now();
        for hash in lookup.hashes() {
            let found = inner.secrets.get(hash, &inner.changes, now, |known| known.found().clone());
            if found.is_some() {
                return Some(found);
            }
        }
        inner.unknown.covers(lookup, &inner.changes, now).then_some(None)
    }
}

impl<S: KeyStore + 'static, C: Clock + 'static> CachedStore<S, C> {
    /// Asks the store, or waits for somebody who has.
    ///
    /// What was read before a change that is known by now is read again. After a few attempts
    /// under a storm of changes the answer is what was read last: it was read within this call,
    /// so it is what the store alone could have answered.
    async fn read(&self, lookup: &Lookup) -> Result<Option<StoredKey>, CachedError<S::Error>> {
        let inner = &self.0;
        for _ in 0..ATTEMPTS {
            let read = inner.read_at();
            let joined = inner.flights.join(lookup, read, inner.config.staleness);
            let mine = joined.is_none();
            let flight = joined.unwrap_or_else(|| {
                inner.flights.begin(lookup, read, |number| {
                    let query = Query { inner: Arc::clone(inner), number };
                    Flight::new(query.run(lookup.clone(), read))
                })
            });
            match flight.await {
                Landing::Answered(answer) if inner.may_answer(&answer, lookup, mine) => {
                    return Ok(answer.into_found());
                }
                Landing::Answered(_) => {}
                Landing::Failed(error) => return Err(error),
                Landing::Panicked => break,
            }
        }
        let read = inner.read_at();
        let found = inner.store.find(lookup).await.map_err(CachedError::new)?;
        Ok(inner.keep(lookup, found, read).into_found())
    }
}

impl<S: KeyStore, C: Clock> Inner<S, C> {
    /// The moment first: what changes between the two readings is then old by both.
    fn read_at(&self) -> ReadAt {
        ReadAt { moment: self.changes.moment(), now: self.clock.now() }
    }

    /// Whether what was read can be answered. A query of one's own was sent within the call
    /// whose answer it is, so its age does not matter; another's may have been held up, with
    /// the whole process perhaps, for any time.
    fn may_answer(&self, answer: &Answer, lookup: &Lookup, mine: bool) -> bool {
        let is_fresh = || match answer {
            Answer::Known(known) => known.serves(&self.changes, self.clock.now()),
            Answer::Absent(read) => read.is_fresh(self.config.staleness, self.clock.now()),
            Answer::Stray(_) => false,
        };
        answer.is_untouched(lookup, &self.changes) && (mine || is_fresh())
    }

    /// Holds what was read.
    fn keep(&self, lookup: &Lookup, found: Option<StoredKey>, read: ReadAt) -> Answer {
        let staleness = self.config.staleness;
        let Some(found) = found else {
            for hash in lookup.hashes() {
                let absent = Absent::new(hash, read, staleness, &self.changes);
                self.unknown.put(hash, absent);
            }
            return Answer::Absent(read);
        };
        let known = Known::new(found, read, staleness, &self.changes);
        if !lookup.hashes().any(|hash| known.has(hash)) {
            return Answer::Stray(known.found().clone());
        }
        let known = Arc::new(known);
        self.secrets.put(&known, &self.changes, self.clock.now());
        Answer::Known(known)
    }

    /// Makes a change known when it is dropped, so that a write whose outcome is not known
    /// counts as one that was made.
    fn when_done(&self, change: Change) -> WhenDone<'_> {
        WhenDone { changes: &self.changes, change: Some(change) }
    }
}

/// A query for all who wait for it. When it ends, or all have given up, it can be joined no more.
struct Query<S: KeyStore, C: Clock> {
    inner: Arc<Inner<S, C>>,
    number: Number,
}

impl<S: KeyStore, C: Clock> Query<S, C> {
    async fn run(self, lookup: Lookup, read: ReadAt) -> Landing<S::Error> {
        let find = async { self.inner.store.find(&lookup).await };
        match AssertUnwindSafe(find).catch_unwind().await {
            Ok(Ok(found)) => Landing::Answered(self.inner.keep(&lookup, found, read)),
            Ok(Err(error)) => Landing::Failed(CachedError::new(error)),
            Err(_panic) => Landing::Panicked,
        }
    }
}

impl<S: KeyStore, C: Clock> Drop for Query<S, C> {
    fn drop(&mut self) {
        self.inner.flights.end(self.number);
    }
}

struct WhenDone<'c> {
    changes: &'c Changes,
    change: Option<Change>,
}

impl WhenDone<'_> {
    /// The outcome is known: it is these that have changed.
    fn only(mut self, changes: impl Iterator<Item = Change>) {
        changes.for_each(|change| self.changes.note(&change));
        self.change = None;
    }
}

impl Drop for WhenDone<'_> {
    fn drop(&mut self) {
        if let Some(change) = &self.change {
            self.changes.note(change);
        }
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
        match self.held(lookup) {
            Some(held) => Ok(held),
            None => self.read(lookup).await,
        }
    }
}

impl<S: KeyRegistry + 'static, C: Clock + 'static> KeyRegistry for CachedStore<S, C> {
    async fn insert(&self, record: KeyRecord) -> Result<(), InsertError<Self::Error>> {
        let _when_done = self.0.when_done(Change::record(&record));
        self.0.store.insert(record).await.map_err(|error| error.map_store(CachedError::new))
    }

    async fn replace(&self, record: KeyRecord) -> Result<(), ReplaceError<Self::Error>> {
        let _when_done = self.0.when_done(Change::record(&record));
        self.0.store.replace(record).await.map_err(|error| error.map_store(CachedError::new))
    }

    async fn purge(&self, ended_before: Timestamp, limit: u16) -> Result<Vec<KeyId>, Self::Error> {
        let when_done = self.0.when_done(Change::Everything);
        let purged = self.0.store.purge(ended_before, limit).await.map_err(CachedError::new)?;
        when_done.only(purged.iter().copied().map(Change::key));
        Ok(purged)
    }

    async fn get(&self, id: KeyId) -> Result<Option<StoredKey>, Self::Error> {
        self.0.store.get(id).await.map_err(CachedError::new)
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
