//! The leased mode over the exact limiter.

use std::{fmt, future::Future, sync::Arc};

use keyward::{
    clock::Clock,
    gate::PendingCharge,
    limit::{Decision, LimitKey, Limiter},
    quota::Quotas,
};
use redis::aio::ConnectionLike;

use crate::{
    error::RemoteError,
    fallback::{DecidedBy, RemoteDecision},
    lease::{
        config::LeaseConfig,
        holding::{Granted, LeaseStep},
        holdings::Holdings,
    },
    limiter::RedisLimiter,
    node_clock::NodeClock,
};

/// A limiter that takes permits from the server in advance and spends them without a round trip.
///
/// Over any number of processes, any window admits at most the limit: see "Leases" at
/// [`RemoteScript`](crate::protocol::RemoteScript) for the proof and its conditions. The price is that
/// capacity comes back up to the length of a lease later than in the exact mode, and that permits held
/// by one process are not available to another until then. Both modes may be used on one limit.
///
/// The remaining number and the reset time of a decision are those of the last reply of the server.
///
/// Clones are cheap and share all state.
#[must_use]
pub struct LeasedLimiter<C> {
    exact: RedisLimiter<C>,
    shared: Arc<Shared>,
}

struct Shared {
    config: LeaseConfig,
    clock: Box<dyn NodeClock>,
    holdings: Holdings,
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> LeasedLimiter<C> {
    /// Builds a leased limiter over this exact one, whose fallback decides when the server is gone and
    /// no permits are left.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn new(exact: RedisLimiter<C>, config: LeaseConfig) -> Self {
        Self::with_clock(exact, config, crate::node_clock::BootClock)
    }

    /// Builds a leased limiter with a clock of the host, which must count the time for which the
    /// machine is suspended.
    pub fn with_clock(
        exact: RedisLimiter<C>,
        config: LeaseConfig,
        clock: impl NodeClock + 'static,
    ) -> Self {
        let (clock, holdings) = (Box::new(clock), Holdings::new(config.max_limits));
        Self { exact, shared: Arc::new(Shared { config, clock, holdings }) }
    }

    /// Returns the exact limiter, for requests that are to be decided exactly.
    pub const fn exact(&self) -> &RedisLimiter<C> {
        &self.exact
    }

    /// Decides like [`RedisLimiter::check`].
    ///
    /// # Errors
    ///
    /// As for [`RedisLimiter::check`].
    pub async fn check(
        &self,
        key: impl Into<LimitKey>,
        quotas: &Quotas,
        cost: u32,
        clock: &dyn Clock,
    ) -> Result<RemoteDecision, RemoteError> {
        self.check_all(&[(key.into(), quotas)], cost, clock).await
    }

    /// Decides like [`RedisLimiter::check_all`]. Permits are held for each group of limits that is
    /// given together.
    ///
    /// # Errors
    ///
    /// As for [`RedisLimiter::check_all`].
    pub async fn check_all(
        &self,
        limits: &[(LimitKey, &Quotas)],
        cost: u32,
        clock: &dyn Clock,
    ) -> Result<RemoteDecision, RemoteError> {
        let Some((terms, number)) = (match self.step(limits, cost)? {
            LeaseStep::Decided(decision) => {
                return Ok(RemoteDecision { decision, by: DecidedBy::Lease });
            }
            LeaseStep::Ask { terms, number } => Some((terms, number)),
            LeaseStep::AskExactly => None,
        }) else {
            return self.exact.check_all(limits, cost, clock).await;
        };
        let Shared { config, clock: node, holdings } = &*self.shared;
        // If this future is dropped, the next request need not wait for its reply.
        let mut asking = Asking { limits, shared: &self.shared, number: Some(number) };
        let charge = self.exact.charge(limits, cost)?;
        match self.exact.lease(&charge, &terms, clock).await {
            Ok(answer) => {
                asking.number = None;
                let decision = answer.decision_at(clock.now());
                let granted = Granted {
                    decision,
                    units: answer.granted,
                    length: terms.length,
                    receipt: answer.receipt,
                };
                let received = node.now();
                holdings.with(limits, received, |holding| {
                    holding.answered(config, charge.quotas(), number, granted, received);
                });
                Ok(RemoteDecision { decision, by: DecidedBy::Server })
            }
            Err(failure) => {
                drop(asking);
                self.exact.without_server(failure, limits, cost, clock)
            }
        }
    }

    /// Gives all unspent permits back, as at the end of a process, and returns their number. They are
    /// forfeited first and sent once each. Permits in doubt are lost.
    ///
    /// Condition: the connection never sends again on its own. Switch the retries of a cluster client
    /// off, or do not call this.
    pub async fn give_back(&self) -> u64 {
        let mut units = 0;
        for unspent in self.shared.holdings.forfeit() {
            let given = u64::from(unspent.units);
            let command = unspent.receipt.refund_some(unspent.units);
            match self.exact.give_back(&command).await {
                Ok(true) => units += given,
                // One timeout is enough. The rest is lost, as if this had not been called.
                Err(RemoteError::Gone(_)) => break,
                _ => {}
            }
        }
        units
    }

    /// Forgets everything counted for a key like [`RedisLimiter::reset`], and forfeits the permits that
    /// this process holds of it, alone or together with other limits. Other processes still spend their
    /// permits, for up to the length of a lease.
    ///
    /// # Errors
    ///
    /// If the server did not reply. The permits are forfeited even then.
    pub async fn reset(&self, key: impl Into<LimitKey>) -> Result<bool, RemoteError> {
        let key = key.into();
        self.shared.holdings.forget(&key);
        let forgotten = self.exact.reset(key).await;
        // Again, because a grant that arrived meanwhile may have been counted before the reset.
        self.shared.holdings.forget(&key);
        forgotten
    }

    /// Decides the limits of a request at a gate, for `ApiKeys::charge_with` of `keyward-tower`.
    ///
    /// `clock` is one that the future can keep, such as an `Arc` of the host's.
    pub fn decide<K: Clock + 'static>(
        &self,
        pending: &PendingCharge,
        clock: K,
    ) -> impl Future<Output = Result<Decision, RemoteError>> + Send + use<C, K> {
        let limits: Vec<(LimitKey, Quotas)> =
            pending.limits().map(|(key, quotas)| (key, *quotas)).collect();
        let (limiter, cost) = (self.clone(), pending.cost());
        async move {
            let limits: Vec<_> = limits.iter().map(|(key, quotas)| (*key, quotas)).collect();
            Ok(limiter.check_all(&limits, cost, &clock).await?.decision)
        }
    }

    /// Returns the next step, under the lock of the holding.
    fn step(&self, limits: &[(LimitKey, &Quotas)], cost: u32) -> Result<LeaseStep, RemoteError> {
        let Shared { config, clock, holdings } = &*self.shared;
        Limiter::check_chargeable(limits, cost)?;
        let quotas: Vec<Quotas> = limits.iter().map(|(_, quotas)| **quotas).collect();
        let now = clock.now();
        let step = holdings.with(limits, now, |holding| holding.decide(config, &quotas, cost, now));
        Ok(step.unwrap_or(LeaseStep::AskExactly))
    }
}

/// A question under way. Dropping it records that it has no reply.
struct Asking<'a> {
    limits: &'a [(LimitKey, &'a Quotas)],
    shared: &'a Shared,
    number: Option<u64>,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let now = self.shared.clock.now();
            self.shared.holdings.with(self.limits, now, |holding| holding.lost(number));
        }
    }
}

impl<C: Clone> Clone for LeasedLimiter<C> {
    fn clone(&self) -> Self {
        Self { exact: self.exact.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<C> fmt::Debug for LeasedLimiter<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeasedLimiter")
            .field("exact", &self.exact)
            .field("config", &self.shared.config)
            .field("limits_held", &self.shared.holdings.len())
            .finish_non_exhaustive()
    }
}
