//! How long a rotated secret still works.

use std::time::Duration;

use crate::error::InvalidText;

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
    /// Returns an error below 1 ms and above [`Grace::MAX`].
    pub const fn new(duration: Duration) -> Result<Self, InvalidText> {
        if duration.as_millis() == 0 {
            return Err(NO_GRACE);
        }
        if duration.as_nanos() > Self::MAX.as_nanos() {
            return Err(NO_GRACE);
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

const NO_GRACE: InvalidText = InvalidText::new(
    "a grace of 1 ms to 90 days; to end the old secret at once, rotate immediately",
);
