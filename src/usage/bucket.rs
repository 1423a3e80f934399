//! Spans of time in which requests are counted.

use std::{fmt, time::Duration};

use crate::clock::timestamp::Timestamp;

/// A span of time in which the requests of a key are counted: a minute, an hour or a day of UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UsageSpan {
    /// 60 seconds.
    Minute,
    /// 60 minutes.
    Hour,
    /// 24 hours, from midnight UTC.
    Day,
}

impl UsageSpan {
    /// All spans, the shortest first.
    pub const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    /// Returns the length of the span.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.millis())
    }

    /// Returns the begin of the span that contains an instant.
    ///
    /// ```
    /// use keyward::{Timestamp, usage::UsageSpan};
    ///
    /// let at: Timestamp = "2024-02-03T04:05:06.789Z".parse()?;
    /// assert_eq!(UsageSpan::Hour.begin(at).to_string(), "2024-02-03T04:00:00.000Z");
    /// # Ok::<(), keyward::error::InvalidText>(())
    /// ```
    pub const fn begin(self, at: Timestamp) -> Timestamp {
        let millis = at.as_unix_millis();
        Timestamp::from_unix_millis(millis - millis % self.millis())
    }

    /// Returns `minute`, `hour` or `day`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    const fn millis(self) -> u64 {
        match self {
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
            Self::Day => 86_400_000,
        }
    }
}

impl fmt::Display for UsageSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The number of requests of a key in one span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UsageBucket {
    /// The begin of the span.
    pub begins_at: Timestamp,
    /// The number of requests. It saturates at `u64::MAX`.
    pub requests: u64,
}

impl UsageBucket {
    /// Builds a bucket.
    pub const fn new(begins_at: Timestamp, requests: u64) -> Self {
        Self { begins_at, requests }
    }
}
