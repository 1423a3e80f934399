//! The tiers that owners can have.

use keyward::key::Tier;

/// What a new owner has.
pub const STANDARD: Tier = Tier::from_static("standard");
/// Paid for.
pub const HIGHER: Tier = Tier::from_static("higher");
/// Paid for by contract.
pub const ENTERPRISE: Tier = Tier::from_static("enterprise");
