//! The limit of failed attempts from one address, which makes brute force costly.

use std::sync::Arc;

use crate::{
    clock::timestamp::Timestamp,
    limit::{decision::Decision, key::LimitKey, limiter::Limiter},
    quota::Quotas,
};

/// The limit of failed attempts from one address.
///
/// It is consulted before a key is looked up, and charged when the key turns out to be invalid.
/// So at most as many attempts of one address fail with 401 as the quotas allow, exactly.
/// Attempts that are under way while the last of them fails are still looked up. An attempt
/// that is dropped under way is charged too, because it is looked up like any other.
#[derive(Debug)]
pub(super) struct Attempts {
    limiter: Arc<Limiter>,
    quotas: Quotas,
}

impl Attempts {
    pub(super) const fn new(limiter: Arc<Limiter>, quotas: Quotas) -> Self {
        Self { limiter, quotas }
    }

    /// Returns the refusing decision if too many attempts of this address have failed.
    pub(super) fn refused(&self, address: LimitKey, now: Timestamp) -> Option<Decision> {
        // A cost of 1 is within every quota.
        let decision = self.limiter.peek(address, &self.quotas, 1, now).ok()?;
        Some(decision).filter(|decision| !decision.allowed)
    }

    /// Counts a failure; returns the refusing decision if it was one too many.
    pub(super) fn failed(&self, address: LimitKey, now: Timestamp) -> Option<Decision> {
        let decision = self.limiter.check(address, &self.quotas, 1, now).ok()?;
        Some(decision).filter(|decision| !decision.allowed)
    }
}
