//! Owners of keys, and their tiers.

use crate::{
    clock::timestamp::Timestamp,
    error::{ConfigError, InvalidText},
    key::{name::check_name, state::OwnerState},
    quota::{allowance::Allowance, overrides::Overrides, policy_name::PolicyName},
    text::{Text, text_noun},
};

/// The id of the owner of a key, such as a project or an organization.
///
/// It has 1 to [`OwnerId::MAX_LEN`] bytes of UTF-8, with the characters that a
/// [`KeyName`](crate::key::KeyName) can have. Clones share the text.
///
/// ```
/// use keyward::key::OwnerId;
///
/// let owner = OwnerId::new("proj_abc123")?;
/// assert_eq!(owner.as_str(), "proj_abc123");
/// assert!(OwnerId::new("").is_err());
/// # Ok::<(), keyward::error::InvalidText>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerId(Text);

impl OwnerId {
    /// The largest number of bytes of an id.
    pub const MAX_LEN: usize = 128;

    const fn check(text: &str) -> Result<(), InvalidText> {
        check_name(text, Self::MAX_LEN, NO_OWNER_ID)
    }
}

text_noun!(OwnerId);

const NO_OWNER_ID: InvalidText = InvalidText::new(
    "the id of an owner: 1 to 128 bytes of UTF-8, not spaces alone, without control characters",
);

/// The plan of an owner, in the words of the host: `standard`, `enterprise`.
///
/// It has 1 to [`Tier::MAX_LEN`] bytes of UTF-8, with the characters that a
/// [`KeyName`](crate::key::KeyName) can have. Tiers have no order: a route lists the tiers that it
/// admits.
///
/// ```
/// use keyward::key::Tier;
///
/// const ENTERPRISE: Tier = Tier::from_static("enterprise");
/// assert_eq!(Tier::new("enterprise"), Ok(ENTERPRISE));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tier(Text);

impl Tier {
    /// The largest number of bytes of a tier.
    pub const MAX_LEN: usize = 64;

    const fn check(text: &str) -> Result<(), InvalidText> {
        check_name(text, Self::MAX_LEN, NO_TIER)
    }
}

text_noun!(Tier);

const NO_TIER: InvalidText = InvalidText::new(
    "the name of a tier: 1 to 64 bytes of UTF-8, not spaces alone, without control characters",
);

/// An owner, as a store joins it to each record that it finds.
///
/// The tier is a field of the owner and not of the key's record, so that a downgrade takes effect
/// for every key of the owner with the next request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct Owner {
    /// The id of the owner.
    pub id: OwnerId,
    /// The tier of the owner. Without one it passes no route that requires a tier.
    pub tier: Option<Tier>,
    /// What the owner is allowed by limits per key and per owner, in place of what the service
    /// allows.
    pub overrides: Overrides,
    /// The state of the owner: while it is suspended, all of its keys are refused.
    pub state: OwnerState,
    /// The largest number of keys that the owner can have, if there is a cap. Revoked and expired
    /// keys do not count.
    #[cfg_attr(feature = "serde", serde(deserialize_with = "Option::deserialize"))]
    pub key_cap: Option<u32>,
}

impl Owner {
    /// Builds an active owner without a tier, without overrides and without a cap on its keys.
    pub const fn new(id: OwnerId) -> Self {
        Self {
            id,
            tier: None,
            overrides: Overrides::none(),
            state: OwnerState::Active,
            key_cap: None,
        }
    }

    /// Sets the tier.
    #[must_use]
    pub fn with_tier(mut self, tier: Tier) -> Self {
        self.tier = Some(tier);
        self
    }

    /// Sets what a policy allows this owner. If the policy counts per key, it is what each key of
    /// the owner is allowed whose record does not override the policy.
    ///
    /// # Errors
    ///
    /// As [`Overrides::with`].
    pub fn with_override(
        mut self,
        name: PolicyName,
        allowance: impl Into<Allowance>,
    ) -> Result<Self, ConfigError> {
        self.overrides = self.overrides.with(name, allowance)?;
        Ok(self)
    }

    /// Replaces all overrides of the owner.
    #[must_use]
    pub fn with_overrides(mut self, overrides: Overrides) -> Self {
        self.overrides = overrides;
        self
    }

    /// Sets the largest number of keys that the owner can have.
    #[must_use]
    pub const fn with_key_cap(mut self, cap: u32) -> Self {
        self.key_cap = Some(cap);
        self
    }

    /// Returns the owner after a change of one field, for a store.
    #[must_use]
    pub fn changed(mut self, change: OwnerChange) -> Self {
        match change {
            OwnerChange::Tier(tier) => self.tier = tier,
            OwnerChange::Overrides(overrides) => self.overrides = overrides,
            OwnerChange::KeyCap(cap) => self.key_cap = cap,
            OwnerChange::Suspend { now } if !self.state.is_suspended() => {
                self.state = OwnerState::Suspended { since: now };
            }
            OwnerChange::Suspend { .. } => {}
            OwnerChange::Resume => self.state = OwnerState::Active,
        }
        self
    }
}

/// A change of one field of an owner, for
/// [`KeyRegistry::change_owner`](crate::store::KeyRegistry::change_owner).
///
/// It is exhaustive, so that a store which does not know a new field does not compile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnerChange {
    /// Sets or removes the tier.
    Tier(Option<Tier>),
    /// Replaces what the owner is allowed.
    Overrides(Overrides),
    /// Sets or removes the largest number of keys.
    KeyCap(Option<u32>),
    /// Suspends the owner. The first instant of a suspension stays.
    Suspend {
        /// The time of the suspension.
        now: Timestamp,
    },
    /// Resumes the owner.
    Resume,
}
