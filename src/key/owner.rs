//! Owners of keys, and their tiers.

use crate::{
    error::{ConfigError, InvalidText},
    key::name::check_name,
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
}

impl Owner {
    /// Builds an owner without a tier and without overrides.
    pub const fn new(id: OwnerId) -> Self {
        Self { id, tier: None, overrides: Overrides::none() }
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
}
