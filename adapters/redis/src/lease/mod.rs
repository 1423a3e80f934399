//! Local decisions out of permits that the server has granted.

mod holding;
mod holdings;
mod limiter;

pub use holding::{Granted, LeaseConfig, LeaseHolding, LeaseStep, NodeInstant, Unspent};
pub use limiter::LeasedLimiter;
