//! The value of a limit: quotas, no limit at all, or none admitted.

use std::{fmt, str::FromStr};

use crate::{
    error::InvalidText,
    quota::{quotas::Quotas, single::Quota},
};

/// What a policy allows one caller. It is the part of a limit that varies: by tier, by owner and by
/// key.
///
/// Its text is that of the quotas, `unlimited` or `blocked`, and reads back the same.
///
/// ```
/// use keyward::{Quota, quota::Allowance};
///
/// assert_eq!("100/min".parse(), Ok(Allowance::from(Quota::per_minute(100))));
/// assert_eq!("blocked".parse(), Ok(Allowance::Blocked));
/// assert_eq!(Allowance::Unlimited.to_string(), "unlimited");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Allowance {
    /// Requests within these quotas.
    Limited(Quotas),
    /// Every request. Nothing is counted.
    Unlimited,
    /// No request.
    Blocked,
}

impl Allowance {
    #[inline]
    pub(crate) const fn is_blocked(&self) -> bool {
        matches!(self, Self::Blocked)
    }
}

const UNLIMITED: &str = "unlimited";
const BLOCKED: &str = "blocked";
const NO_ALLOWANCE: InvalidText =
    InvalidText::new("quotas such as 100/min, 5000/day, or one of the words unlimited and blocked");

impl From<Quota> for Allowance {
    fn from(quota: Quota) -> Self {
        Self::Limited(quota.into())
    }
}

impl From<Quotas> for Allowance {
    fn from(quotas: Quotas) -> Self {
        Self::Limited(quotas)
    }
}

impl fmt::Display for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limited(quotas) => quotas.fmt(f),
            Self::Unlimited => f.write_str(UNLIMITED),
            Self::Blocked => f.write_str(BLOCKED),
        }
    }
}

impl FromStr for Allowance {
    type Err = InvalidText;

    /// Reads `unlimited`, `blocked`, or quotas as [`Quotas`] are read.
    fn from_str(text: &str) -> Result<Self, InvalidText> {
        match text {
            UNLIMITED => Ok(Self::Unlimited),
            BLOCKED => Ok(Self::Blocked),
            quotas => quotas.parse().map(Self::Limited).map_err(|_| NO_ALLOWANCE),
        }
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Allowance {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Allowance {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::deserialize_from_str(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_reads_back() {
        for text in ["unlimited", "blocked", "100/min", "100/min, 5000/day exact"] {
            assert_eq!(text.parse::<Allowance>().unwrap().to_string(), text);
        }
        for bad in ["", "Blocked", "blocked ", "unlimited, 1/s", "0/s", "none"] {
            assert_eq!(bad.parse::<Allowance>(), Err(NO_ALLOWANCE), "{bad:?}");
        }
    }
}
