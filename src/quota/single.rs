//! One quota.

use std::{fmt, num::NonZeroU32, time::Duration};

use crate::{
    error::{ConfigError, ConfigErrorKind},
    quota::precision::Precision,
};

/// At most `limit` requests in any half-open interval of one `window`.
///
/// Both are at least 1, and the window is a whole number of milliseconds. The constructors for
/// literals fail the build on zero; those that begin with `try_`, and [`Quota::new`], return an
/// error instead. A quota can be read from text, and it prints as text that reads back the same.
///
/// ```
/// use std::time::Duration;
/// use keyward::Quota;
///
/// const PER_MINUTE: Quota = Quota::per_minute(100);
/// assert_eq!(Quota::new(100, Duration::from_secs(60))?, PER_MINUTE);
/// assert_eq!("100/min".parse(), Ok(PER_MINUTE));
/// assert_eq!(PER_MINUTE.to_string(), "100/min");
/// assert!(Quota::try_per_minute(0).is_err());
/// # Ok::<(), keyward::ConfigError>(())
/// ```
///
/// A limit of zero in a `const` does not compile:
///
/// ```compile_fail
/// const NEVER: keyward::Quota = keyward::Quota::per_minute(0);
/// # let _ = NEVER;
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(try_from = "crate::quota::serial::QuotaData", into = "crate::quota::serial::QuotaData")
)]
pub struct Quota {
    limit: NonZeroU32,
    precision: Precision,
    window_millis: u64,
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

impl Quota {
    /// The longest window: 366 days.
    pub const MAX_WINDOW: Duration = Duration::from_secs(366 * 86_400);
    /// The longest window in which every admission can be remembered to the millisecond: 24 days.
    pub const MAX_EXACT_WINDOW: Duration = Duration::from_secs(24 * 86_400);
    /// The largest limit that is exact unless [`Quota::with_precision`] chooses otherwise.
    pub const DEFAULT_EXACT_LIMIT: u32 = 1_024;
    /// The largest limit that can be exact.
    pub const MAX_EXACT_LIMIT: u32 = 65_535;

    /// Builds a quota of `limit` requests in any second.
    ///
    /// # Panics
    ///
    /// Panics if `limit` is zero, which in a `const` fails the build. For a limit that is known
    /// only at run time, call [`Quota::try_per_second`].
    pub const fn per_second(limit: u32) -> Self {
        Self::per(limit, SECOND)
    }

    /// Builds a quota of `limit` requests in any 60 seconds.
    ///
    /// # Panics
    ///
    /// Panics if `limit` is zero, which in a `const` fails the build. For a limit that is known
    /// only at run time, call [`Quota::try_per_minute`].
    pub const fn per_minute(limit: u32) -> Self {
        Self::per(limit, MINUTE)
    }

    /// Builds a quota of `limit` requests in any 60 minutes.
    ///
    /// # Panics
    ///
    /// Panics if `limit` is zero, which in a `const` fails the build. For a limit that is known
    /// only at run time, call [`Quota::try_per_hour`].
    pub const fn per_hour(limit: u32) -> Self {
        Self::per(limit, HOUR)
    }

    /// Builds a quota of `limit` requests in any 24 hours.
    ///
    /// # Panics
    ///
    /// Panics if `limit` is zero, which in a `const` fails the build. For a limit that is known
    /// only at run time, call [`Quota::try_per_day`].
    pub const fn per_day(limit: u32) -> Self {
        Self::per(limit, DAY)
    }

    /// Builds a quota of `limit` requests in any `window`.
    ///
    /// # Panics
    ///
    /// Panics on what [`Quota::new`] refuses, which in a `const` fails the build. For values that
    /// are known only at run time, call [`Quota::new`].
    pub const fn per(limit: u32, window: Duration) -> Self {
        match Self::check(limit, window) {
            Ok(quota) => quota,
            Err(problem) => panic!("{}", problem),
        }
    }

    /// Builds a quota of `limit` requests in any second.
    ///
    /// # Errors
    ///
    /// Returns an error if `limit` is zero.
    pub fn try_per_second(limit: u32) -> Result<Self, ConfigError> {
        Self::new(limit, SECOND)
    }

    /// Builds a quota of `limit` requests in any 60 seconds.
    ///
    /// # Errors
    ///
    /// Returns an error if `limit` is zero.
    pub fn try_per_minute(limit: u32) -> Result<Self, ConfigError> {
        Self::new(limit, MINUTE)
    }

    /// Builds a quota of `limit` requests in any 60 minutes.
    ///
    /// # Errors
    ///
    /// Returns an error if `limit` is zero.
    pub fn try_per_hour(limit: u32) -> Result<Self, ConfigError> {
        Self::new(limit, HOUR)
    }

    /// Builds a quota of `limit` requests in any 24 hours.
    ///
    /// # Errors
    ///
    /// Returns an error if `limit` is zero.
    pub fn try_per_day(limit: u32) -> Result<Self, ConfigError> {
        Self::new(limit, DAY)
    }

    /// Builds a quota of `limit` requests in any `window`.
    ///
    /// # Errors
    ///
    /// Returns an error if the limit is zero, or if the window is zero, longer than
    /// [`Quota::MAX_WINDOW`] or no whole number of milliseconds.
    pub fn new(limit: u32, window: Duration) -> Result<Self, ConfigError> {
        Self::check(limit, window).map_err(|text| ConfigError::fixed(ConfigErrorKind::Limit, text))
    }

    /// Returns the number of requests in one window.
    pub const fn limit(&self) -> u32 {
        self.limit.get()
    }

    /// Returns the length of the window.
    pub const fn window(&self) -> Duration {
        Duration::from_millis(self.window_millis)
    }

    /// Returns the length of the window in milliseconds.
    pub const fn window_millis(&self) -> u64 {
        self.window_millis
    }

    /// Returns how a limiter remembers admissions under this quota.
    ///
    /// Unless [`Quota::with_precision`] chose one, it is exact up to
    /// [`Quota::DEFAULT_EXACT_LIMIT`] and [`Quota::MAX_EXACT_WINDOW`], and coarse beyond.
    pub const fn precision(&self) -> Precision {
        self.precision
    }

    /// Sets how a limiter remembers admissions under this quota.
    ///
    /// # Panics
    ///
    /// Panics if exact precision cannot hold the quota, which in a `const` fails the build. For
    /// values that are known only at run time, call [`Quota::try_with_precision`].
    #[must_use]
    pub const fn with_precision(self, precision: Precision) -> Self {
        match self.check_precision(precision) {
            Ok(quota) => quota,
            Err(problem) => panic!("{}", problem),
        }
    }

    /// Sets how a limiter remembers admissions under this quota.
    ///
    /// # Errors
    ///
    /// Returns an error for [`Precision::Exact`] if the limit is above
    /// [`Quota::MAX_EXACT_LIMIT`] or the window longer than [`Quota::MAX_EXACT_WINDOW`].
    pub fn try_with_precision(self, precision: Precision) -> Result<Self, ConfigError> {
        self.check_precision(precision)
            .map_err(|text| ConfigError::fixed(ConfigErrorKind::Limit, text))
    }

    /// Sets the precision; where [`Precision::Exact`] cannot hold the quota, it is coarse.
    pub(crate) const fn fitted(self, precision: Precision) -> Self {
        match self.check_precision(precision) {
            Ok(quota) => quota,
            Err(_) => Self { precision: Precision::Coarse, ..self },
        }
    }

    /// Returns a quota of that many times the limit, with the default precision for its size unless
    /// another one was chosen.
    pub(crate) fn times(self, factor: u32) -> Self {
        let limit = self.limit().saturating_mul(factor);
        let default = Self::default_precision(limit, self.window_millis);
        let precision = self.chosen_precision().unwrap_or(default);
        Self::from_parts(limit, self.window_millis, default).fitted(precision)
    }

    /// Builds a quota from what its getters return. A limit of zero becomes 1.
    pub(crate) const fn from_parts(limit: u32, window_millis: u64, precision: Precision) -> Self {
        let limit = match NonZeroU32::new(limit) {
            Some(limit) => limit,
            None => NonZeroU32::MIN,
        };
        Self { limit, precision, window_millis }
    }

    pub(super) const fn check(limit: u32, window: Duration) -> Result<Self, &'static str> {
        let Some(limit) = NonZeroU32::new(limit) else {
            return Err("a limit of 0 refuses every request; give the Quota a limit of at least 1");
        };
        if window.is_zero() {
            return Err("a window of 0 limits nothing; give Quota::new a window of at least 1 ms");
        }
        if !window.subsec_nanos().is_multiple_of(1_000_000) {
            return Err("the window has a fraction of a millisecond; round it for Quota::new");
        }
        if window.as_millis() > Self::MAX_WINDOW.as_millis() {
            return Err("the window is longer than 366 days; give Quota::new a shorter one");
        }
        let window_millis = window.as_millis() as u64;
        let precision = Self::default_precision(limit.get(), window_millis);
        Ok(Self { limit, precision, window_millis })
    }

    pub(super) const fn check_precision(self, precision: Precision) -> Result<Self, &'static str> {
        if matches!(precision, Precision::Exact)
            && (self.limit() > Self::MAX_EXACT_LIMIT
                || self.window_millis > Self::MAX_EXACT_WINDOW.as_millis() as u64)
        {
            return Err(
                "exact precision holds a limit of at most 65535 and a window of at most 24 days; \
                 call Quota::with_precision with Precision::Coarse",
            );
        }
        Ok(Self { precision, ..self })
    }

    const fn default_precision(limit: u32, window_millis: u64) -> Precision {
        let exact = limit <= Self::DEFAULT_EXACT_LIMIT
            && window_millis <= Self::MAX_EXACT_WINDOW.as_millis() as u64;
        if exact { Precision::Exact } else { Precision::Coarse }
    }

    /// Returns the precision where it differs from the default for this size.
    pub(super) fn chosen_precision(&self) -> Option<Precision> {
        let default = Self::default_precision(self.limit(), self.window_millis);
        (self.precision != default).then_some(self.precision)
    }
}

impl fmt::Debug for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Quota({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_quotas_are_refused() {
        for (limit, window, problem) in [
            (0, MINUTE, "a limit of 0"),
            (1, Duration::ZERO, "a window of 0"),
            (1, Duration::from_micros(1_500), "a fraction of a millisecond"),
            (1, Duration::from_nanos(1), "a fraction of a millisecond"),
            (1, Quota::MAX_WINDOW + Duration::from_millis(1), "longer than 366 days"),
            (1, Duration::MAX, "a fraction of a millisecond"),
            (1, Duration::from_secs(u64::MAX), "longer than 366 days"),
        ] {
            let error = Quota::new(limit, window).unwrap_err();
            assert_eq!(error.kind(), ConfigErrorKind::Limit);
            assert!(error.to_string().contains(problem), "{limit} per {window:?}: {error}");
        }
        assert!(Quota::new(u32::MAX, Quota::MAX_WINDOW).is_ok());
        assert!(Quota::new(1, Duration::from_millis(1)).is_ok());
    }

    #[test]
    fn literals_agree_with_their_twins() {
        for limit in [1, 100, u32::MAX] {
            assert_eq!(Quota::try_per_second(limit), Ok(Quota::per_second(limit)));
            assert_eq!(Quota::try_per_minute(limit), Ok(Quota::per_minute(limit)));
            assert_eq!(Quota::try_per_hour(limit), Ok(Quota::per_hour(limit)));
            assert_eq!(Quota::try_per_day(limit), Ok(Quota::per_day(limit)));
            assert_eq!(Quota::per_day(limit).window(), Duration::from_secs(86_400));
        }
        for refused in [
            Quota::try_per_second(0),
            Quota::try_per_minute(0),
            Quota::try_per_hour(0),
            Quota::try_per_day(0),
        ] {
            assert!(refused.is_err());
        }
    }

    #[test]
    #[should_panic(expected = "a limit of 0 refuses every request")]
    fn a_literal_of_zero_panics_at_run_time() {
        let _quota = Quota::per_minute(std::hint::black_box(0));
    }

    #[test]
    fn precision_follows_size_unless_chosen() {
        let day = Duration::from_secs(86_400);
        for (limit, window, precision) in [
            (1_024, 24 * day, Precision::Exact),
            (1_025, day, Precision::Coarse),
            (1, 24 * day + Duration::from_millis(1), Precision::Coarse),
        ] {
            let quota = Quota::per(limit, window);
            assert_eq!(quota.precision(), precision, "{limit} per {window:?}");
        }
        let chosen = |limit, window, precision| {
            Quota::per(limit, window).try_with_precision(precision).map(|quota| quota.precision())
        };
        assert_eq!(chosen(1, day, Precision::Coarse), Ok(Precision::Coarse));
        assert_eq!(chosen(65_535, day, Precision::Exact), Ok(Precision::Exact));
        assert!(chosen(65_536, day, Precision::Exact).is_err());
        assert!(chosen(1, 25 * day, Precision::Exact).is_err());
    }
}
