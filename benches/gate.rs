//! Measures the whole pipeline and a bare SHA-256 of 32 bytes in one run: extract, parse, hash, find
//! in memory, verify, authorize, limit, render the headers.
//!
//! `cargo bench --bench gate` alternates both batch by batch and prints the median of the ratios. A
//! shared machine is faster in one minute than in the next, so only the ratio is meaningful. As in
//! `verify.rs`, the heads of a batch are copied together before the clock starts, because a host has
//! just read them.

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use keyward::{
    Access, Challenge, CredentialSource, Gate, KeyDraft, KeyFormat, KeyHasher, Limiter,
    MemoryStore, Outcome, Quota, RateHeaders, Timestamp,
    gate::CheckedRoute,
    key::{KeyId, KeyRecord, Owner, StoredSecret, Tier},
    limit::{Limit, LimiterConfig},
    request::RequestHead,
    verify::Verifier,
};
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};
use sha2::{Digest, Sha256};

const LUCI: KeyFormat = KeyFormat::hex("luci_");
const START: Timestamp = Timestamp::from_unix_secs(1_700_000_000);
const KEYS: usize = 1_024;
const BATCH: usize = 64;
const ROUNDS: usize = 4_000;

struct Service {
    gate: Gate,
    store: MemoryStore,
    route: CheckedRoute,
    tokens: Vec<String>,
}

impl Service {
    fn new() -> Self {
        let mut rng = StdRng::from_seed([9; 32]);
        let (hasher, store) = (KeyHasher::sha256(), MemoryStore::new());
        let tokens = (0..KEYS)
            .map(|n| {
                // Ten keys for each owner, as in an organization.
                let owner = format!("org_{}", n / 10).parse().unwrap();
                let key = LUCI.mint(&mut rng).unwrap();
                let draft = KeyDraft::new(owner, "key".parse().unwrap());
                let secret = StoredSecret::of(&key, &hasher, START);
                let id = KeyId::random(&mut rng).unwrap();
                store.insert_sync(KeyRecord::issue(id, draft, secret, START).unwrap()).unwrap();
                format!("Bearer {}", key.expose())
            })
            .collect();
        for n in 0..KEYS.div_ceil(10) {
            let owner = Owner::new(format!("org_{n}").parse().unwrap());
            store.put_owner_sync(owner.with_tier(Tier::from_static("standard")));
        }
        let limiter = Arc::new(Limiter::new(LimiterConfig::default(), [7; 16]));
        let per_minute = |limit| Quota::per_minute(limit);
        let limit = Limit::new("default", per_minute(100))
            .with_tier(Tier::from_static("higher"), per_minute(1_000))
            .with_tier(Tier::from_static("enterprise"), per_minute(1_000));
        let gate = Gate::builder(LUCI, Verifier::new(hasher), CredentialSource::bearer())
            .allow_foreign()
            .with_limiter(limiter)
            .with_limit(limit)
            .with_rate_headers(RateHeaders::x_ratelimit())
            .with_challenge(Challenge::bearer("lucitra").unwrap().with_errors())
            .build()
            .unwrap();
        let route = gate.route(Access::any_key().with_limit("default")).unwrap();
        Self { gate, store, route, tokens }
    }

    #[inline]
    fn admit(&self, head: &impl RequestHead, now: Timestamp) -> usize {
        match self.gate.check_sync(head, &self.route, &self.store, now) {
            Outcome::Admitted(admission) => {
                admission.headers().map(|header| header.value_bytes().len()).sum()
            }
            other => panic!("{other:?}"),
        }
    }

    #[inline]
    fn refuse(&self, head: &impl RequestHead, now: Timestamp) -> u16 {
        match self.gate.check_sync(head, &self.route, &self.store, now) {
            Outcome::Refused(refusal) => {
                let head: usize = refusal.headers().map(|header| header.value_bytes().len()).sum();
                refusal.status() + black_box(head + refusal.body().len()) as u16
            }
            other => panic!("{other:?}"),
        }
    }
}

/// One parsed header line, borrowed from a server.
struct Line<'a>(&'a [u8]);

impl RequestHead for Line<'_> {
    fn header<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'h [u8]> {
        (name == "authorization").then_some(self.0).into_iter()
    }

    fn query(&self) -> Option<&[u8]> {
        None
    }
}

/// Returns the nanoseconds of one turn of `work`, averaged over a batch.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn time(mut work: impl FnMut(usize)) -> f64 {
    let started = Instant::now();
    for at in 0..BATCH {
        work(at);
    }
    started.elapsed().as_nanos() as f64 / BATCH as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn main() {
    let service = Service::new();
    let mut rng = StdRng::from_seed([1; 32]);
    let mut message = [0; 32];
    rng.fill_bytes(&mut message);
    let malformed = format!("Bearer luci_{}g", "a".repeat(63));
    let mut series: [Vec<f64>; 4] = Default::default();
    let mut now = START;
    for round in 0..ROUNDS + ROUNDS / 10 {
        // Each key sends about 30 requests a minute.
        now = now + Duration::from_millis(125);
        let batch: Vec<u8> = (0..BATCH)
            .flat_map(|_| service.tokens[rng.random_range(0..KEYS)].as_bytes().to_vec())
            .collect();
        let len = batch.len() / BATCH;
        let heads: Vec<Line<'_>> = batch.chunks_exact(len).map(Line).collect();
        let line = Line(malformed.as_bytes());
        let turns = [
            time(|_| {
                black_box(Sha256::digest(black_box(&message)));
            }),
            time(|at| {
                black_box(service.admit(black_box(&heads[at]), now));
            }),
            time(|_| {
                black_box(service.refuse(black_box(&line), now));
            }),
            time(|_| {
                let (gate, route, store) = (&service.gate, &service.route, &service.store);
                let _refused = black_box(gate.check_sync(black_box(&line), route, store, now));
            }),
        ];
        if round >= ROUNDS / 10 {
            series.iter_mut().zip(turns).for_each(|(series, turn)| series.push(turn));
        }
    }
    let [sha, admitted, refused, decided] = series;
    let ratio =
        |turns: &[f64]| median(turns.iter().zip(&sha).map(|(turn, sha)| turn / sha).collect());
    println!("{KEYS} keys, medians of {ROUNDS} batches of {BATCH}");
    println!("a bare SHA-256 of 32 bytes        {:6.0} ns", median(sha.clone()));
    for (what, turns) in [
        ("an admitted request", &admitted),
        ("a malformed one, with its answer", &refused),
        ("the same without its answer", &decided),
    ] {
        println!("{what:33} {:6.0} ns  {:.2} of it", median(turns.clone()), ratio(turns));
    }
}
