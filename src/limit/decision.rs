//! The decision of a limiter.

use std::time::Duration;

use thiserror::Error;

use crate::{
    clock::timestamp::Timestamp,
    limit::window::Verdict,
    quota::{Precision, Quota, quotas::Quotas},
};

/// The maximum number of limits that one decision charges together.
pub(super) const MAX_LIMITS: usize = 8;

/// Whether a request may pass, and the state of its limit.
///
/// All numbers are those of one window, the binding one: of the windows that refuse, the one that
/// admits last; if all admit, the one with the least remaining.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a refused request is `Ok` with `allowed == false`"]
#[non_exhaustive]
pub struct Decision {
    /// Whether the request was admitted and counted.
    pub allowed: bool,
    /// The limit of the binding window, as for `X-RateLimit-Limit`.
    pub limit: u32,
    /// The number of requests that this window still admits at this instant, after this one.
    pub remaining: u32,
    /// The exact wait, measured from the `now` of the call, after which the request would be
    /// admitted if no other were; `None` if it was allowed. One millisecond earlier it is still
    /// refused. For a header see [`Decision::retry_after_secs`].
    pub retry_after: Option<Duration>,
    /// Refused: the instant at which the request would be admitted. Allowed: the instant at which
    /// the oldest counted request leaves the window. For `X-RateLimit-Reset` use
    /// [`Timestamp::as_unix_secs_ceil`].
    pub reset_at: Timestamp,
    /// The index of the binding limit in the slice of
    /// [`Limiter::check_all`](crate::limit::Limiter::check_all); 0 if there is one limit.
    pub position: usize,
    // The rest of the quota, in pieces: copying it as one goes through the stack and costs a tenth
    // of a decision.
    window_millis: u64,
    precision: Precision,
}

impl Decision {
    /// Builds the admission of a limiter elsewhere, such as one that several processes share: under
    /// this quota `remaining` more may pass, and the oldest counted request leaves at `reset_at`.
    pub const fn admitted_elsewhere(quota: Quota, remaining: u32, reset_at: Timestamp) -> Self {
        Self {
            allowed: true,
            limit: quota.limit(),
            window_millis: quota.window_millis(),
            precision: quota.precision(),
            remaining,
            retry_after: None,
            reset_at,
            position: 0,
        }
    }

    /// Builds the refusal of a limiter elsewhere at `now`: under this quota the request would be
    /// admitted at `reset_at`, and `remaining` requests of cost 1 would be admitted now.
    pub const fn refused_elsewhere(
        quota: Quota,
        remaining: u32,
        reset_at: Timestamp,
        now: Timestamp,
    ) -> Self {
        Self {
            allowed: false,
            retry_after: Some(reset_at.saturating_since(now)),
            ..Self::admitted_elsewhere(quota, remaining, reset_at)
        }
    }

    /// Sets [`Decision::position`], the index of the binding limit.
    pub const fn with_position(self, position: usize) -> Self {
        Self { position, ..self }
    }

    /// Sets [`Decision::reset_at`], for a decision made by another clock. The wait of a refusal is a
    /// duration and stays.
    pub const fn with_reset_at(self, reset_at: Timestamp) -> Self {
        Self { reset_at, ..self }
    }

    /// Returns the quota of the binding window.
    pub const fn quota(&self) -> Quota {
        Quota::from_parts(self.limit, self.window_millis, self.precision)
    }

    /// Copies an admission piece by piece. Directly after it was written in pieces, that is faster
    /// than copying it as one, which has to wait until all pieces are in the cache.
    #[inline(always)]
    pub(crate) const fn copy_of_admission(&self) -> Self {
        Self {
            allowed: true,
            limit: self.limit,
            remaining: self.remaining,
            retry_after: None,
            reset_at: self.reset_at,
            position: self.position,
            window_millis: self.window_millis,
            precision: self.precision,
        }
    }

    /// Returns the value of a `Retry-After` header: whole seconds, rounded up, at least 1; `None` if
    /// the request was allowed.
    pub fn retry_after_secs(&self) -> Option<u64> {
        let wait = self.retry_after?;
        let secs = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
        Some(secs.max(1))
    }
}

/// The state of one window of a key, told without using it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WindowStatus {
    /// The quota that was asked about.
    pub quota: Quota,
    /// The number of requests that count at this instant.
    pub used: u32,
    /// The number of requests of cost 1 that would be admitted at this instant.
    pub remaining: u32,
    /// The instant at which the oldest counted request leaves the window; the `now` of the call if
    /// none counts.
    pub reset_at: Timestamp,
}

impl WindowStatus {
    /// Builds the status of a window of a limiter elsewhere.
    pub const fn elsewhere(quota: Quota, used: u32, reset_at: Timestamp) -> Self {
        Self { quota, used, remaining: quota.limit().saturating_sub(used), reset_at }
    }

    /// Builds the status from a decision on a cost of zero under an unlimited quota.
    pub(super) const fn of(quota: &Quota, verdict: Verdict, now: u64) -> Self {
        let reset_at = if verdict.live == 0 { now } else { verdict.instant };
        Self::elsewhere(*quota, verdict.live, Timestamp::from_unix_millis(reset_at))
    }
}

/// The state of the binding window, before the wait is computed from `now`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Binding {
    pub(super) allowed: bool,
    pub(super) quota: Quota,
    pub(super) remaining: u32,
    pub(super) instant: u64,
    pub(super) position: u8,
}

impl Binding {
    /// Builds the binding of a single window.
    #[inline]
    pub(super) fn of(quota: &Quota, verdict: Verdict, cost: u32) -> Self {
        let taken = if verdict.allowed { verdict.live + cost } else { verdict.live };
        Self {
            allowed: verdict.allowed,
            quota: *quota,
            remaining: quota.limit().saturating_sub(taken),
            instant: verdict.instant,
            position: 0,
        }
    }

    /// Builds a refusal because there is no place to count in: for one longest window, after which
    /// places have become free.
    pub(super) fn without_place(quotas: &Quotas, now: u64) -> Self {
        let longest = quotas.as_slice().last().copied();
        let quota = longest.unwrap_or(Quota::per_second(1));
        let instant = now + quota.window_millis();
        Self { allowed: false, quota, remaining: 0, instant, position: 0 }
    }

    /// Returns the one to report of two windows that must both admit.
    pub(super) fn and(self, other: Self) -> Self {
        let other_binds = match (self.allowed, other.allowed) {
            (true, false) => true,
            (false, true) => false,
            (false, false) => other.instant > self.instant,
            (true, true) => {
                other.remaining < self.remaining
                    || other.remaining == self.remaining && other.instant > self.instant
            }
        };
        if other_binds { other } else { self }
    }

    /// Builds the decision.
    pub(super) fn decide(self, now: u64) -> Decision {
        let Self { quota, instant, .. } = self;
        let live = quota.limit() - self.remaining;
        let decision = if self.allowed {
            Decision::admitted(&quota, live, instant)
        } else {
            Decision::refused(&quota, live, instant, now)
        };
        Decision { position: usize::from(self.position), ..decision }
    }
}

impl Decision {
    /// Builds an admission after which `live` requests count.
    #[inline(always)]
    pub(super) fn admitted(quota: &Quota, live: u32, instant: u64) -> Self {
        Self {
            allowed: true,
            limit: quota.limit(),
            window_millis: quota.window_millis(),
            precision: quota.precision(),
            remaining: quota.limit().saturating_sub(live),
            retry_after: None,
            reset_at: Timestamp::from_unix_millis(instant),
            position: 0,
        }
    }

    /// Builds a refusal while `live` requests count.
    #[inline(always)]
    pub(super) fn refused(quota: &Quota, live: u32, instant: u64, now: u64) -> Self {
        Self {
            allowed: false,
            limit: quota.limit(),
            window_millis: quota.window_millis(),
            precision: quota.precision(),
            remaining: quota.limit().saturating_sub(live),
            retry_after: Some(Duration::from_millis(instant.saturating_sub(now))),
            reset_at: Timestamp::from_unix_millis(instant),
            position: 0,
        }
    }
}

/// A charge that can never be admitted. Waiting does not help, so there is no retry time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ChargeError {
    /// The cost is zero. [`Limiter::peek`](crate::limit::Limiter::peek) decides without counting.
    #[error("the cost is 0; it must be at least 1")]
    ZeroCost,
    /// The cost is above the limit of a quota, so that it would never be admitted.
    #[error("the cost {cost} is above the limit of {quota}")]
    AboveLimit {
        /// The cost of the request.
        cost: u32,
        /// The first quota that can never admit it.
        quota: Quota,
    },
    /// No limit was given.
    #[error("no limit was given")]
    NoLimits,
    /// More than [`Limiter::MAX_LIMITS`](crate::limit::Limiter::MAX_LIMITS) limits were given.
    #[error("more than {MAX_LIMITS} limits were given")]
    TooManyLimits,
    /// A key was given twice.
    #[error("a limit key was given twice")]
    SameKey,
    /// The key already has eight windows of other lengths that are live, and this decision asks for
    /// one more.
    #[error(
        "a limit key has 8 live windows of other lengths; use fewer lengths under one policy, or \
         call Limiter::reset for the key"
    )]
    TooManyWindows,
}
