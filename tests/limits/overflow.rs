//! A full table: newcomers are counted in overflow.

use std::time::Duration;

use keyward::{
    Limiter, Quota, Quotas, Timestamp,
    limit::{Decision, LimitKey, LimiterConfig},
};

const NOW: Timestamp = Timestamp::from_unix_secs(1_767_323_045);
const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

fn limiter(max_keys: u32, seed: u8) -> Limiter {
    let config = LimiterConfig::default().with_max_keys(max_keys).with_shards(1);
    Limiter::new(config, [seed; 16])
}

/// A limiter whose places are taken by keys that stay.
fn full(max_keys: u32, seed: u8) -> Limiter {
    let limiter = limiter(max_keys, seed);
    let daily = Quota::per_day(1_000);
    for number in 0..u64::from(max_keys) {
        assert!(check(&limiter, resident(number), daily, NOW).allowed);
    }
    limiter
}

fn resident(number: u64) -> LimitKey {
    LimitKey::owner(&format!("resident {number}"))
}

fn key(number: u64) -> LimitKey {
    LimitKey::owner(&number.to_string())
}

fn check(limiter: &Limiter, key: LimitKey, quota: Quota, now: Timestamp) -> Decision {
    limiter.check(key, &Quotas::single(quota), 1, now).unwrap()
}

/// A recycled cell is not read under the quota of the key that had it before.
#[test]
fn an_attacker_under_another_quota_costs_a_victim_nothing() {
    for seed in 0..200 {
        let limiter = full(64, seed);
        let (fast, slow) = (Quota::per_second(1_000), Quota::per_hour(10));
        for attacker in 0..400 {
            for _ in 0..5 {
                let _ = check(&limiter, key(1_000 + attacker), fast, NOW + MILLI);
            }
        }
        let later = NOW + 10 * SECOND;
        assert!(check(&limiter, key(1), slow, later).allowed, "seed {seed}");
        assert!(check(&limiter, key(1), slow, later + SECOND).allowed, "seed {seed}");
    }
}

#[test]
fn a_wait_in_overflow_is_never_too_short() {
    for seed in 0..200_u32 {
        let limiter = full(64, seed as u8);
        let quota = Quota::per_minute(3);
        let begin = NOW + seed * 377 * MILLI;
        let mut now = begin;
        for _ in 0..3 {
            assert!(check(&limiter, key(1), quota, now).allowed);
            now = now + 50 * MILLI;
        }
        let refused = check(&limiter, key(1), quota, now);
        assert!(!refused.allowed);
        let wait = refused.retry_after.unwrap();
        assert!(wait <= Duration::from_secs(81), "a third of a window too long at most: {wait:?}");
        assert!(check(&limiter, key(1), quota, now + wait).allowed, "seed {seed}: {wait:?}");
    }
}

#[test]
fn one_in_three_seconds_is_kept_to_the_last_millisecond() {
    for seed in 0..200_u32 {
        let limiter = full(64, seed as u8);
        let quota = Quota::per(1, 3 * SECOND);
        let now = NOW + seed * 37 * MILLI;
        assert!(check(&limiter, key(1), quota, now).allowed);
        assert!(!check(&limiter, key(1), quota, now + 2_999 * MILLI).allowed, "seed {seed}");
    }
}

/// Under any seed, whatever else comes, a newcomer has at most its limit in any window.
#[test]
fn no_newcomer_exceeds_its_limit() {
    const LATE: u64 = 500;
    let mut random = 7_u64;
    let mut below = |bound: u64| {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % bound
    };
    // Keys that stay in overflow, and keys that come and go, as entries and cells are recycled.
    for (seed, keys, gap) in
        (0..40).map(|seed| if seed < 20 { (seed, 100, 20) } else { (seed, 400, 200) })
    {
        let limiter = if seed < 20 { full(16, seed) } else { limiter(16, seed) };
        let quotas = [Quota::per(2, SECOND), Quota::per(5, 7 * SECOND), Quota::per(3, 20 * SECOND)];
        let mut admitted = vec![Vec::new(); 3 * keys as usize];
        let mut now = NOW;
        for _ in 0..20_000 {
            now = now + below(gap) as u32 * MILLI;
            let number = below(keys);
            let shape = below(3);
            let quota = quotas[shape as usize];
            // A straggler now and then, by less than the shortest window.
            let late = if below(10) == 0 { below(LATE) as u32 } else { 0 };
            if check(&limiter, key(number), quota, now.saturating_sub(late * MILLI)).allowed {
                let all = &mut admitted[(number * 3 + shape) as usize];
                // A late one counts no earlier than the latest before it.
                all.push(now.as_unix_millis());
            }
        }
        for (at, all) in admitted.iter().enumerate() {
            let quota = quotas[at % 3];
            for pair in all.windows(quota.limit() as usize + 1) {
                let span = pair[pair.len() - 1] - pair[0];
                // The effective time of a straggler is up to so much before its decision.
                assert!(span + LATE > quota.window_millis(), "{pair:?} under {quota}");
            }
        }
    }
}

/// A key that gets an entry under one length keeps what it counted in overflow under another.
#[test]
fn an_entry_forgets_no_other_length_counted_in_overflow() {
    let limiter = limiter(2, 1);
    let (short, fast, hourly) =
        (Quota::per(1, 10 * SECOND), Quota::per_second(20), Quota::per_hour(10));
    for number in 0..2 {
        assert!(check(&limiter, resident(number), short, NOW).allowed);
    }
    let k = key(1);
    let used = (0..20).filter(|_| check(&limiter, k, hourly, NOW + SECOND).allowed).count();
    assert_eq!(used, 10);
    // Two newcomers find the residents idle: one takes a place, and the key the other.
    let _ = check(&limiter, key(2), fast, NOW + 11 * SECOND);
    let _ = check(&limiter, key(3), fast, NOW + 12 * SECOND);
    let later = NOW + 13 * SECOND;
    assert!(check(&limiter, k, fast, later).allowed);
    assert!(limiter.reset(k), "it has an entry");
    assert!(check(&limiter, k, fast, later).allowed);
    let hour = Quotas::single(hourly);
    assert_eq!(limiter.status(k, &hour, later).unwrap()[0].used, 10);
    assert!(!limiter.peek(k, &hour, 1, later).unwrap().allowed);
    let refused = check(&limiter, k, hourly, later);
    assert!(!refused.allowed);
    assert!(check(&limiter, k, hourly, refused.reset_at).allowed);
}

/// A late request that moves its key from overflow into the table leaves its other admissions where
/// they are.
#[test]
fn a_straggler_that_gets_an_entry_frees_nothing() {
    // The beginning of a third, so that all of this lies within it.
    let third = 20_001;
    let begin = Timestamp::from_unix_millis(NOW.as_unix_millis() / third * third);
    let limiter = limiter(1, 1);
    assert!(check(&limiter, resident(1), Quota::per_second(1), begin).allowed);
    let (k, quota) = (key(1), Quota::per_minute(5));
    for _ in 0..4 {
        assert!(check(&limiter, k, quota, begin + 9 * SECOND).allowed);
    }
    // Read seven seconds ago. It and the four find the resident idle.
    assert!(check(&limiter, k, quota, begin + 1_500 * MILLI).allowed);
    for now in [61_500, 68_999] {
        assert!(!check(&limiter, k, quota, begin + now * MILLI).allowed, "{now}");
    }
    assert!(limiter.reset(k), "it has an entry");
}

/// What was counted in the cell of another key is not forgotten when that key uses its cell again.
#[test]
fn a_shared_cell_that_is_used_again_frees_nothing() {
    let quota = Quota::per_minute(10);
    for seed in 0..20 {
        for used_again in 0..40 {
            let begin = Timestamp::from_unix_millis(NOW.as_unix_millis() / 20_001 * 20_001);
            let limiter = full(1, seed);
            // Each of the twelve cells has a key.
            for number in 0..40 {
                let _ = check(&limiter, key(number), quota, begin);
            }
            // No cell is free for two windows, so the victim is counted jointly.
            let joint = begin + 120 * SECOND;
            let victim = key(100);
            let first = (0..20).filter(|_| check(&limiter, victim, quota, joint).allowed).count();
            // When its admissions have left, one cell is used again by its own key.
            let _ = check(&limiter, key(used_again), quota, begin + 181 * SECOND);
            // Requests of the victim that have waited since before that, when other cells were free.
            let late = begin + 158 * SECOND;
            let straggled: Vec<_> = (0..20)
                .map(|_| check(&limiter, victim, quota, late))
                .filter(|decision| decision.allowed)
                .collect();
            assert!(first <= 10 && straggled.len() <= 10);
            // Those that it admits count from when the first have left.
            let end = begin + 221 * SECOND;
            let more = (0..20).filter(|_| check(&limiter, victim, quota, end).allowed).count();
            let late = straggled.len();
            assert!(
                first + late <= 10 || late + more <= 10,
                "seed {seed}, key {used_again}: {first}, {late} late, {more}"
            );
        }
    }
}

/// How many of a thousand newcomers are served under this limit, after a flood of so many times the
/// cap of keys with so many requests each.
fn served(limit: u32, caps: u64, requests: u32) -> usize {
    const CAP: u32 = 10_000;
    let limiter = limiter(CAP, 3);
    let quota = Quota::per_minute(limit);
    let flood = caps * u64::from(CAP);
    for number in 0..flood {
        for _ in 0..requests {
            let _ = check(&limiter, key(number), quota, NOW + MILLI);
        }
    }
    let newcomers = flood..flood + 1_000;
    newcomers.filter(|&number| check(&limiter, key(number), quota, NOW + SECOND).allowed).count()
}

/// The curve of the page "How the limiter decides", and its promises for limits of 10 and more.
#[test]
fn newcomers_are_served_by_the_published_curve() {
    let promised = [(10, 9, 1, 990), (10, 30, 1, 900), (100, 9, 1, 990), (100, 30, 1, 900)];
    for (limit, caps, requests, least) in promised {
        let served = served(limit, caps, requests);
        assert!(served >= least, "limit {limit}, {caps} caps: {served} of 1000");
    }
}

/// Prints the whole curve: `cargo test --release --test limits curve -- --ignored --nocapture`.
#[test]
#[ignore = "prints a table and asserts nothing; takes a minute"]
fn curve() {
    println!("| served of 1,000, flood in caps | 3 | 6 | 9 | 15 | 30 | 60 | 100 |");
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    for (limit, requests) in [(1, 1), (2, 1), (3, 1), (10, 1), (100, 1), (10, 10)] {
        let row: Vec<_> =
            [3, 6, 9, 15, 30, 60, 100].map(|caps| served(limit, caps, requests).to_string()).into();
        println!("| limit {limit}, {requests} each | {} |", row.join(" | "));
    }
}
