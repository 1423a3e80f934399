//! The state and the status of a key.

use std::fmt;

use crate::clock::timestamp::Timestamp;

/// The stored state of a key: in use, suspended or revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", tag = "state"))]
#[non_exhaustive]
pub enum KeyState {
    /// In use.
    Active,
    /// Refused until resumed.
    Suspended {
        /// The time of the suspension.
        since: Timestamp,
    },
    /// Refused forever.
    Revoked {
        /// The time of the revocation.
        since: Timestamp,
    },
}

/// The status of a key at a given time. If several apply, the most final one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum KeyStatus {
    /// Accepted.
    Active,
    /// Refused until resumed.
    Suspended,
    /// Refused since its expiry.
    Expired,
    /// Refused forever.
    Revoked,
}

impl KeyStatus {
    /// Returns the status in lower case, for listings.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl fmt::Display for KeyStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
