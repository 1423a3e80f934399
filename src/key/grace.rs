//! The time for which a rotated secret still works.

use std::time::Duration;

use crate::error::InvalidText;

/// The time for which the old secret of a rotated key still works beside the new one: 1 ms to 90
/// days, 24 hours by default.
///
/// A grace of zero is refused, so that no caller ends a secret by accident. To end it at once, call
/// [`KeyRecord::rotate_now`](crate::key::KeyRecord::rotate_now).
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
    /// A grace of 24 hours.
    pub const DAY: Self = Self(Duration::from_secs(86_400));

    /// Builds a grace of this length. A fraction of a millisecond is cut off.
    ///
    /// # Errors
    ///
    /// Returns an error if the length is below 1 ms or above [`Grace::MAX`].
    pub const fn new(duration: Duration) -> Result<Self, InvalidText> {
        if duration.as_millis() == 0 {
            return Err(NO_GRACE);
        }
        if duration.as_nanos() > Self::MAX.as_nanos() {
            return Err(NO_GRACE);
        }
        Ok(Self(Duration::from_millis(duration.as_millis() as u64)))
    }

    /// Returns the length in whole milliseconds.
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl Default for Grace {
    /// Returns [`Grace::DAY`].
    fn default() -> Self {
        Self::DAY
    }
}

const NO_GRACE: InvalidText = InvalidText::new(
    "a grace of 1 ms to 90 days; to end the old secret at once, rotate immediately",
);
