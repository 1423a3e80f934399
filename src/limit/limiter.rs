//! The limiter: takes keys, quotas, a cost and `now`, and returns a decision.

use std::{fmt, num::NonZeroU32};

use rand::{TryRng, rngs::SysRng};

use crate::{
    clock::timestamp::Timestamp,
    error::{ConfigError, ConfigErrorKind},
    limit::{
        config::LimiterConfig,
        decision::{Binding, ChargeError, Decision, MAX_LIMITS, WindowStatus},
        key::LimitKey,
        table::{book::Receipt, shards::Shards, tracked::TooManyWindows},
    },
    quota::{Precision, quotas::Quotas},
};

/// An exact sliding-window limiter for many keys, shared between threads.
///
/// It admits at most [`Quota::limit`](crate::quota::Quota::limit) requests of a key in *any*
/// interval of one window. It remembers a bounded number of keys in bounded memory and takes time
/// as an argument. [How the limiter decides](#how-the-limiter-decides) states the guarantee, its
/// proof and its cost.
///
/// ```
/// use std::time::Duration;
/// use keyward::{limit::LimitKey, Limiter, Quota, Quotas, Timestamp};
///
/// let limiter = Limiter::system()?;
/// let quotas = Quotas::from(Quota::per_minute(2));
/// let key = LimitKey::owner("acme");
/// let now = Timestamp::from_unix_secs(1_000);
///
/// assert!(limiter.check(key, &quotas, 1, now)?.allowed);
/// assert!(limiter.check(key, &quotas, 1, now + Duration::from_secs(20))?.allowed);
///
/// let refused = limiter.check(key, &quotas, 1, now + Duration::from_millis(59_999))?;
/// assert_eq!(refused.retry_after, Some(Duration::from_millis(1)));
/// assert_eq!(refused.retry_after_secs(), Some(1));
/// assert!(limiter.check(key, &quotas, 1, refused.reset_at)?.allowed);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc = ""]
#[doc = include_str!("how_the_limiter_decides.md")]
pub struct Limiter {
    shards: Shards,
    max_keys: usize,
}

impl Limiter {
    /// The maximum number of limits that one decision charges together: 8.
    pub const MAX_LIMITS: usize = MAX_LIMITS;

    /// Builds a limiter with the default configuration and a seed from the operating system.
    ///
    /// # Errors
    ///
    /// If the operating system's random generator fails.
    pub fn system() -> Result<Self, ConfigError> {
        let mut seed = [0; 16];
        SysRng.try_fill_bytes(&mut seed).map_err(|_| {
            ConfigError::fixed(
                ConfigErrorKind::Limit,
                "the system has no randomness for the seed; call Limiter::new with a secret seed",
            )
        })?;
        Ok(Self::new(LimiterConfig::default(), seed))
    }

    /// Builds a limiter that keys its hash with `seed`. The seed must be secret and random: an
    /// attacker who knows it can choose keys that all fall into one place.
    pub fn new(config: LimiterConfig, seed: [u8; 16]) -> Self {
        let bits = config.shard_bits();
        let per_shard = config.max_keys.div_ceil(1 << bits);
        let shards = Shards::new(bits, per_shard, seed);
        let max_keys = per_shard as usize * shards.count();
        Self { shards, max_keys }
    }

    /// Decides whether a request of `cost` may pass, and counts it if so. A refused request consumes
    /// nothing.
    ///
    /// A window is identified by the key and its length, so that calls with other quotas forget
    /// nothing. A `now` up to one window, and at least five minutes, behind the window's latest counts
    /// as the latest. Further behind, the clock was set back, and the limiter follows it.
    ///
    /// # Errors
    ///
    /// If `cost` is zero or above the limit of a quota, or if the key has eight live windows of other
    /// lengths ([`ChargeError::TooManyWindows`]).
    #[inline]
    pub fn check(
        &self,
        key: impl Into<LimitKey>,
        quotas: &Quotas,
        cost: u32,
        now: Timestamp,
    ) -> Result<Decision, ChargeError> {
        let LimitKey { body: [x, y], head } = key.into();
        self.check_one(x, y, head, quotas, cost, now.as_unix_millis())
    }

    /// Takes the key in registers. It is hashed at once, and would otherwise be written to the stack
    /// only to be read back in other pieces.
    fn check_one(
        &self,
        x: u64,
        y: u64,
        head: NonZeroU32,
        quotas: &Quotas,
        cost: u32,
        now: u64,
    ) -> Result<Decision, ChargeError> {
        let key = LimitKey { body: [x, y], head };
        let hash = self.shards.hash(&key);
        if let Some(quota) = quotas.only()
            && quota.precision() == Precision::Exact
            && cost != 0
            && cost <= quota.limit()
            && let Some(mut book) = self.shards.lock(hash)
            && let Some(verdict) = book.check(hash, &key, quota, cost, now)
        {
            drop(book);
            // Two constructors, so that each decision is written where it is returned. One for both
            // would be assembled on the stack first.
            return if verdict.allowed {
                Ok(Decision::admitted(quota, verdict.live + cost, verdict.instant))
            } else {
                Ok(Decision::refused(quota, verdict.live, verdict.instant, now))
            };
        }
        self.check_slowly(hash, &key, quotas, cost, now)
    }

    #[cold]
    fn check_slowly(
        &self,
        hash: u64,
        key: &LimitKey,
        quotas: &Quotas,
        cost: u32,
        now: u64,
    ) -> Result<Decision, ChargeError> {
        payable(quotas, cost)?;
        let book = self.shards.lock(hash);
        let binding = book.map(|mut book| book.check_slowly(hash, key, quotas, cost, now));
        let binding = binding.transpose()?;
        Ok(binding.unwrap_or_else(|| Binding::without_place(quotas, now)).decide(now))
    }

    /// Decides like [`Limiter::check`] for several limits together: the request is admitted, and
    /// counted against all, only if each admits it.
    ///
    /// # Errors
    ///
    /// If `limits` is empty, longer than [`Limiter::MAX_LIMITS`], or names a key twice; if `cost` is
    /// zero or above the limit of a quota.
    pub fn check_all(
        &self,
        limits: &[(LimitKey, &Quotas)],
        cost: u32,
        now: Timestamp,
    ) -> Result<Decision, ChargeError> {
        Ok(self.charge(limits, cost, now)?.0)
    }

    /// Decides like [`Limiter::check`] and returns a ticket with which an admission can be refunded.
    ///
    /// # Errors
    ///
    /// As for [`Limiter::check`].
    pub fn admit(
        &self,
        key: impl Into<LimitKey>,
        quotas: &Quotas,
        cost: u32,
        now: Timestamp,
    ) -> Result<(Decision, Option<Ticket>), ChargeError> {
        payable(quotas, cost)?;
        let charged = self.charge_payable(&[(key.into(), quotas)], cost, now)?;
        Ok(charged.unwrap_or_else(|| {
            let now = now.as_unix_millis();
            (Binding::without_place(quotas, now).decide(now), None)
        }))
    }

    /// Decides like [`Limiter::check_all`] and returns a ticket with which an admission can be
    /// refunded from all limits.
    ///
    /// # Errors
    ///
    /// As for [`Limiter::check_all`].
    pub fn admit_all(
        &self,
        limits: &[(LimitKey, &Quotas)],
        cost: u32,
        now: Timestamp,
    ) -> Result<(Decision, Option<Ticket>), ChargeError> {
        self.charge(limits, cost, now)
    }

    /// Returns the decision of [`Limiter::check`], and counts and changes nothing.
    ///
    /// # Errors
    ///
    /// As for [`Limiter::check`].
    pub fn peek(
        &self,
        key: impl Into<LimitKey>,
        quotas: &Quotas,
        cost: u32,
        now: Timestamp,
    ) -> Result<Decision, ChargeError> {
        let key = key.into();
        payable(quotas, cost)?;
        let now = now.as_unix_millis();
        let hash = self.shards.hash(&key);
        let book = self.shards.lock(hash);
        let binding = book.map(|book| book.peek(hash, &key, quotas, cost, now)).transpose()?;
        Ok(binding.unwrap_or_else(|| Binding::without_place(quotas, now)).decide(now))
    }

    /// Returns the state of each window of a key, in the order of `quotas`. It counts and changes
    /// nothing.
    ///
    /// ```
    /// use keyward::{limit::LimitKey, Limiter, Quota, Quotas, Timestamp};
    ///
    /// let limiter = Limiter::system()?;
    /// let quotas = Quotas::from(Quota::per_minute(3));
    /// let (key, now) = (LimitKey::owner("acme"), Timestamp::from_unix_secs(1_000));
    /// assert_eq!(limiter.status(key, &quotas, now)?[0].remaining, 3);
    /// let _ = limiter.check(key, &quotas, 1, now)?;
    /// assert_eq!(limiter.status(key, &quotas, now)?[0].remaining, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ChargeError::TooManyWindows`], if the key has other windows in all its places.
    pub fn status(
        &self,
        key: impl Into<LimitKey>,
        quotas: &Quotas,
        now: Timestamp,
    ) -> Result<Vec<WindowStatus>, ChargeError> {
        let key = key.into();
        let now = now.as_unix_millis();
        let hash = self.shards.hash(&key);
        let Some(book) = self.shards.lock(hash) else { return Ok(Vec::new()) };
        Ok(book.status(hash, &key, quotas, now)?)
    }

    /// Takes an admission back, so that its cost no longer counts. Returns whether any of it still
    /// counted.
    ///
    /// It has no effect after the admission has left its windows, the key was reset, or the clock was
    /// set back. An admission that a new window of the key began with is not taken back there. Nor has it any on a key that
    /// was counted in overflow when it was admitted.
    pub fn refund(&self, ticket: Ticket) -> bool {
        let mut refunded = false;
        for part in ticket.parts.into_iter().flatten() {
            let hash = self.shards.hash(&part.key);
            // A ticket of another limiter has another hash.
            if hash == part.hash {
                let book = self.shards.lock(hash);
                refunded |= book.is_some_and(|mut book| {
                    book.refund(hash, &part.key, &part.receipt, ticket.cost)
                });
            }
        }
        refunded
    }

    /// Forgets everything counted for a key. Returns whether the key was tracked. Requests that were
    /// counted in overflow remain, because other keys may be counted in the same cell.
    pub fn reset(&self, key: impl Into<LimitKey>) -> bool {
        let key = key.into();
        let hash = self.shards.hash(&key);
        self.shards.lock(hash).is_some_and(|mut book| book.reset(hash, &key))
    }

    /// Returns the number of tracked keys, including idle ones that were not dropped yet.
    pub fn len(&self) -> usize {
        let mut keys = 0;
        self.shards.for_each(|book| keys += book.len());
        keys
    }

    /// Returns whether no key is tracked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the maximum number of keys tracked at once: the configured cap, rounded up to a
    /// multiple of the number of shards.
    pub fn max_keys(&self) -> usize {
        self.max_keys
    }

    /// Checks that waiting could admit a request of `cost` against these limits. This is the check
    /// with which [`Limiter::check_all`] begins; a limiter elsewhere needs the same.
    ///
    /// # Errors
    ///
    /// As for [`Limiter::check_all`].
    pub fn check_chargeable(limits: &[(LimitKey, &Quotas)], cost: u32) -> Result<(), ChargeError> {
        if limits.is_empty() {
            return Err(ChargeError::NoLimits);
        }
        if limits.len() > MAX_LIMITS {
            return Err(ChargeError::TooManyLimits);
        }
        for (at, (key, quotas)) in limits.iter().enumerate() {
            payable(quotas, cost)?;
            if limits.iter().skip(at + 1).any(|(other, _)| other == key) {
                return Err(ChargeError::SameKey);
            }
        }
        Ok(())
    }

    fn charge(
        &self,
        limits: &[(LimitKey, &Quotas)],
        cost: u32,
        now: Timestamp,
    ) -> Result<(Decision, Option<Ticket>), ChargeError> {
        Self::check_chargeable(limits, cost)?;
        self.charge_payable(limits, cost, now)?.ok_or(ChargeError::NoLimits)
    }

    /// Decides by all limits, and charges all or none, under the locks of all. Returns `None` if
    /// there are no limits.
    fn charge_payable(
        &self,
        limits: &[(LimitKey, &Quotas)],
        cost: u32,
        now: Timestamp,
    ) -> Result<Option<(Decision, Option<Ticket>)>, ChargeError> {
        let now = now.as_unix_millis();
        let mut hashes = [0; MAX_LIMITS];
        for (hash, (key, _)) in hashes.iter_mut().zip(limits) {
            *hash = self.shards.hash(key);
        }
        let hashed = || hashes.iter().copied().zip(limits.iter().copied());
        self.shards.with_all(hashed().map(|(hash, _)| hash), |locked| {
            let mut binding: Option<Binding> = None;
            for (position, (hash, (key, quotas))) in hashed().enumerate() {
                let asked = match locked.book(hash) {
                    Some(book) => book.judge(hash, &key, quotas, cost, now)?,
                    None => Binding::without_place(quotas, now),
                };
                let asked = Binding { position: position as u8, ..asked };
                binding = Some(binding.map_or(asked, |binding| binding.and(asked)));
            }
            let Some(binding) = binding else { return Ok(None) };
            if !binding.allowed {
                return Ok(Some((binding.decide(now), None)));
            }
            let mut ticket = Ticket { cost, parts: [const { None }; MAX_LIMITS] };
            for (part, (hash, (key, quotas))) in ticket.parts.iter_mut().zip(hashed()) {
                if let Some(book) = locked.book(hash) {
                    let receipt = book.record(hash, &key, quotas, cost, now);
                    *part = receipt.map(|receipt| Part { hash, key, receipt });
                }
            }
            Ok(Some((binding.decide(now), Some(ticket))))
        })
    }
}

impl fmt::Debug for Limiter {
    /// Formats the limiter without its keys and its seed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter")
            .field("max_keys", &self.max_keys)
            .field("shards", &self.shards.count())
            .finish_non_exhaustive()
    }
}

/// An admission that can be taken back with [`Limiter::refund`]. Dropping it changes nothing.
#[derive(Debug)]
#[must_use = "only its ticket refunds an admission"]
pub struct Ticket {
    cost: u32,
    parts: [Option<Part>; MAX_LIMITS],
}

/// The part of an admission that was charged to one key.
#[derive(Debug)]
struct Part {
    hash: u64,
    key: LimitKey,
    receipt: Receipt,
}

impl From<TooManyWindows> for ChargeError {
    fn from(TooManyWindows: TooManyWindows) -> Self {
        Self::TooManyWindows
    }
}

/// Checks that waiting could admit `cost`.
fn payable(quotas: &Quotas, cost: u32) -> Result<(), ChargeError> {
    if cost == 0 {
        return Err(ChargeError::ZeroCost);
    }
    match quotas.as_slice().iter().find(|quota| cost > quota.limit()) {
        None => Ok(()),
        Some(&quota) => Err(ChargeError::AboveLimit { cost, quota }),
    }
}
