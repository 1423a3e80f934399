//! Who a key belongs to, and the tier that the owner pays for.

use crate::{
    error::InvalidText,
    key::name::check_name,
    quota::Quotas,
    text::{Text, text_noun},
};

/// The project or organization that a key belongs to.
///
/// 1 to [`OwnerId::MAX_LEN`] bytes of UTF-8 as [`KeyName`](crate::key::KeyName) allows. Clones share
/// the text.
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
    /// The most bytes an owner's id can have.
    pub const MAX_LEN: usize = 128;

    const fn check(text: &str) -> Result<(), InvalidText> {
        check_name(text, Self::MAX_LEN, NO_OWNER_ID)
    }
}

text_noun!(OwnerId);

const NO_OWNER_ID: InvalidText = InvalidText::new(
    "the id of an owner: 1 to 128 bytes of UTF-8, not spaces alone, without control characters",
);

/// What an owner subscribes to, in the host's own words: `standard`, `enterprise`.
///
/// 1 to [`Tier::MAX_LEN`] bytes of UTF-8 without control characters. The library
/// knows no order between tiers; a route lists those it admits.
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
    /// The most bytes a tier's name can have.
    pub const MAX_LEN: usize = 64;

    const fn check(text: &str) -> Result<(), InvalidText> {
        check_name(text, Self::MAX_LEN, NO_TIER)
    }
}

text_noun!(Tier);

const NO_TIER: InvalidText = InvalidText::new(
    "the name of a tier: 1 to 64 bytes of UTF-8, not spaces alone, without control characters",
);

/// An owner as a store joins it to each record it finds.
///
/// The tier stands here and not in the key's record, so that a downgrade reaches
/// every key of the owner with the next request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct Owner {
    /// The owner's id.
    pub id: OwnerId,
    /// The owner's tier; an owner without one passes no tier gate.
    pub tier: Option<Tier>,
    /// Quotas for each of the owner's keys that has none of its own.
    pub quotas: Option<Quotas>,
}

impl Owner {
    /// An owner without a tier and without quotas.
    pub const fn new(id: OwnerId) -> Self {
        Self { id, tier: None, quotas: None }
    }

    /// The owner on `tier`.
    #[must_use]
    pub fn with_tier(mut self, tier: Tier) -> Self {
        self.tier = Some(tier);
        self
    }

    /// The owner with `quotas` for the keys that have none of their own: each of them has so
    /// much for itself. What all keys of an owner have together is
    /// [`Route::limit_owner`](crate::gate::Route::limit_owner).
    #[must_use]
    pub fn with_quotas(mut self, quotas: Quotas) -> Self {
        self.quotas = Some(quotas);
        self
    }
}
