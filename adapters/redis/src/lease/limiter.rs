//! The leased mode: most requests are decided here.

use std::{fmt, future::Future, sync::Arc};

use keyward::{
    Quotas, Timestamp,
    gate::PendingCharge,
    limit::{Decision, LimitKey},
};
use redis::aio::ConnectionLike;

use super::{
    holding::{Granted, LeaseConfig, LeaseStep},
    holdings::Holdings,
};
use crate::{DecidedBy, NodeClock, RedisLimiter, RemoteDecision, RemoteError};

/// A limiter that takes permits from the server in advance, and spends them without asking.
///
/// In any window at most the limit is admitted, over any number of processes: see "Leases" at
/// [`RemoteScript`](keyward::limit::RemoteScript) for the proof and its conditions. The price is that
/// capacity comes back up to the length of a lease later than in the exact mode, and that what
/// one process holds another cannot have until then. Both modes may be used on one limit.
///
/// What is left and when it changes is told as of the last answer of the server.
///
/// Cloning it is cheap, and the clones share all.
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
    /// Leases over what this limiter asks. The server's being gone is answered by its policy, once
    /// no permits are left.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn new(exact: RedisLimiter<C>, config: LeaseConfig) -> Self {
        Self::with_clock(exact, config, crate::BootClock)
    }

    /// The same with a clock of the host's, which must count the time for which the machine is
    /// suspended.
    pub fn with_clock(
        exact: RedisLimiter<C>,
        config: LeaseConfig,
        clock: impl NodeClock + 'static,
    ) -> Self {
        Self::holding_at_most(exact, config, clock, 65_536)
    }

    /// The same, that holds permits of at most so many limits at once; those beyond are decided
    /// exactly.
    pub fn holding_at_most(
        exact: RedisLimiter<C>,
        config: LeaseConfig,
        clock: impl NodeClock + 'static,
        limits: usize,
    ) -> Self {
        let (clock, holdings) = (Box::new(clock), Holdings::new(limits));
        Self { exact, shared: Arc::new(Shared { config, clock, holdings }) }
    }

    /// The exact limiter beneath, for what is to be decided exactly.
    pub const fn exact(&self) -> &RedisLimiter<C> {
        &self.exact
    }

    /// As [`RedisLimiter::check`].
    ///
    /// # Errors
    ///
    /// As for [`RedisLimiter::check`].
    pub async fn check(
        &self,
        key: impl Into<LimitKey>,
        quotas: &Quotas,
        cost: u32,
        now: Timestamp,
    ) -> Result<RemoteDecision, RemoteError> {
        self.check_all(&[(key.into(), quotas)], cost, now).await
    }

    /// As [`RedisLimiter::check_all`]. Permits are held of the limits as they are given together.
    ///
    /// # Errors
    ///
    /// As for [`RedisLimiter::check_all`].
    pub async fn check_all(
        &self,
        limits: &[(LimitKey, &Quotas)],
        cost: u32,
        now: Timestamp,
    ) -> Result<RemoteDecision, RemoteError> {
        let Some((terms, number)) = (match self.step(limits, cost)? {
            LeaseStep::Decided(decision) => {
                return Ok(RemoteDecision { decision, by: DecidedBy::Lease });
            }
            LeaseStep::Ask { terms, number } => Some((terms, number)),
            LeaseStep::AskExactly => None,
        }) else {
            return self.exact.check_all(limits, cost, now).await;
        };
        let Shared { config, clock, holdings } = &*self.shared;
        // If this future is dropped, the next one that asks need not wait for its answer.
        let mut asking = Asking { limits, shared: &self.shared, number: Some(number) };
        let charge = self.exact.charge(limits, cost)?;
        match self.exact.lease(&charge, &terms, now).await {
            Ok(answer) => {
                asking.number = None;
                let decision = answer.decision_at(now);
                let granted = Granted {
                    decision,
                    units: answer.granted,
                    length: terms.length,
                    receipt: answer.receipt,
                };
                let received = clock.now();
                holdings.with(limits, received, |holding| {
                    holding.answered(config, charge.quotas(), number, granted, received);
                });
                Ok(RemoteDecision { decision, by: DecidedBy::Server })
            }
            Err(failure) => {
                drop(asking);
                self.exact.without_server(failure, limits, cost, now)
            }
        }
    }

    /// Gives back what is unspent, as at the end of a process, and tells how many units. They are
    /// forfeited first, each is sent once, and what is in doubt is lost.
    ///
    /// Condition: the connection never sends again on its own. Of a cluster client, switch the
    /// retries off, or do not call this.
    pub async fn give_back(&self) -> u64 {
        let mut units = 0;
        for unspent in self.shared.holdings.forfeit() {
            let given = u64::from(unspent.units);
            let command = unspent.receipt.refund_some(unspent.units);
            match self.exact.give_back(&command).await {
                Ok(true) => units += given,
                // One wait is enough: what is left is lost, as if this had not been called.
                Err(RemoteError::Gone(_)) => break,
                _ => {}
            }
        }
        units
    }

    /// Forgets what was counted for a key, as [`RedisLimiter::reset`], and forfeits what this process
    /// holds of it, alone or together with other limits. What other processes hold is still spent,
    /// for up to the length of a lease.
    ///
    /// # Errors
    ///
    /// If the server did not answer. What was held is forfeited even so.
    pub async fn reset(&self, key: impl Into<LimitKey>) -> Result<bool, RemoteError> {
        let key = key.into();
        self.shared.holdings.forget(&key);
        let forgotten = self.exact.reset(key).await;
        // Again, for what was granted meanwhile may have been counted before the server forgot.
        self.shared.holdings.forget(&key);
        forgotten
    }

    /// Decides the limits of a request at a gate: what `ApiKeys::charge_with` of `keyward-tower`
    /// asks for.
    pub fn decide(
        &self,
        pending: &PendingCharge,
        now: Timestamp,
    ) -> impl Future<Output = Result<Decision, RemoteError>> + Send + use<C> {
        let limits: Vec<(LimitKey, Quotas)> =
            pending.limits().map(|(key, quotas)| (key, *quotas)).collect();
        let (limiter, cost) = (self.clone(), pending.cost());
        async move {
            let limits: Vec<_> = limits.iter().map(|(key, quotas)| (*key, quotas)).collect();
            Ok(limiter.check_all(&limits, cost, now).await?.decision)
        }
    }

    /// What to do, decided under the lock of the holding.
    fn step(&self, limits: &[(LimitKey, &Quotas)], cost: u32) -> Result<LeaseStep, RemoteError> {
        let Shared { config, clock, holdings } = &*self.shared;
        keyward::limit::RemoteCharge::payable(limits, cost)?;
        let mut quotas = [None; keyward::Limiter::MAX_LIMITS];
        for (to, (_, quota)) in quotas.iter_mut().zip(limits) {
            *to = Some(**quota);
        }
        let quotas: Vec<Quotas> = quotas.into_iter().flatten().collect();
        let now = clock.now();
        let step = holdings.with(limits, now, |holding| holding.decide(config, &quotas, cost, now));
        Ok(step.unwrap_or(LeaseStep::AskExactly))
    }
}

/// A question that is under way.
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
