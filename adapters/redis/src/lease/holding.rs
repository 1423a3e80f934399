//! The permits of one process for one set of limits, and its decisions. Pure: the process's clock is
//! an argument, and nothing is sent from here.

use std::time::Duration;

use keyward::{limit::Decision, quota::Quotas};

use crate::{
    lease::config::LeaseConfig,
    protocol::{LeaseTerms, RemoteReceipt},
};

/// An instant of this process's clock, counted from an origin of its own.
pub type NodeInstant = Duration;

/// The next step for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum LeaseStep {
    /// The request is decided: a permit was spent, or a refusal still stands.
    Decided(Decision),
    /// Ask the server for a lease on these terms, and pass the reply to [`LeaseHolding::answered`] with
    /// this number. The clock must be read **before** the request is sent.
    Ask {
        /// The terms to ask for.
        terms: LeaseTerms,
        /// The number of the question.
        number: u64,
    },
    /// Ask the server for this request alone, because a question for a lease is already under way. The
    /// reply is not passed to the holding.
    AskExactly,
}

/// The reply of the server to a question for a lease.
#[derive(Debug)]
pub struct Granted {
    /// The decision on the request.
    pub decision: Decision,
    /// The number of units counted, including those of the request.
    pub units: u32,
    /// The requested length of the lease.
    pub length: Duration,
    /// The receipt with which to give them back.
    pub receipt: Option<RemoteReceipt>,
}

/// Forfeited permits, to be given back.
#[derive(Debug)]
#[must_use = "permits that are not given back return only after their windows"]
pub struct Unspent {
    /// The receipt of their grant.
    pub receipt: RemoteReceipt,
    /// The number of permits.
    pub units: u32,
}

/// The permits that one process holds of one set of limits.
#[derive(Debug, Default)]
pub struct LeaseHolding {
    grants: Vec<Grant>,
    refusal: Option<Refusal>,
    /// The question under way: its number, the instant before it was sent, and its cost.
    asking: Option<(u64, NodeInstant, u32)>,
    next_number: u64,
    /// The number of permits to ask for.
    want: u32,
}

#[derive(Debug)]
struct Grant {
    left: u32,
    units: u32,
    /// Permits are spent only before this instant.
    ends: NodeInstant,
    decision: Decision,
    /// The quotas under which they were granted. They do not decide a request under other quotas,
    /// which the server would count against those.
    quotas: Vec<Quotas>,
    receipt: Option<RemoteReceipt>,
}

#[derive(Debug)]
struct Refusal {
    cost: u32,
    /// It certainly stands until this instant.
    stands: NodeInstant,
    /// It is certainly over at this instant.
    over: NodeInstant,
    decision: Decision,
    quotas: Vec<Quotas>,
}

/// After this time without a reply another request asks for a lease.
const FORGOTTEN: Duration = Duration::from_secs(10);

/// A refusal is remembered for at most this time or the length of a lease, and never longer than it
/// stands.
const REMEMBERED: Duration = Duration::from_secs(1);

impl LeaseHolding {
    /// Decides a request of `cost`, or returns the question for the server.
    pub fn decide(
        &mut self,
        config: &LeaseConfig,
        quotas: &[Quotas],
        cost: u32,
        now: NodeInstant,
    ) -> LeaseStep {
        self.expire(now);
        if let Some(decision) = self.spend(quotas, cost) {
            return LeaseStep::Decided(decision);
        }
        if let Some(refusal) = &self.refusal
            && cost >= refusal.cost
            && refusal.quotas == quotas
        {
            let mut decision = refusal.decision;
            decision.retry_after = Some(refusal.over.saturating_sub(now));
            return LeaseStep::Decided(decision);
        }
        if self.asking.is_some_and(|(_, sent, _)| now.saturating_sub(sent) < FORGOTTEN) {
            return LeaseStep::AskExactly;
        }
        let number = self.next_number;
        self.next_number += 1;
        self.asking = Some((number, now, cost));
        let terms = config.terms(quotas, self.want.max(cost));
        LeaseStep::Ask { terms, number }
    }

    /// Takes the server's reply to a question of [`LeaseHolding::decide`]. The cost of the request
    /// itself is already spent from it. A reply to another question than the one under way, or a
    /// second reply, changes nothing: its permits are never spent.
    pub fn answered(
        &mut self,
        config: &LeaseConfig,
        quotas: &[Quotas],
        number: u64,
        granted: Granted,
        now: NodeInstant,
    ) {
        let Some((_, sent, cost)) = self.asking.take_if(|(asked, ..)| *asked == number) else {
            return;
        };
        let Granted { decision, units, length, receipt } = granted;
        if !decision.allowed {
            let wait = decision.retry_after.unwrap_or_default();
            self.want = 1;
            self.refusal = Some(Refusal {
                cost,
                // Capacity can also come back because another process gives it back or a key is reset.
                stands: sent
                    .saturating_add(config.shortened(wait).min(config.length.max(REMEMBERED))),
                over: now.saturating_add(config.lengthened(wait)),
                decision,
                quotas: quotas.to_vec(),
            });
            return;
        }
        self.refusal = None;
        let left = units.saturating_sub(cost);
        if units < config.terms(quotas, self.want.max(cost)).most {
            // Near the limit the next question asks for no more than this grant.
            self.want = units;
        }
        // Counted from before the question was sent, and so from before the server stamped it.
        let ends = sent.saturating_add(config.shortened(length));
        if left > 0 && now < ends {
            let quotas = quotas.to_vec();
            self.grants.push(Grant { left, units: left, ends, decision, quotas, receipt });
        } else if left == 0 {
            self.want = self.want.max(1).saturating_mul(2);
        }
    }

    /// Records that a question has no reply. If a reply still arrives, its permits are never spent. The
    /// permits that the server may have granted are missing until their windows have passed. So the
    /// next question is for one permit, and later ones grow as replies arrive.
    pub fn lost(&mut self, number: u64) {
        if self.asking.take_if(|(asked, ..)| *asked == number).is_some() {
            self.want = 1;
        }
    }

    /// Forfeits all unspent permits and returns them. Each is to be given back at most once.
    pub fn forfeit(&mut self) -> Vec<Unspent> {
        let grants = std::mem::take(&mut self.grants);
        let unspent = grants.into_iter().filter(|grant| grant.left > 0);
        unspent
            .filter_map(|grant| {
                let units = grant.left;
                grant.receipt.map(|receipt| Unspent { receipt, units })
            })
            .collect()
    }

    /// Forgets permits, a refusal, and the question under way, whose reply will change nothing.
    pub fn forget(&mut self) {
        (self.grants, self.refusal, self.asking) = (Vec::new(), None, None);
    }

    /// Returns whether the holding can be forgotten without loss.
    pub fn is_idle(&mut self, now: NodeInstant) -> bool {
        self.expire(now);
        self.grants.is_empty() && self.refusal.is_none() && self.asking.is_none()
    }

    /// Spends permits that were granted under these quotas. All leases are still running.
    fn spend(&mut self, quotas: &[Quotas], cost: u32) -> Option<Decision> {
        let fits = |grant: &Grant| grant.quotas == quotas;
        let fitting = self.grants.iter().filter(|grant| fits(grant));
        let held: u64 = fitting.map(|grant| u64::from(grant.left)).sum();
        if held < u64::from(cost) {
            return None;
        }
        let mut owed = cost;
        for grant in self.grants.iter_mut().filter(|grant| fits(grant)) {
            let taken = grant.left.min(owed);
            (grant.left, owed) = (grant.left - taken, owed - taken);
        }
        let newest = self.grants.iter().rfind(|grant| fits(grant))?;
        let left = held.saturating_sub(u64::from(cost));
        let mut decision = newest.decision;
        // The remaining permits of the server when it granted, and the rest of the grant.
        let remaining = (u64::from(decision.remaining) + left).min(decision.limit.into());
        decision.remaining = u32::try_from(remaining).unwrap_or(decision.limit);
        if left == 0 {
            self.grants.retain(|grant| !fits(grant));
            self.want = self.want.max(1).saturating_mul(2);
        }
        Some(decision)
    }

    fn expire(&mut self, now: NodeInstant) {
        // The next question asks for as many permits as were used of this lease.
        let mut used = None;
        self.grants.retain(|grant| {
            let stays = now < grant.ends;
            if !stays {
                used = Some(grant.units - grant.left);
            }
            stays
        });
        if let Some(used) = used {
            self.want = used.saturating_add(used / 4).max(1);
        }
        self.refusal.take_if(|refusal| now >= refusal.stands);
    }
}

#[cfg(test)]
mod tests {
    use keyward::{clock::Timestamp, quota::Quota};

    use super::*;

    const T0: NodeInstant = Duration::from_secs(1_000);

    fn minute(limit: u32) -> Quota {
        Quota::new(limit, Duration::from_secs(60)).unwrap()
    }

    fn granted(quota: Quota, units: u32) -> Granted {
        let server_now = Timestamp::from_unix_secs(1_700_000_000);
        Granted {
            decision: Decision::admitted_elsewhere(quota, quota.limit() - units, server_now),
            units,
            length: Duration::from_secs(10),
            receipt: None,
        }
    }

    #[test]
    fn permits_are_spent_under_their_own_quotas() {
        let config = LeaseConfig::new(Duration::from_secs(10));
        let (wide, narrow) = (minute(10_000), minute(10));
        let quotas = |quota| [Quotas::from(quota)];
        let mut holding = LeaseHolding::default();
        let LeaseStep::Ask { number, .. } = holding.decide(&config, &quotas(wide), 1, T0) else {
            panic!("nothing is held yet")
        };
        holding.answered(&config, &quotas(wide), number, granted(wide, 100), T0);
        let step = holding.decide(&config, &quotas(narrow), 1, T0);
        assert!(matches!(step, LeaseStep::Ask { .. }), "not the server's to decide: {step:?}");
        for _ in 0..99 {
            let step = holding.decide(&config, &quotas(wide), 1, T0);
            assert!(matches!(step, LeaseStep::Decided(decision) if decision.allowed), "{step:?}");
        }
        let step = holding.decide(&config, &quotas(wide), 1, T0);
        assert!(!matches!(step, LeaseStep::Decided(_)), "spent more than was granted: {step:?}");
    }

    #[test]
    fn no_lease_is_longer_than_the_server_stamps() {
        let days = |days: u64| Duration::from_secs(days * 86_400);
        let config = LeaseConfig::new(days(1));
        for (window, expected) in
            [(days(1), days(1) / 4), (days(3), days(3) / 4), (days(20), LeaseTerms::MAX_LENGTH)]
        {
            let quotas = [Quotas::from(Quota::new(100, window).unwrap())];
            assert_eq!(config.terms(&quotas, 10).length, expected, "{window:?}");
        }
    }

    #[test]
    fn after_a_lost_question_the_next_is_small() {
        let config = LeaseConfig::new(Duration::from_secs(10));
        let quotas = [Quotas::from(minute(10_000))];
        let mut holding = LeaseHolding { want: 512, ..LeaseHolding::default() };
        let LeaseStep::Ask { number, terms } = holding.decide(&config, &quotas, 1, T0) else {
            panic!("nothing is held yet")
        };
        assert_eq!(terms.most, 512);
        holding.lost(number);
        let LeaseStep::Ask { terms, .. } = holding.decide(&config, &quotas, 1, T0) else {
            panic!("nothing is held yet")
        };
        assert_eq!(terms.most, 1);
    }
}
