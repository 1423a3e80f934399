//! The one type for time: whole milliseconds since the Unix epoch.

use std::{fmt, ops::Add, str::FromStr, time::Duration};

use time::{
    OffsetDateTime,
    format_description::well_known::{Rfc3339, iso8601},
};

use crate::error::InvalidText;

/// An instant in whole milliseconds since 1970-01-01T00:00:00Z.
///
/// Every value is between [`Timestamp::ZERO`] and [`Timestamp::MAX`], the last millisecond of the
/// year 9999, so each one has an [RFC 3339] form. Arithmetic saturates at both ends and never
/// panics.
///
/// ```
/// use std::time::Duration;
/// use keyward::Timestamp;
///
/// let now: Timestamp = "2026-01-02T03:04:05.678Z".parse()?;
/// assert_eq!(now.as_unix_millis(), 1_767_323_045_678);
/// assert_eq!((now + Duration::from_secs(60)).to_string(), "2026-01-02T03:05:05.678Z");
/// # Ok::<(), keyward::error::InvalidText>(())
/// ```
///
/// [RFC 3339]: https://www.rfc-editor.org/rfc/rfc3339
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const ZERO: Self = Self(0);
    /// 9999-12-31T23:59:59.999Z, the latest instant that RFC 3339 can write.
    pub const MAX: Self = Self(253_402_300_799_999);

    /// Builds the instant `millis` milliseconds after the epoch. An instant after
    /// [`Timestamp::MAX`] becomes [`Timestamp::MAX`].
    pub const fn from_unix_millis(millis: u64) -> Self {
        if millis > Self::MAX.0 { Self::MAX } else { Self(millis) }
    }

    /// Builds the instant `secs` seconds after the epoch. An instant after [`Timestamp::MAX`]
    /// becomes [`Timestamp::MAX`].
    pub const fn from_unix_secs(secs: u64) -> Self {
        Self::from_unix_millis(secs.saturating_mul(1_000))
    }

    /// Returns the milliseconds since the epoch.
    pub const fn as_unix_millis(self) -> u64 {
        self.0
    }

    /// Returns the seconds since the epoch, rounded down.
    pub const fn as_unix_secs(self) -> u64 {
        self.0 / 1_000
    }

    /// Returns the seconds since the epoch, rounded up. This is the form of `X-RateLimit-Reset`,
    /// which must not name a second in which the limit still holds.
    pub const fn as_unix_secs_ceil(self) -> u64 {
        self.0.div_ceil(1_000)
    }

    /// Returns the instant `duration` later, at most [`Timestamp::MAX`]. A fraction of a
    /// millisecond is cut off.
    #[must_use]
    pub const fn saturating_add(self, duration: Duration) -> Self {
        let millis = duration.as_millis();
        if millis > Self::MAX.0 as u128 {
            return Self::MAX;
        }
        Self::from_unix_millis(self.0.saturating_add(millis as u64))
    }

    /// Returns the instant `duration` earlier, at least [`Timestamp::ZERO`]. A fraction of a
    /// millisecond is cut off.
    #[must_use]
    pub const fn saturating_sub(self, duration: Duration) -> Self {
        let millis = duration.as_millis();
        if millis > self.0 as u128 {
            return Self::ZERO;
        }
        Self(self.0 - millis as u64)
    }

    /// Returns how much later than `earlier` this instant is. It is zero if it is not later.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    /// Adds as [`Timestamp::saturating_add`] does.
    fn add(self, duration: Duration) -> Self {
        self.saturating_add(duration)
    }
}

/// RFC 3339 in UTC with milliseconds, such as `2026-01-02T03:04:05.678Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const FORMAT: iso8601::Iso8601<
            {
                iso8601::Config::DEFAULT
                    .set_time_precision(iso8601::TimePrecision::Second {
                        decimal_digits: std::num::NonZeroU8::new(3),
                    })
                    .encode()
            },
        > = iso8601::Iso8601;
        let text = OffsetDateTime::from(*self).format(&FORMAT).map_err(|_| fmt::Error)?;
        f.pad(&text)
    }
}

/// The text of `Display`, so that a log of any type that contains an instant can be read.
impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = InvalidText;

    /// Reads RFC 3339 with any offset. A fraction of a millisecond is cut off.
    fn from_str(text: &str) -> Result<Self, InvalidText> {
        OffsetDateTime::parse(text, &Rfc3339).map_err(|_| NO_TIMESTAMP)?.try_into()
    }
}

impl From<Timestamp> for OffsetDateTime {
    fn from(timestamp: Timestamp) -> Self {
        // `MAX` is the last instant that `OffsetDateTime` holds, so the addition cannot overflow.
        OffsetDateTime::UNIX_EPOCH
            .checked_add(time::Duration::milliseconds(timestamp.0 as i64))
            .unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }
}

impl TryFrom<OffsetDateTime> for Timestamp {
    type Error = InvalidText;

    /// Cuts off a fraction of a millisecond. Refuses instants before 1970 and after 9999.
    fn try_from(instant: OffsetDateTime) -> Result<Self, InvalidText> {
        let millis = instant.unix_timestamp_nanos().div_euclid(1_000_000);
        u64::try_from(millis)
            .ok()
            .filter(|&millis| millis <= Self::MAX.0)
            .map(Self)
            .ok_or(OUT_OF_RANGE)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::deserialize_from_str(deserializer)
    }
}

const NO_TIMESTAMP: InvalidText =
    InvalidText::new("a date and time of RFC 3339, such as 2026-01-02T03:04:05Z");
const OUT_OF_RANGE: InvalidText = InvalidText::new("an instant in the years 1970 to 9999");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_at_both_ends() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1, "1970-01-01T00:00:00.001Z"),
            (1_700_000_000_999, "2023-11-14T22:13:20.999Z"),
            (Timestamp::MAX.0, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Timestamp(millis).to_string(), text);
            assert_eq!(text.parse(), Ok(Timestamp(millis)));
        }
    }

    #[test]
    fn debug_is_rfc_3339() {
        let at = Some(Timestamp(1_700_000_000_999));
        assert_eq!(format!("{at:?}"), "Some(2023-11-14T22:13:20.999Z)");
    }

    #[test]
    fn offsets_and_fractions_are_read() {
        assert_eq!("1970-01-01T01:00:00.0019+01:00".parse(), Ok(Timestamp(1)));
        for bad in ["", "1970-01-01", "1970-01-01T00:00:00", "now", "1970-13-01T00:00:00Z"] {
            assert_eq!(bad.parse::<Timestamp>(), Err(NO_TIMESTAMP), "{bad}");
        }
        for outside in ["1969-12-31T23:59:59.999Z", "9999-12-31T23:59:59-01:00"] {
            assert_eq!(outside.parse::<Timestamp>(), Err(OUT_OF_RANGE), "{outside}");
        }
        assert_eq!("9999-12-31T23:59:59.999999999Z".parse(), Ok(Timestamp::MAX));
    }

    #[test]
    fn arithmetic_saturates() {
        let century = Duration::from_secs(100 * 365 * 86_400);
        assert_eq!(Timestamp::MAX + Duration::from_millis(1), Timestamp::MAX);
        assert_eq!(Timestamp::ZERO + Duration::MAX, Timestamp::MAX);
        assert_eq!(Timestamp::ZERO.saturating_sub(century), Timestamp::ZERO);
        assert_eq!(Timestamp::ZERO.saturating_since(Timestamp::MAX), Duration::ZERO);
        assert_eq!(Timestamp::from_unix_millis(u64::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::from_unix_secs(u64::MAX), Timestamp::MAX);
        assert_eq!(Timestamp(1_001).as_unix_secs_ceil(), 2);
        assert_eq!(Timestamp(2_000).as_unix_secs_ceil(), 2);
    }
}
