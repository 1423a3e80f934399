//! The naive limiter that ours must agree with: a list of instants for each window of a key,
//! scanned in full at each decision. Slow, and too simple to be wrong in an interesting way.
//!
//! It implements the page `how_the_limiter_decides.md`: a window is identified by its key and its
//! length, and a late `now` counts as the latest. It forgets no window, so it has no floor: where
//! the limiter may forget keys, compare the two only under a clock that is never set back.

use std::{collections::HashMap, time::Duration};

use keyward::{
    Quota, Quotas, Timestamp,
    limit::{Decision, LimitKey},
};

/// The naive log of every key.
pub(crate) struct Oracle {
    keys: HashMap<LimitKey, Vec<Log>>,
    next_ticket: u64,
    /// The least time that a `now` may be late, in milliseconds. A longer window allows its length.
    late: u64,
}

impl Default for Oracle {
    fn default() -> Self {
        Self::with_lateness(5 * 60_000)
    }
}

/// The naive log of one window.
#[derive(Clone)]
struct Log {
    span: u64,
    last: u64,
    /// Each admitted request by its instant and its ticket, oldest first. An inherited one has no
    /// ticket, which is 0.
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
    /// Builds an empty log that takes a `now` for late up to so many milliseconds, or a window.
    pub(crate) fn with_lateness(late: u64) -> Self {
        Self { keys: HashMap::new(), next_ticket: 0, late }
    }

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
            fit(logs, quotas, now, self.late);
            for quota in quotas.as_slice() {
                let log = of(logs, quota);
                log.settle(now, self.late);
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
                fit(logs, quotas, now, self.late);
                for quota in quotas.as_slice() {
                    let log = of(logs, quota);
                    log.settle(now, self.late);
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
        let mut copy = Self::with_lateness(self.late);
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

/// Adds a log for each length that is new to the key. It begins with those admissions of a present
/// log that are younger than its length, at most as many as its limit: of the log that has the most
/// of them, and of equals, of the longest. The other logs stay as they are.
fn fit(logs: &mut Vec<Log>, quotas: &Quotas, now: u64, late: u64) {
    let present = logs.clone();
    for quota in quotas.as_slice() {
        let span = quota.window_millis();
        if present.iter().any(|log| log.span == span) {
            continue;
        }
        let begun = present.iter().map(|log| {
            let last = effective(log.last, span, now, late);
            let ages = log.admitted.iter().map(|&(at, _)| (at.min(last), 0));
            let young = ages.filter(|(at, _)| last - at < span).collect::<Vec<_>>();
            (young.len(), log.span, Log { span, last, admitted: young })
        });
        let most = begun.max_by_key(|(count, span, _)| (*count, *span));
        let mut log = most.map_or(Log { span, last: now, admitted: Vec::new() }, |(.., log)| log);
        let surplus = log.admitted.len().saturating_sub(quota.limit() as usize);
        log.admitted.drain(..surplus);
        logs.push(log);
    }
}

fn of<'l>(logs: &'l mut [Log], quota: &Quota) -> &'l mut Log {
    logs.iter_mut().find(|log| log.span == quota.window_millis()).unwrap()
}

/// A `now` that is late counts as `last`. One that is later still was read from a clock that was
/// set back.
fn effective(last: u64, span: u64, now: u64, late: u64) -> u64 {
    if now < last && last - now <= span.max(late) { last } else { now }
}

impl Log {
    /// Effective time, and the log without what is at least one window old.
    fn settle(&mut self, now: u64, late: u64) {
        self.last = effective(self.last, self.span, now, late);
        for (at, _) in &mut self.admitted {
            *at = self.last.min(*at);
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
