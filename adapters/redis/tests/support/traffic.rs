//! Seeded traffic, in the shapes of the core's simulator.

use std::time::Duration;

use keyward::{
    Quota, Quotas, Timestamp,
    limit::{Decision, LimitKey},
    quota::Precision,
};

#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// Each key at about its limit, and a few times silent for most of a window.
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
    /// Coarse precision, and changes between it and exact.
    Coarse,
    /// Windows of a dozen lengths on one key, one or several in a decision.
    Lengths,
    /// Limits of one length that rise and fall, also beyond what an exact window can count.
    Limits,
    /// Lengths, limits and precisions at once, on several keys, while the clock steps.
    Anything,
}

impl Shape {
    pub(crate) const ALL: [Self; 13] = [
        Self::Steady,
        Self::EdgeBursts,
        Self::Zipf,
        Self::JustBeforeExpiry,
        Self::OutOfOrder,
        Self::ClockSteps,
        Self::QuotaChanges,
        Self::Together,
        Self::Uptime,
        Self::Coarse,
        Self::Lengths,
        Self::Limits,
        Self::Anything,
    ];
}

/// One run of a shape.
pub(crate) struct Traffic {
    shape: Shape,
    random: Random,
    window: u64,
    limit: u32,
    keys: u64,
    now: u64,
    named: u64,
    step: u64,
    variants: Vec<Quotas>,
}

/// A request of the run.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) limits: Vec<(LimitKey, Quotas)>,
    pub(crate) cost: u32,
    pub(crate) at: Timestamp,
}

impl Request {
    pub(crate) fn limits(&self) -> Vec<(LimitKey, &Quotas)> {
        self.limits.iter().map(|(key, quotas)| (*key, quotas)).collect()
    }
}

impl Traffic {
    pub(crate) fn new(shape: Shape, seed: u64, most_keys: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(1_000_003) ^ shape as u64);
        let window = [20, 100, 1_000, 60_000][random.below(4) as usize];
        let limit = [1, 2, 5, 6, 7, 20, 50][random.below(7) as usize];
        let keys = [1, 3, 30][random.below(3) as usize].min(most_keys);
        let now = 1_767_323_045_678 + random.below(1 << 33);
        let variants = variants(limit, window);
        Self { shape, random, window, limit, keys, now, named: now, step: 0, variants }
    }

    pub(crate) fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// The shortest of its windows.
    pub(crate) fn window(&self) -> Duration {
        Duration::from_millis(self.window)
    }

    /// What a refusal named.
    pub(crate) fn answered(&mut self, decision: &Decision) {
        if !decision.allowed {
            self.named = decision.reset_at.as_unix_millis();
        }
    }

    pub(crate) fn next(&mut self) -> Request {
        let (random, window, keys, step) = (&mut self.random, self.window, self.keys, self.step);
        self.step += 1;
        // The mean time between requests at which all keys together are at about their limit.
        let mean = (window / u64::from(self.limit) / keys).max(1);
        let mut key = random.below(keys);
        let mut quotas = vec![self.variants[0]];
        let mut at = None;
        match self.shape {
            Shape::Steady => {
                self.now += match random.below(100) {
                    // Most leave at once.
                    0 => window - random.below(window / 4),
                    _ => random.below(2 * mean),
                };
            }
            Shape::EdgeBursts => {
                if step % (2 * u64::from(self.limit) * keys) == 0 {
                    self.now = (self.now / window + 1) * window - 1;
                } else if random.below(8) == 0 {
                    self.now += 1;
                }
            }
            Shape::Zipf => {
                key = 0;
                while key + 1 < keys && random.below(key + 2) != 0 {
                    key += 1;
                }
                self.now += random.below(mean * keys / 2 + 1);
            }
            Shape::JustBeforeExpiry => {
                self.now = match random.below(4) {
                    0 => self.named.max(self.now + 1) - 1,
                    1 => self.named.max(self.now),
                    _ => self.now + random.below(2),
                };
            }
            Shape::OutOfOrder => {
                self.now += random.below(2 * mean);
                at = Some(self.now - random.below(window + 1));
            }
            // All keys first: a newcomer may let the core forget one that was idle for two windows,
            // and a clock that is then set back finds it empty.
            Shape::ClockSteps if step < keys => key = step,
            Shape::ClockSteps => {
                self.now += random.below(2 * mean);
                match random.below(40) {
                    0 => self.now -= random.below(5 * window),
                    1 => self.now += random.below(5 * window),
                    2 => at = Some(self.now + 365 * 86_400_000),
                    3 => at = Some(self.now + window + random.below(3) - 1),
                    4 => at = Some(self.now - window - random.below(3) + 1),
                    _ => {}
                }
            }
            Shape::QuotaChanges => {
                self.now += random.below(2 * mean);
                quotas = vec![self.variants[random.below(self.variants.len() as u64) as usize]];
            }
            Shape::Together => {
                self.now += random.below(2 * mean);
                quotas = (0..=random.below(3)).map(|at| self.variants[4 + at as usize]).collect();
            }
            Shape::Uptime => {
                self.now += match random.below(10) {
                    0 => random.below(40 * 86_400_000),
                    1 => random.below(3 * window),
                    _ => random.below(mean),
                };
            }
            Shape::Coarse => {
                self.now += random.below(2 * mean);
                // Mostly one variant, so that it fills.
                let all = self.variants.len() as u64;
                let other = if random.below(8) == 0 { random.below(all - 4) + 4 } else { 7 };
                quotas = vec![self.variants[other as usize]];
            }
            Shape::Lengths => {
                self.now += match random.below(12) {
                    0 => random.below(3 * window),
                    1 => random.below(40 * window),
                    _ => random.below(2 * mean),
                };
                quotas = vec![lengths(random, self.limit, window)];
            }
            Shape::Limits => {
                self.now += random.below(2 * mean);
                quotas = vec![Quotas::single(any_quota(random, self.limit, window))];
            }
            Shape::Anything => {
                self.now += random.below(2 * mean);
                match random.below(40) {
                    0 => self.now -= random.below(5 * window),
                    1 => self.now += random.below(9 * window),
                    2 => at = Some(self.now + 40 * 86_400_000),
                    3 => at = Some(self.now - window - random.below(3) + 1),
                    _ => {}
                }
                quotas = (0..=random.below(2))
                    .map(|_| match random.below(3) {
                        0 => lengths(random, self.limit, window),
                        _ => Quotas::single(any_quota(random, self.limit, window)),
                    })
                    .collect();
            }
        }
        let mut cost = 1;
        if random.below(10) == 0 {
            let least = quotas.iter().flat_map(|quotas| quotas.as_slice()).map(Quota::limit).min();
            cost = 1 + random.below(u64::from(least.unwrap().min(100))) as u32;
        }
        let limits = quotas
            .into_iter()
            .enumerate()
            .map(|(other, quotas)| (key_of((key + other as u64 * 7) % 64), quotas))
            .collect();
        Request { limits, cost, at: Timestamp::from_unix_millis(at.unwrap_or(self.now)) }
    }
}

/// Quotas that are near one another, single ones first, coarse ones last.
fn variants(limit: u32, window: u64) -> Vec<Quotas> {
    let several = |quotas: &[Quota]| Quotas::new(quotas).unwrap();
    let (one, two, three) =
        (quota_of(limit, window), quota_of(2 * limit, 3 * window), quota_of(3 * limit, 7 * window));
    vec![
        Quotas::single(one),
        Quotas::single(quota_of(limit + 3, window)),
        Quotas::single(quota_of(limit.div_ceil(2), window)),
        Quotas::single(quota_of(limit, 2 * window)),
        several(&[one, three]),
        several(&[quota_of(limit + 1, window), two]),
        several(&[one, two, three]),
        Quotas::single(one.with_precision(Precision::Coarse)),
        Quotas::single(quota_of(limit + 3, window).with_precision(Precision::Coarse)),
        several(&[one, quota_of(2 * limit, 300 * window).with_precision(Precision::Coarse)]),
        several(&[
            one.with_precision(Precision::Coarse),
            two.with_precision(Precision::Coarse),
            three,
        ]),
    ]
}

/// A quota of this length with some limit and precision.
fn any_quota(random: &mut Random, limit: u32, window: u64) -> Quota {
    let limits = [1, 2, limit, limit, limit + 3, 3 * limit, 60_000, 65_535, 65_536, 100_000];
    let quota = quota_of(limits[random.below(10) as usize], window);
    let precision = if random.below(3) == 0 { Precision::Coarse } else { Precision::Exact };
    quota.try_with_precision(precision).unwrap_or(quota)
}

/// Quotas of one to three lengths out of a dozen. Most often one of two.
fn lengths(random: &mut Random, limit: u32, window: u64) -> Quotas {
    let times = [1, 2, 3, 5, 7, 10, 15, 20, 40, 64, 100, 300];
    let count = [1, 1, 1, 2, 3][random.below(5) as usize];
    let few = if random.below(3) == 0 { 2 } else { times.len() as u64 };
    let mut quotas: Vec<Quota> = Vec::new();
    for _ in 0..count {
        let times = times[random.below(few) as usize];
        let quota = any_quota(random, limit, window * times);
        if quotas.iter().all(|other| other.window() != quota.window()) {
            quotas.push(quota);
        }
    }
    Quotas::new(&quotas).unwrap()
}

pub(crate) fn quota_of(limit: u32, millis: u64) -> Quota {
    Quota::new(limit, Duration::from_millis(millis)).unwrap()
}

fn key_of(number: u64) -> LimitKey {
    LimitKey::key(u128::from(number).to_le_bytes())
}

/// SplitMix64: small, seeded, and the same everywhere.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % bound
    }
}
