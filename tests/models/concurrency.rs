//! Several threads on one store: exactly one rotation succeeds, a revocation always does, and no
//! reader misses an existing key.

use std::{
    collections::{BTreeMap, HashSet},
    convert::Infallible,
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use keyward::{
    Issuer, KeyDraft, KeyFormat, KeyHasher, KeyStore, MemoryStore, Timestamp,
    issue::IssuerError,
    key::{
        Grace, HashScheme, KeyFormats, KeyId, KeyRecord, KeyState, Owner, OwnerChange, OwnerId,
        PlaintextKey, Revocation, StoredSecret, Tier, TransitionError,
    },
    store::{
        Cursor, InsertError, KeyRegistry, Listing, Lookup, OwnerListing, OwnerPageRequest,
        OwnerRemoval, PageRequest, ReplaceError, StoredKey, Withdrawn,
    },
    verify::{Verifier, VerifyError},
};
use pollster::block_on;
use rand::{RngExt, SeedableRng, rngs::StdRng};

const LQT: KeyFormat = KeyFormat::hex("lqt_");
const OWNER: OwnerId = OwnerId::from_static("proj_abc123");
const THREADS: usize = 8;
const MILLISECOND: Duration = Duration::from_millis(1);

fn start() -> Timestamp {
    Timestamp::from_unix_secs(1_700_000_000)
}

fn draft() -> KeyDraft {
    KeyDraft::new(OWNER, "ingest".parse().unwrap())
}

fn shortest() -> Grace {
    Grace::new(MILLISECOND).unwrap()
}

fn lookup(verifier: &Verifier, key: &PlaintextKey) -> Lookup {
    verifier.lookup(&KeyFormats::from(LQT).parse(key.expose()).unwrap())
}

/// Sets the flag when a thread ends or panics, so that the other threads stop waiting and a failed
/// test does not hang.
struct Finish<'f>(&'f AtomicBool);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn is_done(done: &AtomicBool) -> bool {
    done.load(Ordering::SeqCst)
}

/// A store in which readers of a record wait for each other, so that all of them change the same
/// revision. Without a barrier a reader does not wait.
struct Together {
    store: MemoryStore,
    readers: Barrier,
    wait: AtomicBool,
}

impl KeyStore for Together {
    type Error = Infallible;

    async fn find(&self, lookup: &Lookup) -> Result<Option<StoredKey>, Infallible> {
        self.store.find(lookup).await
    }

    async fn find_by_id(&self, id: KeyId) -> Result<Option<StoredKey>, Infallible> {
        let found = self.store.find_by_id_sync(id);
        if self.wait.load(Ordering::SeqCst) {
            self.readers.wait();
        }
        Ok(found)
    }
}

impl KeyRegistry for Together {
    async fn insert_at(
        &self,
        record: KeyRecord,
        now: Timestamp,
    ) -> Result<(), InsertError<Infallible>> {
        self.store.insert_at(record, now).await
    }

    async fn replace(&self, record: KeyRecord) -> Result<(), ReplaceError<Infallible>> {
        self.store.replace(record).await
    }

    async fn revoke(
        &self,
        id: KeyId,
        within: Option<&OwnerId>,
        revocation: Revocation,
    ) -> Result<Option<Withdrawn>, Infallible> {
        self.store.revoke(id, within, revocation).await
    }

    async fn revoke_all(
        &self,
        owner: &OwnerId,
        revocation: Revocation,
    ) -> Result<Vec<KeyId>, Infallible> {
        self.store.revoke_all(owner, revocation).await
    }

    async fn suspend(
        &self,
        id: KeyId,
        within: Option<&OwnerId>,
        now: Timestamp,
    ) -> Result<Option<Withdrawn>, Infallible> {
        self.store.suspend(id, within, now).await
    }

    async fn purge(&self, ended_before: Timestamp, limit: u16) -> Result<Vec<KeyId>, Infallible> {
        self.store.purge(ended_before, limit).await
    }

    async fn list(&self, owner: &OwnerId, page: PageRequest) -> Result<Listing, Infallible> {
        self.store.list(owner, page).await
    }

    async fn list_all(&self, page: PageRequest) -> Result<Listing, Infallible> {
        self.store.list_all(page).await
    }

    async fn owner(&self, id: &OwnerId) -> Result<Option<Arc<Owner>>, Infallible> {
        self.store.owner(id).await
    }

    async fn put_owner(&self, owner: Owner) -> Result<(), Infallible> {
        self.store.put_owner(owner).await
    }

    async fn list_owners(&self, page: OwnerPageRequest) -> Result<OwnerListing, Infallible> {
        self.store.list_owners(page).await
    }

    async fn remove_owner(&self, id: &OwnerId) -> Result<OwnerRemoval, Infallible> {
        self.store.remove_owner(id).await
    }

    async fn change_owner(&self, owner: &OwnerId, change: OwnerChange) -> Result<(), Infallible> {
        self.store.change_owner(owner, change).await
    }
}

#[test]
fn exactly_one_of_several_rotations_of_one_record_succeeds() {
    const ROUNDS: usize = 300;
    let together = Together {
        store: MemoryStore::new(),
        readers: Barrier::new(THREADS),
        wait: AtomicBool::new(false),
    };
    let issuer = Issuer::new(&together, LQT, KeyHasher::sha256());
    let verifier = Verifier::new(KeyHasher::sha256());
    let mut rng = StdRng::seed_from_u64(1);
    let issued = block_on(issuer.issue(LQT.kind(), draft(), &mut rng, start())).unwrap();
    let id = issued.record.id();
    let mut current = issued.key;
    together.wait.store(true, Ordering::SeqCst);
    for round in 1..=ROUNDS {
        let now = start() + MILLISECOND * round as u32 * 10;
        let results: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let issuer = &issuer;
                    scope.spawn(move || {
                        let mut rng = StdRng::seed_from_u64((round * THREADS + thread) as u64);
                        // Both ways of rotating, in competition.
                        if thread % 2 == 0 {
                            block_on(issuer.rotate(id, shortest(), &mut rng, now))
                        } else {
                            block_on(issuer.rotate_now(id, &mut rng, now))
                        }
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1, "round {round}");
        for lost in lost {
            assert_eq!(lost.err(), Some(IssuerError::Conflict), "round {round}");
        }
        let won = won.into_iter().next().unwrap().unwrap();
        let stored = together.store.find_by_id_sync(id).unwrap();
        assert_eq!(*stored.record(), won.record);
        assert_eq!(stored.record().revision(), round as u64 + 1);
        // The new key is valid; the previous one is in its grace period, or ended immediately.
        let verify = |key: &PlaintextKey, now| {
            let lookup = lookup(&verifier, key);
            let found = together.store.find_sync(&lookup);
            verifier.verify(&lookup, found, now).map(|verified| verified.key_id())
        };
        assert_eq!(verify(&won.key, now), Ok(id));
        let before = verify(&current, now);
        assert_eq!(before.is_ok(), !won.record.retiring().is_empty(), "{before:?}");
        assert!(verify(&current, now + MILLISECOND).is_err());
        current = won.key;
    }
}

/// Threads that do not wait for each other: as many successes as revisions, and all other results
/// are conflicts.
#[test]
fn concurrent_rotations_are_neither_lost_nor_counted_twice() {
    let issuer = Issuer::new(MemoryStore::new(), LQT, KeyHasher::sha256());
    let mut rng = StdRng::seed_from_u64(2);
    let issued = block_on(issuer.issue(LQT.kind(), draft(), &mut rng, start())).unwrap();
    let id = issued.record.id();
    let gate = Barrier::new(THREADS);
    let revisions: Vec<u64> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (issuer, gate) = (&issuer, &gate);
                scope.spawn(move || {
                    let mut rng = StdRng::seed_from_u64(100 + thread as u64);
                    gate.wait();
                    let rotate = |_| match block_on(issuer.rotate_now(id, &mut rng, start())) {
                        Ok(issued) => Some(issued.record.revision()),
                        Err(IssuerError::Conflict) => None,
                        Err(error) => panic!("{error}"),
                    };
                    (0..2_000).filter_map(rotate).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let distinct: HashSet<u64> = revisions.iter().copied().collect();
    assert_eq!(distinct.len(), revisions.len(), "two rotations produced the same revision");
    let last = issuer.registry().find_by_id_sync(id).unwrap().record().revision();
    assert_eq!(revisions.len() as u64, last - 1, "a successful rotation was lost");
}

#[test]
fn a_revocation_takes_precedence_over_concurrent_rotations() {
    for round in 0..100 {
        let issuer = Issuer::new(MemoryStore::new(), LQT, KeyHasher::sha256());
        let verifier = Verifier::new(KeyHasher::sha256());
        let mut rng = StdRng::seed_from_u64(round);
        let issued = block_on(issuer.issue(LQT.kind(), draft(), &mut rng, start())).unwrap();
        let id = issued.record.id();
        let keys = Mutex::new(vec![issued.key]);
        let revoked = AtomicBool::new(false);
        let gate = Barrier::new(THREADS);
        thread::scope(|scope| {
            for thread in 0..THREADS - 1 {
                let (issuer, verifier, keys, revoked, gate) =
                    (&issuer, &verifier, &keys, &revoked, &gate);
                scope.spawn(move || {
                    let mut rng = StdRng::seed_from_u64(round * 100 + thread as u64);
                    let grace = Grace::DAY;
                    gate.wait();
                    loop {
                        // A result that is read after the revocation returned must be revoked.
                        let is_revoked = revoked.load(Ordering::SeqCst);
                        let result = match rng.random_range(0..4) {
                            0 => block_on(issuer.rotate(id, grace, &mut rng, start())),
                            _ => block_on(issuer.rotate_now(id, &mut rng, start())),
                        };
                        match result {
                            Ok(issued) => {
                                assert!(!is_revoked, "a revoked key was rotated");
                                keys.lock().unwrap().push(issued.key);
                            }
                            Err(IssuerError::Transition(TransitionError::Revoked)) => break,
                            Err(
                                IssuerError::Conflict
                                | IssuerError::Transition(TransitionError::TooManyRetiring),
                            ) => {
                                assert!(!is_revoked);
                            }
                            Err(error) => panic!("{error}"),
                        }
                        let is_revoked = revoked.load(Ordering::SeqCst);
                        let keys = keys.lock().unwrap();
                        let lookup = lookup(verifier, keys.last().unwrap());
                        let found = issuer.registry().find_sync(&lookup);
                        let verified = verifier.verify(&lookup, found, start());
                        assert!(!(is_revoked && verified.is_ok()), "a revoked key was accepted");
                    }
                });
            }
            gate.wait();
            let result = block_on(issuer.revoke(id, start()));
            revoked.store(true, Ordering::SeqCst);
            assert_eq!(result, Ok(Withdrawn::Now));
            let found = issuer.registry().find_by_id_sync(id).unwrap();
            assert_eq!(found.record().state(), KeyState::Revoked { since: start() });
        });
        // All secrets minted before and during the revocation are rejected.
        for key in keys.into_inner().unwrap() {
            let lookup = lookup(&verifier, &key);
            let found = issuer.registry().find_sync(&lookup);
            let result = verifier.verify(&lookup, found, start());
            assert!(matches!(result, Err(VerifyError::Revoked | VerifyError::Unknown)));
        }
    }
}

#[test]
fn exactly_one_of_several_inserts_of_one_id_or_secret_succeeds() {
    let verifier = Verifier::new(KeyHasher::sha256());
    let mut rng = StdRng::seed_from_u64(3);
    for round in 0..300 {
        for same_id in [true, false] {
            let keys: Vec<PlaintextKey> =
                (0..THREADS).map(|_| LQT.mint(&mut rng).unwrap()).collect();
            let store = MemoryStore::new();
            let gate = Barrier::new(THREADS);
            let results: Vec<_> = thread::scope(|scope| {
                let threads: Vec<_> = (0..THREADS)
                    .map(|thread| {
                        let (store, gate) = (&store, &gate);
                        let key = &keys[if same_id { thread } else { 0 }];
                        let id = KeyId::from_bytes([if same_id { 0 } else { thread as u8 }; 16]);
                        let secret = StoredSecret::of(key, &KeyHasher::sha256(), start());
                        let record = KeyRecord::issue(id, draft(), secret, start()).unwrap();
                        scope.spawn(move || {
                            gate.wait();
                            (record.id(), store.insert_sync(record))
                        })
                    })
                    .collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let expected =
                if same_id { InsertError::DuplicateId } else { InsertError::DuplicateSecret };
            let won: Vec<_> = results.iter().filter(|(_, result)| result.is_ok()).collect();
            assert_eq!(won.len(), 1, "round {round}");
            assert!(results.iter().all(|(_, result)| result.is_ok() || *result == Err(expected)));
            // The failed inserts left nothing behind: no record, no secret, no entry in a listing.
            assert_eq!(store.len(), 1);
            let listed = store.list_sync(&OWNER, PageRequest::first(100)).keys;
            assert_eq!(listed.len(), 1);
            assert_eq!(listed[0].record().id(), won[0].0);
            let found =
                keys.iter().filter(|key| store.find_sync(&lookup(&verifier, key)).is_some());
            assert_eq!(found.count(), 1);
        }
    }
}

/// A secret in a long grace period is found and accepted at every moment, during rotations,
/// suspensions and tier changes.
#[test]
fn readers_find_a_valid_secret_during_rotations() {
    let issuer = Issuer::new(MemoryStore::new(), LQT, KeyHasher::sha256());
    let verifier = Verifier::new(KeyHasher::sha256());
    let mut rng = StdRng::seed_from_u64(4);
    let issued = block_on(issuer.issue(LQT.kind(), draft(), &mut rng, start())).unwrap();
    let id = issued.record.id();
    let long = Grace::new(Grace::MAX).unwrap();
    block_on(issuer.rotate(id, long, &mut rng, start())).unwrap();
    let done = AtomicBool::new(false);
    let reads = AtomicUsize::new(0);
    let old = lookup(&verifier, &issued.key);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let _finish = Finish(&done);
                while !is_done(&done) {
                    let found = issuer.registry().find_sync(&old);
                    let verified = verifier.verify(&old, found, start()).unwrap();
                    assert_eq!((verified.key_id(), verified.owner_id()), (id, &OWNER));
                    reads.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let tiers = scope.spawn(|| {
            for tier in ["standard", "enterprise"].into_iter().cycle().take(20_000) {
                let owner = Owner::new(OWNER).with_tier(Tier::new(tier).unwrap());
                issuer.registry().put_owner_sync(owner);
            }
        });
        let _finish = Finish(&done);
        let mut rotations = 0;
        while !is_done(&done) && (rotations < 20_000 || reads.load(Ordering::SeqCst) < 1_000) {
            rotations += 1;
            let now = start() + MILLISECOND * 2 * rotations;
            block_on(issuer.rotate(id, shortest(), &mut rng, now)).unwrap();
        }
        tiers.join().unwrap();
    });
}

// ---------------------------------------------------------------------------------------
// A secret that moves between two hashes.

/// A key under a plain digest, and its lookups while it is rehashed to another scheme and back.
struct Moving {
    store: MemoryStore,
    /// The scheme of the first rehash first, its own second.
    to_pepper: Lookup,
    /// Its own scheme first, the scheme of the first rehash second.
    to_token: Lookup,
}

impl Moving {
    fn new(seed: u64) -> Self {
        let key = LQT.mint(&mut StdRng::seed_from_u64(seed)).unwrap();
        let peppered = KeyHasher::hmac_sha256(1, &[7; 32])
            .and_then(|hasher| hasher.accept(HashScheme::Sha256Secret))
            .unwrap();
        let plain = KeyHasher::sha256().accept(HashScheme::Sha256Token).unwrap();
        let store = MemoryStore::new();
        let secret = StoredSecret::of(&key, &KeyHasher::sha256(), start());
        let record = KeyRecord::issue(KeyId::from_bytes([1; 16]), draft(), secret, start());
        store.insert_sync(record.unwrap()).unwrap();
        let to_pepper = lookup(&Verifier::new(peppered), &key);
        let to_token = lookup(&Verifier::new(plain), &key);
        Self { store, to_pepper, to_token }
    }

    fn turn(&self, lookup: &Lookup) {
        let hashes: Vec<_> = lookup.hashes().copied().collect();
        let [a, b] = hashes[..] else { panic!("expected two candidates") };
        let found = self.store.find_by_id_sync(KeyId::from_bytes([1; 16])).unwrap();
        let record = found.record();
        let (old, new) = if record.current().hash == a { (a, b) } else { (b, a) };
        self.store.replace_sync(record.rehash(&old, new).unwrap()).unwrap();
    }
}

#[test]
fn readers_find_a_secret_during_its_rehash() {
    // Several keys, so that the two hashes are in shards in either order and in the same shard.
    for seed in 0..8 {
        let moving = Moving::new(seed);
        for lookup in [&moving.to_pepper, &moving.to_token] {
            let done = AtomicBool::new(false);
            let reads = AtomicUsize::new(0);
            thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        let _finish = Finish(&done);
                        while !is_done(&done) {
                            assert!(moving.store.find_sync(lookup).is_some(), "missed");
                            reads.fetch_add(1, Ordering::SeqCst);
                        }
                    });
                }
                let _finish = Finish(&done);
                let mut moves = 0;
                while !is_done(&done) && (moves < 20_000 || reads.load(Ordering::SeqCst) < 1_000) {
                    moves += 2;
                    moving.turn(lookup);
                    moving.turn(lookup);
                }
            });
        }
    }
}

/// Shows why a store must look up all hashes together: a reader that queries them one after the
/// other misses the key.
#[test]
fn a_reader_that_queries_hashes_one_by_one_misses_a_rehashed_secret() {
    let key = LQT.mint(&mut StdRng::seed_from_u64(0)).unwrap();
    let moving = Moving::new(0);
    let new = lookup(&Verifier::new(KeyHasher::hmac_sha256(1, &[7; 32]).unwrap()), &key);
    let old = lookup(&Verifier::new(KeyHasher::sha256()), &key);
    moving.turn(&moving.to_pepper);
    assert!(moving.store.find_sync(&new).is_some());
    let first = moving.store.find_sync(&old);
    moving.turn(&moving.to_pepper);
    let second = moving.store.find_sync(&new);
    assert!(first.is_none() && second.is_none());
}

// ---------------------------------------------------------------------------------------
// Listings.

#[test]
fn paging_neither_misses_nor_repeats_keys_during_inserts_and_changes() {
    let store = MemoryStore::new();
    let issuer = Issuer::new(&store, LQT, KeyHasher::sha256());
    let mut rng = StdRng::seed_from_u64(5);
    // Many keys with the same creation time, so that the id decides the order.
    let at = |number: u64| start() + MILLISECOND * (number / 10) as u32;
    for number in 0..500 {
        block_on(issuer.issue(LQT.kind(), draft(), &mut rng, at(number))).unwrap();
    }
    let done = AtomicBool::new(false);
    let walks = AtomicUsize::new(0);
    thread::scope(|scope| {
        for seed in 0..2 {
            let (store, walks, done) = (&store, &walks, &done);
            scope.spawn(move || {
                let mut rng = StdRng::seed_from_u64(200 + seed);
                let _finish = Finish(done);
                while !is_done(done) {
                    let before = keys_of(store);
                    let page = PageRequest::first(rng.random_range(1..40));
                    let walked = walk(store, page, rng.random_bool(0.5));
                    let distinct: HashSet<Cursor> = walked.iter().copied().collect();
                    assert_eq!(distinct.len(), walked.len(), "a key was listed twice");
                    assert!(walked.is_sorted(), "out of order");
                    for cursor in &before {
                        assert!(distinct.contains(cursor), "{cursor} is missing");
                    }
                    walks.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        // Inserts new keys, some of them created before the listed ones, and changes old keys.
        let _finish = Finish(&done);
        let mut number = 500;
        while !is_done(&done) && (number < 1_500 || walks.load(Ordering::SeqCst) < 20) {
            if number == 20_000 {
                // Enough keys; give the paging thread its turn.
                thread::yield_now();
                continue;
            }
            number += 1;
            let now = if number % 3 == 0 { at(number % 500) } else { at(number) };
            let issued = block_on(issuer.issue(LQT.kind(), draft(), &mut rng, now)).unwrap();
            if number % 2 == 0 {
                block_on(issuer.revoke(issued.record.id(), now)).unwrap();
            }
        }
    });
    assert!(walks.load(Ordering::SeqCst) >= 20);
}

/// Lists all keys in pages of the largest size, without concurrent changes.
fn keys_of(store: &MemoryStore) -> Vec<Cursor> {
    let keys = store.list_sync(&OWNER, PageRequest::first(PageRequest::MAX_SIZE)).keys;
    keys.iter().map(|found| Cursor::of(found.record())).collect()
}

fn walk(store: &MemoryStore, mut page: PageRequest, all: bool) -> Vec<Cursor> {
    let mut seen = Vec::new();
    loop {
        let listing = if all { store.list_all_sync(page) } else { store.list_sync(&OWNER, page) };
        assert!(listing.keys.len() <= page.size());
        seen.extend(listing.keys.iter().map(|found| Cursor::of(found.record())));
        match listing.next {
            Some(next) => page = page.after(next),
            None => return seen,
        }
    }
}

/// Changes to different keys do not conflict.
#[test]
fn concurrent_changes_to_different_keys_all_succeed() {
    let issuer = Issuer::new(MemoryStore::new(), LQT, KeyHasher::sha256());
    let expected: BTreeMap<KeyId, u64> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let issuer = &issuer;
                scope.spawn(move || {
                    let mut rng = StdRng::seed_from_u64(300 + thread as u64);
                    let issued =
                        block_on(issuer.issue(LQT.kind(), draft(), &mut rng, start())).unwrap();
                    let id = issued.record.id();
                    for _ in 0..500 {
                        block_on(issuer.rotate_now(id, &mut rng, start())).unwrap();
                        block_on(issuer.suspend(id, start())).unwrap();
                        block_on(issuer.resume(id, start())).unwrap();
                    }
                    (id, 1_501)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let listed = issuer.registry().list_sync(&OWNER, PageRequest::first(100)).keys;
    let found: BTreeMap<KeyId, u64> = listed
        .iter()
        .map(StoredKey::record)
        .map(|record| (record.id(), record.revision()))
        .collect();
    assert_eq!(found, expected);
}
