//! How long a rotated secret still works.

use std::time::Duration;

use thiserror::Error;

/// For how long the old secret of a rotated key still works beside the new one:
/// 1 ms to 90 days, 24 hours by default.
///
/// To end a secret at once, use [`KeyRecord::rotate_now`](crate::key::KeyRecord::rotate_now):
/// a grace of zero is refused, so that nobody asks for that by accident.
///
/// ```
/// use std::time::Duration;
/// use keyward::key::Grace;
///
/// assert_eq!(Grace::default().duration(), Duration::from_secs(86_400));
/// assert!(Grace::new(Duration::ZERO).is_err());
/// # assert!(Grace::new(Duration::from_secs(100 * 365 * 86_400)).is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Grace(Duration);

impl Grace {
    /// The longest grace: 90 days.
    pub const MAX: Duration = Duration::from_secs(90 * 86_400);
    /// 24 hours.
    pub const DAY: Self = Self(Duration::from_secs(86_400));

    /// A grace of this length, with a fraction of a millisecond cut off.
    ///
    /// # Errors
    ///
    /// [`GraceError::Zero`] below 1 ms, [`GraceError::TooLong`] above [`Grace::MAX`].
    pub const fn new(duration: Duration) -> Result<Self, GraceError> {
        if duration.as_millis() == 0 {
            return Err(GraceError::Zero);
        }
        if duration.as_nanos() > Self::MAX.as_nanos() {
            return Err(GraceError::TooLong);
        }
        Ok(Self(Duration::from_millis(duration.as_millis() as u64)))
    }

    /// Its length, in whole milliseconds.
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl Default for Grace {
    /// [`Grace::DAY`].
    fn default() -> Self {
        Self::DAY
    }
}

/// Why a [`Grace`] was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GraceError {
    /// A grace of zero would end the old secret at once.
    #[error("a grace is at least 1 ms; to end the old secret at once, rotate immediately")]
    Zero,
    /// A grace this long would never end the old secret.
    #[error("a grace is at most 90 days")]
    TooLong,
}
