//! The limiter against a naive log, on every decision; and the limiters that are used
//! elsewhere against the same measure, which they exceed.

use std::{collections::VecDeque, time::Duration};

use crate::oracle::{Expected, Oracle};
use keyward::{
    Limiter, Quota, Quotas, Timestamp,
    limit::{ChargeError, LimitKey, LimiterConfig},
    quota::Precision,
};
use proptest::prelude::*;

/// 2026-01-02, so that the low half of a millisecond count wraps within the tests' range.
const START: u64 = 1_767_323_045_678;

fn quota(limit: u32, millis: u64) -> Quota {
    Quota::new(limit, Duration::from_millis(millis)).unwrap()
}

fn limiter() -> Limiter {
    Limiter::new(LimiterConfig::default(), [7; 16])
}

#[derive(Clone, Debug)]
enum Step {
    Advance(u64),
    SetBack(u64),
    Check { key: u8, quotas: usize, cost: u32 },
    CheckAll { keys: u8, quotas: usize, cost: u32 },
    Peek { key: u8, quotas: usize, cost: u32 },
    Refund { ticket: prop::sample::Index },
    Reset { key: u8 },
}

fn steps(quotas: usize) -> impl Strategy<Value = Vec<Step>> {
    let millis = prop_oneof![
        6 => 0_u64..3,
        6 => 0_u64..200,
        2 => prop_oneof![Just(99_u64), Just(100), Just(101), Just(999), Just(1_000), Just(1_001)],
        1 => 0_u64..5_000,
        // Around the longest wait, after which a late `now` is a clock that was set back.
        1 => prop_oneof![Just(299_999_u64), Just(300_000), Just(300_001), 0..700_000_u64],
        1 => Just(1 << 32),
        1 => Just(365 * 86_400_000),
    ];
    let cost = prop_oneof![8 => Just(1_u32), 1 => 2_u32..5, 1 => 1_u32..20];
    let step = prop_oneof![
        6 => millis.clone().prop_map(Step::Advance),
        1 => millis.prop_map(Step::SetBack),
        12 => (0..3_u8, 0..quotas, cost.clone())
            .prop_map(|(key, quotas, cost)| Step::Check { key, quotas, cost }),
        3 => (1..8_u8, 0..quotas, cost.clone())
            .prop_map(|(keys, quotas, cost)| Step::CheckAll { keys, quotas, cost }),
        2 => (0..3_u8, 0..quotas, cost)
            .prop_map(|(key, quotas, cost)| Step::Peek { key, quotas, cost }),
        2 => any::<prop::sample::Index>().prop_map(|ticket| Step::Refund { ticket }),
        1 => (0..3_u8).prop_map(|key| Step::Reset { key }),
    ];
    prop::collection::vec(step, 1..300)
}

/// Runs the steps on both, and compares every decision. With all keys `first`, none arrives later,
/// so that none is forgotten.
fn agree(
    all: &[Quotas],
    steps: Vec<Step>,
    refunds: bool,
    first: bool,
) -> Result<(), TestCaseError> {
    let (limiter, mut oracle) = (limiter(), Oracle::default());
    let mut now = START;
    let mut tickets = VecDeque::new();
    if first {
        let key = |number: u8| LimitKey::key([number; 16]);
        let limits = [0, 1, 2].map(|number| (key(number), &all[0]));
        let at = Timestamp::from_unix_millis(now);
        let decision = limiter.check_all(&limits, 1, at).unwrap();
        prop_assert_eq!(Expected::from(decision), oracle.check(&limits, 1, at).0);
    }
    for step in steps {
        let at = Timestamp::from_unix_millis(now);
        match step {
            Step::Advance(millis) => now += millis,
            Step::SetBack(millis) => now = now.saturating_sub(millis),
            Step::Check { key, quotas, cost } => {
                let (key, quotas) = (LimitKey::key([key; 16]), &all[quotas]);
                if let Ok(decision) = limiter.check(key, quotas, cost, at) {
                    let (expected, _) = oracle.check(&[(key, quotas)], cost, at);
                    prop_assert_eq!(Expected::from(decision), expected);
                    if let Some(secs) = decision.retry_after_secs() {
                        prop_assert!(secs >= 1);
                        prop_assert!(Duration::from_secs(secs) >= decision.retry_after.unwrap());
                    }
                }
            }
            Step::CheckAll { keys, quotas, cost } => {
                let limits: Vec<_> = (0..3)
                    .filter(|bit| keys & 1 << bit != 0)
                    .map(|key| (LimitKey::key([key; 16]), &all[quotas]))
                    .collect();
                if let Ok((decision, ticket)) = limiter.admit_all(&limits, cost, at) {
                    let (expected, expected_ticket) = oracle.check(&limits, cost, at);
                    prop_assert_eq!(Expected::from(decision), expected);
                    prop_assert_eq!(ticket.is_some(), expected.allowed);
                    tickets.extend(ticket.map(|ticket| (ticket, expected_ticket)));
                }
            }
            Step::Peek { key, quotas, cost } => {
                let (key, quotas) = (LimitKey::key([key; 16]), &all[quotas]);
                if let Ok(decision) = limiter.peek(key, quotas, cost, at) {
                    prop_assert_eq!(Expected::from(decision), oracle.peek(key, quotas, cost, at));
                }
            }
            Step::Refund { ticket } if refunds && !tickets.is_empty() => {
                let at = ticket.index(tickets.len());
                let (ticket, expected) = tickets.remove(at).unwrap();
                prop_assert_eq!(limiter.refund(ticket), oracle.refund(expected));
            }
            Step::Refund { .. } => {}
            Step::Reset { key } => {
                let key = LimitKey::key([key; 16]);
                prop_assert_eq!(limiter.reset(key), oracle.reset(key));
            }
        }
    }
    Ok(())
}

/// A key that was reset arrives anew, and then idle ones are forgotten.
fn never_forgets(step: &Step) -> bool {
    !matches!(step, Step::Reset { .. })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// One window per key, whose limit and length change from call to call.
    #[test]
    fn agrees_with_the_naive_log(steps in steps(6)) {
        let all = [(1, 100), (5, 100), (7, 1_000), (20, 1_000), (6, 1), (20, 5_000)]
            .map(|(limit, millis)| Quotas::single(quota(limit, millis)));
        agree(&all, steps.into_iter().filter(never_forgets).collect(), false, true)?;
    }

    /// Several windows, and calls that ask for others than the call before.
    #[test]
    fn agrees_on_several_windows(steps in steps(4)) {
        let all = [
            vec![quota(5, 100), quota(20, 1_000)],
            vec![quota(5, 100), quota(20, 1_000), quota(30, 86_400_000)],
            vec![quota(3, 100), quota(9, 1_000)],
            vec![quota(20, 1_000)],
        ]
        .map(|quotas| Quotas::new(&quotas).unwrap());
        agree(&all, steps.into_iter().filter(never_forgets).collect(), false, true)?;
    }

    /// Refunds, while clock and windows behave: a ticket then lives as long as its stamp.
    #[test]
    fn agrees_on_refunds(steps in steps(1)) {
        let all = [Quotas::new(&[quota(5, 100), quota(20, 1_000)]).unwrap()];
        let steps = steps.into_iter().filter(|step| !matches!(step, Step::SetBack(_))).collect();
        agree(&all, steps, true, false)?;
    }

    /// A caller that waits as told is admitted, and one that waits a millisecond less is not.
    #[test]
    fn retry_after_is_exact(
        limit in 1_u32..30,
        gaps in prop::collection::vec(0_u64..50, 1..60),
        cost in 1_u32..30,
    ) {
        let quotas = Quotas::single(quota(limit, 1_000));
        let key = LimitKey::owner("acme");
        let limiter = limiter();
        let mut now = START;
        for gap in gaps {
            now += gap;
            let at = Timestamp::from_unix_millis(now);
            let _ = limiter.check(key, &quotas, 1, at).unwrap();
            let Ok(peeked) = limiter.peek(key, &quotas, cost, at) else { continue };
            if let Some(wait) = peeked.retry_after {
                let early = limiter
                    .peek(key, &quotas, cost, at + (wait - Duration::from_millis(1)))
                    .unwrap();
                prop_assert!(!early.allowed);
                prop_assert!(limiter.peek(key, &quotas, cost, at + wait).unwrap().allowed);
                prop_assert_eq!(peeked.reset_at, at + wait);
            }
        }
    }

    /// Coarse precision: never more than exact precision of what it admitted, and at
    /// most 1/256 of the window later.
    #[test]
    fn coarse_is_late_by_at_most_a_segment(
        limit in 1_u32..3_000,
        span in prop_oneof![1_u64..600, 10_000_u64..200_000, Just(86_400_000), Just(366 * 86_400_000)],
        requests in prop::collection::vec((0_u64..400, 1_u32..200), 1..400),
    ) {
        let quotas = Quotas::single(quota(limit, span).with_precision(Precision::Coarse));
        prop_assert_eq!(quotas.as_slice()[0].precision(), Precision::Coarse);
        let key = LimitKey::owner("acme");
        let limiter = limiter();
        let mut now = START;
        let mut admitted: Vec<(u64, u32)> = Vec::new();
        let counted = |admitted: &[(u64, u32)], since: u64| -> u64 {
            admitted.iter().filter(|&&(at, _)| at > since).map(|&(_, cost)| u64::from(cost)).sum()
        };
        for (gap, cost) in requests {
            now += gap * span / 10_000;
            let cost = cost.min(limit);
            let decision =
                limiter.check(key, &quotas, cost, Timestamp::from_unix_millis(now)).unwrap();
            let within = counted(&admitted, now - span) + u64::from(cost);
            let within_late = counted(&admitted, now - span - span / 256) + u64::from(cost);
            if decision.allowed {
                prop_assert!(within <= u64::from(limit), "{within} admitted of {limit}");
                admitted.push((now, cost));
            } else {
                prop_assert!(within_late > u64::from(limit), "refused at {within_late} of {limit}");
                let wait = decision.retry_after.unwrap();
                prop_assert!(wait > Duration::ZERO);
                let at = Timestamp::from_unix_millis(now) + wait;
                prop_assert!(limiter.peek(key, &quotas, cost, at).unwrap().allowed);
                let early = Timestamp::from_unix_millis(at.as_unix_millis() - 1);
                prop_assert!(!limiter.peek(key, &quotas, cost, early).unwrap().allowed);
            }
        }
    }
}

#[test]
fn a_cost_that_waiting_cannot_pay_is_an_error() {
    let (limiter, now) = (limiter(), Timestamp::from_unix_millis(START));
    let hourly = quota(10, 3_600_000);
    let quotas = Quotas::new(&[hourly, quota(5, 1_000)]).unwrap();
    let key = LimitKey::owner("acme");
    assert_eq!(limiter.check(key, &quotas, 0, now), Err(ChargeError::ZeroCost));
    assert_eq!(
        limiter.check(key, &quotas, 6, now),
        Err(ChargeError::AboveLimit { cost: 6, quota: quota(5, 1_000) })
    );
    assert_eq!(
        limiter.peek(key, &Quotas::single(hourly), u32::MAX, now),
        Err(ChargeError::AboveLimit { cost: u32::MAX, quota: hourly })
    );
    assert!(limiter.is_empty());
    assert!(limiter.check(key, &quotas, 5, now).unwrap().allowed);
}

/// What this limiter, and those that are used elsewhere, admit at most in any window under
/// saturating traffic at `N = 100` a minute. The page "How the limiter decides" and
/// `docs/BENCHMARKS.md` quote these numbers.
#[test]
fn the_others_admit_more() {
    let per_minute = Quotas::from(Quota::per_minute(100));
    let limiter = limiter();
    let ours = most_in_any_window(|now| {
        let now = Timestamp::from_unix_millis(START + now);
        limiter.check(LimitKey::owner("acme"), &per_minute, 1, now).unwrap().allowed
    });
    let mut fixed = FixedWindow::default();
    let mut two_counters = TwoCounters::default();
    let mut gcra = Gcra::default();
    assert_eq!(ours, 100);
    assert_eq!(most_in_any_window(|now| fixed.check(now)), 200);
    assert_eq!(most_in_any_window(|now| two_counters.check(now)), 200);
    assert_eq!(most_in_any_window(|now| gcra.check(now)), 199);
}

const LIMIT: u64 = 100;
const WINDOW: u64 = 60_000;

/// The largest number that `check` admits in any window of traffic that asks at every
/// millisecond until it is refused, for four windows, then is silent for two, and begins
/// again at another offset.
fn most_in_any_window(mut check: impl FnMut(u64) -> bool) -> u64 {
    let mut admitted = VecDeque::new();
    let mut most = 0;
    let mut now = 0;
    for offset in [0, 1, 29_999, 30_000, 59_399, 59_400, 59_998, 59_999] {
        now = (now / WINDOW + 3) * WINDOW + offset - 1;
        for _ in 0..4 * WINDOW {
            now += 1;
            while check(now) {
                admitted.push_back(now);
                while admitted.front().is_some_and(|&at| at + WINDOW <= now) {
                    admitted.pop_front();
                }
                most = most.max(admitted.len() as u64);
            }
        }
    }
    most
}

/// A counter that starts again at each multiple of the window.
#[derive(Default)]
struct FixedWindow {
    window: u64,
    count: u64,
}

impl FixedWindow {
    fn check(&mut self, now: u64) -> bool {
        if now / WINDOW != self.window {
            (self.window, self.count) = (now / WINDOW, 0);
        }
        let allowed = self.count < LIMIT;
        self.count += u64::from(allowed);
        allowed
    }
}

/// This window's counter, plus the last one's for the share of it that the window covers.
#[derive(Default)]
struct TwoCounters {
    window: u64,
    count: u64,
    previous: u64,
}

impl TwoCounters {
    fn check(&mut self, now: u64) -> bool {
        let window = now / WINDOW;
        if window != self.window {
            self.previous = if window == self.window + 1 { self.count } else { 0 };
            (self.window, self.count) = (window, 0);
        }
        let weight = WINDOW - now % WINDOW;
        let allowed = self.previous * weight / WINDOW + self.count < LIMIT;
        self.count += u64::from(allowed);
        allowed
    }
}

/// The theoretical arrival time, with a burst of the whole limit.
#[derive(Default)]
struct Gcra {
    arrival: u64,
}

impl Gcra {
    fn check(&mut self, now: u64) -> bool {
        let interval = WINDOW / LIMIT;
        let arrival = self.arrival.max(now);
        let allowed = arrival - now <= WINDOW - interval;
        if allowed {
            self.arrival = arrival + interval;
        }
        allowed
    }
}
