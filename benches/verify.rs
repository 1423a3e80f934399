//! Measures the verification of a key and a bare SHA-256 of 32 bytes in one run.
//!
//! `cargo bench --bench verify` prints the times; `cargo bench --bench verify -- --quick` is enough
//! for the ratios. Keys are drawn uniformly. A host has just read the token of a request, so 64
//! tokens at a time are copied to a small buffer before the clock starts. The measurement covers the
//! decision and the store, not the loading of the benchmark's own tokens from memory.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use keyward::{
    Access, KeyDraft, KeyFormat, KeyHasher, MemoryStore, Timestamp,
    key::{KeyFormats, KeyId, KeyRecord, Owner, StoredSecret, Tier},
    verify::Verifier,
};
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};
use sha2::{Digest, Sha256};

const INGEST: KeyFormat = KeyFormat::hex("lqt_");
const NOW: Timestamp = Timestamp::from_unix_secs(1_700_000_000);

struct Service {
    formats: KeyFormats,
    verifier: Verifier,
    store: MemoryStore,
    access: Access,
    /// Tokens of stored keys, drawn uniformly, contiguous in memory.
    tokens: String,
}

impl Service {
    const TOKEN_LEN: usize = 68;
    /// A multiple of a batch, larger than the processor's caches.
    const DRAWS: usize = 1 << 18;

    fn with_keys(keys: usize) -> Self {
        let mut rng = StdRng::from_seed([9; 32]);
        let hasher = KeyHasher::sha256();
        let store = MemoryStore::new();
        let minted: Vec<String> = (0..keys)
            .map(|n| {
                // Ten keys for each owner, as in a project.
                let owner = format!("proj_{}", n / 10).parse().unwrap();
                let key = INGEST.mint(&mut rng).unwrap();
                let draft = KeyDraft::new(owner, "ingest".parse().unwrap());
                let secret = StoredSecret::of(&key, &hasher, NOW);
                let id = KeyId::random(&mut rng).unwrap();
                store.insert_sync(KeyRecord::issue(id, draft, secret, NOW).unwrap()).unwrap();
                key.expose().to_owned()
            })
            .collect();
        for n in 0..keys.div_ceil(10) {
            let owner = Owner::new(format!("proj_{n}").parse().unwrap());
            store.put_owner_sync(owner.with_tier(Tier::from_static("standard")));
        }
        let tokens = (0..Self::DRAWS).map(|_| minted[rng.random_range(0..keys)].as_str()).collect();
        let (formats, verifier) = (INGEST.into(), Verifier::new(hasher));
        Self { formats, verifier, store, access: Access::any_key(), tokens }
    }

    fn token(&self) -> &str {
        &self.tokens[..Self::TOKEN_LEN]
    }

    /// Measures `count` decisions on the tokens from the `start`th draw on.
    #[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
    fn time(&self, count: u64, start: &mut usize) -> Duration {
        let batch_len = 64 * Self::TOKEN_LEN;
        let mut total = Duration::ZERO;
        let mut left = count;
        while left > 0 {
            let batch = self.tokens[*start..*start + batch_len].to_owned();
            *start = (*start + batch_len) % self.tokens.len();
            let tokens = batch.as_bytes().chunks_exact(Self::TOKEN_LEN);
            let started = Instant::now();
            for token in tokens.take(left.min(64) as usize) {
                assert!(self.verify(black_box(token)));
            }
            total += started.elapsed();
            left -= left.min(64);
        }
        total
    }

    #[inline]
    fn verify(&self, token: &[u8]) -> bool {
        let presented = self.formats.parse(token).unwrap();
        let lookup = self.verifier.lookup(&presented);
        let found = self.store.find_sync(&lookup);
        let verified = self.verifier.verify(&lookup, found, NOW).unwrap();
        black_box(verified).authorize(&self.access).is_ok()
    }
}

fn verify(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("verify");
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    let mut message = [0; 32];
    StdRng::from_seed([1; 32]).fill_bytes(&mut message);
    group.bench_function("bare SHA-256 of 32 bytes", |bencher| {
        bencher.iter(|| Sha256::digest(black_box(&message)));
    });
    for keys in [1_024, 100_000] {
        let service = Service::with_keys(keys);
        let mut start = 0;
        group.bench_function(BenchmarkId::new("stored keys", keys), |bencher| {
            bencher.iter_custom(|count| service.time(count, &mut start));
        });
    }
    group.bench_function("bare SHA-256 of 32 bytes, again", |bencher| {
        bencher.iter(|| Sha256::digest(black_box(&message)));
    });
    group.finish();
}

fn refuse(criterion: &mut Criterion) {
    let formats = KeyFormats::from(INGEST);
    let mut group = criterion.benchmark_group("refuse");
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(1));
    let bad_last = format!("lqt_{}g", "a".repeat(63));
    let upper = format!("lqt_{}", "A".repeat(64));
    let short = format!("lqt_{}", "a".repeat(63));
    let huge = "a".repeat(1 << 20);
    let prefixed = format!("lqt_{huge}");
    for (name, token) in [
        ("empty", ""),
        ("unknown prefix", "sk_live_0123456789abcdef"),
        ("one character short", &short),
        ("last character wrong", &bad_last),
        ("upper case", &upper),
        ("1 MiB", &huge),
        ("1 MiB behind the prefix", &prefixed),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| assert!(formats.parse(black_box(token)).is_err()));
        });
    }
    group.finish();
}

fn parts(criterion: &mut Criterion) {
    let service = Service::with_keys(1_024);
    let mut group = criterion.benchmark_group("parts");
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(1));
    let token = service.token();
    group.bench_function("parse", |bencher| {
        bencher.iter(|| black_box(service.formats.parse(black_box(token)).is_ok()));
    });
    let presented = service.formats.parse(token).unwrap();
    group.bench_function("hash", |bencher| {
        bencher.iter(|| service.verifier.lookup(black_box(&presented)));
    });
    let lookup = service.verifier.lookup(&presented);
    group.bench_function("find", |bencher| {
        bencher.iter(|| service.store.find_sync(black_box(&lookup)));
    });
    let found = service.store.find_sync(&lookup);
    group.bench_function("verify", |bencher| {
        bencher.iter(|| service.verifier.verify(&lookup, found.clone(), NOW).is_ok());
    });
    group.finish();
}

criterion_group!(benches, verify, refuse, parts);
criterion_main!(benches);
