//! The naive limiter that ours must agree with: a list of instants per window, scanned in
//! full at each decision. Slow, and too simple to be wrong in an interesting way.

use std::{collections::HashMap, time::Duration};

use keyward::{
    Quota, Quotas, Timestamp,
    limit::{Decision, LimitKey},
};

/// The naive log of every key.
#[derive(Default)]
pub(crate) struct Oracle {
    keys: HashMap<LimitKey, Vec<Log>>,
    next_ticket: u64,
}

/// The naive log of one window.
#[derive(Clone)]
struct Log {
    span: u64,
    last: u64,
    /// Each admitted request by its instant and its ticket, oldest first.
    admitted: Vec<(u64, u64)>,
}

/// What the naive limiter expects a decision to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub allowed: bool,
    pub quota: Quota,
    pub remaining: u32,
    pub retry_after: Option<Duration>,
    pub reset_at: Timestamp,
    pub position: usize,
}

impl From<Decision> for Expected {
    fn from(decision: Decision) -> Self {
        assert_eq!(decision.limit, decision.quota().limit());
        Self {
            allowed: decision.allowed,
            quota: decision.quota(),
            remaining: decision.remaining,
            retry_after: decision.retry_after,
            reset_at: decision.reset_at,
            position: decision.position,
        }
    }
}

impl Oracle {
    /// Decides, and charges all limits or none. The number is a ticket for
    /// [`Oracle::refund`], of meaning only if allowed.
    pub(crate) fn check(
        &mut self,
        limits: &[(LimitKey, &Quotas)],
        cost: u32,
        now: Timestamp,
    ) -> (Expected, u64) {
        let now = now.as_unix_millis();
        let mut binding: Option<(bool, u32, u64, Quota, usize)> = None;
        for (position, (key, quotas)) in limits.iter().enumerate() {
            // A key that is refused on first sight is not remembered.
            let mut fresh = Vec::new();
            let logs = self.keys.get_mut(key).unwrap_or(&mut fresh);
            fit(logs, quotas);
            for (log, quota) in logs.iter_mut().zip(quotas.as_slice()) {
                log.settle(now);
                let (allowed, remaining, instant) = log.judge(quota, cost as usize);
                let binds = match binding {
                    None => true,
                    Some((true, ..)) if !allowed => true,
                    Some((false, ..)) if allowed => false,
                    Some((true, least, soonest, ..)) => {
                        remaining < least || remaining == least && instant > soonest
                    }
                    Some((false, _, latest, ..)) => instant > latest,
                };
                if binds {
                    binding = Some((allowed, remaining, instant, *quota, position));
                }
            }
        }
        let (allowed, remaining, instant, quota, position) = binding.unwrap();
        self.next_ticket += 1;
        if allowed {
            for (key, quotas) in limits {
                let logs = self.keys.entry(*key).or_default();
                fit(logs, quotas);
                for log in logs {
                    log.settle(now);
                    let ticket = self.next_ticket;
                    log.admitted.extend((0..cost).map(|_| (log.last, ticket)));
                }
            }
        }
        let expected = Expected {
            allowed,
            quota,
            remaining,
            retry_after: (!allowed).then(|| Duration::from_millis(instant - now)),
            reset_at: Timestamp::from_unix_millis(instant),
            position,
        };
        (expected, self.next_ticket)
    }

    /// What [`Oracle::check`] of one key would say.
    pub(crate) fn peek(
        &self,
        key: LimitKey,
        quotas: &Quotas,
        cost: u32,
        now: Timestamp,
    ) -> Expected {
        let mut copy = Self::default();
        if let Some(logs) = self.keys.get(&key) {
            copy.keys.insert(key, logs.clone());
        }
        copy.check(&[(key, quotas)], cost, now).0
    }

    /// Forgets what a ticket admitted, wherever it is still in a log.
    pub(crate) fn refund(&mut self, ticket: u64) -> bool {
        let mut refunded = false;
        for log in self.keys.values_mut().flatten() {
            let before = log.admitted.len();
            log.admitted.retain(|&(_, admitted)| admitted != ticket);
            refunded |= log.admitted.len() < before;
        }
        refunded
    }

    pub(crate) fn reset(&mut self, key: LimitKey) -> bool {
        self.keys.remove(&key).is_some()
    }
}

/// A window of an unchanged length is kept; a new one begins with what the longest holds.
fn fit(logs: &mut Vec<Log>, quotas: &Quotas) {
    let quotas = quotas.as_slice();
    if let ([log], [quota]) = (&mut logs[..], quotas) {
        log.span = quota.window_millis();
        return;
    }
    if logs.iter().map(|log| log.span).eq(quotas.iter().map(Quota::window_millis)) {
        return;
    }
    let fitted = quotas.iter().map(|quota| {
        let span = quota.window_millis();
        if let Some(same) = logs.iter().find(|log| log.span == span) {
            return same.clone();
        }
        let Some(longest) = logs.last() else {
            return Log { span, last: 0, admitted: Vec::new() };
        };
        let mut log = longest.clone();
        log.span = span;
        log.admitted.retain(|&(at, _)| log.last - at < span);
        log
    });
    *logs = fitted.collect();
}

impl Log {
    /// Effective time, and the log without what is at least one window old.
    fn settle(&mut self, now: u64) {
        if now >= self.last {
            self.last = now;
        } else if self.last - now > self.span {
            self.last = now;
            for (at, _) in &mut self.admitted {
                *at = now.min(*at);
            }
        }
        self.admitted.retain(|&(at, _)| self.last - at < self.span);
    }

    fn judge(&self, quota: &Quota, cost: usize) -> (bool, u32, u64) {
        let (count, limit) = (self.admitted.len(), quota.limit() as usize);
        if count + cost <= limit {
            let oldest = self.admitted.first().map_or(self.last, |&(at, _)| at);
            return (true, (limit - count - cost) as u32, oldest + self.span);
        }
        let awaited = self.admitted[count + cost - limit - 1].0;
        (false, limit.saturating_sub(count) as u32, awaited + self.span)
    }
}
