//! The leased mode: a process spends permits that the server granted in advance.
//!
//! [`LeasedLimiter`] is the whole. [`LeaseHolding`] is its pure core, for a host with another client:
//! it takes the process's clock as an argument and sends nothing.

mod config;
mod holding;
mod holdings;
mod limiter;

pub use self::{
    config::LeaseConfig,
    holding::{Granted, LeaseHolding, LeaseStep, NodeInstant, Unspent},
    limiter::LeasedLimiter,
};
