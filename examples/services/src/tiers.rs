//! The tiers that owners can have.

use keyward::key::Tier;

/// The tier of a new owner.
pub const STANDARD: Tier = Tier::from_static("standard");
/// A paid tier.
pub const HIGHER: Tier = Tier::from_static("higher");
/// A paid tier by contract.
pub const ENTERPRISE: Tier = Tier::from_static("enterprise");
