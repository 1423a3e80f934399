//! The limiters under comparison, each behind the same small interface.

use std::{hint::black_box, num::NonZeroU32, time::Duration};

use governor::{DefaultKeyedRateLimiter, RateLimiter};
use keyward::{
    Clock, Limiter, Quota, Quotas, SystemClock, Timestamp,
    limit::{LimitKey, LimiterConfig},
};

/// Whether the traffic stays within the limits or far beyond them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// All requests are admitted.
    Allowed,
    /// All requests are refused.
    Refused,
}

/// A limiter that knows its keys by number.
pub trait Contender: Sync {
    /// Decides on one request of `key`, the `step`-th in this run. The whole answer is made,
    /// and thrown away but for this.
    fn check(&self, key: u32, step: u64) -> bool;
}

/// The 16 bytes by which all contenders know a key: scattered as random ids are, and made
/// by one multiplication, because making them is measured too.
pub fn id_of(key: u32) -> u128 {
    let mixed = (u64::from(key) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    u128::from(mixed) << 64 | u128::from(mixed.rotate_left(32))
}

/// Ours.
pub struct Keyward {
    limiter: Limiter,
    quotas: Quotas,
    clock: Option<SystemClock>,
    /// Time as passed in: so many milliseconds pass while each key is asked once.
    millis_per_turn: u64,
    /// The number of keys as a power of two, so that no division is measured.
    key_bits: u32,
}

impl Keyward {
    /// A limiter that has room for `keys` keys of 100 requests a minute. Time is passed in;
    /// `clock` says whether the system's is read besides.
    pub fn new(keys: u32, traffic: Traffic, clock: bool) -> Self {
        let max_keys = keys * 2;
        let limiter = Limiter::new(LimiterConfig::default().with_max_keys(max_keys), [9; 16]);
        let millis_per_turn = match (traffic, keys) {
            (Traffic::Refused, _) => 0,
            // At the limit: a request leaves the window for each that is admitted.
            (Traffic::Allowed, ..=1_024) => 601,
            // Two requests a minute of each key.
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
        // By reference, here and below: the answer is made in full, and not copied besides.
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
    /// The exact log of 100 requests in about the time in which `keys` keys make as many.
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

/// How traffic spreads over the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// Each in turn, in a scattered order: every key at a regular rate.
    InTurn,
    /// Any at any time: the gaps of one key vary as those of independent callers do.
    Uniform,
    /// The k-th most frequent 1/k as often as the most frequent.
    Zipf,
}

/// The order in which keys are asked for, always the same. `keys` is a power of two.
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
