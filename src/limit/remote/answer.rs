//! What is answered.

use thiserror::Error;

use super::receipt::RemoteReceipt;
use crate::{Decision, Quota, Quotas, Timestamp};

/// What the script decided.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemoteAnswer {
    /// The decision, as the [`Limiter`](crate::Limiter) would have made it at
    /// [`server_now`](RemoteAnswer::server_now). Of a lease, as if all that was granted were spent.
    pub decision: Decision,
    /// The server's clock when it decided. All instants of the decision are by this clock.
    pub server_now: Timestamp,
    /// How many units were counted: the cost, or the permits of a lease; 0 if refused.
    pub granted: u32,
    /// By what to give them back, if any were counted.
    pub receipt: Option<RemoteReceipt>,
    /// Refused because the primary is new: see
    /// [`RemoteCharge::closed_after_new_primary`](crate::RemoteCharge::closed_after_new_primary).
    pub closed: bool,
}

/// The reply is not one of the script's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
#[error("the server's reply is not one of the limiter's script")]
pub struct RemoteReplyError;

pub(super) fn read(
    reply: &[i64],
    names: &[Vec<u8>],
    quotas: &[Quotas],
    cost: u32,
) -> Result<RemoteAnswer, RemoteReplyError> {
    read_some(reply, names, quotas, cost).ok_or(RemoteReplyError)
}

fn read_some(
    reply: &[i64],
    names: &[Vec<u8>],
    quotas: &[Quotas],
    cost: u32,
) -> Option<RemoteAnswer> {
    let mut numbers = reply.iter().map(|&number| u64::try_from(number).ok());
    let mut next = || numbers.next().flatten();
    let code = next()?;
    if code == 2 {
        let until = Timestamp::from_unix_millis(next()?);
        let server_now = Timestamp::from_unix_millis(next()?);
        let longest: Quota = *quotas.first()?.as_slice().last()?;
        let decision = Decision::refused_elsewhere(longest, 0, until, server_now);
        return Some(RemoteAnswer {
            decision,
            server_now,
            granted: 0,
            receipt: None,
            closed: true,
        });
    }
    let (position, window) = (usize::try_from(next()?).ok()?, usize::try_from(next()?).ok()?);
    let quota = *quotas.get(position)?.as_slice().get(window)?;
    let remaining = u32::try_from(next()?).ok().filter(|&remaining| remaining <= quota.limit())?;
    let instant = Timestamp::from_unix_millis(next()?);
    let server_now = Timestamp::from_unix_millis(next()?);
    let granted = u32::try_from(next()?).ok()?;
    let (decision, receipt) = match code {
        0 if granted == 0 => {
            (Decision::refused_elsewhere(quota, remaining, instant, server_now), None)
        }
        1 if granted >= cost => {
            let remaining = remaining.saturating_sub(granted - cost);
            let mut parts = Vec::with_capacity(names.len());
            // A reply to a peek ends here: nothing was counted.
            let mut rest = numbers.peekable();
            if rest.peek().is_some() {
                for (name, quotas) in names.iter().zip(quotas) {
                    let era = rest.next()??;
                    let stamps: Option<Vec<u64>> =
                        quotas.as_slice().iter().map(|_| rest.next()?).collect();
                    parts.push((name.clone(), era, stamps?));
                }
                if rest.next().is_some() {
                    return None;
                }
            }
            let receipt = (!parts.is_empty()).then_some(RemoteReceipt { parts, units: granted });
            (Decision::admitted_elsewhere(quota, remaining, instant), receipt)
        }
        _ => return None,
    };
    let decision = decision.at_position(position);
    Some(RemoteAnswer { decision, server_now, granted, receipt, closed: false })
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::{LimitKey, RemoteCharge, RemoteNames};

    #[test]
    fn what_is_no_reply_is_refused() {
        let quotas = Quotas::from(Quota::per_minute(NonZeroU32::new(100).unwrap()));
        let names = RemoteNames::new("k");
        let charge = RemoteCharge::new(&names, &[(LimitKey::owner("a"), &quotas)], 2).unwrap();
        for (reply, good) in [
            (&[1, 0, 0, 98, 60_000, 0, 2, 7, 0][..], true),
            (&[1, 0, 0, 98, 60_000, 0, 2], true),
            (&[0, 0, 0, 98, 60_000, 0, 0], true),
            (&[2, 5, 3], true),
            (&[], false),
            (&[3, 0, 0, 98, 60_000, 0, 2], false),
            (&[2, 5], false),
            (&[2, -5, 3], false),
            // Admitted less than was asked for, refused and yet granted.
            (&[1, 0, 0, 98, 60_000, 0, 1, 7, 0], false),
            (&[0, 0, 0, 98, 60_000, 0, 1], false),
            // A limit or window that was not asked.
            (&[1, 1, 0, 98, 60_000, 0, 2], false),
            (&[1, 0, 1, 98, 60_000, 0, 2], false),
            (&[1, 0, 0, 101, 60_000, 0, 2], false),
            (&[1, 0, 0, -1, 60_000, 0, 2], false),
            // Half a receipt, and more than one.
            (&[1, 0, 0, 98, 60_000, 0, 2, 7], false),
            (&[1, 0, 0, 98, 60_000, 0, 2, 7, -1], false),
            (&[1, 0, 0, 98, 60_000, 0, 2, 7, 0, 0], false),
        ] {
            assert_eq!(charge.read(reply).is_ok(), good, "{reply:?}");
        }
    }
}
