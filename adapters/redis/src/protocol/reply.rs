//! The reply of the script.

use keyward::{
    clock::Timestamp,
    limit::{Decision, WindowStatus},
    quota::{Quota, Quotas},
};
use thiserror::Error;

use crate::protocol::receipt::{Counted, RemoteReceipt};

/// The decision of the script.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemoteReply {
    /// The decision that a [`Limiter`](keyward::limit::Limiter) would have made at
    /// [`server_now`](RemoteReply::server_now). That of a lease is as if all granted permits were
    /// spent.
    pub decision: Decision,
    /// The server's clock when it decided. All instants of the decision are by this clock.
    pub server_now: Timestamp,
    /// The number of units counted: the cost, or the permits of a lease; 0 if refused.
    pub granted: u32,
    /// The receipt with which to give them back, if any were counted.
    pub receipt: Option<RemoteReceipt>,
    /// Whether it was refused because the primary is new: see
    /// [`RemoteCharge::close_after_new_primary`](crate::protocol::RemoteCharge::close_after_new_primary).
    pub closed: bool,
}

impl RemoteReply {
    /// Returns the decision with its instants by the clock of the process that asked at `now`: as far
    /// ahead of `now` as they are of [`server_now`](RemoteReply::server_now). So the two clocks may
    /// differ by any amount. The only error is the time that the request was under way.
    pub fn decision_at(&self, now: Timestamp) -> Decision {
        let ahead = self.decision.reset_at.saturating_since(self.server_now);
        self.decision.with_reset_at(now.saturating_add(ahead))
    }
}

/// A reply that is no decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RemoteReplyError {
    /// It is not a reply of the script.
    #[error("the server's reply is not one of the limiter's script")]
    Unreadable,
    /// The limit would have more than eight windows that are live. Nothing was counted or changed.
    #[error(
        "the limit at position {position} has 8 live windows of other lengths; use fewer lengths \
         under one policy, or call RedisLimiter::reset for the key"
    )]
    TooManyWindows {
        /// The index of the limit in the request.
        position: usize,
    },
}

/// The state of every window of some limits, without having used one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemoteStatus {
    /// For each limit the state of its windows, in the order of its quotas.
    pub limits: Vec<Vec<WindowStatus>>,
    /// The server's clock. All instants are by this clock.
    pub server_now: Timestamp,
}

impl RemoteStatus {
    /// Returns the state of each limit with its instants by the clock of the process that read the
    /// reply at `now`.
    pub fn at(&self, now: Timestamp) -> Vec<Vec<WindowStatus>> {
        let here = |window: &WindowStatus| {
            let ahead = window.reset_at.saturating_since(self.server_now);
            WindowStatus::elsewhere(window.quota, window.used, now.saturating_add(ahead))
        };
        self.limits.iter().map(|windows| windows.iter().map(here).collect()).collect()
    }
}

pub(super) fn read(
    reply: &[u8],
    names: &[Vec<u8>],
    quotas: &[Quotas],
    cost: u32,
) -> Result<RemoteReply, RemoteReplyError> {
    let mut rest = Rest(reply);
    rest.too_many_windows(quotas.len())?;
    match read_some(&mut rest, names, quotas, cost) {
        Some(answer) if rest.0.is_empty() => Ok(answer),
        _ => Err(RemoteReplyError::Unreadable),
    }
}

pub(super) fn read_status(
    reply: &[u8],
    quotas: &[Quotas],
) -> Result<RemoteStatus, RemoteReplyError> {
    let mut rest = Rest(reply);
    rest.too_many_windows(quotas.len())?;
    match read_windows(&mut rest, quotas) {
        Some(status) if rest.0.is_empty() => Ok(status),
        _ => Err(RemoteReplyError::Unreadable),
    }
}

/// The unread rest of a reply: little-endian numbers, as the top of the script describes them.
struct Rest<'r>(&'r [u8]);

impl Rest<'_> {
    fn number(&mut self, bytes: usize) -> Option<u64> {
        let (number, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(number.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    /// Returns the error if this is its whole reply.
    fn too_many_windows(&self, limits: usize) -> Result<(), RemoteReplyError> {
        match *self.0 {
            [3, low, high] => {
                let position = usize::from(u16::from_le_bytes([low, high]));
                Err(if position < limits {
                    RemoteReplyError::TooManyWindows { position }
                } else {
                    RemoteReplyError::Unreadable
                })
            }
            _ => Ok(()),
        }
    }

    fn narrow(&mut self, bytes: usize) -> Option<u32> {
        u32::try_from(self.number(bytes)?).ok()
    }

    fn instant(&mut self) -> Option<Timestamp> {
        Some(Timestamp::from_unix_millis(self.number(6)?))
    }
}

fn read_some(
    rest: &mut Rest<'_>,
    names: &[Vec<u8>],
    quotas: &[Quotas],
    cost: u32,
) -> Option<RemoteReply> {
    let code = rest.number(1)?;
    if code == 2 {
        let (until, server_now) = (rest.instant()?, rest.instant()?);
        let longest: Quota = *quotas.first()?.as_slice().last()?;
        let decision = Decision::refused_elsewhere(longest, 0, until, server_now);
        let (granted, receipt) = (0, None);
        return Some(RemoteReply { decision, server_now, granted, receipt, closed: true });
    }
    let position = usize::try_from(rest.number(2)?).ok()?;
    let window = usize::try_from(rest.number(1)?).ok()?;
    let quota = *quotas.get(position)?.as_slice().get(window)?;
    let remaining = rest.narrow(4).filter(|&remaining| remaining <= quota.limit())?;
    let (instant, server_now, granted) = (rest.instant()?, rest.instant()?, rest.narrow(4)?);
    let (decision, receipt) = match code {
        0 if granted == 0 => {
            (Decision::refused_elsewhere(quota, remaining, instant, server_now), None)
        }
        1 if granted >= cost => {
            let remaining = remaining.saturating_sub(granted - cost);
            let mut parts = Vec::with_capacity(names.len());
            // The reply to a peek ends here: nothing was counted.
            if !rest.0.is_empty() {
                for (name, quotas) in names.iter().zip(quotas) {
                    let mut windows = Vec::with_capacity(quotas.as_slice().len());
                    for quota in quotas.as_slice() {
                        let (era, stamp) = (rest.number(4)?, rest.number(6)?);
                        windows.push(Counted { span: quota.window_millis(), era, stamp });
                    }
                    parts.push((name.clone(), windows));
                }
            }
            let receipt = (!parts.is_empty()).then_some(RemoteReceipt { parts, units: granted });
            (Decision::admitted_elsewhere(quota, remaining, instant), receipt)
        }
        _ => return None,
    };
    let decision = decision.with_position(position);
    Some(RemoteReply { decision, server_now, granted, receipt, closed: false })
}

fn read_windows(rest: &mut Rest<'_>, quotas: &[Quotas]) -> Option<RemoteStatus> {
    if rest.number(1)? != 1 {
        return None;
    }
    let server_now = rest.instant()?;
    let mut limits = Vec::with_capacity(quotas.len());
    for quotas in quotas {
        let mut windows = Vec::with_capacity(quotas.as_slice().len());
        for &quota in quotas.as_slice() {
            let (used, reset_at) = (rest.narrow(4)?, rest.instant()?);
            windows.push(WindowStatus::elsewhere(quota, used, reset_at));
        }
        limits.push(windows);
    }
    Some(RemoteStatus { limits, server_now })
}

#[cfg(test)]
mod tests {
    use keyward::limit::LimitKey;

    use super::*;
    use crate::protocol::{charge::RemoteCharge, names::RemoteNames, pack::pack};

    #[test]
    fn only_replies_of_the_script_are_read() {
        let quotas = Quotas::from(Quota::per_minute(100));
        let names = RemoteNames::new("k");
        let charge = RemoteCharge::new(&names, &[(LimitKey::owner("a"), &quotas)], 2).unwrap();
        let receipt = [(7, 4), (0, 6)];
        let admitted = |key, window, remaining, granted| {
            [(1, 1), (key, 2), (window, 1), (remaining, 4), (60_000, 6), (0, 6), (granted, 4)]
        };
        let refused =
            |granted| [(0, 1), (0, 2), (0, 1), (98, 4), (60_000, 6), (0, 6), (granted, 4)];
        let closed = [(2, 1), (5, 6), (3, 6)];
        for (reply, good) in [
            ([&admitted(0, 0, 98, 2)[..], &receipt].concat(), true),
            (admitted(0, 0, 98, 2).to_vec(), true),
            (refused(0).to_vec(), true),
            (closed.to_vec(), true),
            (Vec::new(), false),
            ([&[(3, 1)], &admitted(0, 0, 98, 2)[1..]].concat(), false),
            (closed[..2].to_vec(), false),
            // No decision: too many windows, of a limit that the request has or not.
            (vec![(3, 1), (0, 2)], false),
            (vec![(3, 1), (1, 2)], false),
            ([&closed[..], &[(0, 1)]].concat(), false),
            // Admitted with less than the cost; refused and yet granted.
            ([&admitted(0, 0, 98, 1)[..], &receipt].concat(), false),
            (refused(1).to_vec(), false),
            // A limit or window that the request does not have.
            (admitted(1, 0, 98, 2).to_vec(), false),
            (admitted(0, 1, 98, 2).to_vec(), false),
            // More remaining than the limit.
            (admitted(0, 0, 101, 2).to_vec(), false),
            // Half a receipt, and more than one.
            ([&admitted(0, 0, 98, 2)[..], &receipt[..1]].concat(), false),
            ([&admitted(0, 0, 98, 2)[..], &receipt, &[(0, 1)]].concat(), false),
        ] {
            let mut packed = Vec::new();
            reply.iter().for_each(|&(number, bytes)| pack(&mut packed, number, bytes));
            let reply = &packed[..];
            assert_eq!(charge.read(reply).is_ok(), good, "{reply:?}");
        }
    }

    #[test]
    fn only_states_of_the_asked_windows_are_read() {
        let quotas = Quotas::new(&[Quota::per_minute(3), Quota::per_day(10)]).unwrap();
        let names = RemoteNames::new("k");
        let charge = RemoteCharge::new(&names, &[(LimitKey::owner("a"), &quotas)], 1).unwrap();
        let mut reply = Vec::new();
        for (number, bytes) in [(1, 1), (5, 6), (4, 4), (7, 6), (4, 4), (9, 6)] {
            pack(&mut reply, number, bytes);
        }
        let status = charge.read_status(&reply).unwrap().at(Timestamp::from_unix_millis(1_000));
        let told: Vec<_> = status[0]
            .iter()
            .map(|window| (window.used, window.remaining, window.reset_at.as_unix_millis()))
            .collect();
        assert_eq!(told, [(4, 0, 1_002), (4, 6, 1_004)]);
        assert_eq!(charge.read_status(&reply[1..]), Err(RemoteReplyError::Unreadable));
        let too_many = RemoteReplyError::TooManyWindows { position: 0 };
        assert_eq!(charge.read_status(&[3, 0, 0]), Err(too_many));
        assert_eq!(charge.read(&[3, 0, 0]), Err(too_many));
        assert_eq!(charge.read(&[3, 1, 0]), Err(RemoteReplyError::Unreadable));
    }
}
