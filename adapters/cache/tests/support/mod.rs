//! A store that stops at given points, and a set of keys.
#![allow(dead_code, reason = "each test uses a part")]

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use keyward::{
    KeyDraft, KeyFormat, KeyHasher, KeyStore, ManualClock, MemoryStore, Timestamp,
    key::{
        Grace, KeyFormats, KeyId, KeyRecord, Owner, OwnerChange, OwnerId, PlaintextKey, Revocation,
        StoredSecret,
    },
    store::{
        InsertError, KeyRegistry, Listing, Lookup, OwnerListing, OwnerPageRequest, OwnerRemoval,
        PageRequest, ReplaceError, StoredKey, Withdrawn,
    },
    verify::Verifier,
};
use keyward_cache::{CacheConfig, CachedStore};
use parking_lot::Mutex;
use rand::{SeedableRng, rngs::StdRng};

pub(crate) const START: Timestamp = Timestamp::from_unix_secs(1_700_000_000);
pub(crate) const STALENESS: Duration = CacheConfig::DEFAULT_STALENESS;
pub(crate) const FORMAT: KeyFormat = KeyFormat::hex("lqt_");

/// The points at which a call can be made to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    BeforeRead,
    AfterRead,
    BeforeWrite,
    AfterWrite,
}

/// A store that counts queries, and that waits, fails or panics on demand.
#[derive(Default)]
pub(crate) struct Gated {
    pub(crate) store: MemoryStore,
    finds: AtomicUsize,
    dropped: AtomicUsize,
    closed: Mutex<Vec<(Point, Arc<Gate>)>>,
    failing: AtomicBool,
    panicking: AtomicBool,
}

/// A closed point. Calls that reached it wait until it is opened, even if it is closed again.
#[derive(Default)]
struct Gate {
    open: AtomicBool,
    waiting: Mutex<Vec<Waker>>,
}

#[derive(Debug, thiserror::Error)]
#[error("the database is gone")]
pub(crate) struct Gone;

impl Gated {
    pub(crate) fn finds(&self) -> usize {
        self.finds.load(Ordering::SeqCst)
    }

    /// Returns how many queries were dropped before they completed.
    pub(crate) fn dropped(&self) -> usize {
        self.dropped.load(Ordering::SeqCst)
    }

    pub(crate) fn fail(&self, failing: bool) {
        self.failing.store(failing, Ordering::SeqCst);
    }

    pub(crate) fn panic(&self, panicking: bool) {
        self.panicking.store(panicking, Ordering::SeqCst);
    }

    pub(crate) fn close(&self, point: Point) {
        self.closed.lock().push((point, Arc::default()));
    }

    pub(crate) fn open(&self, point: Point) {
        let opened: Vec<_> = self.closed.lock().extract_if(.., |it| it.0 == point).collect();
        for (_, gate) in opened {
            gate.open.store(true, Ordering::SeqCst);
            gate.waiting.lock().drain(..).for_each(Waker::wake);
        }
    }

    async fn pass(&self, point: Point) {
        let gate = self.closed.lock().iter().find(|it| it.0 == point).map(|it| Arc::clone(&it.1));
        let Some(gate) = gate else { return };
        poll_fn(|context| {
            if gate.open.load(Ordering::SeqCst) {
                return Poll::Ready(());
            }
            gate.waiting.lock().push(context.waker().clone());
            if gate.open.load(Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn check(&self) -> Result<(), Gone> {
        assert!(!self.panicking.load(Ordering::SeqCst), "planted panic");
        if self.failing.load(Ordering::SeqCst) { Err(Gone) } else { Ok(()) }
    }
}

struct CountDropped<'a>(&'a AtomicUsize, bool);

impl Drop for CountDropped<'_> {
    fn drop(&mut self) {
        if !self.1 {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl KeyStore for Gated {
    type Error = Gone;

    async fn find(&self, lookup: &Lookup) -> Result<Option<StoredKey>, Gone> {
        self.finds.fetch_add(1, Ordering::SeqCst);
        let mut ended = CountDropped(&self.dropped, false);
        self.pass(Point::BeforeRead).await;
        let found = self.store.find_sync(lookup);
        self.pass(Point::AfterRead).await;
        ended.1 = true;
        self.check().map(|()| found)
    }

    async fn find_by_id(&self, id: KeyId) -> Result<Option<StoredKey>, Gone> {
        self.finds.fetch_add(1, Ordering::SeqCst);
        let mut ended = CountDropped(&self.dropped, false);
        self.pass(Point::BeforeRead).await;
        let found = self.store.find_by_id_sync(id);
        self.pass(Point::AfterRead).await;
        ended.1 = true;
        self.check().map(|()| found)
    }
}

impl KeyRegistry for Gated {
    async fn insert_at(&self, record: KeyRecord, now: Timestamp) -> Result<(), InsertError<Gone>> {
        self.pass(Point::BeforeWrite).await;
        self.store
            .insert_at_sync(record, now)
            .map_err(|error| error.map_store(|never| match never {}))?;
        self.pass(Point::AfterWrite).await;
        self.check().map_err(InsertError::Store)
    }

    async fn replace(&self, record: KeyRecord) -> Result<(), ReplaceError<Gone>> {
        self.pass(Point::BeforeWrite).await;
        self.store.replace_sync(record).map_err(|error| error.map_store(|never| match never {}))?;
        self.pass(Point::AfterWrite).await;
        self.check().map_err(ReplaceError::Store)
    }

    async fn revoke(
        &self,
        id: KeyId,
        within: Option<&OwnerId>,
        revocation: Revocation,
    ) -> Result<Option<Withdrawn>, Gone> {
        self.pass(Point::BeforeWrite).await;
        let done = self.store.revoke_sync(id, within, revocation);
        self.pass(Point::AfterWrite).await;
        self.check().map(|()| done)
    }

    async fn revoke_all(
        &self,
        owner: &OwnerId,
        revocation: Revocation,
    ) -> Result<Vec<KeyId>, Gone> {
        self.pass(Point::BeforeWrite).await;
        let done = self.store.revoke_all_sync(owner, revocation);
        self.pass(Point::AfterWrite).await;
        self.check().map(|()| done)
    }

    async fn suspend(
        &self,
        id: KeyId,
        within: Option<&OwnerId>,
        now: Timestamp,
    ) -> Result<Option<Withdrawn>, Gone> {
        self.pass(Point::BeforeWrite).await;
        let done = self.store.suspend_sync(id, within, now);
        self.pass(Point::AfterWrite).await;
        self.check().map(|()| done)
    }

    async fn purge(&self, ended_before: Timestamp, limit: u16) -> Result<Vec<KeyId>, Gone> {
        self.pass(Point::BeforeWrite).await;
        let purged = self.store.purge_sync(ended_before, limit);
        self.pass(Point::AfterWrite).await;
        self.check().map(|()| purged)
    }

    async fn list(&self, owner: &OwnerId, page: PageRequest) -> Result<Listing, Gone> {
        Ok(self.store.list_sync(owner, page))
    }

    async fn list_all(&self, page: PageRequest) -> Result<Listing, Gone> {
        Ok(self.store.list_all_sync(page))
    }

    async fn owner(&self, id: &OwnerId) -> Result<Option<Arc<Owner>>, Gone> {
        Ok(self.store.owner_sync(id))
    }

    async fn put_owner(&self, owner: Owner) -> Result<(), Gone> {
        self.pass(Point::BeforeWrite).await;
        self.store.put_owner_sync(owner);
        self.pass(Point::AfterWrite).await;
        self.check()
    }

    async fn list_owners(&self, page: OwnerPageRequest) -> Result<OwnerListing, Gone> {
        Ok(self.store.list_owners_sync(&page))
    }

    async fn remove_owner(&self, id: &OwnerId) -> Result<OwnerRemoval, Gone> {
        self.pass(Point::BeforeWrite).await;
        let done = self.store.remove_owner_sync(id);
        self.pass(Point::AfterWrite).await;
        self.check().map(|()| done)
    }

    async fn change_owner(&self, owner: &OwnerId, change: OwnerChange) -> Result<(), Gone> {
        self.pass(Point::BeforeWrite).await;
        self.store.change_owner_sync(owner, change);
        self.pass(Point::AfterWrite).await;
        self.check()
    }
}

/// A future that is polled by hand, and knows whether it was woken.
pub(crate) struct Task<'a, T> {
    future: Option<Pin<Box<dyn Future<Output = T> + Send + 'a>>>,
    woken: Arc<Woken>,
    begun: bool,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl<'a, T> Task<'a, T> {
    pub(crate) fn new(future: impl Future<Output = T> + Send + 'a) -> Self {
        Self {
            future: Some(Box::pin(future)),
            woken: Arc::new(Woken(AtomicBool::new(true))),
            begun: false,
        }
    }

    pub(crate) fn is_woken(&self) -> bool {
        self.woken.0.load(Ordering::SeqCst)
    }

    /// Whether it was polled at least once; before that it has done nothing.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Polls it if it was woken, like an executor.
    pub(crate) fn poll(&mut self) -> Option<T> {
        if !self.woken.0.swap(false, Ordering::SeqCst) {
            return None;
        }
        self.begun = true;
        let waker = Waker::from(Arc::clone(&self.woken));
        let polled = self.future.as_mut()?.as_mut().poll(&mut Context::from_waker(&waker));
        match polled {
            Poll::Ready(output) => {
                self.future = None;
                Some(output)
            }
            Poll::Pending => None,
        }
    }

    pub(crate) fn cancel(&mut self) {
        self.future = None;
    }
}

/// Mints keys, the same ones for the same seed.
pub(crate) struct World {
    pub(crate) rng: StdRng,
    pub(crate) hasher: KeyHasher,
    next_id: u64,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), hasher: KeyHasher::sha256(), next_id: 1 }
    }

    pub(crate) fn secret(&mut self, now: Timestamp) -> (StoredSecret, PlaintextKey) {
        let key = FORMAT.mint(&mut self.rng).unwrap();
        (StoredSecret::of(&key, &self.hasher, now), key)
    }

    pub(crate) fn issue(&mut self, owner: &str, now: Timestamp) -> (KeyRecord, Lookup) {
        let (secret, key) = self.secret(now);
        let draft = KeyDraft::new(owner.parse().unwrap(), "key".parse().unwrap());
        let id = u128::from(self.next_id).to_be_bytes();
        self.next_id += 1;
        let record = KeyRecord::issue(KeyId::from_bytes(id), draft, secret, now).unwrap();
        (record, self.lookup(&key))
    }

    pub(crate) fn rotate(&mut self, record: &KeyRecord, now: Timestamp) -> (KeyRecord, Lookup) {
        let (secret, key) = self.secret(now);
        (record.rotate(secret, Grace::DAY, now).unwrap(), self.lookup(&key))
    }

    pub(crate) fn lookup(&self, key: &PlaintextKey) -> Lookup {
        let formats = KeyFormats::from(FORMAT);
        Verifier::new(self.hasher.clone()).lookup(&formats.parse(key.expose()).unwrap())
    }

    /// Returns the lookup of a key that does not exist.
    pub(crate) fn stranger(&mut self) -> Lookup {
        let key = FORMAT.mint(&mut self.rng).unwrap();
        self.lookup(&key)
    }
}

/// A cache over a gated store, and its clock.
pub(crate) struct Rig {
    pub(crate) store: Arc<Gated>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) cache: CachedStore<Arc<Gated>, Arc<ManualClock>>,
    pub(crate) world: World,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(CacheConfig::new())
    }

    pub(crate) fn with(config: CacheConfig) -> Self {
        let (store, clock) = (Arc::new(Gated::default()), Arc::new(ManualClock::new(START)));
        let cache = CachedStore::with_config(Arc::clone(&store), Arc::clone(&clock), config);
        Self { store, clock, cache, world: World::new(1) }
    }

    /// Inserts a key into the store without the cache.
    pub(crate) fn key(&mut self, owner: &str) -> (KeyRecord, Lookup) {
        let (record, lookup) = self.world.issue(owner, START);
        self.store.store.insert_sync(record.clone()).unwrap();
        (record, lookup)
    }

    pub(crate) fn find(&self, lookup: &Lookup) -> Option<StoredKey> {
        pollster::block_on(self.cache.find(lookup)).unwrap()
    }

    /// Returns the found revision.
    pub(crate) fn revision(&self, lookup: &Lookup) -> Option<u64> {
        self.find(lookup).map(|found| found.record().revision())
    }

    pub(crate) fn task<'a>(&'a self, lookup: &'a Lookup) -> Task<'a, Result<Option<u64>, String>> {
        Task::new(async move {
            let found = self.cache.find(lookup).await;
            found
                .map(|found| found.map(|found| found.record().revision()))
                .map_err(|error| error.to_string())
        })
    }
}
