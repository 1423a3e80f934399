//! The theorems of "How the limiter decides" about time, each by its name.

use std::{collections::BinaryHeap, time::Duration};

use keyward::{
    Limiter, Quota, Quotas, Timestamp,
    limit::{Decision, LimitKey, LimiterConfig},
};
use proptest::prelude::*;

const NOW: Timestamp = Timestamp::from_unix_secs(1_767_323_045);
const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

fn limiter(max_keys: u32) -> Limiter {
    let config = LimiterConfig::default().with_max_keys(max_keys).with_shards(1);
    Limiter::new(config, [9; 16])
}

fn key(number: u64) -> LimitKey {
    LimitKey::owner(&number.to_string())
}

fn check(limiter: &Limiter, number: u64, quota: Quota, now: Timestamp) -> Decision {
    limiter.check(key(number), &Quotas::single(quota), 1, now).unwrap()
}

#[test]
fn a_late_now_frees_nothing() {
    let limiter = limiter(100);
    let quota = Quota::per_second(10);
    let mut admitted = 0;
    for step in 0..100 {
        let now = NOW + step * MILLI;
        let late = now.saturating_sub(1_001 * MILLI);
        admitted += (0..10).filter(|_| check(&limiter, 1, quota, now).allowed).count();
        admitted += usize::from(check(&limiter, 1, quota, late).allowed);
    }
    assert_eq!(admitted, 10);
}

/// Stragglers of other new keys move the sweep, and nobody's limit.
#[test]
fn stragglers_of_other_new_keys_free_nothing() {
    let limiter = limiter(1_000);
    let quota = Quota::per_second(10);
    let mut admitted = 0;
    let mut other = 1_000;
    for step in 0..50 {
        let now = NOW + step * MILLI;
        for late in [1_001, 2_002, 0, 3_003] {
            other += 1;
            let _ = check(&limiter, other, quota, now.saturating_sub(late * MILLI));
        }
        admitted += (0..3).filter(|_| check(&limiter, 1, quota, now).allowed).count();
    }
    assert_eq!(admitted, 10);
}

/// The latest time that a wait can make a `now` late, and one millisecond more.
#[test]
fn five_minutes_are_late_and_more_is_a_clock_that_was_set_back() {
    let quota = Quota::per_second(1);
    for (behind, allowed) in
        [(299_999, false), (300_000, false), (300_001, false), (301_001, false)]
    {
        let limiter = limiter(100);
        assert!(check(&limiter, 1, quota, NOW).allowed);
        let decision = check(&limiter, 1, quota, NOW.saturating_sub(behind * MILLI));
        assert_eq!(decision.allowed, allowed, "{behind}");
        // A late one waits until the latest has left; after a step, a window from its own time.
        let wait =
            if behind <= 300_000 { Duration::from_millis(behind.into()) } else { Duration::ZERO };
        assert_eq!(decision.retry_after, Some(wait + SECOND), "{behind}");
    }
    // A longer window takes its own length for late.
    let limiter = limiter(100);
    let hourly = Quota::per_hour(1);
    assert!(check(&limiter, 1, hourly, NOW).allowed);
    let decision = check(&limiter, 1, hourly, NOW.saturating_sub(3_600 * SECOND));
    assert_eq!(decision.retry_after, Some(2 * 3_600 * SECOND));
}

/// One `now` a year ahead costs its key at most N more once, and nobody else anything.
#[test]
fn one_now_far_ahead_costs_only_its_key() {
    let limiter = limiter(100);
    let quota = Quota::per_minute(10);
    let admitted =
        |number, now| (0..20).filter(|_| check(&limiter, number, quota, now).allowed).count();
    assert_eq!(admitted(1, NOW), 10);
    assert_eq!(admitted(2, NOW), 10);
    assert!(check(&limiter, 1, quota, NOW + YEAR).allowed);
    assert_eq!(admitted(1, NOW + MILLI), 9, "at most ten more, once");
    assert_eq!(admitted(2, NOW + MILLI), 0);
    // Nothing is refused longer than two windows after time is sane.
    assert_eq!(admitted(1, NOW + 2 * 60 * SECOND), 10);
    assert_eq!(admitted(2, NOW + 60 * SECOND), 10);
}

/// A newcomer a year ahead pins no floor: those who come after it in the present are served.
#[test]
fn a_floor_far_ahead_is_lowered() {
    let limiter = limiter(1_000);
    let quota = Quota::per_second(1);
    for number in 0..10 {
        let _ = check(&limiter, number, quota, NOW + YEAR + number as u32 * SECOND);
    }
    // Two present instants agree that the year ahead was wrong.
    for (number, step) in (100..200).zip(1_u32..) {
        let decision = check(&limiter, number, quota, NOW + step * 10 * MILLI);
        assert!(decision.allowed);
        assert_eq!(decision.reset_at, NOW + step * 10 * MILLI + SECOND);
    }
}

/// Nor does it reach those who come when the clock is nearly there.
#[test]
fn a_floor_that_was_lowered_stays_low() {
    let limiter = limiter(1_000);
    let quota = Quota::per_second(1);
    let minute = 60 * SECOND;
    for number in 0..10 {
        let _ = check(&limiter, number, quota, NOW + 10 * minute + number as u32 * SECOND);
    }
    for (number, step) in (100..110).zip(1_u32..) {
        assert!(check(&limiter, number, quota, NOW + step * MILLI).allowed);
    }
    let now = NOW + 6 * minute;
    let decision = check(&limiter, 200, quota, now);
    assert!(decision.allowed);
    assert_eq!(decision.reset_at, now + SECOND);
}

/// The reset of a key whose latest is a year ahead makes it new, and so does a window of a year.
#[test]
fn the_reset_of_a_poisoned_key_is_whole() {
    let limiter = limiter(100);
    let quota = Quota::per_minute(2);
    assert!(check(&limiter, 1, quota, NOW).allowed);
    assert!(check(&limiter, 1, quota, NOW + YEAR).allowed);
    assert!(limiter.reset(key(1)));
    let yearly = Quota::per(1, YEAR);
    assert!(check(&limiter, 2, yearly, NOW + MILLI).allowed);
    for number in [1, 3] {
        let decision = check(&limiter, number, quota, NOW + 2 * MILLI);
        assert!(decision.allowed);
        assert_eq!(decision.reset_at, NOW + 2 * MILLI + 60 * SECOND, "key {number}");
    }
    // A window of a year is coarse, and late by at most 1/256.
    let wait = check(&limiter, 2, yearly, NOW + SECOND).retry_after.unwrap();
    assert!(wait >= YEAR + MILLI - SECOND && wait <= YEAR + YEAR / 256, "{wait:?}");
}

/// One thread of the simulation: it reads the clock, is delayed, and then decides.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Arrival {
    /// When it decides. Negative, for the heap returns the largest.
    decides: i64,
    read: u64,
    key: u64,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// The theorem: threads that each read one monotone clock and are each delayed by anything up
    /// to five minutes never make any window admit more than N, an admission counting at its
    /// effective time. Keys are forgotten and recycled meanwhile, and the table may be full.
    ///
    /// Under a limit of 1 the effective time of an admission is told: `reset_at` less the window.
    #[test]
    fn delays_up_to_five_minutes_exceed_no_limit(
        places in prop_oneof![Just(4_u32), Just(16), Just(1_000)],
        window in prop_oneof![Just(10_u64), Just(1_000), Just(60_000), Just(600_000)],
        requests in prop::collection::vec((0_u64..2_000, 0_u64..300_001, 0_u64..12, 0_u8..3), 1..400),
    ) {
        let limiter = limiter(places);
        let quota = Quota::per(1, Duration::from_millis(window));
        let mut clock = NOW.as_unix_millis();
        let mut waiting = BinaryHeap::new();
        for (gap, delay, key, kind) in requests {
            clock += gap;
            let delay = if kind == 0 { delay } else { delay % 20 };
            waiting.push(Arrival { decides: -((clock + delay) as i64), read: clock, key });
        }
        let mut admitted: Vec<Vec<u64>> = vec![Vec::new(); 12];
        while let Some(arrival) = waiting.pop() {
            let now = Timestamp::from_unix_millis(arrival.read);
            let decision = check(&limiter, arrival.key, quota, now);
            if decision.allowed {
                // In overflow the end of a third is told, so that it is up to a third later.
                let told = decision.reset_at.as_unix_millis() - window;
                let third = if places < 100 { window / 3 } else { 0 };
                prop_assert!(told as i64 <= -arrival.decides + third as i64, "ahead of the clock");
                let all = &mut admitted[arrival.key as usize];
                if let Some(&last) = all.last() {
                    prop_assert!(told + third >= last + window, "{told} after {last}");
                }
                all.push(told);
            }
        }
    }

    /// A step up to `L` waits until the clock has caught up. A longer one is followed at once.
    #[test]
    fn true_steps_of_every_size_are_followed_or_waited_for(
        step in prop_oneof![1_u64..2_000, 299_000_u64..302_000, 1_u64..100_000_000_000],
        window in prop_oneof![Just(1_000_u64), Just(60_000), Just(600_000)],
    ) {
        let limiter = limiter(1_000);
        let quota = Quota::per(5, Duration::from_millis(window));
        let late = window.max(300_000);
        for _ in 0..5 {
            prop_assert!(check(&limiter, 1, quota, NOW).allowed);
        }
        let back = NOW.saturating_sub(Duration::from_millis(step));
        let refused = check(&limiter, 1, quota, back);
        prop_assert!(!refused.allowed);
        let wait = refused.retry_after.unwrap();
        let longest = if step <= late { step + window } else { window };
        prop_assert_eq!(wait, Duration::from_millis(longest));
        prop_assert!(check(&limiter, 1, quota, back + wait).allowed);
    }
}
