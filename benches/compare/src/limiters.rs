//! The compared limiters behind one small interface.

use std::{hint::black_box, num::NonZeroU32, time::Duration};

use governor::{DefaultKeyedRateLimiter, RateLimiter};
use keyward::{
    Clock, Limiter, Quota, Quotas, SystemClock, Timestamp,
    limit::{LimitKey, LimiterConfig},
};

/// Traffic within the limits or far beyond them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// All requests are admitted.
    Allowed,
    /// All requests are refused.
    Refused,
}

/// A limiter whose keys are numbers.
pub trait Contender: Sync {
    /// Decides on one request of `key`, the `step`-th in this run. The whole decision is computed, and
    /// only whether it was admitted is returned.
    fn check(&self, key: u32, step: u64) -> bool;
}

/// Returns the 16 bytes of a key for all contenders. They are scattered like random ids and take one
/// multiplication, because computing them is measured too.
pub fn id_of(key: u32) -> u128 {
    let mixed = (u64::from(key) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    u128::from(mixed) << 64 | u128::from(mixed.rotate_left(32))
}

/// keyward's limiter.
pub struct Keyward {
    limiter: Limiter,
    quotas: Quotas,
    clock: Option<SystemClock>,
    /// The milliseconds that pass, in the time passed in, while each key sends one request.
    millis_per_turn: u64,
    /// The number of keys as a power of two, so that no division is measured.
    key_bits: u32,
}

impl Keyward {
    /// Builds a limiter with room for `keys` keys of 100 requests a minute. Time is passed in; with
    /// `clock` the system's clock is read in addition.
    pub fn new(keys: u32, traffic: Traffic, clock: bool) -> Self {
        let max_keys = keys * 2;
        let limiter = Limiter::new(LimiterConfig::default().with_max_keys(max_keys), [9; 16]);
        let millis_per_turn = match (traffic, keys) {
            (Traffic::Refused, _) => 0,
            // At the limit: one request leaves the window for each that is admitted.
            (Traffic::Allowed, ..=1_024) => 601,
            // Each key sends two requests a minute.
            (Traffic::Allowed, _) => 30_000,
        };
        Self {
            limiter,
            quotas: Quotas::single(Quota::per_minute(100)),
            clock: clock.then(SystemClock::new),
            millis_per_turn,
            key_bits: keys.ilog2(),
        }
    }
}

impl Contender for Keyward {
    #[inline]
    fn check(&self, key: u32, step: u64) -> bool {
        if let Some(clock) = &self.clock {
            black_box(clock.now());
        }
        let passed = (step * self.millis_per_turn) >> self.key_bits;
        let now = Timestamp::from_unix_millis(1_767_323_045_678 + passed);
        let key = LimitKey::key(id_of(key).to_ne_bytes());
        // By reference, here and below: the decision is computed in full and not copied.
        let decision = self.limiter.check(key, &self.quotas, 1, now);
        black_box(&decision).is_ok_and(|decision| decision.allowed)
    }
}

/// governor: GCRA over a `DashMap`, with its own clock.
pub struct Governor(DefaultKeyedRateLimiter<u128>);

impl Governor {
    pub fn new(traffic: Traffic) -> Self {
        let quota = match traffic {
            Traffic::Allowed => governor::Quota::per_second(NonZeroU32::MAX),
            Traffic::Refused => governor::Quota::per_hour(NonZeroU32::MIN),
        };
        Self(RateLimiter::keyed(quota))
    }
}

impl Contender for Governor {
    #[inline]
    fn check(&self, key: u32, _step: u64) -> bool {
        let answer = self.0.check_key(&id_of(key));
        black_box(&answer).is_ok()
    }
}

/// rate-net: the exact log or the token bucket, with its own clock.
pub struct RateNet(rate_net::RateLimiter);

impl RateNet {
    /// Builds the exact log of 100 requests in about the time in which `keys` keys send as many.
    pub fn log(keys: u32, traffic: Traffic) -> Self {
        let period = match traffic {
            Traffic::Allowed => Duration::from_micros(9) * keys,
            Traffic::Refused => Duration::from_secs(3_600),
        };
        Self::new(rate_net::Algorithm::SlidingWindowLog, 100, period)
    }

    pub fn token_bucket(traffic: Traffic) -> Self {
        let (limit, period) = match traffic {
            Traffic::Allowed => (u32::MAX, Duration::from_secs(1)),
            Traffic::Refused => (1, Duration::from_secs(3_600)),
        };
        Self::new(rate_net::Algorithm::TokenBucket, limit, period)
    }

    fn new(algorithm: rate_net::Algorithm, limit: u32, period: Duration) -> Self {
        Self(rate_net::RateLimiter::builder().algorithm(algorithm).quota(limit, period).build())
    }
}

impl Contender for RateNet {
    #[inline]
    fn check(&self, key: u32, _step: u64) -> bool {
        let decision = self.0.check_bytes(id_of(key).to_ne_bytes());
        black_box(&decision).is_allow()
    }
}

/// The distribution of traffic over the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// Each key in turn, in a scattered order: every key has a regular rate.
    InTurn,
    /// Uniformly random keys: the gaps of one key vary as for independent callers.
    Uniform,
    /// The k-th most frequent key sends 1/k of the requests of the most frequent one.
    Zipf,
}

/// Returns the order of keys, which is the same in every run. `keys` is a power of two.
pub fn order(keys: u32, spread: Spread, len: usize) -> Vec<u32> {
    let mut random = XorShift(0x1234_5678_9abc_def1);
    if spread == Spread::InTurn {
        return (0..len as u32).map(|i| i.wrapping_mul(0x9e37_79b1) & (keys - 1)).collect();
    }
    if spread == Spread::Uniform {
        return (0..len).map(|_| (random.next() % u64::from(keys)) as u32).collect();
    }
    // The inverse of the cumulative weights 1/1, 1/2, 1/3, …
    let mut sums = Vec::with_capacity(keys as usize);
    let mut sum = 0_u64;
    for rank in 1..=u64::from(keys) {
        sum += (1 << 40) / rank;
        sums.push(sum);
    }
    (0..len)
        .map(|_| {
            let at = random.next() % sum;
            sums.partition_point(|&sum| sum <= at) as u32
        })
        .collect()
}

struct XorShift(u64);

impl XorShift {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 1
    }
}
