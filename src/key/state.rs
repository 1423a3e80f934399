//! The state and the status of a key, and the state of an owner.

use std::fmt;

use crate::{
    clock::timestamp::Timestamp,
    error::InvalidText,
    key::name::check_name,
    text::{Text, text_noun},
};

/// The stored state of a key: in use, suspended or revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "form::StateForm", into = "form::StateForm"))]
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

/// The stored state of an owner. It applies to all of the owner's keys at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "form::StateForm", into = "form::StateForm"))]
#[non_exhaustive]
pub enum OwnerState {
    /// Its keys are accepted.
    #[default]
    Active,
    /// All of its keys are refused until it is resumed.
    Suspended {
        /// The time of the suspension.
        since: Timestamp,
    },
}

impl OwnerState {
    /// Returns whether the owner is suspended.
    pub const fn is_suspended(&self) -> bool {
        matches!(self, Self::Suspended { .. })
    }
}

/// Why a key was revoked, in the words of the host: `leaked in a public repository`, `superseded`.
///
/// It is kept with the key and shown in [`KeyView`](crate::key::KeyView) and audit events, and no
/// response to a request contains it. It has 1 to [`RevocationReason::MAX_LEN`] bytes of UTF-8, with
/// the characters that a [`KeyName`](crate::key::KeyName) can have. Clones share the text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RevocationReason(Text);

impl RevocationReason {
    /// The largest number of bytes of a reason.
    pub const MAX_LEN: usize = 256;

    const fn check(text: &str) -> Result<(), InvalidText> {
        check_name(text, Self::MAX_LEN, NO_REASON)
    }
}

text_noun!(RevocationReason);

const NO_REASON: InvalidText = InvalidText::new(
    "a reason for a revocation: 1 to 256 bytes of UTF-8, not spaces alone, without control characters",
);

/// When and why a key is revoked. A [`Timestamp`] is a revocation without a reason.
///
/// ```
/// use keyward::{key::{Revocation, RevocationReason}, Timestamp};
///
/// const LEAKED: RevocationReason = RevocationReason::from_static("found in a public repository");
///
/// let now = Timestamp::from_unix_secs(1_700_000_000);
/// assert_eq!(Revocation::at(now).because(LEAKED).reason, Some(LEAKED));
/// assert_eq!(Revocation::from(now).reason, None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Revocation {
    /// The time of the revocation.
    pub at: Timestamp,
    /// The reason, if there is one.
    pub reason: Option<RevocationReason>,
}

impl Revocation {
    /// Builds a revocation without a reason.
    pub const fn at(at: Timestamp) -> Self {
        Self { at, reason: None }
    }

    /// Sets the reason.
    #[must_use]
    pub fn because(self, reason: RevocationReason) -> Self {
        Self { reason: Some(reason), ..self }
    }
}

impl From<Timestamp> for Revocation {
    fn from(at: Timestamp) -> Self {
        Self::at(at)
    }
}

/// The form of both states in serde: `{"state":"suspended","since":"2026-01-02T03:04:05.678Z"}`.
///
/// The form of an enum would ignore unknown members beside `"active"`.
#[cfg(feature = "serde")]
mod form {
    use super::{KeyState, OwnerState, Timestamp};

    #[derive(serde::Serialize, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct StateForm {
        state: Name,
        #[serde(skip_serializing_if = "Option::is_none")]
        since: Option<Timestamp>,
    }

    #[derive(serde::Serialize, serde::Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Name {
        Active,
        Suspended,
        Revoked,
    }

    const NO_STATE: &str = "only a suspended or revoked state has an instant, and it needs one";

    impl TryFrom<StateForm> for KeyState {
        type Error = &'static str;

        fn try_from(form: StateForm) -> Result<Self, &'static str> {
            match (form.state, form.since) {
                (Name::Active, None) => Ok(Self::Active),
                (Name::Suspended, Some(since)) => Ok(Self::Suspended { since }),
                (Name::Revoked, Some(since)) => Ok(Self::Revoked { since }),
                _ => Err(NO_STATE),
            }
        }
    }

    impl From<KeyState> for StateForm {
        fn from(state: KeyState) -> Self {
            match state {
                KeyState::Active => Self { state: Name::Active, since: None },
                KeyState::Suspended { since } => {
                    Self { state: Name::Suspended, since: Some(since) }
                }
                KeyState::Revoked { since } => Self { state: Name::Revoked, since: Some(since) },
            }
        }
    }

    impl TryFrom<StateForm> for OwnerState {
        type Error = &'static str;

        fn try_from(form: StateForm) -> Result<Self, &'static str> {
            match (form.state, form.since) {
                (Name::Active, None) => Ok(Self::Active),
                (Name::Suspended, Some(since)) => Ok(Self::Suspended { since }),
                (Name::Revoked, _) => Err("an owner is active or suspended"),
                _ => Err(NO_STATE),
            }
        }
    }

    impl From<OwnerState> for StateForm {
        fn from(state: OwnerState) -> Self {
            match state {
                OwnerState::Active => Self { state: Name::Active, since: None },
                OwnerState::Suspended { since } => {
                    Self { state: Name::Suspended, since: Some(since) }
                }
            }
        }
    }
}

#[cfg(all(test, feature = "serde"))]
mod tests {
    use super::*;

    #[test]
    fn states_deny_unknown_members() {
        let since = Timestamp::from_unix_millis(1);
        let text = r#"{"state":"suspended","since":"1970-01-01T00:00:00.001Z"}"#;
        assert_eq!(serde_json::from_str(text).ok(), Some(KeyState::Suspended { since }));
        assert_eq!(serde_json::from_str(text).ok(), Some(OwnerState::Suspended { since }));
        assert_eq!(serde_json::to_string(&KeyState::Suspended { since }).unwrap(), text);
        assert_eq!(serde_json::to_string(&KeyState::Active).unwrap(), r#"{"state":"active"}"#);
        assert_eq!(serde_json::to_string(&OwnerState::Active).unwrap(), r#"{"state":"active"}"#);
        for bad in [
            r#"{"state":"active","until":1}"#,
            r#"{"state":"active","since":"1970-01-01T00:00:00.001Z"}"#,
            r#"{"state":"suspended"}"#,
            r#"{"state":"revoked"}"#,
            r#"{"state":"revoked","since":"1970-01-01T00:00:00.001Z","reason":"x"}"#,
            r#"{"state":"revoked","since":null}"#,
            r#"{"since":"1970-01-01T00:00:00.001Z"}"#,
            r#"{"state":"Active"}"#,
            "{}",
            "\"active\"",
        ] {
            assert!(serde_json::from_str::<KeyState>(bad).is_err(), "{bad}");
            assert!(serde_json::from_str::<OwnerState>(bad).is_err(), "{bad}");
        }
        let revoked = r#"{"state":"revoked","since":"1970-01-01T00:00:00.001Z"}"#;
        assert!(serde_json::from_str::<KeyState>(revoked).is_ok());
        assert!(serde_json::from_str::<OwnerState>(revoked).is_err());
    }
}
