//! Parsing allocates nothing, whatever is parsed, nor does counting the usage of a key that is
//! counted already, nor a whole admitted request. A binary of its own, for its allocator.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    hint::black_box,
    sync::Arc,
};

use keyward::{
    Access, Challenge, CredentialSource, Gate, Issuer, KeyDraft, KeyFormat, KeyHasher, Limiter,
    MemoryStore, Outcome, Quota, Quotas, RateHeaders, Timestamp,
    gate::Step,
    key::{KeyFormats, KeyId, KeyKind, ParseError, Tier},
    limit::{Decision, Limit, LimitKey, LimiterConfig},
    quota::Precision,
    request::PlainHead,
    usage::UsageLedger,
};
use rand::{SeedableRng, rngs::StdRng};

/// Counts the allocations of each thread, so that tests beside each other do not meet.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged; counting touches a
// thread-local cell that is built at compile time and needs no allocation itself.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ended = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `GlobalAlloc::dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let _ended = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `GlobalAlloc::realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(black_box(Box::new(1)))), 1);
    assert_eq!(allocations(|| drop(black_box("text".to_owned()))), 1);
    assert_eq!(allocations(|| assert_eq!(black_box(1), 1)), 0);
}

#[test]
fn parsing_never_allocates() {
    let hex = KeyFormat::hex("lqt_");
    let github = KeyFormat::base62("ghp_", 30).with_checksum();
    let largest = KeyFormat::try_hex_bytes(&"k".repeat(23), 64).unwrap();
    let legacy = KeyFormat::hex("old_").with_successor(KeyKind::from_static("lqt_"));
    let formats = KeyFormats::new([hex, github, largest, legacy]).unwrap();
    let mut rng = StdRng::seed_from_u64(3);

    for format in [hex, github, largest] {
        let key = format.mint(&mut rng).unwrap();
        let count = allocations(|| {
            let presented = black_box(formats.parse(key.expose()));
            assert!(presented.is_ok_and(|presented| presented.kind() == format.kind()));
        });
        assert_eq!(count, 0, "a key of {format:?}");
    }

    let body = "0123456789abcdef".repeat(4);
    for (what, token, expected) in [
        ("empty", Vec::new(), ParseError::Empty),
        ("1 MiB of a", vec![b'a'; 1 << 20], ParseError::UnknownPrefix),
        ("1 MiB of 0xFF", vec![0xFF; 1 << 20], ParseError::UnknownPrefix),
        ("the prefix and 1 MiB", [b"lqt_", vec![b'a'; 1 << 20].as_slice()].concat(), {
            ParseError::TooLong { expected: 68, found: (1 << 20) + 4 }
        }),
        ("the prefix alone", b"lqt_".to_vec(), ParseError::TooShort { expected: 68, found: 4 }),
        ("upper-case", format!("lqt_{}", body.to_uppercase()).into(), {
            ParseError::Character { position: 14 }
        }),
        ("not hex", format!("lqt_{}~", &body[..63]).into(), ParseError::Character { position: 67 }),
        (
            "not UTF-8",
            [b"lqt_".as_slice(), &[0xFF; 64]].concat(),
            ParseError::Character { position: 4 },
        ),
        (
            "not base62",
            format!("ghp_{}", "_".repeat(36)).into(),
            ParseError::Character { position: 4 },
        ),
        ("wrong checksum", format!("ghp_{}", "a".repeat(36)).into(), ParseError::Checksum),
    ] {
        let count = allocations(|| {
            assert_eq!(black_box(formats.parse(&token)).err(), Some(expected));
        });
        assert_eq!(count, 0, "{what}");
    }
}

#[test]
fn counting_a_key_again_never_allocates() {
    let ledger = UsageLedger::new();
    let ids: Vec<KeyId> = (0..1_000_u128).map(|n| KeyId::from_bytes(n.to_be_bytes())).collect();
    let record = |at: u64| {
        let now = Timestamp::from_unix_millis(at);
        allocations(|| assert!(ids.iter().all(|id| ledger.record(*id, now))))
    };
    assert!(record(1) > 0, "new keys take memory");
    assert_eq!(record(2), 0);
    // What was drained leaves its memory to the next.
    assert_eq!(ledger.drain(usize::MAX).len(), ids.len());
    assert_eq!(record(3), 0);
}

/// The whole pipeline, from the head of a request to the headers of its answer.
#[test]
fn an_admitted_request_allocates_nothing() {
    const NOW: Timestamp = Timestamp::from_unix_secs(1_700_000_000);
    let format = KeyFormat::hex("luci_");
    let issuer = Issuer::new(MemoryStore::new(), format, KeyHasher::sha256());
    let mut rng = StdRng::seed_from_u64(2);
    let draft = KeyDraft::new("acme".parse().unwrap(), "key".parse().unwrap());
    let issued = pollster::block_on(issuer.issue(format.kind(), draft, &mut rng, NOW)).unwrap();
    let limiter = Arc::new(Limiter::new(LimiterConfig::default(), [1; 16]));
    let quota = Quota::per_minute(100);
    let tiered = |name| Limit::new(name, quota).with_tier(Tier::from_static("higher"), quota);
    let builder = || {
        Gate::builder(format, issuer.verifier(), CredentialSource::bearer())
            .with_challenge(Challenge::bearer("lucitra").unwrap())
            .with_rate_headers(RateHeaders::x_ratelimit())
            .with_limit(tiered("keys"))
            .with_limit(tiered("owners").per_owner())
            .with_limit(tiered("exports"))
    };
    let gate = builder().with_limiter(Arc::clone(&limiter)).build().unwrap();
    let elsewhere = builder().build().unwrap();
    let one = Access::any_key().with_limit("keys");
    let several = one.clone().with_limit("owners").with_limit("exports");
    let remote = elsewhere.route(several.clone()).unwrap();
    let [one, several] = [one, several].map(|route| gate.route(route).unwrap());
    let token = format!("Bearer {}", issued.key.expose());
    let head = PlainHead::new().with_header("authorization", token);
    let store = issuer.registry();

    for route in [&one, &several] {
        let request = || {
            let Outcome::Admitted(admission) = gate.check_sync(&head, route, store, NOW) else {
                panic!("refused")
            };
            let bytes: usize = admission.headers().map(|header| header.value().len()).sum();
            assert!(black_box(bytes) > 10);
        };
        // The limiter makes room for a key, and for its stamps, as requests come.
        (0..20).for_each(|_| request());
        assert_eq!(allocations(request), 0);
    }

    // Step by step, with a limiter elsewhere, it is the same.
    let count = allocations(|| {
        let Step::Lookup(pending) = elsewhere.begin(&head, &remote, NOW) else { panic!() };
        let found = store.find_sync(pending.lookup());
        let Step::Charge(pending) = pending.found(found, NOW) else { panic!() };
        assert_eq!(pending.limits().count(), 3);
        let decision = Decision::admitted_elsewhere(quota, 99, NOW);
        let outcome = pending.decided(decision, NOW);
        assert!(matches!(black_box(outcome), Outcome::Admitted(_)));
    });
    assert_eq!(count, 0);

    // And so is refusing what is malformed: the answer was written when the gate was built.
    let malformed = PlainHead::new().with_header("authorization", "Bearer luci_0");
    let count = allocations(|| {
        let refusal = gate.check_sync(&malformed, &one, store, NOW).refused().unwrap();
        let head: usize = refusal.headers().map(|header| header.value().len()).sum();
        assert!(black_box(head + refusal.body().len()) > 10);
    });
    assert_eq!(count, 0);
}

/// A key with a window that counts 60,000, and another route that asks two windows of it: neither
/// decision reads, moves or copies the other's window.
#[test]
fn routes_that_alternate_on_one_key_rebuild_nothing() {
    let limiter = Limiter::new(LimiterConfig::default(), [3; 16]);
    let (key, now) = (LimitKey::owner("acme"), Timestamp::from_unix_secs(1_767_323_045));
    let large = Quota::per_day(60_000).with_precision(Precision::Exact);
    let large = Quotas::from(large);
    let two = Quotas::new(&[Quota::per_second(1_000), Quota::per_hour(1_000)]).unwrap();
    for _ in 0..59_000 {
        assert!(limiter.check(key, &large, 1, now).unwrap().allowed);
    }
    // The two begin with the newest thousand that they can hold.
    assert!(!limiter.check(key, &two, 1, now).unwrap().allowed);
    let count = allocations(|| {
        for _ in 0..500 {
            assert!(limiter.check(key, &large, 1, now).unwrap().allowed);
            assert!(!limiter.check(key, &two, 1, now).unwrap().allowed);
        }
    });
    assert_eq!(count, 0);
}
