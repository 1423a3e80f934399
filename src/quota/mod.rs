//! Limits as data: so many requests in so much time.

use std::{fmt, num::NonZeroU32, time::Duration};

use thiserror::Error;

/// At most `limit` requests in any half-open interval of one `window`.
///
/// Zero is unrepresentable on both sides. The window is held in whole milliseconds.
///
/// ```
/// use std::{num::NonZeroU32, time::Duration};
/// use keyward::Quota;
///
/// const PER_MINUTE: Quota = Quota::per_minute(NonZeroU32::new(100).unwrap());
/// assert_eq!(Quota::new(100, Duration::from_secs(60))?, PER_MINUTE);
/// assert!(Quota::new(0, Duration::from_secs(60)).is_err());
/// # Ok::<(), keyward::quota::QuotaError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "QuotaData", into = "QuotaData"))]
pub struct Quota {
    limit: NonZeroU32,
    precision: Precision,
    window_millis: u64,
}

impl Quota {
    /// The longest window: 366 days.
    pub const MAX_WINDOW: Duration = Duration::from_secs(366 * 86_400);
    /// The longest window of which every admission is remembered to the millisecond: 24 days.
    pub const MAX_EXACT_WINDOW: Duration = Duration::from_secs(24 * 86_400);
    /// The largest limit that is remembered exactly unless [`Quota::exact`] asks for more.
    pub const DEFAULT_EXACT_LIMIT: u32 = 1_024;
    /// The largest limit that can be remembered exactly.
    pub const MAX_EXACT_LIMIT: u32 = 65_535;

    /// `limit` requests in any `window`.
    ///
    /// # Errors
    ///
    /// If the limit is zero, or the window is no whole number of milliseconds, zero, or
    /// longer than [`Quota::MAX_WINDOW`].
    pub const fn new(limit: u32, window: Duration) -> Result<Self, QuotaError> {
        let Some(limit) = NonZeroU32::new(limit) else {
            return Err(QuotaError::ZeroLimit);
        };
        if window.is_zero() {
            return Err(QuotaError::ZeroWindow);
        }
        if !window.subsec_nanos().is_multiple_of(1_000_000) {
            return Err(QuotaError::FractionOfMillisecond);
        }
        if window.as_millis() > Self::MAX_WINDOW.as_millis() {
            return Err(QuotaError::WindowTooLong);
        }
        Ok(Self::of(limit, window.as_millis() as u64))
    }

    /// `limit` requests in any second.
    pub const fn per_second(limit: NonZeroU32) -> Self {
        Self::of(limit, 1_000)
    }

    /// `limit` requests in any 60 seconds.
    pub const fn per_minute(limit: NonZeroU32) -> Self {
        Self::of(limit, 60_000)
    }

    /// `limit` requests in any 60 minutes.
    pub const fn per_hour(limit: NonZeroU32) -> Self {
        Self::of(limit, 3_600_000)
    }

    /// `limit` requests in any 24 hours.
    pub const fn per_day(limit: NonZeroU32) -> Self {
        Self::of(limit, 86_400_000)
    }

    /// How many requests the window holds.
    pub const fn limit(&self) -> u32 {
        self.limit.get()
    }

    /// The window's length.
    pub const fn window(&self) -> Duration {
        Duration::from_millis(self.window_millis)
    }

    /// The window's length in milliseconds.
    pub const fn window_millis(&self) -> u64 {
        self.window_millis
    }

    /// How a limiter remembers admissions under this quota. Unless chosen by
    /// [`Quota::exact`] or [`Quota::coarse`] it is exact up to
    /// [`Quota::DEFAULT_EXACT_LIMIT`] and [`Quota::MAX_EXACT_WINDOW`], coarse beyond.
    pub const fn precision(&self) -> Precision {
        self.precision
    }

    /// The same quota, remembered to the millisecond at 4 bytes a request of the limit.
    ///
    /// # Errors
    ///
    /// If the limit is above [`Quota::MAX_EXACT_LIMIT`] or the window longer than
    /// [`Quota::MAX_EXACT_WINDOW`].
    pub const fn exact(self) -> Result<Self, QuotaError> {
        if self.limit() > Self::MAX_EXACT_LIMIT
            || self.window_millis > Self::MAX_EXACT_WINDOW.as_millis() as u64
        {
            return Err(QuotaError::TooLargeForExact);
        }
        Ok(Self { precision: Precision::Exact, ..self })
    }

    /// The same quota, remembered in at most 258 segments of the window, 8 bytes each.
    #[must_use]
    pub const fn coarse(self) -> Self {
        Self { precision: Precision::Coarse, ..self }
    }

    /// From what its getters tell; a limit of zero becomes one.
    pub(crate) const fn from_parts(limit: u32, window_millis: u64, precision: Precision) -> Self {
        let limit = match NonZeroU32::new(limit) {
            Some(limit) => limit,
            None => NonZeroU32::MIN,
        };
        Self { limit, precision, window_millis }
    }

    /// With the precision that its size asks for.
    const fn of(limit: NonZeroU32, window_millis: u64) -> Self {
        let exact = limit.get() <= Self::DEFAULT_EXACT_LIMIT
            && window_millis <= Self::MAX_EXACT_WINDOW.as_millis() as u64;
        let precision = if exact { Precision::Exact } else { Precision::Coarse };
        Self { limit, precision, window_millis }
    }
}

/// How a limiter remembers the admissions under a [`Quota`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Precision {
    /// Every admission to the millisecond: what the quota allows is admitted, no less.
    Exact,
    /// Counts per segment of the window, each counted until its last millisecond has
    /// left: never more is admitted, and a request is admitted at most 1/256 of the
    /// window later than by exact precision of the same admissions.
    Coarse,
}

/// Such as `100 per 60s`.
impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} per {:?}", self.limit, self.window())
    }
}

impl fmt::Debug for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Quota({self})")
    }
}

/// Why a [`Quota`] or [`Quotas`] was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum QuotaError {
    /// The limit is zero, which would refuse everything.
    #[error("a quota's limit is at least 1")]
    ZeroLimit,
    /// The window is zero, which would limit nothing.
    #[error("a quota's window is at least 1 ms")]
    ZeroWindow,
    /// The window is not a whole number of milliseconds.
    #[error("a quota's window is a whole number of milliseconds")]
    FractionOfMillisecond,
    /// The window is longer than [`Quota::MAX_WINDOW`].
    #[error("a quota's window is at most 366 days")]
    WindowTooLong,
    /// Exact precision was asked for beyond [`Quota::MAX_EXACT_LIMIT`] or
    /// [`Quota::MAX_EXACT_WINDOW`].
    #[error("exact precision holds a limit of at most 65535 and a window of at most 24 days")]
    TooLargeForExact,
    /// No quota at all was given.
    #[error("quotas hold at least one quota")]
    Empty,
    /// More than [`Quotas::MAX`] quotas were given.
    #[error("quotas hold at most {} quotas", Quotas::MAX)]
    TooMany,
    /// Two quotas have the same window; one of them could never bind.
    #[error("two quotas have the same window")]
    SameWindow,
}

/// One to [`Quotas::MAX`] quotas that hold together, such as 100 a minute and
/// 5,000 a day: a request passes if it passes all.
///
/// They are kept by ascending window.
///
/// ```
/// use std::{num::NonZeroU32, time::Duration};
/// use keyward::{Quota, Quotas};
///
/// let quotas = Quotas::new(&[
///     Quota::new(5_000, Duration::from_secs(86_400))?,
///     Quota::new(100, Duration::from_secs(60))?,
/// ])?;
/// assert_eq!(quotas.as_slice()[0].limit(), 100);
/// # Ok::<(), keyward::quota::QuotaError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "Vec<Quota>", into = "Vec<Quota>"))]
pub struct Quotas {
    /// The first `len` are in use; the rest repeat the first, so that equality is by value.
    quotas: [Quota; Quotas::MAX],
    len: u8,
}

impl Quotas {
    /// The most quotas that hold together.
    pub const MAX: usize = 4;

    /// The given quotas, sorted by window.
    ///
    /// # Errors
    ///
    /// If there are none or more than [`Quotas::MAX`], or two have the same window.
    pub fn new(quotas: &[Quota]) -> Result<Self, QuotaError> {
        let Some(first) = quotas.iter().min_by_key(|quota| quota.window_millis) else {
            return Err(QuotaError::Empty);
        };
        let mut all = [*first; Self::MAX];
        let Some(used) = all.get_mut(..quotas.len()) else {
            return Err(QuotaError::TooMany);
        };
        used.copy_from_slice(quotas);
        used.sort_unstable_by_key(|quota| quota.window_millis);
        if used.windows(2).any(|pair| matches!(pair, [a, b] if a.window_millis == b.window_millis))
        {
            return Err(QuotaError::SameWindow);
        }
        Ok(Self { quotas: all, len: quotas.len() as u8 })
    }

    /// A single quota.
    pub const fn single(quota: Quota) -> Self {
        Self { quotas: [quota; Self::MAX], len: 1 }
    }

    /// The quota, if there is but one.
    #[inline]
    pub(crate) const fn only(&self) -> Option<&Quota> {
        let [first, ..] = &self.quotas;
        if self.len == 1 { Some(first) } else { None }
    }

    /// The quotas by ascending window; never empty.
    pub fn as_slice(&self) -> &[Quota] {
        self.quotas.get(..usize::from(self.len)).unwrap_or(&self.quotas)
    }
}

impl From<Quota> for Quotas {
    fn from(quota: Quota) -> Self {
        Self::single(quota)
    }
}

impl TryFrom<Vec<Quota>> for Quotas {
    type Error = QuotaError;

    fn try_from(quotas: Vec<Quota>) -> Result<Self, QuotaError> {
        Self::new(&quotas)
    }
}

impl From<Quotas> for Vec<Quota> {
    fn from(quotas: Quotas) -> Self {
        quotas.as_slice().to_vec()
    }
}

impl fmt::Debug for Quotas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Quotas").field(&self.as_slice()).finish()
    }
}

/// A quota's form in serde: `{"limit":100,"window_ms":60000}`.
#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct QuotaData {
    limit: u32,
    window_ms: u64,
    /// Present where it is not the one that the size asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    precision: Option<BookkeepingData>,
}

#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum BookkeepingData {
    Exact,
    Coarse,
}

#[cfg(feature = "serde")]
impl TryFrom<QuotaData> for Quota {
    type Error = QuotaError;

    fn try_from(data: QuotaData) -> Result<Self, QuotaError> {
        let quota = Self::new(data.limit, Duration::from_millis(data.window_ms))?;
        match data.precision {
            None => Ok(quota),
            Some(BookkeepingData::Exact) => quota.exact(),
            Some(BookkeepingData::Coarse) => Ok(quota.coarse()),
        }
    }
}

#[cfg(feature = "serde")]
impl From<Quota> for QuotaData {
    fn from(quota: Quota) -> Self {
        let by_size = Quota::of(quota.limit, quota.window_millis).precision;
        let precision = (quota.precision != by_size).then_some(match quota.precision {
            Precision::Exact => BookkeepingData::Exact,
            Precision::Coarse => BookkeepingData::Coarse,
        });
        Self { limit: quota.limit(), window_ms: quota.window_millis, precision }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_quotas_are_refused() {
        let minute = Duration::from_secs(60);
        for (limit, window, error) in [
            (0, minute, QuotaError::ZeroLimit),
            (1, Duration::ZERO, QuotaError::ZeroWindow),
            (1, Duration::from_micros(1_500), QuotaError::FractionOfMillisecond),
            (1, Duration::from_nanos(1), QuotaError::FractionOfMillisecond),
            (1, Quota::MAX_WINDOW + Duration::from_millis(1), QuotaError::WindowTooLong),
            (1, Duration::MAX, QuotaError::FractionOfMillisecond),
            (1, Duration::from_secs(u64::MAX), QuotaError::WindowTooLong),
        ] {
            assert_eq!(Quota::new(limit, window), Err(error), "{limit} per {window:?}");
        }
        assert!(Quota::new(u32::MAX, Quota::MAX_WINDOW).is_ok());
        assert!(Quota::new(1, Duration::from_millis(1)).is_ok());
    }

    #[test]
    fn bookkeeping_follows_size_unless_chosen() {
        let day = Duration::from_secs(86_400);
        let quota = |limit, window| Quota::new(limit, window).unwrap();
        for (limit, window, precision) in [
            (1_024, 24 * day, Precision::Exact),
            (1_025, day, Precision::Coarse),
            (1, 24 * day + Duration::from_millis(1), Precision::Coarse),
        ] {
            assert_eq!(quota(limit, window).precision(), precision, "{limit} per {window:?}");
        }
        assert_eq!(quota(1, day).coarse().precision(), Precision::Coarse);
        assert_eq!(quota(65_535, day).exact().unwrap().precision(), Precision::Exact);
        assert_eq!(quota(65_536, day).exact(), Err(QuotaError::TooLargeForExact));
        assert_eq!(quota(1, 25 * day).exact(), Err(QuotaError::TooLargeForExact));
    }

    #[cfg(feature = "serde")]
    #[test]
    fn a_chosen_bookkeeping_survives_serde() {
        let plain = Quota::new(100, Duration::from_secs(60)).unwrap();
        for (quota, text) in [
            (plain, r#"{"limit":100,"window_ms":60000}"#),
            (plain.coarse(), r#"{"limit":100,"window_ms":60000,"precision":"coarse"}"#),
        ] {
            assert_eq!(serde_json::to_string(&quota).unwrap(), text);
            assert_eq!(serde_json::from_str::<Quota>(text).unwrap(), quota);
        }
    }

    #[test]
    fn quotas_are_few_sorted_and_distinct() {
        let quota = |millis| Quota::new(1, Duration::from_millis(millis)).unwrap();
        assert_eq!(Quotas::new(&[]), Err(QuotaError::Empty));
        assert_eq!(Quotas::new(&[quota(1); 5]), Err(QuotaError::TooMany));
        assert_eq!(Quotas::new(&[quota(1), quota(2), quota(1)]), Err(QuotaError::SameWindow));
        let sorted = Quotas::new(&[quota(3), quota(1), quota(2)]).unwrap();
        assert_eq!(sorted.as_slice(), [quota(1), quota(2), quota(3)]);
        assert_eq!(Quotas::new(&[quota(7)]).unwrap(), Quotas::single(quota(7)));
    }
}
