//! What an answer from memory costs beside `MemoryStore`'s own, and what a miss costs.

use std::{
    future::Future,
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use criterion::{Criterion, criterion_group, criterion_main};
use keyward::{
    Clock, KeyDraft, KeyFormat, KeyHasher, KeyStore, MemoryStore, SystemClock, Timestamp,
    key::{KeyFormats, KeyId, KeyRecord, StoredSecret},
    store::Lookup,
    verify::Verifier,
};
use keyward_cache::{CacheConfig, CachedStore};

const FORMAT: KeyFormat = KeyFormat::hex("lqt_");
const NOW: Timestamp = Timestamp::from_unix_secs(1_700_000_000);

fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("memory never waits"),
    }
}

fn lookup(verifier: &Verifier, key: &keyward::key::PlaintextKey) -> Lookup {
    verifier.lookup(&KeyFormats::from(FORMAT).parse(key.expose()).unwrap())
}

fn stores(keys: u64) -> (MemoryStore, Vec<Lookup>) {
    let (store, hasher) = (MemoryStore::new(), KeyHasher::sha256());
    let verifier = Verifier::new(hasher.clone());
    let issue = |number: u64| {
        let key = FORMAT.mint_system().unwrap();
        let draft = KeyDraft::new("proj_abc123".parse().unwrap(), "ingest".parse().unwrap());
        let id = KeyId::from_bytes(u128::from(number).to_be_bytes());
        let record =
            KeyRecord::issue(id, draft, StoredSecret::of(&key, &hasher, NOW), NOW).unwrap();
        store.insert_sync(record).unwrap();
        lookup(&verifier, &key)
    };
    let lookups = (0..keys).map(issue).collect();
    (store, lookups)
}

fn finds(criterion: &mut Criterion) {
    let clock = SystemClock::new();
    criterion.bench_function("a reading of the clock", |bencher| {
        bencher.iter(|| black_box(clock.now()));
    });
    for keys in [1_000, 100_000] {
        let (memory, lookups) = stores(keys);
        let (behind, _) = stores(0);
        for lookup in &lookups {
            let found = memory.find_sync(lookup).unwrap();
            behind.insert_sync(found.record().clone()).unwrap();
        }
        let hour = CacheConfig::new().with_staleness(Duration::from_secs(3_600));
        let cached = CachedStore::with_config(behind, SystemClock::new(), hour);
        for lookup in lookups.iter().chain(&lookups) {
            ready(cached.find(lookup)).unwrap();
        }
        let mut group = criterion.benchmark_group(format!("{keys} keys"));
        let mut at = 0;
        let mut next = || {
            at = (at + 7_919) % lookups.len();
            &lookups[at]
        };
        group.bench_function("MemoryStore", |bencher| {
            bencher.iter(|| black_box(ready(memory.find(next())).unwrap()));
        });
        group.bench_function("cached hit", |bencher| {
            bencher.iter(|| black_box(ready(cached.find(next())).unwrap()));
        });
        let (behind, lookups) = stores(1_000);
        let never = CacheConfig::new().with_staleness(Duration::ZERO);
        let missing = CachedStore::with_config(behind, SystemClock::new(), never);
        let mut at = 0;
        group.bench_function("miss", |bencher| {
            bencher.iter(|| {
                at = (at + 7_919) % lookups.len();
                black_box(ready(missing.find(&lookups[at])).unwrap())
            });
        });
    }
}

criterion_group!(benches, finds);
criterion_main!(benches);
