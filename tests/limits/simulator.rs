//! Seeded traffic in all the shapes we could think of, every decision compared with the
//! naive log.
//!
//! A million decisions by default; `KEYWARD_SIMULATOR_DECISIONS` asks for more:
//! `KEYWARD_SIMULATOR_DECISIONS=100000000 cargo test --release --test limits simulator`.

use std::time::Duration;

use crate::oracle::{Expected, Oracle};
use keyward::{
    Limiter, Quota, Quotas, Timestamp,
    limit::{LimitKey, LimiterConfig},
};

const DECISIONS: u64 = 1_000_000;
/// One run of a shape: a new limiter and a new seed.
const PER_RUN: u64 = 5_000;

#[test]
fn every_decision_agrees() {
    let wanted = std::env::var("KEYWARD_SIMULATOR_DECISIONS").ok();
    let wanted = wanted.map_or(DECISIONS, |text| text.parse().unwrap());
    let (mut decisions, mut refused, mut seed) = (0, 0, 0);
    let mut totals = [const { (0, 0) }; Shape::ALL.len()];
    while decisions < wanted {
        for (shape, total) in Shape::ALL.into_iter().zip(&mut totals) {
            let outcome = simulate(shape, seed, &ours()).unwrap_or_else(|difference| {
                panic!("{shape:?} with seed {seed}: {difference}");
            });
            *total = (total.0 + outcome.admitted, total.1 + outcome.refused);
            decisions += outcome.refused + outcome.admitted;
            refused += outcome.refused;
        }
        seed += 1;
    }
    for (shape, (admitted, refused)) in Shape::ALL.into_iter().zip(totals) {
        // A shape that hardly refuses, or hardly admits, would compare little.
        let all = admitted + refused;
        assert!(admitted > all / 20 && refused > all / 20, "{shape:?}: {admitted} of {all}");
    }
    println!("{decisions} decisions, {refused} of them refusals, no difference");
}

/// The simulator finds each of these bugs, in whichever shape shows it.
#[test]
fn planted_bugs_are_found() {
    let found = |bug: &dyn Fn() -> Subject| {
        let differs = |shape| (0..20).any(|seed| simulate(shape, seed, &bug()).is_err());
        Shape::ALL.into_iter().filter(|&shape| differs(shape)).count()
    };
    // `>` for `>=`: a stamp that is exactly one window old still counts.
    assert!(found(&|| planted(Bug::CountsAtOneWindow)) >= 6);
    assert!(found(&|| planted(Bug::ForgetsOneMillisecondEarly)) >= 6);
    assert!(found(&|| planted(Bug::NeverFollowsAClockThatWasSetBack)) >= 1);
    assert!(found(&|| planted(Bug::ChargesRefused)) >= 6);
}

/// The simulator sees how late a `now` may be: a naive log that allows less differs.
#[test]
fn another_lateness_is_found() {
    let differs = |late| {
        let with = |shape, seed| simulate_with(shape, seed, &ours(), Oracle::with_lateness(late));
        (0..20).any(|seed| with(Shape::OutOfOrder, seed).is_err())
    };
    assert!(!differs(LATE));
    assert!(differs(0));
    assert!(differs(LATE - 1_000));
}

#[derive(Clone, Copy, Debug)]
enum Shape {
    /// Each key at about its limit.
    Steady,
    /// Bursts around multiples of the window.
    EdgeBursts,
    /// Few keys with most of the traffic.
    Zipf,
    /// Requests at, and one millisecond before, the instant that a refusal named.
    JustBeforeExpiry,
    /// `now` from threads that overtake one another.
    OutOfOrder,
    /// A clock that is set back and forth, and single readings a year ahead.
    ClockSteps,
    /// Limits, window lengths and sets of windows that change from call to call.
    QuotaChanges,
    /// Several windows on several keys in one decision.
    Together,
    /// Hours and days between requests, over years.
    Uptime,
    /// More newcomers than there are places, among keys that are tracked.
    Flood,
}

impl Shape {
    const ALL: [Self; 10] = [
        Self::Steady,
        Self::EdgeBursts,
        Self::Zipf,
        Self::JustBeforeExpiry,
        Self::OutOfOrder,
        Self::ClockSteps,
        Self::QuotaChanges,
        Self::Together,
        Self::Uptime,
        Self::Flood,
    ];
}

#[derive(Clone, Copy, Debug)]
enum Bug {
    None,
    CountsAtOneWindow,
    ForgetsOneMillisecondEarly,
    NeverFollowsAClockThatWasSetBack,
    ChargesRefused,
}

/// Our limiter, with or without a bug planted around it.
struct Subject {
    limiter: Limiter,
    bug: Bug,
    latest: std::cell::Cell<Timestamp>,
}

fn ours() -> Subject {
    planted(Bug::None)
}

fn planted(bug: Bug) -> Subject {
    // One shard of 64 places, so that a flood is soon upon it.
    let config = LimiterConfig::default().with_max_keys(PLACES as u32).with_shards(1);
    Subject { limiter: Limiter::new(config, [3; 16]), bug, latest: Timestamp::ZERO.into() }
}

const PLACES: u64 = 64;
/// The least time that a `now` may be late.
const LATE: u64 = 5 * 60_000;

impl Subject {
    fn check(&self, limits: &[(LimitKey, &Quotas)], cost: u32, now: Timestamp) -> Expected {
        self.latest.set(self.latest.get().max(now));
        match self.bug {
            Bug::None => match limits {
                [(key, quotas)] => self.limiter.check(*key, quotas, cost, now).unwrap().into(),
                _ => self.limiter.check_all(limits, cost, now).unwrap().into(),
            },
            Bug::CountsAtOneWindow => self.with_other_window(limits, cost, now, 1),
            Bug::ForgetsOneMillisecondEarly => self.with_other_window(limits, cost, now, -1),
            Bug::NeverFollowsAClockThatWasSetBack => {
                let latest = self.latest.get();
                let mut decision: Expected =
                    self.limiter.check_all(limits, cost, latest).unwrap().into();
                decision.retry_after =
                    decision.retry_after.map(|_| decision.reset_at.saturating_since(now));
                decision
            }
            Bug::ChargesRefused => {
                let decision = self.limiter.check_all(limits, cost, now).unwrap();
                if !decision.allowed && cost > 1 {
                    let _ = self.limiter.check_all(limits, 1, now);
                }
                decision.into()
            }
        }
    }

    /// Decides with windows that are longer by so many milliseconds, and hides it in all
    /// but whether a request passes.
    fn with_other_window(
        &self,
        limits: &[(LimitKey, &Quotas)],
        cost: u32,
        now: Timestamp,
        longer: i64,
    ) -> Expected {
        let other: Vec<_> = limits
            .iter()
            .map(|(key, quotas)| {
                let quotas: Vec<_> = quotas
                    .as_slice()
                    .iter()
                    .map(|quota| quota_of(quota.limit(), quota.window_millis() as i64 + longer))
                    .collect();
                (*key, Quotas::new(&quotas).unwrap())
            })
            .collect();
        let borrowed: Vec<_> = other.iter().map(|(key, quotas)| (*key, quotas)).collect();
        let mut decision: Expected = self.limiter.check_all(&borrowed, cost, now).unwrap().into();
        let millis = decision.quota.window_millis() as i64 - longer;
        decision.quota = quota_of(decision.quota.limit(), millis);
        let instant = decision.reset_at.as_unix_millis() as i64 - longer;
        decision.reset_at = Timestamp::from_unix_millis(instant as u64);
        decision.retry_after =
            decision.retry_after.map(|_| decision.reset_at.saturating_since(now));
        decision
    }
}

#[derive(Debug, Default)]
struct Outcome {
    admitted: u64,
    refused: u64,
}

/// Runs one shape from one seed, and tells the first difference.
fn simulate(shape: Shape, seed: u64, subject: &Subject) -> Result<Outcome, String> {
    simulate_with(shape, seed, subject, Oracle::with_lateness(LATE))
}

fn simulate_with(
    shape: Shape,
    seed: u64,
    subject: &Subject,
    mut oracle: Oracle,
) -> Result<Outcome, String> {
    let mut random = Random(seed.wrapping_mul(1_000_003) ^ shape as u64);
    let mut outcome = Outcome::default();
    let window = [20, 100, 1_000, 60_000][random.below(4) as usize];
    let limit = [1, 2, 5, 6, 7, 20, 50][random.below(7) as usize];
    let plain = Quotas::single(quota_of(limit, window as i64));
    let keys = [1, 3, 30][random.below(3) as usize];
    let variants = variants(limit, window as i64);
    // The mean time between requests at which all keys together are at about their limit.
    let mean = (window / u64::from(limit) / keys).max(1);
    let mut now = 1_767_323_045_678 + random.below(1 << 33);
    let mut named = now;

    for step in 0..PER_RUN {
        let mut key = random.below(keys);
        let mut quotas = vec![plain];
        let mut cost = 1;
        let mut at = now;
        match shape {
            Shape::Steady => now += random.below(2 * mean),
            Shape::EdgeBursts => {
                if step % (2 * u64::from(limit) * keys) == 0 {
                    now = (now / window + 1) * window - 1;
                } else if random.below(8) == 0 {
                    now += 1;
                }
            }
            Shape::Zipf => {
                key = 0;
                while key < 29 && random.below(key + 2) != 0 {
                    key += 1;
                }
                now += random.below(mean * keys / 2 + 1);
            }
            Shape::JustBeforeExpiry => {
                now = match random.below(4) {
                    0 => named.max(now + 1) - 1,
                    1 => named.max(now),
                    _ => now + random.below(2),
                };
            }
            // All keys first, so that no newcomer sweeps later: an idle key may be forgotten, one that
            // begins anew begins no earlier than what was forgotten, and a window of another length
            // inherits nothing from it.
            Shape::OutOfOrder | Shape::ClockSteps | Shape::QuotaChanges if step < keys => {
                key = step
            }
            Shape::Together if step < keys + 14 => key = step,
            Shape::OutOfOrder => {
                now += random.below(2 * mean);
                at = now - random.below(LATE.max(window) + 1);
            }
            Shape::ClockSteps => {
                now += random.below(2 * mean);
                let late = LATE.max(window);
                match random.below(40) {
                    0 => now -= random.below(5 * window),
                    1 => now += random.below(5 * window),
                    2 => at = now + 365 * 86_400_000,
                    3 => at = now + window + random.below(3) - 1,
                    4 => at = now - window - random.below(3) + 1,
                    5 => at = now - late - random.below(3) + 1,
                    6 => now -= late + random.below(window),
                    _ => {}
                }
            }
            Shape::QuotaChanges => {
                now += random.below(2 * mean);
                quotas = vec![variants[random.below(variants.len() as u64) as usize]];
            }
            Shape::Together => {
                now += random.below(2 * mean);
                quotas = (0..=random.below(3)).map(|at| variants[4 + at as usize]).collect();
            }
            Shape::Uptime => {
                now += match random.below(10) {
                    0 => random.below(40 * 86_400_000),
                    1 => random.below(3 * window),
                    _ => random.below(mean),
                };
            }
            Shape::Flood => {
                now += random.below(window / 200 + 1);
                let tracked = PLACES / 2;
                key = random.below(tracked);
                // In turn too, so that no tracked key is ever idle, which might be forgotten.
                if step % 2 == 0 {
                    key = step / 2 % tracked;
                }
            }
        }
        if !matches!(shape, Shape::OutOfOrder | Shape::ClockSteps) {
            at = now;
        }
        if random.below(10) == 0 {
            let least = quotas.iter().flat_map(|quotas| quotas.as_slice()).map(Quota::limit).min();
            cost = 1 + random.below(u64::from(least.unwrap())) as u32;
        }
        let limits: Vec<_> = quotas
            .iter()
            .enumerate()
            .map(|(other, quotas)| (key_of((key + other as u64 * 7) % 64), quotas))
            .collect();
        let at = Timestamp::from_unix_millis(at);
        let decision = subject.check(&limits, cost, at);
        let (expected, _) = oracle.check(&limits, cost, at);
        if decision != expected {
            return Err(format!("step {step} at {at}: {decision:?}, expected {expected:?}"));
        }
        if decision.allowed {
            outcome.admitted += 1;
        } else {
            outcome.refused += 1;
            named = decision.reset_at.as_unix_millis();
        }
        if matches!(shape, Shape::Flood) && step > 1_000 {
            newcomers(&mut random, subject, &plain, at, &mut outcome)?;
        }
    }
    Ok(outcome)
}

/// Keys that come once among those that are tracked: no naive log admits them less.
fn newcomers(
    random: &mut Random,
    subject: &Subject,
    quotas: &Quotas,
    now: Timestamp,
    outcome: &mut Outcome,
) -> Result<(), String> {
    let key = key_of(1_000 + random.below(1 << 40));
    let limit = u64::from(quotas.as_slice()[0].limit());
    let mut admitted = 0;
    for _ in 0..1 + random.below(limit + 2) {
        admitted += u64::from(subject.check(&[(key, quotas)], 1, now).allowed);
    }
    outcome.admitted += admitted;
    if admitted > limit { Err(format!("a newcomer had {admitted} of {limit}")) } else { Ok(()) }
}

/// Quotas that are near one another, single ones first.
fn variants(limit: u32, window: i64) -> Vec<Quotas> {
    let several = |quotas: &[Quota]| Quotas::new(quotas).unwrap();
    vec![
        Quotas::single(quota_of(limit, window)),
        Quotas::single(quota_of(limit + 3, window)),
        Quotas::single(quota_of(limit.div_ceil(2), window)),
        Quotas::single(quota_of(limit, 2 * window)),
        several(&[quota_of(limit, window), quota_of(3 * limit, 7 * window)]),
        several(&[quota_of(limit + 1, window), quota_of(2 * limit, 3 * window)]),
        several(&[
            quota_of(limit, window),
            quota_of(2 * limit, 3 * window),
            quota_of(3 * limit, 7 * window),
        ]),
    ]
}

fn quota_of(limit: u32, millis: i64) -> Quota {
    Quota::new(limit, Duration::from_millis(millis as u64)).unwrap()
}

fn key_of(number: u64) -> LimitKey {
    LimitKey::host(1, &number.to_le_bytes())
}

/// SplitMix64: small, seeded, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % bound
    }
}
