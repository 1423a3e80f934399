//! What one process holds of one set of limits, and what it does with a request. Pure: the
//! process's clock is an argument, and nothing is sent from here.

use std::time::Duration;

use keyward::{
    Quotas,
    limit::{Decision, LeaseTerms, RemoteReceipt},
};

/// How permits are leased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct LeaseConfig {
    length: Duration,
    most: u32,
    divisor: u32,
    drift_ppm: u32,
}

impl LeaseConfig {
    /// Leases of this length: so much later than in the exact mode does capacity come back. Each
    /// limit's leases are no longer than a quarter of its shortest window.
    ///
    /// Unless told otherwise at most 1,024 permits are granted at once and at most a quarter of
    /// what remains, and clocks run apart by at most 1,000 millionths.
    pub const fn new(length: Duration) -> Self {
        Self { length, most: 1_024, divisor: 4, drift_ppm: 1_000 }
    }

    /// The most permits that are granted at once.
    pub const fn with_most(self, most: u32) -> Self {
        Self { most, ..self }
    }

    /// No more than this part of what remains is granted at once. As many as there are processes,
    /// so that one of them leaves something for the others.
    pub const fn with_divisor(self, divisor: u32) -> Self {
        Self { divisor, ..self }
    }

    /// By how many millionths this machine's clock may run slower than the server's. A lease is
    /// spent for so much less time. At most half.
    pub const fn with_drift_ppm(self, drift_ppm: u32) -> Self {
        let drift_ppm = if drift_ppm > 500_000 { 500_000 } else { drift_ppm };
        Self { drift_ppm, ..self }
    }

    /// The terms for a limit with these quotas.
    fn terms(&self, quotas: &[Quotas], want: u32) -> LeaseTerms {
        let windows = quotas.iter().flat_map(Quotas::as_slice).map(|quota| quota.window_millis());
        let shortest = windows.min().unwrap_or(0);
        // In whole milliseconds, as the script counts, and never longer than it stamps.
        let longest = LeaseTerms::MAX_LENGTH.as_millis().min(u128::from(shortest / 4));
        let length = self.length.as_millis().min(longest) as u64;
        let most = if length == 0 { 1 } else { want.min(self.most) };
        LeaseTerms { length: Duration::from_millis(length), most, divisor: self.divisor.max(1) }
    }

    /// What of a span by the server's clock has certainly passed when so much has by ours.
    fn shortened(&self, span: Duration) -> Duration {
        let nanos = span.as_nanos() * u128::from(1_000_000 - self.drift_ppm) / 1_000_000;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn lengthened(&self, span: Duration) -> Duration {
        let parts = u128::from(1_000_000 - self.drift_ppm);
        let nanos = (span.as_nanos() * 1_000_000).div_ceil(parts);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// An instant of this process's clock, since an origin of its own.
pub type NodeInstant = Duration;

/// What to do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum LeaseStep {
    /// Decided here: a permit was spent, or a refusal still stands.
    Decided(Decision),
    /// Ask the server upon these terms, and hand the answer to [`LeaseHolding::answered`] with this
    /// number. The clock must be read **before** the request is sent.
    Ask {
        /// What to ask for.
        terms: LeaseTerms,
        /// Which question it is.
        number: u64,
    },
    /// Ask the server for this request alone, since a lease is being asked for already. Nothing
    /// comes back here.
    AskExactly,
}

/// What the server has granted, as [`LeaseHolding::answered`] takes it.
#[derive(Debug)]
pub struct Granted {
    /// The decision on the request.
    pub decision: Decision,
    /// How many units were counted, the request's among them.
    pub units: u32,
    /// The length that was asked for.
    pub length: Duration,
    /// By what to give them back.
    pub receipt: Option<RemoteReceipt>,
}

/// Permits that were forfeited, to be given back.
#[derive(Debug)]
#[must_use = "they come back to the limit only when their windows have passed"]
pub struct Unspent {
    /// By what.
    pub receipt: RemoteReceipt,
    /// How many.
    pub units: u32,
}

/// What one process holds of one set of limits.
#[derive(Debug, Default)]
pub struct LeaseHolding {
    grants: Vec<Grant>,
    refusal: Option<Refusal>,
    /// The question that is under way, when it was sent, and for how much.
    asking: Option<(u64, NodeInstant, u32)>,
    next_number: u64,
    /// How many permits to ask for beyond what is needed.
    want: u32,
}

#[derive(Debug)]
struct Grant {
    left: u32,
    units: u32,
    /// Spent only before this instant.
    ends: NodeInstant,
    decision: Decision,
    /// Under which they were granted. A request under others is not decided by them: the server
    /// would count it against its own.
    quotas: Vec<Quotas>,
    receipt: Option<RemoteReceipt>,
}

#[derive(Debug)]
struct Refusal {
    cost: u32,
    /// Until this instant it certainly stands.
    stands: NodeInstant,
    /// At this instant it is certainly over.
    over: NodeInstant,
    decision: Decision,
    quotas: Vec<Quotas>,
}

/// After so long without an answer another request asks for a lease.
const FORGOTTEN: Duration = Duration::from_secs(10);

/// For so long, or the length of a lease, a refusal is remembered at most. It is remembered no
/// longer than it stands by itself.
const REMEMBERED: Duration = Duration::from_secs(1);

impl LeaseHolding {
    /// Decides a request of `cost`, or says what to ask.
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

    /// Takes the server's answer to a question of [`LeaseHolding::decide`], from which the request
    /// itself, of `cost`, has been spent. An answer to another question than the one under way, or
    /// one that comes twice, changes nothing: its permits are never spent.
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
                // Capacity can also come back because others give it back, or a key is reset.
                stands: sent + config.shortened(wait).min(config.length.max(REMEMBERED)),
                over: now + config.lengthened(wait),
                decision,
                quotas: quotas.to_vec(),
            });
            return;
        }
        self.refusal = None;
        let left = units.saturating_sub(cost);
        if units < config.terms(quotas, self.want.max(cost)).most {
            // Near the limit one asks for no more than one was given.
            self.want = units;
        }
        // Counted from the moment before it was sent, so from before the server stamped it.
        let ends = sent + config.shortened(length);
        if left > 0 && now < ends {
            let quotas = quotas.to_vec();
            self.grants.push(Grant { left, units: left, ends, decision, quotas, receipt });
        } else if left == 0 {
            self.want = self.want.max(1).saturating_mul(2);
        }
    }

    /// Notes that the question has no answer. If one still comes, its permits are never spent; and
    /// what the server may have granted is missing until its windows have passed, so the next
    /// question is for one permit, and more only as answers come.
    pub fn lost(&mut self, number: u64) {
        if self.asking.take_if(|(asked, ..)| *asked == number).is_some() {
            self.want = 1;
        }
    }

    /// Forfeits all that is unspent; to be given back at most once each, or not at all.
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

    /// Forgets permits, a refusal, and the question under way, whose answer will change nothing.
    pub fn forget(&mut self) {
        (self.grants, self.refusal, self.asking) = (Vec::new(), None, None);
    }

    /// Whether nothing would be lost by forgetting it.
    pub fn is_idle(&mut self, now: NodeInstant) -> bool {
        self.expire(now);
        self.grants.is_empty() && self.refusal.is_none() && self.asking.is_none()
    }

    /// Spends permits that were granted under these quotas, all before the ends of their leases.
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
        // What the server had left when it granted, and what is left of what it granted.
        let remaining = (u64::from(decision.remaining) + left).min(decision.limit.into());
        decision.remaining = u32::try_from(remaining).unwrap_or(decision.limit);
        if left == 0 {
            self.grants.retain(|grant| !fits(grant));
            self.want = self.want.max(1).saturating_mul(2);
        }
        Some(decision)
    }

    fn expire(&mut self, now: NodeInstant) {
        // What was used of a lease in its time is what the next one is asked for.
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
    use keyward::{Quota, Timestamp};

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
    fn no_lease_is_longer_than_what_the_server_stamps() {
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
