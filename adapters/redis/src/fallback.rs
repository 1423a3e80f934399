//! Decisions while the server is gone.

use std::{fmt, sync::Arc};

use keyward::{
    clock::Timestamp,
    limit::{Decision, LimitKey, Limiter},
    quota::{Precision, Quota, Quotas},
};

use crate::error::{Gone, RemoteError};

/// The treatment of a request while the server is gone. It has no default: it is an argument of
/// [`RedisLimiter::new`](crate::RedisLimiter::new).
#[derive(Clone)]
#[non_exhaustive]
pub enum Fallback {
    /// Refuses the request with [`RemoteError::Gone`], which is a 503 behind a gate. The limit holds.
    Refuse,
    /// Lets each process admit its share in its own memory: of a limit of `N`, `N / nodes` rounded
    /// down.
    ///
    /// The bound: `nodes` processes together admit at most `N` in any window while all of them count
    /// alone. They admit at most `2 N` in a window in which the server was gone for a part of the time
    /// or for a part of the processes, because server and processes do not know each other's counts.
    /// The bound is higher if there are more processes than `nodes`, or if the server comes back
    /// without its counts.
    LocalShare {
        /// The number of processes. Zero counts as 1.
        nodes: u32,
        /// The limiter that counts meanwhile.
        limiter: Arc<Limiter>,
    },
    /// Admits everything **without any limit** while the server is gone.
    AllowUnlimited,
}

impl Fallback {
    /// Builds [`Fallback::LocalShare`] for one of `nodes` processes. Zero counts as 1.
    pub fn local_share(nodes: u32, limiter: Limiter) -> Self {
        Self::LocalShare { nodes: nodes.max(1), limiter: Arc::new(limiter) }
    }

    pub(crate) fn decide(
        &self,
        gone: Gone,
        limits: &[(LimitKey, Quotas)],
        cost: u32,
        now: Timestamp,
    ) -> Result<RemoteDecision, RemoteError> {
        match self {
            Self::Refuse => Err(gone.into()),
            Self::AllowUnlimited => {
                let quotas = limits.first().and_then(|(_, quotas)| quotas.as_slice().first());
                let quota = quotas.copied().ok_or(gone)?;
                let decision = Decision::admitted_elsewhere(
                    quota,
                    quota.limit(),
                    now.saturating_add(quota.window()),
                );
                Ok(RemoteDecision { decision, by: DecidedBy::Nobody(gone) })
            }
            Self::LocalShare { nodes, limiter } => {
                let shares: Option<Vec<_>> = limits
                    .iter()
                    .map(|(key, quotas)| Some((*key, share(quotas, *nodes)?)))
                    .collect();
                let shares = shares.ok_or(gone)?;
                let borrowed: Vec<_> = shares.iter().map(|(key, share)| (*key, share)).collect();
                // A cost above the share is never admitted here, though the server could admit it.
                let decided = limiter.check_all(&borrowed, cost, now);
                let decision = decided.map_err(|_| gone)?;
                Ok(RemoteDecision { decision, by: DecidedBy::LocalShare(gone) })
            }
        }
    }
}

/// Returns the share of each quota, or `None` if a share is zero.
fn share(quotas: &Quotas, nodes: u32) -> Option<Quotas> {
    let shares = quotas.as_slice().iter().map(|quota| {
        let share = Quota::new(quota.limit() / nodes.max(1), quota.window()).ok()?;
        Some(if quota.precision() == Precision::Coarse {
            share.with_precision(Precision::Coarse)
        } else {
            share.try_with_precision(Precision::Exact).unwrap_or(share)
        })
    });
    Quotas::new(&shares.collect::<Option<Vec<_>>>()?).ok()
}

impl fmt::Debug for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refuse => f.write_str("Refuse"),
            Self::LocalShare { nodes, .. } => write!(f, "LocalShare({nodes})"),
            Self::AllowUnlimited => f.write_str("AllowUnlimited"),
        }
    }
}

/// A decision and its origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a refused request is `Ok` with `decision.allowed == false`"]
#[non_exhaustive]
pub struct RemoteDecision {
    /// The decision. Its instants are by the clock of this process.
    pub decision: Decision,
    /// The origin of the decision.
    pub by: DecidedBy,
}

/// The origin of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecidedBy {
    /// The server decided, exactly.
    Server,
    /// This process decided: it spent a permit that the server had granted, or repeated a refusal of
    /// the server that still stands.
    Lease,
    /// This process decided by its share of the limit, because the server is gone.
    LocalShare(Gone),
    /// Nothing was decided: the server is gone, and the fallback admits without a limit.
    Nobody(Gone),
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn quotas(limit: u32) -> Quotas {
        Quotas::from(Quota::new(limit, Duration::from_secs(60)).unwrap())
    }

    fn decide(policy: &Fallback, limit: u32, cost: u32) -> Result<RemoteDecision, RemoteError> {
        let limits = [(LimitKey::owner("a"), quotas(limit))];
        policy.decide(Gone::Timeout, &limits, cost, Timestamp::from_unix_secs(1))
    }

    #[test]
    fn refusing_refuses_and_unlimited_admits() {
        assert_eq!(decide(&Fallback::Refuse, 5, 1), Err(RemoteError::Gone(Gone::Timeout)));
        for _ in 0..10 {
            let charged = decide(&Fallback::AllowUnlimited, 5, 1).unwrap();
            assert!(charged.decision.allowed);
            assert_eq!(charged.by, DecidedBy::Nobody(Gone::Timeout));
        }
    }

    #[test]
    fn a_share_is_rounded_down() {
        let three = 3;
        let policy = || Fallback::local_share(three, Limiter::new(Default::default(), [1; 16]));
        let shared = &policy();
        let admitted =
            |limit| (0..9).filter(move |_| decide(shared, limit, 1).unwrap().decision.allowed);
        assert_eq!(admitted(8).count(), 2);
        // A third of 2 is nothing, and a cost of 2 never fits into a third of 5.
        assert!(decide(&policy(), 2, 1).is_err());
        assert!(decide(&policy(), 5, 2).is_err());
        assert!(decide(&policy(), 6, 2).unwrap().decision.allowed);
    }
}
