//! Making brute force costly: a limit on failed attempts from one address.

use std::sync::Arc;

use crate::{
    clock::timestamp::Timestamp,
    limit::{decision::Decision, key::LimitKey, limiter::Limiter},
    quota::Quotas,
};

/// How many attempts of one address may fail.
///
/// Asked before a key is looked up, and charged when it has turned out not to be good. So of
/// one address at most as many attempts fail with 401 as the quotas say, exactly; attempts
/// under way while the last of them fails are still looked up. One that is dropped under way
/// is charged too: it is looked up like any other.
#[derive(Debug)]
pub(super) struct Attempts {
    limiter: Arc<Limiter>,
    quotas: Quotas,
}

impl Attempts {
    pub(super) const fn new(limiter: Arc<Limiter>, quotas: Quotas) -> Self {
        Self { limiter, quotas }
    }

    /// The refusal, if this address has failed too often to be heard.
    pub(super) fn refused(&self, address: LimitKey, now: Timestamp) -> Option<Decision> {
        // A cost of 1 is within every quota.
        let decision = self.limiter.peek(address, &self.quotas, 1, now).ok()?;
        Some(decision).filter(|decision| !decision.allowed)
    }

    /// Counts a failure; the refusal, if it was one too many.
    pub(super) fn failed(&self, address: LimitKey, now: Timestamp) -> Option<Decision> {
        let decision = self.limiter.check(address, &self.quotas, 1, now).ok()?;
        Some(decision).filter(|decision| !decision.allowed)
    }
}
