//! What is asked.

use std::time::Duration;

use crate::{
    limit::{
        decision::ChargeError,
        key::LimitKey,
        limiter::chargeable,
        remote::{
            answer::{RemoteAnswer, RemoteReplyError, read},
            command::{RemoteCommand, pack},
            names::RemoteNames,
        },
    },
    quota::{Precision, Quotas},
};

/// A request of some cost against one or several limits, all or nothing: asked elsewhere as
/// [`Limiter::check_all`](crate::limit::Limiter::check_all) asks in memory, with the same answers.
///
/// ```
/// use keyward::{limit::{LimitKey, RemoteCharge, RemoteNames}, Quota, Quotas};
///
/// let quotas = Quotas::from(Quota::per_minute(100));
/// let names = RemoteNames::new("keyward");
/// let charge = RemoteCharge::new(&names, &[(LimitKey::owner("acme"), &quotas)], 1)?;
///
/// let parts = charge.check().parts();
/// assert_eq!(parts[0], b"EVALSHA");
/// // The client sends them, and the server answers with one string of bytes:
/// let reply = b"\x01\0\0\0\x63\0\0\0\x60\xea\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\x07\0\0\0\0\0\0\0\0\0";
/// let answer = charge.read(reply)?;
/// assert!(answer.decision.allowed);
/// assert_eq!(answer.decision.remaining, 99);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a charge does nothing until its command is sent"]
pub struct RemoteCharge {
    names: Vec<Vec<u8>>,
    quotas: Vec<Quotas>,
    cost: u32,
    /// The key of the known primary, and for how long a new one is closed.
    guard: Option<(Vec<u8>, u64)>,
}

/// Upon which terms permits are granted to be spent later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTerms {
    /// For how long they may be spent, counted from the moment before the request was sent: `L`,
    /// in whole milliseconds, a fraction is cut off.
    pub length: Duration,
    /// The most that are granted at once.
    pub most: u32,
    /// No more than this part of what remains is granted, but at least the cost: near the limit
    /// that is what one request needs.
    pub divisor: u32,
}

/// What the script is to do, as it is numbered there.
const TAKE: u64 = 1;
const LOOK: u64 = 2;

impl LeaseTerms {
    /// The longest lease, 18 hours, which keeps the script's numbers far from their ends. A longer
    /// one is **stamped** as this, so nobody may spend it longer.
    pub const MAX_LENGTH: Duration = Duration::from_secs(18 * 3_600);
}

impl RemoteCharge {
    /// A request of `cost` against these limits.
    ///
    /// # Errors
    ///
    /// As [`Limiter::check_all`](crate::limit::Limiter::check_all): what could never be admitted is not
    /// asked.
    pub fn new(
        names: &RemoteNames,
        limits: &[(LimitKey, &Quotas)],
        cost: u32,
    ) -> Result<Self, ChargeError> {
        Self::payable(limits, cost)?;
        Ok(Self {
            names: limits.iter().map(|(key, _)| names.of(key)).collect(),
            quotas: limits.iter().map(|(_, quotas)| **quotas).collect(),
            cost,
            guard: None,
        })
    }

    /// Whether waiting could ever admit such a request.
    ///
    /// # Errors
    ///
    /// As for [`RemoteCharge::new`].
    pub fn payable(limits: &[(LimitKey, &Quotas)], cost: u32) -> Result<(), ChargeError> {
        chargeable(limits, cost)?;
        if limits.is_empty() { Err(ChargeError::NoLimits) } else { Ok(()) }
    }

    /// Refuses everything for the longest of the windows, and a quarter of it, after a primary was
    /// first asked: one that was promoted, restarted, or is new.
    ///
    /// What its predecessor admitted and did not pass on has then left every window, so the limit
    /// holds across the change, provided that the predecessor admits no longer. The quarter is for
    /// permits that it leased: they may be spent when it is gone already, so no lease on such a
    /// limit may be longer than that. It takes a second
    /// key, so on a cluster all names must lie [together](RemoteNames::with_tag).
    pub fn closed_after_new_primary(self, names: &RemoteNames) -> Self {
        let windows = self.quotas.iter().flat_map(Quotas::as_slice);
        let longest = windows.map(|quota| quota.window_millis()).max().unwrap_or(0);
        Self { guard: Some((names.primary(), longest.saturating_add(longest / 4))), ..self }
    }

    /// Decides, and counts the request if it is admitted.
    pub fn check(&self) -> RemoteCommand {
        self.command(TAKE, self.cost, 1, 0)
    }

    /// What [`RemoteCharge::check`] would answer, while nothing is changed.
    pub fn peek(&self) -> RemoteCommand {
        self.command(LOOK, self.cost, 1, 0)
    }

    /// Decides, and takes permits beyond the cost, to be spent without asking.
    pub fn lease(&self, terms: &LeaseTerms) -> RemoteCommand {
        let length = terms.length.min(LeaseTerms::MAX_LENGTH).as_millis() as u64;
        self.command(TAKE, terms.most.max(self.cost), terms.divisor.max(1), length)
    }

    /// Reads the reply to any of these commands, which is one string of bytes.
    ///
    /// # Errors
    ///
    /// If it is no reply of the script.
    pub fn read(&self, reply: &[u8]) -> Result<RemoteAnswer, RemoteReplyError> {
        read(reply, &self.names, &self.quotas, self.cost)
    }

    /// What the request costs, of each limit.
    pub const fn cost(&self) -> u32 {
        self.cost
    }

    /// The quotas of each limit, in the order in which they were given.
    pub fn quotas(&self) -> &[Quotas] {
        &self.quotas
    }

    fn command(&self, act: u64, want: u32, divisor: u32, lease: u64) -> RemoteCommand {
        let mut keys = self.names.clone();
        let guard = self.guard.as_ref().map_or(0, |(_, millis)| *millis);
        keys.extend(self.guard.iter().map(|(name, _)| name.clone()));
        let mut asked = Vec::with_capacity(22 + 31 * self.quotas.len());
        pack(&mut asked, act, 1);
        pack(&mut asked, self.cost.into(), 4);
        pack(&mut asked, want.into(), 4);
        pack(&mut asked, divisor.into(), 4);
        pack(&mut asked, lease, 4);
        pack(&mut asked, guard, 5);
        for quotas in &self.quotas {
            pack(&mut asked, quotas.as_slice().len() as u64, 1);
            for quota in quotas.as_slice() {
                let coarse = quota.precision() == Precision::Coarse;
                pack(&mut asked, quota.window_millis(), 5);
                pack(&mut asked, quota.limit().into(), 4);
                pack(&mut asked, coarse.into(), 1);
            }
        }
        RemoteCommand::script(keys, asked)
    }
}
