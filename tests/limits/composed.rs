//! Decisions that meet on one key: several shapes, changed limits, a neighbour's large window.

use std::time::Duration;

use keyward::{
    Limiter, Quota, Quotas, Timestamp,
    limit::{ChargeError, Decision, LimitKey, LimiterConfig},
    quota::Precision,
};
use proptest::prelude::*;

const NOW: Timestamp = Timestamp::from_unix_secs(1_767_323_045);
const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

fn limiter() -> Limiter {
    Limiter::new(LimiterConfig::default(), [5; 16])
}

fn key() -> LimitKey {
    LimitKey::owner("acme")
}

fn check(limiter: &Limiter, quotas: &Quotas, now: Timestamp) -> Decision {
    limiter.check(key(), quotas, 1, now).unwrap()
}

fn per(limit: u32, millis: u64) -> Quotas {
    Quotas::single(Quota::per(limit, Duration::from_millis(millis)))
}

#[test]
fn ten_an_hour_beside_twenty_a_second_stays_ten_an_hour() {
    let limiter = limiter();
    let (hourly, fast) =
        (Quotas::single(Quota::per_hour(10)), Quotas::single(Quota::per_second(20)));
    let mut admitted = 0;
    for step in 0..600 {
        let now = NOW + 2 * step * SECOND;
        admitted += (0..12).filter(|_| check(&limiter, &hourly, now).allowed).count();
        assert_eq!(check(&limiter, &fast, now).allowed, step > 0 || admitted < 20);
    }
    assert_eq!(admitted, 10);
}

#[test]
fn five_a_minute_beside_ten_a_second_stays_five_a_minute() {
    let limiter = limiter();
    let (search, status) =
        (Quotas::single(Quota::per_minute(5)), Quotas::single(Quota::per_second(10)));
    let mut admitted = 0;
    for step in 0..20 {
        let now = NOW + 1_500 * step * MILLI;
        admitted += (0..8).filter(|_| check(&limiter, &search, now).allowed).count();
        let _ = check(&limiter, &status, now);
    }
    assert_eq!(admitted, 5);
}

#[test]
fn twenty_a_day_outside_of_four_a_second_stays_twenty_a_day() {
    let limiter = limiter();
    let (daily, fast) = (Quotas::single(Quota::per_day(20)), Quotas::single(Quota::per_second(4)));
    let mut served = 0;
    for step in 0..100 {
        let now = NOW + 2 * step * SECOND;
        served += usize::from(
            check(&limiter, &daily, now).allowed && check(&limiter, &fast, now).allowed,
        );
    }
    assert_eq!(served, 20);
}

#[test]
fn a_call_under_another_shape_gives_nothing_back() {
    let limiter = limiter();
    let both = Quotas::new(&[Quota::per_minute(100), Quota::per_day(1_000)]).unwrap();
    for _ in 0..100 {
        assert!(check(&limiter, &both, NOW).allowed);
    }
    let before = check(&limiter, &both, NOW + SECOND);
    assert_eq!(before.retry_after, Some(59 * SECOND));
    let _ = check(&limiter, &Quotas::single(Quota::per_second(10)), NOW + SECOND);
    assert_eq!(check(&limiter, &both, NOW + SECOND), before);
}

/// While new processes ask for a shorter window, the old ones keep their limit.
#[test]
fn a_rolling_deployment_that_shortens_a_window_keeps_the_old_limit() {
    let limiter = limiter();
    let (old, new) = (Quotas::single(Quota::per_hour(10)), Quotas::single(Quota::per_second(10)));
    let mut by_old = 0;
    for step in 0..1_200_u32 {
        let now = NOW + step * 10 * MILLI;
        by_old += usize::from(check(&limiter, &old, now).allowed);
        let _ = check(&limiter, &new, now);
    }
    assert_eq!(by_old, 10);
}

#[test]
fn a_lowered_limit_acts_at_once_and_a_raised_one_too() {
    let limiter = limiter();
    for _ in 0..50 {
        assert!(check(&limiter, &per(100, 60_000), NOW).allowed);
    }
    assert!(!check(&limiter, &per(50, 60_000), NOW).allowed);
    // A lowered limit drops no stamp that still counts.
    assert_eq!(check(&limiter, &per(100, 60_000), NOW + SECOND).remaining, 49);
    assert_eq!(check(&limiter, &per(200, 60_000), NOW + SECOND).remaining, 148);
}

#[test]
fn a_new_shape_begins_with_the_window_that_counts_most() {
    let limiter = limiter();
    for _ in 0..4 {
        assert!(check(&limiter, &per(10, 1_000), NOW).allowed);
    }
    for _ in 0..2 {
        assert!(check(&limiter, &per(10, 3_600_000), NOW).allowed);
    }
    // The hour began with the four of the second, and has six.
    assert_eq!(check(&limiter, &per(10, 60_000), NOW).remaining, 3);
    assert_eq!(check(&limiter, &per(10, 1_000), NOW).remaining, 5);
}

#[test]
fn a_ninth_live_shape_is_refused_until_one_is_idle_or_the_key_reset() {
    let limiter = limiter();
    for shape in 1..=8 {
        assert!(check(&limiter, &per(50, shape * 1_000), NOW).allowed);
    }
    let ninth = per(50, 9_000);
    let refused = limiter.check(key(), &ninth, 1, NOW);
    assert_eq!(refused, Err(ChargeError::TooManyWindows));
    assert!(ChargeError::TooManyWindows.to_string().contains("Limiter::reset"));
    assert_eq!(limiter.peek(key(), &ninth, 1, NOW), Err(ChargeError::TooManyWindows));
    assert_eq!(
        limiter.check_all(&[(key(), &ninth)], 1, NOW).unwrap_err(),
        ChargeError::TooManyWindows
    );
    // The eight are untouched.
    assert_eq!(check(&limiter, &per(50, 8_000), NOW).remaining, 41);
    // One bad `now` drops nothing: two different instants must find a window idle.
    let year = Duration::from_secs(365 * 86_400);
    assert!(limiter.check(key(), &ninth, 1, NOW + year).is_err());
    let idle = NOW + SECOND;
    assert!(limiter.check(key(), &ninth, 1, idle).is_ok());
    assert!(limiter.reset(key()));
    assert!(limiter.check(key(), &per(50, 10_000), 1, idle).is_ok());
}

#[test]
fn a_precision_never_changes_under_one_shape() {
    let limiter = limiter();
    let exact = Quota::per_minute(10);
    let coarse = Quota::per_minute(10).with_precision(Precision::Coarse);
    let huge = Quota::per_minute(100_000);
    for quota in [exact, coarse, exact, coarse, huge] {
        assert!(check(&limiter, &Quotas::single(quota), NOW).allowed);
    }
    for quota in [exact, coarse] {
        assert_eq!(check(&limiter, &Quotas::single(quota), NOW).remaining, 10 - 6);
        let _refunded = limiter.reset(key());
        for _ in 0..5 {
            let _ = check(&limiter, &Quotas::single(quota), NOW);
        }
    }
}

#[test]
fn a_refund_survives_a_shape_that_came_between() {
    let limiter = limiter();
    let (_, ticket) = limiter.admit(key(), &per(1, 60_000), 1, NOW).unwrap();
    let _ = check(&limiter, &per(5, 1_000), NOW);
    assert!(!check(&limiter, &per(1, 60_000), NOW).allowed);
    assert!(limiter.refund(ticket.unwrap()));
    assert!(check(&limiter, &per(1, 60_000), NOW).allowed);
}

/// Three admissions of a limit of three, told without using one.
#[test]
fn status_tells_what_is_left_and_uses_nothing() {
    let limiter = limiter();
    let quotas = Quotas::new(&[Quota::per_minute(3), Quota::per_day(100)]).unwrap();
    for used in 0..=3 {
        let status = limiter.status(key(), &quotas, NOW + used * SECOND).unwrap();
        let again = limiter.status(key(), &quotas, NOW + used * SECOND).unwrap();
        assert_eq!(status, again);
        let [minute, day] = &status[..] else { panic!("{status:?}") };
        assert_eq!((minute.quota, day.quota), (Quota::per_minute(3), Quota::per_day(100)));
        assert_eq!((minute.used, minute.remaining), (used, 3 - used));
        assert_eq!((day.used, day.remaining), (used, 100 - used));
        let reset = if used == 0 { NOW } else { NOW + MINUTE };
        assert_eq!(minute.reset_at, reset);
        assert_eq!(check(&limiter, &quotas, NOW + used * SECOND).allowed, used < 3);
    }
}

proptest! {
    /// Any limit of any shape holds over any history of others.
    #[test]
    fn every_shape_keeps_its_limit_beside_the_others(
        steps in prop::collection::vec((0_usize..6, 0_u64..400), 1..600),
    ) {
        let shapes = [(3, 100), (5, 1_000), (7, 2_000), (20, 10_000), (40, 30_000), (2_000, 20_000)];
        let limiter = limiter();
        let mut now = NOW;
        let mut admitted: Vec<Vec<Timestamp>> = vec![Vec::new(); shapes.len()];
        for (shape, gap) in steps {
            now = now + Duration::from_millis(gap);
            let (limit, millis) = shapes[shape];
            if check(&limiter, &per(limit, millis), now).allowed {
                admitted[shape].push(now);
                let since = now.saturating_sub(Duration::from_millis(millis - 1));
                let within = admitted[shape].iter().filter(|&&at| at >= since).count();
                prop_assert!(within <= limit as usize);
            }
        }
    }
}
