//! Hashes under older schemes are replaced as keys are used, and no request suffers from it.

mod support;

use std::{
    convert::Infallible,
    future::{Ready, pending, ready},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use keyward::{
    Access, KeyDraft, KeyHasher, KeyStore, ManualClock, MemoryStore, SysRng, Timestamp,
    key::{
        Grace, HashScheme, KeyId, KeyName, KeyRecord, Owner, OwnerChange, OwnerId, Revocation,
        StoredSecret,
    },
    store::{
        InsertError, KeyRegistry, Listing, Lookup, OwnerListing, OwnerPageRequest, OwnerRemoval,
        PageRequest, ReplaceError, StoredKey, Withdrawn,
    },
};
use keyward_tower::ApiKeys;
use support::*;
use tower::{Layer, ServiceExt, service_fn};

fn inner(_: Request<()>) -> Ready<Result<Response<Full<Bytes>>, Infallible>> {
    ready(Ok(Response::new(Full::from("served"))))
}

fn peppered() -> KeyHasher {
    KeyHasher::hmac_sha256(1, &[7; 32])
        .and_then(|hasher| hasher.accept(HashScheme::Sha256Secret))
        .unwrap()
}

/// Stores a key whose secrets, one of them in its grace, have hashes of the older scheme. Returns the
/// plaintexts of the current one and of the other.
fn old_key(store: &MemoryStore) -> (KeyId, [String; 2]) {
    let hasher = KeyHasher::sha256();
    let [before, current] = [0, 1].map(|_| SECRET.mint_system().unwrap());
    let id = KeyId::random(&mut SysRng).unwrap();
    let draft = KeyDraft::new(ACME, KeyName::from_static("test"));
    let secret = |key| StoredSecret::of(key, &hasher, NOON);
    let record = KeyRecord::issue(id, draft, secret(&before), NOON).unwrap();
    store.insert_sync(record.clone()).unwrap();
    store.replace_sync(record.rotate(secret(&current), Grace::DAY, NOON).unwrap()).unwrap();
    (id, [current, before].map(|key| key.expose().to_owned()))
}

fn keys<K: KeyStore>(store: K, clock: &Arc<ManualClock>) -> ApiKeys<K> {
    ApiKeys::bearer("luci_", store)
        .with_hasher(peppered())
        .with_clock(Arc::clone(clock))
        .build()
        .unwrap()
}

/// Returns the response to a request, unless it waits.
fn poll<K: KeyStore + 'static>(keys: &ApiKeys<K>, token: &str) -> Poll<u16> {
    let service = keys.require(Access::any_key()).unwrap().layer(service_fn(inner));
    let authorization = format!("Bearer {token}");
    let request = Request::builder().header("authorization", authorization).body(()).unwrap();
    let mut future = pin!(service.oneshot(request));
    let response = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    response.map(|response| response.unwrap().status().as_u16())
}

fn schemes(store: &MemoryStore, id: KeyId) -> Vec<HashScheme> {
    let found = store.find_by_id_sync(id).unwrap();
    found.record().hashes().map(|hash| hash.scheme()).collect()
}

const PEPPERED: HashScheme = HashScheme::HmacSha256 { pepper: 1 };

#[test]
fn one_call_replaces_older_hashes_as_keys_are_used() {
    let store = Arc::new(MemoryStore::new());
    let clock = Arc::new(ManualClock::new(NOON));
    let (id, [current, before]) = old_key(&store);
    // Without the call nothing is replaced.
    let keys = keys(Arc::clone(&store), &clock);
    assert_eq!(poll(&keys, &current), Poll::Ready(200));
    assert_eq!(schemes(&store, id), [HashScheme::Sha256Secret; 2]);

    let keys = keys.rehash_on_use();
    // A key that is refused keeps its hash.
    let wrong = Access::any_key().with_owner(OwnerId::from_static("other"));
    let service = keys.require(wrong).unwrap().layer(service_fn(inner));
    let request = Request::builder().header("authorization", format!("Bearer {current}"));
    let response = pollster::block_on(service.oneshot(request.body(()).unwrap())).unwrap();
    assert_eq!(response.status(), 403);
    assert_eq!(schemes(&store, id), [HashScheme::Sha256Secret; 2]);

    assert_eq!(poll(&keys, &current), Poll::Ready(200));
    assert_eq!(schemes(&store, id), [PEPPERED, HashScheme::Sha256Secret]);
    assert_eq!(poll(&keys, &before), Poll::Ready(200));
    assert_eq!(schemes(&store, id), [PEPPERED; 2]);
    // Both still work, and nothing is left to replace.
    let revision = store.find_by_id_sync(id).unwrap().record().revision();
    for token in [&current, &before] {
        assert_eq!(poll(&keys, token), Poll::Ready(200));
    }
    assert_eq!(store.find_by_id_sync(id).unwrap().record().revision(), revision);
}

#[test]
fn a_store_that_cannot_be_written_is_tried_once_a_minute() {
    let memory = Arc::new(MemoryStore::new());
    let clock = Arc::new(ManualClock::new(NOON));
    let (id, [current, _]) = old_key(&memory);
    let store = ReadOnly::new(Arc::clone(&memory), Write::Fails);
    let tries = Arc::clone(&store.tries);
    let keys = keys(store, &clock).rehash_on_use();
    for (after, expected) in [(0, 1), (0, 1), (59, 1), (1, 2), (30, 2), (30, 3)] {
        clock.advance(Duration::from_secs(after));
        assert_eq!(poll(&keys, &current), Poll::Ready(200));
        assert_eq!(tries.load(Ordering::SeqCst), expected);
    }
    assert_eq!(schemes(&memory, id), [HashScheme::Sha256Secret; 2]);
}

#[test]
fn a_record_that_a_cache_holds_too_long_is_tried_once_a_second() {
    let memory = Arc::new(MemoryStore::new());
    let clock = Arc::new(ManualClock::new(NOON));
    let (_, [current, _]) = old_key(&memory);
    let store = ReadOnly::new(memory, Write::ComesLate);
    let tries = Arc::clone(&store.tries);
    let keys = keys(store, &clock).rehash_on_use();
    for (after, expected) in [(0, 1), (0, 1), (999, 1), (1, 2), (0, 2)] {
        clock.advance(Duration::from_millis(after));
        assert_eq!(poll(&keys, &current), Poll::Ready(200));
        assert_eq!(tries.load(Ordering::SeqCst), expected);
    }
}

#[test]
fn a_write_that_hangs_delays_one_request_until_the_deadline() {
    let memory = Arc::new(MemoryStore::new());
    let clock = Arc::new(ManualClock::new(NOON));
    let (_, [current, _]) = old_key(&memory);
    let store = ReadOnly::new(memory, Write::Hangs);
    let tries = Arc::clone(&store.tries);
    // A timer that is over at its first poll, which comes after that of the write.
    let over = keys(store.clone(), &clock)
        .with_deadline(Duration::from_secs(2), |_| ready(()))
        .rehash_on_use();
    for _ in 0..3 {
        assert_eq!(poll(&over, &current), Poll::Ready(200));
    }
    assert_eq!(tries.load(Ordering::SeqCst), 1);
    let waiting =
        keys(store, &clock).with_deadline(Duration::from_secs(2), |_| pending()).rehash_on_use();
    assert_eq!(poll(&waiting, &current), Poll::Pending);
}

/// Whatever the write does, the key is looked up again if it may have changed meanwhile.
#[test]
fn a_key_that_ends_while_its_hash_is_saved_is_refused() {
    let second = Duration::from_secs(1);
    let short = Duration::from_millis(100);
    for (write, takes, ends, status) in [
        (Write::Fails, short, true, 401),
        (Write::Fails, short, false, 200),
        (Write::ComesLate, short, true, 401),
        (Write::ComesLate, short, false, 200),
        (Write::Hangs, second, true, 401),
        (Write::Hangs, second, false, 200),
        (Write::Succeeds, second, true, 401),
        (Write::Succeeds, second, false, 200),
        // Within the bound no second lookup is made.
        (Write::Succeeds, short, true, 200),
    ] {
        for suspended in [false, true] {
            let (memory, clock) = (Arc::new(MemoryStore::new()), Arc::new(ManualClock::new(NOON)));
            let (id, [current, _]) = old_key(&memory);
            let (at_write, on_clock) = (Arc::clone(&memory), Arc::clone(&clock));
            let during: During = Arc::new(move || {
                on_clock.advance(takes);
                if ends {
                    let record = at_write.find_by_id_sync(id).unwrap().record().clone();
                    let ended = if suspended { record.suspend(NOON) } else { record.revoke(NOON) };
                    at_write.replace_sync(ended.unwrap()).unwrap();
                }
            });
            let store = ReadOnly { during, ..ReadOnly::new(memory, write) };
            let keys = keys(store, &clock).with_deadline(second, |_| ready(())).rehash_on_use();
            assert_eq!(poll(&keys, &current), Poll::Ready(status), "{write:?}, {takes:?}, {ends}");
        }
    }
}

/// Expiry needs no long wait.
#[test]
fn a_key_that_expires_while_its_hash_is_saved_is_refused() {
    let (memory, clock) = (Arc::new(MemoryStore::new()), Arc::new(ManualClock::new(NOON)));
    let (id, [current, _]) = old_key(&memory);
    let millisecond = Duration::from_millis(1);
    let record = memory.find_by_id_sync(id).unwrap().record().clone();
    memory.replace_sync(record.expire_at(Some(NOON + millisecond), NOON).unwrap()).unwrap();
    let on_clock = Arc::clone(&clock);
    let during: During = Arc::new(move || on_clock.advance(millisecond));
    let store = ReadOnly { during, ..ReadOnly::new(memory, Write::Succeeds) };
    assert_eq!(poll(&keys(store, &clock).rehash_on_use(), &current), Poll::Ready(401));
}

/// What happens while a record is written.
type During = Arc<dyn Fn() + Send + Sync>;

#[derive(Clone, Copy, Debug)]
enum Write {
    /// The change is reported as saved.
    Succeeds,
    Fails,
    Hangs,
    /// Another change came first, and a cache still returns the record from before it.
    ComesLate,
}

/// A store in memory whose records cannot be replaced.
#[derive(Clone)]
struct ReadOnly {
    memory: Arc<MemoryStore>,
    write: Write,
    during: During,
    tries: Arc<AtomicUsize>,
}

impl ReadOnly {
    fn new(memory: Arc<MemoryStore>, write: Write) -> Self {
        Self { memory, write, during: Arc::new(|| ()), tries: Arc::default() }
    }
}

impl KeyStore for ReadOnly {
    type Error = Down;

    async fn find(&self, lookup: &Lookup) -> Result<Option<StoredKey>, Down> {
        Ok(self.memory.find_sync(lookup))
    }

    async fn find_by_id(&self, id: KeyId) -> Result<Option<StoredKey>, Down> {
        Ok(self.memory.find_by_id_sync(id))
    }
}

impl KeyRegistry for ReadOnly {
    async fn replace(&self, _: KeyRecord) -> Result<(), ReplaceError<Down>> {
        self.tries.fetch_add(1, Ordering::SeqCst);
        (self.during)();
        match self.write {
            Write::Succeeds => Ok(()),
            Write::Fails => Err(ReplaceError::Store(Down)),
            Write::Hangs => pending().await,
            Write::ComesLate => Err(ReplaceError::Conflict),
        }
    }

    async fn insert_at(&self, _: KeyRecord, _: Timestamp) -> Result<(), InsertError<Down>> {
        Err(InsertError::Store(Down))
    }

    async fn revoke(
        &self,
        _: KeyId,
        _: Option<&OwnerId>,
        _: Revocation,
    ) -> Result<Option<Withdrawn>, Down> {
        Err(Down)
    }

    async fn revoke_all(&self, _: &OwnerId, _: Revocation) -> Result<Vec<KeyId>, Down> {
        Err(Down)
    }

    async fn suspend(
        &self,
        _: KeyId,
        _: Option<&OwnerId>,
        _: Timestamp,
    ) -> Result<Option<Withdrawn>, Down> {
        Err(Down)
    }

    async fn purge(&self, _: Timestamp, _: u16) -> Result<Vec<KeyId>, Down> {
        Err(Down)
    }

    async fn list(&self, _: &OwnerId, _: PageRequest) -> Result<Listing, Down> {
        Err(Down)
    }

    async fn list_all(&self, _: PageRequest) -> Result<Listing, Down> {
        Err(Down)
    }

    async fn owner(&self, _: &OwnerId) -> Result<Option<Arc<Owner>>, Down> {
        Err(Down)
    }

    async fn put_owner(&self, _: Owner) -> Result<(), Down> {
        Err(Down)
    }

    async fn change_owner(&self, _: &OwnerId, _: OwnerChange) -> Result<(), Down> {
        Err(Down)
    }

    async fn list_owners(&self, _: OwnerPageRequest) -> Result<OwnerListing, Down> {
        Err(Down)
    }

    async fn remove_owner(&self, _: &OwnerId) -> Result<OwnerRemoval, Down> {
        Err(Down)
    }
}
