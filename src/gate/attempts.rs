//! The limit of failed attempts from one address.

use std::sync::Arc;

use crate::{
    clock::timestamp::Timestamp,
    limit::{decision::Decision, key::LimitKey, limiter::Limiter},
    quota::quotas::Quotas,
    request::{credential::CredentialError, reason::RefusalReason},
    verify::error::VerifyError,
};

/// The limit of failed attempts from one address.
///
/// It is charged when a credential turns out to be invalid, or when its request is dropped during the
/// lookup. At most as many attempts of one address fail with 401 as the quotas allow, exactly; the others
/// fail with 429. A good key is not refused, unless the host asked to [shed](Attempts::shedding).
#[derive(Debug)]
pub(super) struct Attempts {
    limiter: Arc<Limiter>,
    quotas: Quotas,
    /// The quotas of the networks of 56 and 48 bits around an IPv6 address.
    wider: [Quotas; 2],
    sheds: bool,
}

impl Attempts {
    pub(super) fn new(limiter: Arc<Limiter>, quotas: Quotas) -> Self {
        let wider = [4, 16].map(|factor| quotas.map(|quota| quota.times(factor)));
        Self { limiter, quotas, wider, sheds: false }
    }

    /// Returns whether the attempts count in the table of this limiter.
    pub(super) fn counts_in(&self, limiter: &Arc<Limiter>) -> bool {
        Arc::ptr_eq(&self.limiter, limiter)
    }

    /// Refuses requests before the lookup.
    pub(super) fn shedding(self) -> Self {
        Self { sheds: true, ..self }
    }

    /// Returns the refusing decision if too many attempts of this address have failed, and the host
    /// asked to shed its requests.
    pub(super) fn shed(&self, address: LimitKey, now: Timestamp) -> Option<Decision> {
        if !self.sheds {
            return None;
        }
        let refused = |(key, quotas): (LimitKey, &Quotas)| {
            // A cost of 1 is within every quota.
            let decision = self.limiter.peek(key, quotas, 1, now).ok()?;
            Some(decision).filter(|decision| !decision.allowed)
        };
        let wider = address.wider_networks().into_iter().flatten().zip(&self.wider);
        let all = wider.chain([(address, &self.quotas)]);
        all.filter_map(refused).max_by_key(|decision| decision.retry_after)
    }

    /// Counts a failure; returns the refusing decision if it was one too many. Such a failure counts
    /// nowhere, so a network of 64 bits uses no more of the wider ones than its own quota.
    pub(super) fn failed(&self, address: LimitKey, now: Timestamp) -> Option<Decision> {
        let [wide, widest] = &self.wider;
        let decision = match address.wider_networks() {
            None => self.limiter.check(address, &self.quotas, 1, now),
            Some([of_56, of_48]) => {
                let limits = [(address, &self.quotas), (of_56, wide), (of_48, widest)];
                self.limiter.check_all(&limits, 1, now)
            }
        };
        decision.ok().filter(|decision| !decision.allowed)
    }
}

/// Returns whether a client has tried an invalid key.
///
/// A request without a credential is no attempt, and neither is a failure of the host. A client
/// that holds the secret of an ended key does not guess. A key in a query or in a subprotocol does not
/// count, because any web page can make its visitors send one.
pub(super) fn is_failed_attempt(reason: &RefusalReason) -> bool {
    match reason {
        RefusalReason::Verify(error) => !is_proved(*error),
        // Only the values of a query are percent-encoded.
        RefusalReason::Missing
        | RefusalReason::WrongScheme
        | RefusalReason::Credential(CredentialError::PercentEncoding) => false,
        other => other.status() == 401,
    }
}

/// Returns whether the secret was proved, so that the failure may be attributed to the key.
pub(super) const fn is_proved(error: VerifyError) -> bool {
    match error {
        VerifyError::Unknown | VerifyError::Mismatch | VerifyError::WrongKind => false,
        VerifyError::Revoked
        | VerifyError::Expired
        | VerifyError::Suspended
        | VerifyError::OwnerSuspended
        | VerifyError::PastGrace
        | VerifyError::ClockBehind => true,
    }
}
